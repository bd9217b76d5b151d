"""The table beside recordings: whose labels, segments and transcripts they are."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import attrs
import numpy as np
from numpy.typing import NDArray

from emotiwave_core.data.formats.columns import CLASSES, IDS, Roles, find_roles, label_columns_of, normal
from emotiwave_core.data.formats.delimited import EMPTY, TableColumns, read_delimited
from emotiwave_core.data.formats.table import FOLD_OF, column_of_times, is_always_text, numbers_of
from emotiwave_core.data.formats.text import MEDIA
from emotiwave_core.errors import DataError, short

FILES = ("file", "clip", "video", "id", "name", *IDS)  # names of the column of recordings, the first one counts


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
    notes: tuple[str, ...] = ()  # on how the file was read
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
    """Read the table, CSV or TSV. DataError where a column is missing or a value is not right.

    Columns: `file` (the recording, with or without its suffix) and, where the data set's ids are others, `id`;
    `label`, the class, or a column of numbers for each emotion; `start` and `end` of a segment in seconds;
    `transcript`; `group` or `speaker`; `split`, of train, valid and test.
    """
    columns = read_delimited(path, is_text=lambda name: is_always_text(name) or normal(name) in CLASSES)
    by_name = {normal(name): name for name in reversed(columns.names)}
    file = next((by_name[name] for name in FILES if name in by_name), None)
    if file is None:
        raise DataError(f"{path} has no column 'file' (there: {', '.join(map(short, columns.names[:12]))}).")
    own = by_name.get("id", by_name.get("name", file))
    names = [name for name in columns.names if name == own or normal(name) not in FILES]
    roles = find_roles(path, names)
    chosen = _labels(path, columns, [name for name in names if name not in roles.used])
    values, labels = numbers_of(path, columns, chosen)  # [R, C]
    is_classes = chosen[0] in columns.texts
    if is_classes:
        values = np.nan_to_num(values)  # of a row without a label all are 0
    elif not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise DataError(f"{path}, row {row + 1}, column '{labels[column]}': there is no number.")
    return LabelTable(path, tuple(labels), is_classes, _rows(path, columns, roles, file, values), columns.notes)


def _labels(path: Path, columns: TableColumns, names: Sequence[str]) -> tuple[str, ...]:
    """The columns of labels, of those without another role: `label`, else as in the tables of a data set."""
    if label := next((name for name in names if normal(name) == "label"), None):
        return (label,)
    texts, numbers = ([name for name in names if name in of] for of in (columns.texts, columns.numbers))
    return label_columns_of(path, texts, numbers, "take the others out, or call the column of classes `label`")


def _rows(
    path: Path, columns: TableColumns, roles: Roles, file: str, values: NDArray[np.float32]
) -> tuple[LabelRow, ...]:
    """The rows, with their labels [R, C]."""
    files, ids = ([_name(path, row, name, cell) for row, cell in enumerate(columns.texts[name], start=1)]
                  for name in (file, roles.id))  # fmt: skip
    starts, ends = _times(path, columns, roles)
    said = min(roles.texts, key=lambda name: normal(name) != "transcript", default=None)
    transcripts = [""] * columns.rows if said is None else columns.texts[said]
    groups, folds = (_texts(columns, name) for name in (roles.group, roles.split))
    return tuple(
        LabelRow(
            file=files[row],
            id=_without_suffix(ids[row]),
            values=tuple(own),
            start=starts[row],
            end=ends[row],
            transcript=transcripts[row] or None,
            group=groups[row],
            fold=_fold(path, row + 1, folds[row]),
        )
        for row, own in enumerate(values.astype(float).tolist())
    )


def _times(path: Path, columns: TableColumns, roles: Roles) -> tuple[list[float | None], list[float | None]]:
    """The start and the end of each row in seconds; None where its cell is empty, or there is no such column."""
    start, end, duration = (
        np.full(columns.rows, np.nan) if name is None else column_of_times(path, columns, name, roles.seconds)
        for name in (roles.start, roles.end, roles.duration)
    )
    ends = end if roles.duration is None else start + duration
    for row in np.flatnonzero(ends < start):
        raise DataError(f"{path}, row {row + 1}: it ends at {ends[row]:g} s, before it starts at {start[row]:g} s.")
    told = [[None if np.isnan(value) else value for value in times.tolist()] for times in (start, ends)]
    return told[0], told[1]


def _texts(columns: TableColumns, name: str | None) -> list[str | None]:
    """The cells of a column, None where one is empty."""
    cells = [""] * columns.rows if name is None else columns.texts[name]
    return [None if cell.lower() in EMPTY else cell for cell in cells]


def _name(path: Path, row: int, column: str, cell: str) -> str:
    """The name of a recording, without its folder, which tables often tell."""
    if not cell:
        raise DataError(f"{path}, row {row}, column '{column}': it is empty.")
    return PurePosixPath(cell.replace("\\", "/")).name


def _without_suffix(name: str) -> str:
    """An id; of a recording's name what stands before the suffix."""
    return name[: -len(Path(name).suffix)] if Path(name).suffix.lower() in MEDIA else name


def _fold(path: Path, row: int, name: str | None) -> str | None:
    if name is None or (fold := FOLD_OF.get(name.lower())) is not None:
        return None if name is None else fold
    raise DataError(f"{path}, row {row}: {short(name)} is no fold; write train, valid or test.")
