"""Tables without ids: a CSV for each clip, named as it, whose rows are steps. One, or a folder of them."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotiwave_core.data.formats.columns import IDS, Roles, find_roles, normal
from emotiwave_core.data.formats.delimited import TableColumns, read_delimited, read_header
from emotiwave_core.data.formats.reader import Entry, Reader, Source, counted_intervals
from emotiwave_core.data.formats.table import is_always_text, times_of
from emotiwave_core.data.formats.text import MEDIA, files_of, first_files
from emotiwave_core.errors import DataError, short

SUFFIXES = (".csv", ".tsv")
LOOKED_AT = 9  # files, of which most say the columns of all


class ClipTables(Reader):
    """Features of clips, each in a table of its own. Files with other columns than most are `unfit`.

    The last file that was read is kept, and `notes` tell of those that were read so far.
    """

    suffixes = SUFFIXES
    is_words = False
    root = "tables"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """By the header of the file, or of the first one in the folder."""
        if path.is_dir():
            tables = [file for file in first_files(path) if file.name.lower().endswith(cls.suffixes)]
            return bool(tables) and cls._is_header(read_header(tables[0]))
        return super().recognises(path) and cls._is_header(read_header(path))

    @classmethod
    @abstractmethod
    def _is_header(cls, names: Sequence[str]) -> bool:
        """True for the columns of this format."""

    @abstractmethod
    def _features_in(self, names: Sequence[str]) -> list[str]:
        """The columns of features."""

    @abstractmethod
    def _entry(self, key: str, columns: TableColumns) -> Entry:
        """The features and intervals of a table."""

    def __init__(self, source: Source) -> None:
        self.path, self.rate, self.asked = source.path, source.rate, source.columns
        suffixes = (*(f"{media}{suffix}" for media in MEDIA for suffix in self.suffixes), *self.suffixes)
        self._files = files_of(source.path, suffixes)
        self.keys: tuple[str, ...] = tuple(self._files)
        seen = [tuple(read_header(self._files[key])) for key in self.keys[:: max(1, len(self.keys) // LOOKED_AT)]]
        self.header = Counter(seen).most_common(1)[0][0]
        if not self._is_header(self.header):
            raise DataError(f"{source.path} does not hold tables of the format {self.name}: see their first lines.")
        self._names = self._features_in(self.header)
        if not self._names:
            raise DataError(f"{source.path} has no column of features.")
        self.width = len(self._names)
        self._last: tuple[str, Entry] | None = None

    def close(self) -> None:
        """Nothing is open."""

    @property
    def dimension_names(self) -> list[str]:
        """The names of the columns of features."""
        return self._names

    def read(self, key: str) -> Entry:
        """The features and intervals of a clip. DataError where its table is damaged."""
        if self._last is None or self._last[0] != key:
            self._last = (key, self._entry(key, read_delimited(self._files[key], is_text=is_always_text)))
        return self._last[1]

    def steps(self, key: str) -> int:
        """The number of steps."""
        return len(self.read(key).intervals)

    def intervals(self, key: str) -> NDArray[np.float64]:
        """The intervals [T, 2] of the steps."""
        return self.read(key).intervals

    def features(self, key: str, rows: slice = slice(None)) -> NDArray[Any]:
        """The features [T, F] of the steps."""
        return self.read(key).features[rows]

    def unfit(self) -> dict[str, str]:
        """The files with other columns than most."""
        headers = ((key, tuple(read_header(self._files[key]))) for key in self.keys)
        return {key: _difference(header, self.header) for key, header in headers if header != self.header}


class PlainClipTables(ClipTables):
    """Any tables of numbers, one for each clip, with a column of times or frames or none."""

    name = "clips"
    is_general = True

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A folder of them; a single table needs its reader to be named."""
        return path.is_dir() and super().recognises(path)

    @classmethod
    def _is_header(cls, names: Sequence[str]) -> bool:
        if any(normal(name) in ("id", *IDS) for name in names) and names[:2] != ["name", "frameTime"]:
            return False
        try:
            return len(_roles(Path(), names).used) < len(names) + 1
        except DataError:
            return False

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        roles = _roles(self.path, self.header)
        self.has_times = bool(roles.of_times or (self.rate and roles.frame) or self.rate)

    def _features_in(self, names: Sequence[str]) -> list[str]:
        used = {*_roles(self.path, names).used, ""}
        return [name for name in (self.asked or names) if name not in used]

    def _entry(self, key: str, columns: TableColumns) -> Entry:
        path, roles = self._files[key], _roles(self.path, columns.names)
        intervals = times_of(path, columns, roles, {key: np.arange(columns.rows)}, self.rate)
        return Entry(
            stacked(path, columns, self._names),
            counted_intervals(columns.rows, self.rate) if intervals is None else intervals,
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence on the columns."""
        passed = [name for name in self.header if name not in self._names]
        others = f"; not features: {', '.join(map(short, passed))}" if passed else ""
        return (f"{self.path.name}: a table for each clip, {self.width} columns of features{others}.",)


def stacked(path: Path, columns: TableColumns, names: Sequence[str]) -> NDArray[np.float32]:
    """Some columns of numbers as features [R, F]. DataError where one is missing, or holds texts."""
    for name in names:
        if name not in columns.numbers:
            kind = "texts" if name in columns.texts else "nothing: it is missing"
            raise DataError(f"{path}: the column '{name}' must hold numbers, and holds {kind}.")
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf, and is counted as such later
        return np.stack([columns.numbers[name] for name in names], axis=1).astype(np.float32)


def _roles(path: Path, names: Sequence[str]) -> Roles:
    """The roles of the columns of a table without ids."""
    return find_roles(path, ["id", *names])


def _difference(header: Sequence[str], usual: Sequence[str]) -> str:
    lacks = [name for name in usual if name not in header]
    return f"{len(header)} columns" + (f", without '{lacks[0]}'" if lacks else "")
