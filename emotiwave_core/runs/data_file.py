"""`data.json`: the data set of a run.

It is written when a run takes its folder, when the data are opened, and when the training has ended.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import asdict, frozen

from emotiwave_core.errors import DataError
from emotiwave_core.io.atomic import write_json
from emotiwave_core.runs.schema import damaged, file_bytes, parse

DATA = "data.json"
WAY_OUT = "give the folder of a run, or --data"


@frozen
class ModalityFacts:
    """One modality's file; `missing` segments have no data, `truncated` ones were cut to the longest length."""

    file: str
    features: int
    median_steps: float
    longest_steps: int
    missing: int
    absent_steps: int
    nan: int
    inf: int
    truncated: int
    unread_rows: int


@frozen
class FoldFacts:
    """One fold; for a multi-label objective the counts of the classes overlap."""

    samples: int
    videos: int
    used: int
    classes: dict[str, int]
    no_emotion: int


@frozen
class DataFile:
    """The data set as it was opened, and, once the training has ended, its folds."""

    dataset: str
    synthetic: bool
    unit: str
    label_source: str
    targets: list[str]
    left_out: dict[str, int]
    modalities: dict[str, ModalityFacts]
    fingerprint: str
    folder: str
    sources: dict[str, str]  # {file: SHA-256}
    samples: int
    videos: int
    fold_source: str
    folds_sha256: str
    notes: list[str]
    trained: bool
    folds: dict[str, FoldFacts] | None = None


@frozen
class DataFolder:
    """The one value that the file holds from the start."""

    folder: str


def data_file(facts: Mapping[str, Any], folds: Mapping[str, Mapping[str, Any]] | None = None) -> DataFile:
    """The record of a data set from `Corpus.facts`; with `Corpus.fold_facts` of its folds where training has ended."""
    modalities = {name: ModalityFacts(**modality) for name, modality in facts["modalities"].items()}
    counted = None if folds is None else {name: FoldFacts(**fold) for name, fold in folds.items()}
    return DataFile(**{**facts, "modalities": modalities}, trained=folds is not None, folds=counted)


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
    data, place, way_out = _bytes(run), str(run / DATA), WAY_OUT if exact else ""
    if set(parse(data, dict, place, way_out, exact)) == {"folder"}:
        parse(data, DataFolder, place, way_out, exact)
        return None
    read = parse(data, DataFile, place, way_out, exact)
    if read.trained and read.folds is None:
        raise damaged(place, "'folds' is missing", way_out)
    return read


def _bytes(run: Path) -> bytes:
    if not os.path.lexists(run / DATA):
        raise DataError(f"{run / DATA} is missing: {WAY_OUT}.")
    return file_bytes(run, DATA)
