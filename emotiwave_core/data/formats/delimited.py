"""Tables of text (CSV, TSV) as columns of numbers and of texts; a cell that is not a number is never a silent NaN."""

import csv
import io
import re
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from emotiwave_core.data.formats.text import read_lenient
from emotiwave_core.errors import DataError, short

MOST_BYTES = 512 << 20  # of a file
MOST_COLUMNS = 20_000
TOGETHER = 2048  # rows that are looked at together; the first ones tell whether a column holds numbers
EMPTY = frozenset(("", "na", "n/a", "#n/a", "nan", "nat", "null", "none", "?", "-"))
_SEPARATORS = ",;\t|"
COMMA = re.compile(r"[-+]?\d+,\d+(?:[eE][-+]?\d+)?")
THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(?:,\d{3})+")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?inf(?:inity)?", re.IGNORECASE)
_TRUTH = {"true": 1.0, "false": 0.0}


@attrs.frozen
class TableColumns:
    """A table by its columns, in their order: each holds numbers (NaN where a cell is empty) or texts."""

    names: tuple[str, ...]
    numbers: dict[str, NDArray[np.float64]]  # [R]
    texts: dict[str, list[str]]  # [R]
    rows: int
    notes: tuple[str, ...] = ()

    def with_texts(self, drop: Collection[str] = (), **texts: list[str]) -> "TableColumns":
        """The table with some further columns of texts, and without others."""
        return attrs.evolve(
            self,
            names=(*texts, *(name for name in self.names if name not in drop and name not in texts)),
            numbers={name: values for name, values in self.numbers.items() if name not in drop},
            texts=texts | {name: cells for name, cells in self.texts.items() if name not in (*drop, *texts)},
        )


def read_header(path: Path, most: int = 1 << 20) -> list[str]:
    """The names of the columns, from the first line; none where it is no table."""
    try:
        with path.open("rb") as file:
            first = file.readline(most).decode("utf-8-sig", "replace")
        return [name.strip() for name in next(csv.reader([first], delimiter=separator_of(path, first)))]
    except (OSError, DataError, csv.Error, StopIteration):
        return []


def read_delimited(path: Path, is_text: Callable[[str], bool]) -> TableColumns:
    """All columns of a CSV or TSV. Those of a name that `is_text` are texts whatever they hold.

    DataError with the line and the column for a row of another length, and for a cell among numbers that is none.
    """
    text, notes = read_lenient(path, MOST_BYTES)
    separator = separator_of(path, text[: text.find("\n")] if "\n" in text else text)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=True)
    try:
        names = [name.strip() for name in next(rows)]
    except (csv.Error, StopIteration) as error:
        raise DataError(f"{path} is no table: its first line is {'empty' if not text else 'damaged'}.") from error
    columns = columns_of(path, names, rows, is_text, separator != ",")
    return attrs.evolve(columns, notes=notes + columns.notes)


def columns_of(
    path: Path, names: Sequence[str], reader: Any, is_text: Callable[[str], bool], may_have_commas: bool
) -> TableColumns:
    """The columns of the rows that a reader of the csv module gives, under these names."""
    _check_names(path, names)
    columns = [_Column(path, name, is_text(name), may_have_commas) for name in names]
    try:
        for lines, rows in _chunks(path, reader, len(names)):
            for column, cells in zip(columns, zip(*rows, strict=True), strict=True):
                column.extend(lines, cells)
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num} is damaged: {error}.") from error
    if not columns[0].count:
        raise DataError(f"{path} has the columns {short(names)} and no row.")
    notes: tuple[str, ...] = ()
    commas = [column.name for column in columns if column.has_commas]
    if commas:
        notes = (f"{path.name} has decimal commas, which are read as points ({_some(commas)}).",)
    return TableColumns(
        names=tuple(names),
        numbers={c.name: np.frombuffer(c.numbers, dtype=np.float64) for c in columns if c.texts is None},
        texts={c.name: c.texts for c in columns if c.texts is not None},
        rows=columns[0].count,
        notes=notes,
    )


def separator_of(path: Path, header: str) -> str:
    """The separator that is most frequent in the header, outside of quotes."""
    outside = re.sub(r'"[^"]*"', "", header)
    counts = {separator: outside.count(separator) for separator in _SEPARATORS}
    best = max(counts.values())
    likely = [separator for separator, count in counts.items() if count == best]
    if best and len(likely) > 1:
        raise DataError(f"{path}: its first line has as many {likely[0]!r} as {likely[1]!r}: which one separates?")
    return likely[0] if best else ","


def _check_names(path: Path, names: Sequence[str]) -> None:
    if len(names) > MOST_COLUMNS:
        raise DataError(f"{path} has {len(names)} columns; at most {MOST_COLUMNS} are read.")
    if all(_NUMBER.fullmatch(name) for name in names):
        raise DataError(f"{path} does not name its columns: its first line is {short(names)}. Give it a header.")
    if len(set(names)) < len(names):
        raise DataError(f"{path} names the column {short(Counter(names).most_common(1)[0][0])} twice; rename one.")


def _chunks(path: Path, reader: Any, width: int) -> Iterator[tuple[list[int], list[list[str]]]]:
    """The rows, some at a time, each with the number of its line; blank lines are none."""
    lines, rows = list[int](), list[list[str]]()
    for row in reader:
        line = reader.line_num
        if not row or (len(row) == 1 and width > 1 and not row[0].strip()):
            continue
        if len(row) != width:
            raise DataError(f"{path}, line {line} has {len(row)} cells, and the header names {width} columns.")
        lines.append(line)
        rows.append(row)
        if len(rows) == TOGETHER:
            yield lines, rows
            lines, rows = [], []
    if rows:
        yield lines, rows


class _Column:
    """One column, as it grows: numbers until a text shows that it holds texts."""

    def __init__(self, path: Path, name: str, is_text: bool, may_have_commas: bool) -> None:
        self.path, self.name, self.may_have_commas = path, name, may_have_commas
        self.numbers = array("d")
        self.texts: list[str] | None = [] if is_text else None
        self.count, self.seen = 0, 0  # rows; of them, those with a number
        self.has_commas = False

    def extend(self, lines: list[int], cells: Sequence[str]) -> None:
        """More cells. DataError for one that is no number in a column of numbers."""
        self.count += len(cells)
        if self.texts is not None:
            self.texts.extend(cell.strip() for cell in cells)
            return
        whole = "".join(cells)
        if not ("_" in whole or "n" in whole or "N" in whole):  # which float() would take for numbers
            try:
                self.numbers.extend(array("d", map(float, cells)))
            except ValueError:
                pass
            else:
                self.seen += len(cells)
                return
        self._extend_slowly(lines, [cell.strip() for cell in cells])

    def _extend_slowly(self, lines: list[int], cells: list[str]) -> None:
        values = [_number(cell, self.may_have_commas) for cell in cells]
        wrong = [place for place, value in enumerate(values) if value is None]
        right = sum(value is not None and cell.lower() not in EMPTY for value, cell in zip(values, cells, strict=True))
        if wrong and not self.seen and len(wrong) > right:
            self.texts = [""] * len(self.numbers) + cells
            return
        if wrong:
            raise DataError(
                f"{self.path}, line {lines[wrong[0]]}, column '{self.name}': {short(cells[wrong[0]])} is not a number, "
                "and most cells of this column are; leave the cell empty where nothing is known."
            )
        self.seen += right
        commas = [cell for cell in cells if COMMA.fullmatch(cell)]
        if commas and all(THOUSANDS.fullmatch(cell) for cell in commas):
            raise DataError(
                f"{self.path}, column '{self.name}': {short(commas[0])} could be a thousand or a decimal comma; write "
                "decimal points."
            )
        self.has_commas |= bool(commas)
        self.numbers.extend(value for value in values if value is not None)


def _number(cell: str, may_have_commas: bool) -> float | None:
    """The number in a cell, NaN where it is empty, None where it is something else."""
    if _NUMBER.fullmatch(cell):
        return float(cell)
    if cell.lower() in EMPTY:
        return float("nan")
    if may_have_commas and COMMA.fullmatch(cell):
        return float(cell.replace(",", "."))
    return _TRUTH.get(cell.lower())


def _some(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:3]) + (", …" if len(names) > 3 else "")
