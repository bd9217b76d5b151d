"""`data.json`: the data set of a run.

It is written when a run takes its folder, when the data are opened, and when the training has ended.
"""

import os
from pathlib import Path
from typing import Any

from attrs import asdict, frozen

from emotiwave_core.data.facts import CorpusFacts, FoldFacts, NumberFoldFacts
from emotiwave_core.errors import DataError
from emotiwave_core.io.atomic import write_json
from emotiwave_core.runs.schema import converter, damaged, exact_converter, file_bytes, parse

DATA = "data.json"
FoldRecord = FoldFacts | NumberFoldFacts
WAY_OUT = "give the folder of a run, or --data"


@frozen(kw_only=True)
class DataFile(CorpusFacts):
    """The data set as it was opened, and, once the training has ended, its folds."""

    trained: bool
    folds: dict[str, FoldRecord] | None = None


@frozen
class DataFolder:
    """The one value that the file holds from the start."""

    folder: str


def data_file(facts: CorpusFacts, folds: dict[str, FoldRecord] | None = None) -> DataFile:
    """The record of a data set; with its folds where the training has ended."""
    return DataFile(**asdict(facts, recurse=False), trained=folds is not None, folds=folds)


def write_data_folder(run: Path, folder: str) -> None:
    """Write where the data are, before they are opened."""
    write_json(run / DATA, {"folder": folder})


def write_data(run: Path, data: DataFile) -> None:
    """Write all that is known of the data."""
    value = asdict(data)
    if data.folds is None:
        del value["folds"]
    write_json(run / DATA, value)


def read_data_folder(run: Path) -> Path:
    """Read where the data of a run were. DataError where the file is missing or damaged."""
    return Path(parse(_bytes(run), DataFolder, str(run / DATA), WAY_OUT, exact=True).folder)


def read_data(run: Path, exact: bool = True) -> DataFile | None:
    """Read the data set of a run, None where it was not opened yet. DataError where the file is missing or damaged.

    exact: texts as they stand there, see `schema.parse`; a page is given cleaned ones.
    """
    data, path, way_out = _bytes(run), str(run / DATA), WAY_OUT if exact else ""
    if set(parse(data, dict, path, way_out, exact)) == {"folder"}:
        parse(data, DataFolder, path, way_out, exact)
        return None
    read = parse(data, DataFile, path, way_out, exact)
    if read.trained and read.folds is None:
        raise damaged(path, "'folds' is missing", way_out)
    return read


def _fold_kind(value: Any) -> type[FoldRecord]:
    """The record of a fold: of numbers where it holds some."""
    return NumberFoldFacts if isinstance(value, dict) and "numbers" in value else FoldFacts


converter.register_structure_hook(FoldRecord, lambda value, _: converter.structure(value, _fold_kind(value)))
exact_converter.register_structure_hook(
    FoldRecord, lambda value, _: exact_converter.structure(value, _fold_kind(value))
)


def _bytes(run: Path) -> bytes:
    if not os.path.lexists(run / DATA):
        raise DataError(f"{run / DATA} is missing: {WAY_OUT}.")
    return file_bytes(run, DATA)
