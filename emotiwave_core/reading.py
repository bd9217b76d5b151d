"""Interface of the readers of features: what is read of a file, and what every format answers.

It needs no torch: a reader works wherever a file is looked at.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, NamedTuple, Self

import attrs
import numpy as np
from numpy.typing import NDArray

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
    reads_whole: ClassVar[bool] = False  # True: of a format that can only be read whole, opening reads it
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
    def example(cls, folder: Path, steps: int) -> Source | None:
        """Write a small file of the format with entries of so many steps, on which the laws of readers are tried."""
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


def counted_intervals(steps: int, rate: float | None) -> NDArray[np.float64]:
    """Intervals [T, 2] of a format without times: T steps of equal length, at a rate, or one second each."""
    edges = np.arange(steps + 1, dtype=np.float64) / (rate or 1.0)
    return np.stack([edges[:-1], edges[1:]], axis=1)
