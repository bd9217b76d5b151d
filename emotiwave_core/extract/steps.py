"""Steps of a stream as they are made: few are kept in memory, many in a file that has no name."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emotiwave_core.interfaces import Missing, Stream

MOST_IN_MEMORY = 64 << 20  # bytes
spill_folder: Path | None = None  # where the file is; None: where temporary files are


class StreamBuilder:
    """Collects features and intervals, a piece at a time, and makes a stream of them that takes little memory."""

    def __init__(self, width: int) -> None:
        self.width = width
        self._pieces: list[NDArray[np.float32]] = []
        self._intervals: list[NDArray[np.float64]] = []
        self._file: IO[bytes] | None = None
        self._held = self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, features: ArrayLike, intervals: ArrayLike) -> None:
        """Add features [n, F] with their intervals [n, 2]."""
        own = np.ascontiguousarray(features, dtype=np.float32).reshape(-1, self.width)
        times = np.asarray(intervals, dtype=np.float64).reshape(-1, 2)
        if len(own) != len(times):
            raise ValueError(f"{len(own)} rows of features have {len(times)} intervals")
        self._pieces.append(own)
        self._intervals.append(times)
        self._count += len(own)
        self._held += own.nbytes
        if self._held > MOST_IN_MEMORY:
            self._spill()

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix=".steps-", dir=spill_folder)  # noqa: SIM115 -- it lives as long as the stream
        for piece in self._pieces:
            self._file.write(piece.data)
        self._pieces, self._held = [], 0

    def stream(self, nothing: str, problems: Sequence[str] = ()) -> Stream | Missing:
        """All of it as a stream; Missing, for the reason `nothing`, where there is no step."""
        if not self._count:
            return Missing(nothing)
        intervals = np.concatenate(self._intervals)
        if self._file is None:
            return Stream(np.concatenate(self._pieces), intervals, tuple(problems))
        self._spill()
        self._file.flush()
        features = np.memmap(self._file, np.float32, "r", shape=(self._count, self.width))
        return Stream(features, intervals, tuple(problems))
