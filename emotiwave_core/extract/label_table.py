"""The table beside recordings: whose labels, segments and transcripts they are. CSV with a header."""

import csv
import io
import math
from pathlib import Path

import attrs

from emotiwave_core.data.formats.columns import GROUPS, SPLITS
from emotiwave_core.data.formats.table import FOLD_OF
from emotiwave_core.data.formats.text import MEDIA
from emotiwave_core.errors import DataError, short
from emotiwave_core.io.untrusted import read_text, why

FILE, ID, LABEL = ("file", "clip", "video"), ("id", "name"), ("label", "emotion")
TRANSCRIPT = ("transcript", "text", "words")
START, END = "start", "end"


@attrs.frozen
class LabelRow:
    """One row: a clip, or a segment of one."""

    file: str
    id: str
    values: tuple[float, ...]  # of the table's columns
    start: float | None = None
    end: float | None = None
    transcript: str | None = None
    group: str | None = None  # who must not be split between folds
    fold: str | None = None  # train, valid or test


@attrs.frozen(eq=False)
class LabelTable:
    """Labels by file."""

    path: Path
    columns: tuple[str, ...]  # the classes, or the emotions that are rated
    is_classes: bool  # one of the columns is 1 in each row
    rows: tuple[LabelRow, ...]
    _by_name: dict[str, LabelRow] = attrs.field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        for row in self.rows:
            self._by_name.setdefault(row.file, row)

    def of_file(self, name: str) -> LabelRow | None:
        """The first row of a file, by its name with or without the suffix."""
        return self._by_name.get(name) or self._by_name.get(Path(name).stem)

    def of_id(self, own: str) -> list[LabelRow]:
        """All rows of a clip."""
        return [row for row in self.rows if row.id == own]


def read_label_table(path: Path) -> LabelTable:
    """Read the table. DataError where a column is missing or a value is not right.

    Columns: `file` (the recording, with or without its suffix) and, where the data set's ids are others, `id`;
    `label`, the class, or a column of numbers for each emotion; `start` and `end` of a segment in seconds;
    `transcript`; `group` or `speaker`; `split`, of train, valid and test.
    """
    try:
        text = read_text(path)
        table = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path} cannot be used: {why(error)}.") from error
    if not table:
        raise DataError(f"{path} has no row.")
    names = {str(name).strip().lower(): name for name in table[0] if name is not None}
    file = _first(names, FILE) or _first(names, ID)
    if file is None:
        raise DataError(f"{path} has no column 'file' (there: {', '.join(map(str, table[0]))}).")
    roles = {"id": ID, "transcript": TRANSCRIPT, "group": GROUPS, "split": SPLITS}
    known = {role: _first(names, of) for role, of in roles.items()}
    label = _first(names, LABEL)
    taken = {file, label, *known.values(), names.get(START), names.get(END)}
    if label is not None:
        columns = tuple(sorted({str(row[label] or "").strip() for row in table} - {""}))
    else:
        columns = tuple(name for name in table[0] if name not in taken and _is_number(table[0][name]))
    if not columns:
        raise DataError(f"{path} has no column 'label', and no column of numbers.")
    return LabelTable(
        path,
        columns,
        label is not None,
        tuple(
            LabelRow(
                file=_text(path, line, row, file) or "",
                id=_id(_text(path, line, row, known["id"] or file) or ""),
                values=_values(path, line, row, columns, label),
                start=_number(path, line, row, names.get(START)),
                end=_number(path, line, row, names.get(END)),
                transcript=_text(path, line, row, known["transcript"], required=False),
                group=_text(path, line, row, known["group"], required=False),
                fold=_fold(path, line, _text(path, line, row, known["split"], required=False)),
            )
            for line, row in enumerate(table, start=2)
        ),
    )


def _id(name: str) -> str:
    """An id; of a recording's name what stands before the suffix."""
    return name[: -len(Path(name).suffix)] if Path(name).suffix.lower() in MEDIA else name


def _first(names: dict[str, str], wanted: tuple[str, ...]) -> str | None:
    return next((names[name] for name in wanted if name in names), None)


def _is_number(value: object) -> bool:
    try:
        return math.isfinite(float(str(value)))
    except ValueError:
        return False


def _text(path: Path, line: int, row: dict[str, str | None], name: str | None, required: bool = True) -> str | None:
    value = None if name is None else str(row.get(name) or "").strip()
    if required and not value:
        raise DataError(f"{path}, line {line}: '{name}' is empty.")
    if required and "/" in str(value):
        value = Path(str(value)).name  # tables often tell folders
    return value or None


def _fold(path: Path, line: int, name: str | None) -> str | None:
    if name is None or (fold := FOLD_OF.get(name.lower())) is not None:
        return None if name is None else fold
    raise DataError(f"{path}, line {line}: {short(name)} is no fold; write train, valid or test.")


def _number(path: Path, line: int, row: dict[str, str | None], name: str | None) -> float | None:
    if name is None or not str(row.get(name) or "").strip():
        return None
    if not _is_number(row[name]):
        raise DataError(f"{path}, line {line}: '{name}' is {short(row[name])}, not a number of seconds.")
    return float(str(row[name]))


def _values(
    path: Path, line: int, row: dict[str, str | None], columns: tuple[str, ...], label: str | None
) -> tuple[float, ...]:
    """The row as numbers, one for each column: of a class 1 in its own; of one without a label all are 0."""
    if label is not None:
        return tuple(float(str(row[label] or "").strip() == name) for name in columns)
    for name in columns:
        if not _is_number(row[name]):
            raise DataError(f"{path}, line {line}: '{name}' is {short(row[name])}, not a number.")
    return tuple(float(str(row[name])) for name in columns)
