"""Reader: an open file, or folder, of features, words or labels, in any format of this room.

A format is a subclass in a module of this room, which is found by itself; nothing else has to know it.
"""

import importlib
import os
import pkgutil
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, NamedTuple, Self

import attrs
import numpy as np
from numpy.typing import NDArray

from emotiwave_core.errors import DataError, choices, short

_ENTRY = re.compile(r"(.+)\[(\d{1,9})\]", re.DOTALL)
LabelKind = Literal["intensities", "classes", "multi", "regression"]


@attrs.frozen
class Source:
    """A file, or a folder of files, and what is meant in it."""

    path: Path
    part: str | None = None  # of a file that holds several: which of them
    rate: float | None = None  # steps a second, for a format without times
    reader: str | None = None  # the format's name; None: its content tells
    columns: tuple[str, ...] | None = None  # of a table: those that are read; None: their names tell
    is_labels: bool = attrs.field(default=False, eq=False)  # of a table: its labels are read, not its features

    @property
    def name(self) -> str:
        """The name of the file, with its part."""
        return self.path.name if self.part is None else f"{self.path.name}:{self.part}"


class Entry(NamedTuple):
    """One entry of a file: the sequence of a video, or of a segment."""

    features: NDArray[Any]  # [T, F] float32, or [T, F] bytes where the file holds words
    intervals: NDArray[np.float64]  # [T, 2] seconds


class Contents(NamedTuple):
    """The parts of a file that is a data set of its own: MMSA's pickles hold every modality, the labels and the folds.

    Each is a name for `Source.part`.
    """

    name: str  # of the data set
    modalities: dict[str, str]
    labels: str | None = None
    words: str | None = None
    has_folds: bool = False
    notes: tuple[str, ...] = ()


class Reader(ABC):
    """An open file or folder, read lazily and without trust. Use it as a context manager.

    A subclass is made from a source: DataError where it is not of its format or cannot be trusted. It sets the
    attributes below; `keys` are ids of videos, or `id[0]`, `id[1]`, … of segments. Entries keep NaN and infinities.
    A file of labels holds a column for each label, and a row for each labelled interval.
    """

    name: ClassVar[str]  # of the format, one word
    suffixes: ClassVar[tuple[str, ...]]  # of the names of its files, such as ".csd"
    is_general: ClassVar[bool] = False  # any other reader that recognises a file goes before it
    picks_columns: ClassVar[bool] = False  # it reads the columns that `Source.columns` names
    usual_role: ClassVar[str | None] = None  # in a data set: labels, words or a modality, where the format tells it
    path: Path
    root: str  # the file's own name for what it holds
    keys: tuple[str, ...]
    width: int  # F
    is_words: bool
    # False: the format has no times. Then an entry is a sample whole, steps are counted in place of seconds where no
    # rate is known, and the rows of a label file are of whole entries.
    has_times: bool = True
    label_kind: LabelKind | None = None  # of a label file that tells what its numbers are

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """True where a file or folder is of this format, by its name or its first bytes; nothing is trusted."""
        return path.suffix.lower() in cls.suffixes and path.is_file()

    @classmethod
    def contents(cls, path: Path) -> Contents | None:
        """The parts of a file that is a data set of its own; None for one that holds one thing."""
        return None

    @classmethod
    def tells_folds(cls, path: Path) -> bool:
        """True for a file of labels whose rows say which fold they are of."""
        return False

    @abstractmethod
    def __init__(self, source: Source) -> None: ...

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    @property
    def metadata(self) -> dict[str, Any]:
        """Metadata of the file, by name. `extractor` is a table of who made the features, where it is told."""
        return {}

    @property
    def dimension_names(self) -> list[str] | None:
        """The names of the feature columns, where the file tells them and their number fits."""
        return None

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on how the file is read, for what could be meant in another way, and on what is passed over."""
        return ()

    @property
    def groups(self) -> Mapping[str, str]:
        """The group (speaker, actor, dialogue) of each video that a label file tells one of."""
        return {}

    @property
    def folds(self) -> Mapping[str, tuple[str, ...]]:
        """The videos of train, valid and test, where the file tells them."""
        return {}

    @abstractmethod
    def steps(self, key: str) -> int:
        """The number of steps of an entry, without reading it."""

    @abstractmethod
    def intervals(self, key: str) -> NDArray[np.float64]:
        """The intervals [T, 2] of an entry, in seconds."""

    @abstractmethod
    def features(self, key: str, rows: slice = slice(None)) -> NDArray[Any]:
        """The features [T, F] of an entry, float32 or words as bytes; of some rows alone where they are given."""

    def read(self, key: str) -> Entry:
        """The features and intervals of an entry, as they stand."""
        return Entry(self.features(key), self.intervals(key))

    def unfit(self) -> dict[str, str]:
        """The entries that are not of the form of most, such as another width, each with what it is instead."""
        return {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_reader(source: Source | Path) -> Reader:
    """Open a file or folder by the reader that recognises it. DataError where none does, or where it is damaged."""
    source = Source(source) if isinstance(source, Path) else source
    return reader_of(source)(source)


def reader_of(source: Source) -> type[Reader]:
    """The reader of a source: the one that it names, else the one that recognises it, else that of `.csd` files."""
    known = readers()
    if source.reader is not None:
        if source.reader not in known:
            raise DataError(
                f"{source.path}: there is no reader '{short(source.reader)}'.{choices(source.reader, known)}"
            )
        return known[source.reader]
    if not os.path.lexists(source.path):
        raise DataError(f"{source.path}: there is no such file.")
    recognised = [reader for reader in known.values() if reader.recognises(source.path)]
    recognised = [reader for reader in recognised if not reader.is_general] or recognised
    if not recognised:
        raise DataError(
            f"{source.path} is of no known format ({', '.join(known)}); name its reader as "
            f'`{{file = "{source.path.name}", reader = …}}` in dataset.toml, or convert it.'
        )
    return recognised[0]


def contents_of(path: Path) -> Contents | None:
    """The parts of a file that is a data set of its own, by the first reader that knows it for one."""
    return next((contents for reader in readers().values() if (contents := reader.contents(path))), None)


def readers() -> dict[str, type[Reader]]:
    """The readers of all formats, by name."""
    _import_formats()
    return {reader.name: reader for reader in _subclasses(Reader)}


def _subclasses(kind: Any) -> Iterator[type[Reader]]:
    """The readers that derive from one, those that are abstract left out."""
    for reader in kind.__subclasses__():
        if not getattr(reader, "__abstractmethods__", None):
            yield reader
        yield from _subclasses(reader)


@cache
def _import_formats() -> None:
    room = importlib.import_module(__package__ or "")
    for module in pkgutil.iter_modules(room.__path__, f"{room.__name__}."):
        importlib.import_module(module.name)


def counted_intervals(steps: int, rate: float | None) -> NDArray[np.float64]:
    """Intervals [T, 2] of a format without times: T steps of equal length, at a rate, or one second each."""
    edges = np.arange(steps + 1, dtype=np.float64) / (rate or 1.0)
    return np.stack([edges[:-1], edges[1:]], axis=1)


def split_key(key: str) -> tuple[str, int | None]:
    """The video of an entry and its number in it: `id[3]` (in files aligned to segments) is ("id", 3)."""
    match = _ENTRY.fullmatch(key)
    return (match[1], int(match[2])) if match else (key, None)
