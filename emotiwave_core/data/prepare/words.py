"""Words as features: a file of words read as the numbers of its distinct words, for a store holds numbers."""

import itertools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from emotiwave_core.data.formats.reader import Reader
from emotiwave_core.data.formats.transcripts import SILENCE
from emotiwave_core.errors import DataError
from emotiwave_core.interfaces import MOST_TOKENS

PAUSES = [pause.encode() for pause in SILENCE]


def distinct_words(file: Reader) -> NDArray[np.bytes_]:
    """The distinct words of a file, [V] bytes of UTF-8 in the order of their bytes; pauses are none.

    DataError where there are too many.
    """
    if file.width != 1:
        raise DataError(f"{file.path} holds {file.width} columns of words, and a modality of words has one a step.")
    known, unfit = set[bytes](), file.unfit()
    for key in file.keys:
        if key not in unfit:
            known.update(np.unique(file.features(key)).tolist())
    words = sorted(known.difference(PAUSES))
    if len(words) >= MOST_TOKENS:
        raise DataError(f"{file.path} holds {len(words)} distinct words, and fewer than {MOST_TOKENS} can be read.")
    return np.array(words, dtype=bytes if words else "S1")


class NumberedWords:
    """A file of words as one of numbers, [T, 1]: word w of V distinct ones is w + 1. Pauses are no steps.

    It has what packing asks of a `Reader`, and is no format of its own.
    """

    width = 1
    dimension_names: list[str] | None = None
    metadata: Mapping[str, Any] = MappingProxyType({})  # words are words, whoever has written them down

    def __init__(self, file: Reader, words: NDArray[np.bytes_]) -> None:
        self.file, self.words = file, words
        self.path, self.keys, self.has_times = file.path, file.keys, file.has_times
        self._read: tuple[str, NDArray[np.float32], NDArray[np.float64]] | None = None  # the last entry

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def intervals(self, key: str) -> NDArray[np.float64]:
        """The intervals [T, 2] of the words."""
        return self._entry(key)[2].copy()

    def features(self, key: str, rows: slice = slice(None)) -> NDArray[np.float32]:
        """The numbers of the words, [T, 1]."""
        return self._entry(key)[1][rows]

    def unfit(self) -> dict[str, str]:
        """As those of the file."""
        return self.file.unfit()

    @property
    def notes(self) -> tuple[str, ...]:
        """As those of the file."""
        return self.file.notes

    def _entry(self, key: str) -> tuple[str, NDArray[np.float32], NDArray[np.float64]]:
        if self._read is None or self._read[0] != key:
            said, intervals = self.file.read(key)
            is_word = ~np.isin(said[:, 0], PAUSES)
            numbers = np.searchsorted(self.words, said[is_word, 0]) + 1
            self._read = key, numbers.astype(np.float32)[:, None], intervals[is_word]
        return self._read


def packed(words: NDArray[np.bytes_]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Words as one array of bytes, and the offsets [V + 1] of each in it."""
    each: list[bytes] = words.tolist()
    lengths = np.array([0, *map(len, each)], dtype=np.int64)
    return np.frombuffer(b"".join(each), dtype=np.uint8), np.cumsum(lengths)


def unpacked(content: NDArray[np.uint8], offsets: NDArray[np.int64]) -> tuple[str, ...]:
    """The words of `packed` as text."""
    whole = content.tobytes()
    ends = offsets.tolist()
    return tuple(whole[start:end].decode("utf-8", "replace") for start, end in itertools.pairwise(ends))
