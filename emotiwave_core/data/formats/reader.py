"""Reader: an open file of features, words or labels, in any format of this room.

A format is a subclass in a module of this room, which is found by itself; nothing else has to know it.
"""

import importlib
import pkgutil
import re
from abc import ABC, abstractmethod
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

_ENTRY = re.compile(r"(.+)\[(\d{1,9})\]", re.DOTALL)
CSD = ".csd"  # what a file is taken for whose name ends otherwise


class Entry(NamedTuple):
    """One entry of a file: the sequence of a video, or of a segment."""

    features: NDArray[Any]  # [T, F] float32, or [T, F] bytes where the file holds words
    intervals: NDArray[np.float64]  # [T, 2] seconds


class Reader(ABC):
    """An open file, read lazily and without trust. Use it as a context manager.

    A subclass is made from a path: DataError where the file is not of its format or cannot be trusted. It sets the
    attributes below; `keys` are ids of videos, or `id[0]`, `id[1]`, … of segments. Entries keep NaN and infinities.
    """

    suffix: ClassVar[str]  # of the names of its files, such as ".csd"
    path: Path
    root: str  # the file's own name for what it holds
    keys: tuple[str, ...]
    width: int  # F
    is_words: bool

    @abstractmethod
    def __init__(self, path: Path) -> None: ...

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    @property
    @abstractmethod
    def metadata(self) -> dict[str, Any]:
        """Metadata of the file, by name."""

    @property
    @abstractmethod
    def dimension_names(self) -> list[str] | None:
        """The names of the feature columns, where the file tells them and their number fits."""

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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_reader(path: Path) -> Reader:
    """Open a file by the suffix of its name, as `.csd` where no format has it."""
    formats = readers()
    return formats.get(path.suffix, formats[CSD])(path)


def readers() -> dict[str, type[Reader]]:
    """The readers of all formats, by suffix."""
    _import_formats()
    return {reader.suffix: reader for reader in Reader.__subclasses__()}


@cache
def _import_formats() -> None:
    room = importlib.import_module(__package__ or "")
    for module in pkgutil.iter_modules(room.__path__, f"{room.__name__}."):
        importlib.import_module(module.name)


def split_key(key: str) -> tuple[str, int | None]:
    """The video of an entry and its number in it: `id[3]` (in files aligned to segments) is ("id", 3)."""
    match = _ENTRY.fullmatch(key)
    return (match[1], int(match[2])) if match else (key, None)
