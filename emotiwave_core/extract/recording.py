"""A recording in a media file, decoded by a process of its own."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emotiwave_core.errors import DataError
from emotiwave_core.extract.decoder import Decoder
from emotiwave_core.interfaces import Frame, Recording, SpokenWord


class MediaFile(Recording):
    """A recording in a media file. DataError, at once or later, where it cannot be read."""

    def __init__(self, path: Path, decoder: Decoder, words: Sequence[SpokenWord] | None = None) -> None:
        self.path = path
        self.words = None if words is None else tuple(words)
        self._decoder = decoder
        self.facts = decoder.facts(path)
        self.problems: list[str] = list(self.facts.pop("problems"))

    def sound(self, rate: int) -> Iterator[NDArray[np.float32]]:
        """The sound in blocks of one second; DataError where there is no sound track."""
        if self.facts["sound"] is None:
            raise DataError(f"{self.path} has no sound track.")
        yield from self._decoder.sound(self.path, rate, self.problems)

    def frames(self, rate: float) -> Iterator[Frame]:
        """The pictures; DataError where there are none."""
        if self.facts["picture"] is None:
            raise DataError(f"{self.path} has no pictures.")
        yield from self._decoder.frames(self.path, rate, self.problems)

    @property
    def seconds(self) -> float | None:
        """The length that the file states; None where it states none."""
        stated: float | None = self.facts["seconds"]
        return stated
