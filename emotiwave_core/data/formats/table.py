"""Tables of rows with an id: labels (a row for each sample), features (a row for each step), or both in one file."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from emotiwave_core.data.formats.columns import (
    Roles,
    check_asked,
    feature_columns_of,
    find_roles,
    has_labels,
    label_columns_of,
)
from emotiwave_core.data.formats.delimited import COMMA, EMPTY, THOUSANDS, TableColumns, read_delimited, read_header
from emotiwave_core.data.formats.reader import Contents, LabelKind, Reader, Source, counted_intervals, split_key
from emotiwave_core.data.formats.text import MEDIA
from emotiwave_core.errors import DataError, short

MOST_CLASSES = 200  # names in a column of classes: more are no classes
LABELS, FEATURES = "labels", "features"
FOLD_OF = {"train": "train", "training": "train", "trn": "train", "valid": "valid", "val": "valid", "dev": "valid",
          "validation": "valid", "devel": "valid", "development": "valid", "test": "test", "testing": "test",
          "tst": "test"}  # fmt: skip
_DELTA = re.compile(r"(?:(-?\d+) days? ?\+?)?(?:(\d+):(\d{1,2}):(\d{1,2}(?:\.\d+)?))?")


class TableFile(Reader):
    """A CSV or TSV whose columns are told by their names. The part is `labels` or `features`, where it holds both."""

    name = "table"
    suffixes: ClassVar[tuple[str, ...]] = (".csv", ".tsv", ".tab")
    is_general = picks_columns = True
    is_words = False

    @classmethod
    def contents(cls, path: Path) -> Contents | None:
        """Both parts of a table that holds classes beside features."""
        if not cls.recognises(path):
            return None
        try:
            columns = cls._load(path)
            roles = cls._roles(path, columns.names)
        except DataError:
            return None
        texts, numbers = _without_role(columns, roles)
        if not has_labels(path, texts, numbers):
            return None
        name = path.stem
        return Contents(name, {_modality(name): FEATURES}, LABELS, None, roles.split is not None)

    @classmethod
    def _load(cls, path: Path) -> TableColumns:
        """The columns of the file. DataError where it is damaged."""
        return read_delimited(path, is_text=is_always_text)

    @classmethod
    def _roles(cls, path: Path, names: Sequence[str]) -> Roles:
        """The columns that are neither labels nor features."""
        return find_roles(path, names)

    @classmethod
    def tells_folds(cls, path: Path) -> bool:
        """True where a column says which fold a row is of."""
        try:
            return cls._roles(path, cls._header(path)).split is not None
        except DataError:
            return False

    @classmethod
    def _header(cls, path: Path) -> Sequence[str]:
        return read_header(path)

    def __init__(self, source: Source) -> None:
        self.path, self.root = source.path, "table"
        columns = self._load(source.path)
        self.roles = self._roles(source.path, columns.names)
        texts, numbers = _without_role(columns, self.roles)
        self.is_labels = source.is_labels or source.part == LABELS
        if source.part not in (None, LABELS, FEATURES):
            raise DataError(f"{source.path}: a table has the parts {LABELS} and {FEATURES}, not {short(source.part)}.")
        self.is_labels |= not numbers and source.part is None
        if source.columns is not None:
            chosen = check_asked(source.path, source.columns, texts, numbers)
        elif self.is_labels:
            chosen = label_columns_of(source.path, texts, numbers)
        else:
            chosen = feature_columns_of(numbers)
        self._chosen, self._passed = chosen, tuple(name for name in (*texts, *numbers) if name not in chosen)
        self._columns = columns
        self._values, self._names = numbers_of(self.path, columns, chosen)
        self.width = len(self._names)
        self.label_kind: LabelKind | None = "classes" if chosen[0] in texts else None
        self._ids, self._id_note = _ids(self.path, columns, self.roles)
        self._rows = _rows_of(self._ids)
        self._rate = source.rate
        self._intervals = times_of(self.path, columns, self.roles, self._rows, source.rate)
        self.has_times = self._intervals is not None
        self._check_rows()
        self.keys: tuple[str, ...] = tuple(self._rows)

    def close(self) -> None:
        """Nothing is open."""

    def _check_rows(self) -> None:
        if not self.is_labels or self.has_times or len(self._rows) == len(self._ids):
            return
        twice = next(key for key, rows in self._rows.items() if len(rows) > 1)
        raise DataError(
            f"{self.path} labels {short(twice)} in {len(self._rows[twice])} rows and has no times that tell them "
            "apart: add the columns `start` and `end` in seconds, or keep one row for each id."
        )

    @property
    def metadata(self) -> dict[str, Any]:
        """None."""
        return {}

    @property
    def dimension_names(self) -> list[str]:
        """The names of the columns, or of the classes."""
        return self._names

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """One sentence on which column was taken for what, and one on what is empty."""
        roles, kind = self.roles, "labels" if self.is_labels else "features"
        source = _quoted(self._chosen) + (f" ({self.width} classes)" if self.label_kind == "classes" else "")
        said = [f"ids from '{roles.id}'{self._id_note}", f"{kind} from {source}"]
        if roles.of_times:
            unit = " in milliseconds" if roles.seconds != 1 else ""
            said.append(f"times from {_quoted(roles.of_times)}{unit}{'' if self.has_times else ' (whole files)'}")
        elif roles.frame:
            said.append(f"steps from '{roles.frame}'")
        said += [f"{what} from '{name}'" for what, name in (("groups", roles.group), ("folds", roles.split)) if name]
        passed = (*roles.texts, *roles.others, *self._passed)
        said += [f"not read: {_quoted(passed)}"] if passed else []
        return (f"{self.path.name}: {'; '.join(said)}.", *self._columns.notes, *self._empty())

    def _empty(self) -> tuple[str, ...]:
        count = int(np.isnan(self._values).any(axis=1).sum())
        what = "hold no label" if self.is_labels else "lack a number"
        return (f"{count} of {len(self._values)} rows of {self.path.name} {what}.",) if count else ()

    @cached_property
    def groups(self) -> Mapping[str, str]:
        """The group of each video, by a column such as `speaker`; a video of several has none."""
        if self.roles.group is None:
            return {}
        values = self._column_as_text(self.roles.group)
        told: dict[str, set[str]] = defaultdict(set)
        for key, value in zip(self._ids, values, strict=True):
            if value.lower() not in EMPTY:
                told[split_key(key)[0]].add(value)
        return {video: min(groups) for video, groups in told.items() if len(groups) == 1}

    @cached_property
    def folds(self) -> Mapping[str, tuple[str, ...]]:
        """The videos of each fold, by a column such as `split`: train, valid and test, or numbers to rotate."""
        if self.roles.split is None:
            return {}
        lists: dict[str, dict[str, None]] = defaultdict(dict)
        for key, value in zip(self._ids, self._column_as_text(self.roles.split), strict=True):
            if value.lower() not in EMPTY:
                lists[value.strip().lower()][split_key(key)[0]] = None
        if all(value in FOLD_OF for value in lists):
            named: dict[str, dict[str, None]] = {"train": {}, "valid": {}, "test": {}}
            for value, videos in lists.items():
                named[FOLD_OF[value]] |= videos
            return {fold: tuple(videos) for fold, videos in named.items()}
        if all(value.isdecimal() for value in lists):
            return {f"fold{number}": tuple(lists[value]) for number, value in enumerate(sorted(lists, key=int))}
        strange = next(value for value in lists if value not in FOLD_OF)
        raise DataError(
            f"{self.path}, column '{self.roles.split}': {short(strange)} is no fold; write train, valid and test, or "
            "the number of the fold."
        )

    def _column_as_text(self, name: str) -> list[str]:
        return self._columns.texts[name]

    def steps(self, key: str) -> int:
        """The number of rows of an id."""
        return len(self._rows[key])

    def intervals(self, key: str) -> NDArray[np.float64]:
        """The intervals [T, 2] of an id's rows, in seconds; counted where the table has no times."""
        if self._intervals is None:
            return counted_intervals(len(self._rows[key]), self._rate)
        return self._intervals[self._rows[key]]

    def features(self, key: str, rows: slice = slice(None)) -> NDArray[Any]:
        """The values [T, W] of an id's rows."""
        return self._values[self._rows[key][rows]]


def is_always_text(name: str) -> bool:
    """True for a column whose cells mean something as they are written: ids such as 007, times such as 00:01.5."""
    from emotiwave_core.data.formats import columns

    every = (*columns.IDS, *columns.GROUPS, *columns.SPLITS, *columns.TEXTS, "id", "")
    times = (*columns.STARTS, *columns.ENDS, *columns.DURATIONS, *columns.TIMES)
    return columns.normal(name) in every or columns.timed_column([name], times) is not None


def _without_role(columns: TableColumns, roles: Roles) -> tuple[list[str], list[str]]:
    """The columns of texts, and of numbers, that are labels or features."""
    used = {*roles.used, ""}
    return [n for n in columns.texts if n not in used], [n for n in columns.numbers if n not in used]


def numbers_of(path: Path, columns: TableColumns, chosen: Sequence[str]) -> tuple[NDArray[np.float32], list[str]]:
    """The values [R, W] of some columns, and the names of the W; a column of texts gives one for each class."""
    if chosen[0] not in columns.texts:
        with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf, and is counted as such later
            values = np.stack([columns.numbers[name] for name in chosen], axis=1).astype(np.float32)
        return values, list(chosen)
    cells = [cell if cell.lower() not in EMPTY else None for cell in columns.texts[chosen[0]]]
    classes = sorted({cell for cell in cells if cell is not None})
    if not 0 < len(classes) <= MOST_CLASSES:
        raise DataError(f"{path}: '{chosen[0]}' holds {len(classes)} different texts, which are no classes.")
    number = {name: place for place, name in enumerate(classes)}
    one_hot = np.eye(len(classes), dtype=np.float32)
    nothing = np.full(len(classes), np.nan, dtype=np.float32)
    return np.stack([nothing if cell is None else one_hot[number[cell]] for cell in cells]), classes


def _ids(path: Path, columns: TableColumns, roles: Roles) -> tuple[list[str], str]:
    """The id of each row, and how it is made of the cell: names of media files lose folder and suffix."""
    cells = columns.texts[roles.id]
    if any(not cell for cell in cells):
        raise DataError(f"{path}, row {cells.index('') + 1}, column '{roles.id}': there is no id.")
    if not all(cell.lower().endswith(MEDIA) for cell in cells):
        return cells, ""
    paths = {cell: PurePosixPath(cell.replace("\\", "/")) for cell in set(cells)}
    if len({file.stem for file in paths.values()}) == len(paths):
        return [paths[cell].stem for cell in cells], " (without folder and suffix)"
    return [paths[cell].with_suffix("").as_posix() for cell in cells], " (without suffix)"


def _rows_of(ids: Sequence[str]) -> dict[str, NDArray[np.intp]]:
    rows: dict[str, list[int]] = defaultdict(list)
    for row, key in enumerate(ids):
        rows[key].append(row)
    return {key: np.array(own, dtype=np.intp) for key, own in rows.items()}


def times_of(
    path: Path, columns: TableColumns, roles: Roles, rows: Mapping[str, NDArray[np.intp]], rate: float | None
) -> NDArray[np.float64] | None:
    """The intervals of all rows [R, 2] in seconds, `rows` being those of each id.

    None where the table tells no times, or where each row is of a whole file.
    """
    start, end, duration, time = (
        None if name is None else column_of_times(path, columns, name, roles.seconds)
        for name in (roles.start, roles.end, roles.duration, roles.time)
    )
    ends = start + duration if start is not None and duration is not None else end
    if start is not None and ends is not None:
        whole = np.isnan(ends).all() and not np.nan_to_num(start).any()  # audformat: from 0 to the end of the file
        return None if whole else np.stack([start, ends], axis=1)
    moments = start if start is not None else time
    if moments is not None:
        if len(rows) == len(moments) and not np.nan_to_num(moments).any():
            return None  # one row for each file, which begins where that does
        return _between(moments, rows)
    if roles.frame is None or not rate:
        return None
    if roles.frame not in columns.numbers:
        raise DataError(f"{path}: the column '{roles.frame}' holds texts, not numbers of frames.")
    frames = columns.numbers[roles.frame]
    frames = frames - (1 if np.nanmin(frames) >= 1 else 0)
    return np.stack([frames, frames + 1], axis=1) / rate


def column_of_times(path: Path, columns: TableColumns, name: str, unit: float) -> NDArray[np.float64]:
    """A column of times in seconds: numbers, or texts such as `0 days 00:00:01.5`."""
    texts = columns.texts[name]
    values = np.empty(len(texts))
    for row, text in enumerate(texts):
        value = _seconds(text)
        if value is None:
            raise DataError(
                f"{path}, row {row + 1}, column '{name}': {short(text)} is no time; write seconds or "
                "`0 days 00:00:01.5`."
            )
        values[row] = value
    return np.round(values * unit, 9)


def _between(moments: NDArray[np.float64], rows: Mapping[str, NDArray[np.intp]]) -> NDArray[np.float64]:
    """Intervals [R, 2] from each moment to the next one of its id; the last one's is as long as they usually are."""
    intervals = np.stack([moments, moments], axis=1)
    for own in rows.values():
        order = own[np.argsort(moments[own], kind="stable")]
        gaps = np.diff(moments[order])
        usual = float(np.nanmedian(gaps)) if len(gaps) and not np.isnan(gaps).all() else 0.0
        intervals[order, 1] = moments[order] + np.append(gaps, usual)
    return intervals


def _seconds(text: str) -> float | None:
    """The seconds in a cell: NaN where it is empty, None where it is no time."""
    if text.lower() in EMPTY:
        return float("nan")
    if COMMA.fullmatch(text) and not THOUSANDS.fullmatch(text):
        text = text.replace(",", ".")
    try:
        return float(text) if "_" not in text else None
    except ValueError:
        match = _DELTA.fullmatch(text.strip().replace(",", "."))
    if match is None or (match[1] is None and match[2] is None):
        return None
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return days * 86400 + hours * 3600 + minutes * 60 + seconds


def _modality(name: str) -> str:
    """A name for the features of a table, by its own."""
    from emotiwave_core.data.formats.names import modality_of

    return modality_of(name) or FEATURES


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
