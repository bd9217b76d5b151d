"""Sound in windows that overlap, for models that cannot take a long recording at once."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from emotiwave_core.interfaces import Recording

SILENT = 1e-4  # of the largest amplitude, -80 dB: what is below it is the noise of rounding


class SoundWindow(NamedTuple):
    """A stretch of sound, of which the middle is meant: what is at its ends lacks its neighbours."""

    samples: NDArray[np.float32]  # [N]
    first: int  # number of the recording's sample at which it starts
    begin: int  # the samples from begin to end, counted in the window, belong to it alone
    end: int
    is_last: bool


def sound_windows(recording: Recording, rate: int, seconds: float, margin: float = 0.0) -> Iterator[SoundWindow]:
    """The sound of a recording in windows of so many seconds, each overlapping the next by two margins.

    Together their middles are the recording, once. A recording that is not longer than a window is one window.
    """
    length, edge = round(seconds * rate), round(margin * rate)
    step = length - 2 * edge
    waiting = np.empty(0, np.float32)
    first = 0
    for block in recording.sound(rate):
        waiting = np.concatenate([waiting, block])
        while len(waiting) > length:
            yield SoundWindow(waiting[:length], first, edge if first else 0, length - edge, False)
            waiting = waiting[step:]
            first += step
    if len(waiting) > (edge if first else 0):
        yield SoundWindow(waiting, first, edge if first else 0, len(waiting), True)


class Loudness:
    """The largest amplitude that was heard."""

    def __init__(self) -> None:
        self.largest = 0.0

    def hear(self, samples: NDArray[np.float32]) -> None:
        """Take in some sound."""
        if len(samples):
            self.largest = max(self.largest, float(np.abs(samples).max()))

    @property
    def is_silent(self) -> bool:
        """True where nothing was heard but silence."""
        return not self.largest > SILENT
