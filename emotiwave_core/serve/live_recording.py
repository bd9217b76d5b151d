"""The last seconds of sound, pictures, words and features that are still coming, as a recording."""

from collections import deque
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emotiwave_core.errors import DataError
from emotiwave_core.interfaces import Frame, Recording, SpokenWord, Stream

JITTER = 0.05  # seconds that the stated time of a block of sound may differ from the end of the one before
LONGEST_LOOK = 0.5  # seconds that a picture stands for, where none follows: then the camera is off
LARGEST_SIDE = 8192  # pixels of a picture
LOUDEST = 8.0  # of samples whose full scale is 1
RATES = (1000, 768_000)  # samples a second
FULL_SCALE = {"int16": 32768.0, "int32": 2147483648.0}


class SoundBuffer:
    """Sound of one channel [N] at one rate, joined on; gaps are zero, as in a recording."""

    def __init__(self, rate: int, start: float, longest_gap: float) -> None:
        """longest_gap: seconds; after a longer one, what was before is dropped."""
        self.rate, self.start, self.longest_gap = rate, start, longest_gap
        self.samples = np.empty(0, np.float32)

    @property
    def end(self) -> float:
        """The time up to which the sound is known, in seconds."""
        return self.start + len(self.samples) / self.rate

    def push(self, samples: NDArray[np.float32], at: float | None) -> str | None:
        """Join samples on; a sentence where sound is lost or was there already. at: seconds of the first one."""
        end = self.end
        if at is None or abs(at - end) <= JITTER:
            self.samples = np.concatenate([self.samples, samples])
            return None
        if at > end:
            if at - end > self.longest_gap:
                self.samples, self.start = samples, at
            else:
                gap = np.zeros(round((at - end) * self.rate), np.float32)
                self.samples = np.concatenate([self.samples, gap, samples])
            return f"sound: {at - end:.2f} s are missing from {end:.2f} s on"
        again = min(round((end - at) * self.rate), len(samples))
        self.samples = np.concatenate([self.samples, samples[again:]])
        return f"sound: {again / self.rate:.2f} s from {at:.2f} s on came a second time, or too late, and are left out"

    def forget(self, before: float) -> None:
        """Drop what lies before a time."""
        count = min(max(0, int((before - self.start) * self.rate)), len(self.samples))
        self.samples = self.samples[count:]
        self.start += count / self.rate

    def between(self, start: float, end: float) -> NDArray[np.float32] | None:
        """The sound from start to where it is known, at most to end; zero before it began. None where there is none."""
        first, last = round((start - self.start) * self.rate), round((min(end, self.end) - self.start) * self.rate)
        if last <= max(first, 0):
            return None
        lead = np.zeros(max(0, -first), np.float32)
        return np.concatenate([lead, self.samples[max(first, 0) : last]])


class FeatureBuffer:
    """Features of one modality with their times, that were extracted elsewhere."""

    def __init__(self, width: int) -> None:
        self.features = np.empty((0, width), np.float32)
        self.times = np.empty((0, 2))

    def push(self, features: NDArray[np.float32], times: NDArray[np.float64]) -> None:
        """Join steps on."""
        self.features = np.concatenate([self.features, features])
        self.times = np.concatenate([self.times, times])

    def forget(self, before: float) -> None:
        """Drop steps that end before a time."""
        kept = self.times[:, 1] > before
        self.features, self.times = self.features[kept], self.times[kept]

    def between(self, start: float, end: float) -> Stream | None:
        """The steps of a window, their times from its start on; None where there are none."""
        inside = (self.times[:, 1] > start) & (self.times[:, 0] < end)
        return Stream(self.features[inside], self.times[inside] - start) if inside.any() else None


class WindowRecording(Recording):
    """A window of what came, whose time 0 is the window's start."""

    def __init__(
        self,
        seconds: float,
        sound: tuple[NDArray[np.float32], int] | None,
        frames: list[tuple[float, NDArray[np.uint8]]],
        words: tuple[SpokenWord, ...] | None,
    ) -> None:
        """sound: samples [N] and their rate. frames: seconds and pictures. words: None where nobody says them."""
        self._sound, self._frames, self.words = sound, frames, words
        picture = {"height": frames[0][1].shape[0], "width": frames[0][1].shape[1]} if frames else None
        self.facts: dict[str, Any] = {
            "format": "stream",
            "seconds": seconds,
            "sound": None if sound is None else {"rate": sound[1], "channels": 1},
            "picture": picture,
        }
        self.problems: list[str] = []

    def sound(self, rate: int) -> Iterator[NDArray[np.float32]]:
        """The window's sound at a rate, resampled by SciPy's polyphase filter."""
        assert self._sound is not None
        samples, own = self._sound
        if own != rate:
            from scipy.signal import resample_poly

            shared = int(np.gcd(rate, own))
            samples = resample_poly(samples, rate // shared, own // shared).astype(np.float32)
        for first in range(0, len(samples), rate):
            yield samples[first : first + rate]

    def frames(self, rate: float) -> Iterator[Frame]:
        """The picture that is seen at 0, 1 / rate, … seconds, while there is one."""
        last = self.facts["seconds"]
        ends = [min(at + LONGEST_LOOK, after) for (at, _), (after, _) in pairwise(self._frames)]
        ends += [self._frames[-1][0] + LONGEST_LOOK] if self._frames else []
        number = 0
        for (at, picture), end in zip(self._frames, ends, strict=True):
            number = max(number, int(np.ceil(at * rate - 1e-9)))
            while number / rate < min(end, last) - 1e-9:
                yield Frame(number / rate, (number + 1) / rate, picture)
                number += 1


class RecentPictures:
    """Pictures of the last seconds, the first of each slot of time: no more than are looked at."""

    def __init__(self, rate: float) -> None:
        """rate: slots a second."""
        self.rate = rate
        self._frames: deque[tuple[float, NDArray[np.uint8]]] = deque()
        self.end = -np.inf  # time of the last one that came

    def push(self, picture: NDArray[np.uint8], at: float) -> str | None:
        """Keep a picture; a sentence where it is older than the last one, and left out."""
        if at <= self.end:
            return f"picture: the one of {at:.2f} s came after that of {self.end:.2f} s and is left out"
        self.end = at
        if not self._frames or self._slot(at) != self._slot(self._frames[-1][0]):
            self._frames.append((at, picture.copy()))
        return None

    def _slot(self, at: float) -> int:
        return int(np.floor(at * self.rate + 1e-6))

    def forget(self, before: float) -> None:
        """Drop pictures that nobody sees after a time."""
        while self._frames and self._frames[0][0] + LONGEST_LOOK < before:
            self._frames.popleft()

    def between(self, start: float, end: float) -> list[tuple[float, NDArray[np.uint8]]]:
        """The pictures that are seen in a window, with seconds from its start on: the first may lie before it."""
        return [(at - start, picture) for at, picture in self._frames if start - LONGEST_LOOK < at < end]


def one_channel(samples: ArrayLike, rate: int) -> NDArray[np.float32]:
    """Sound [N] in -1..1 of samples [N] or [N, channels]. DataError for what is no sound."""
    array = np.asarray(samples)
    if array.ndim not in (1, 2) or (array.ndim == 2 and not 1 <= array.shape[1] <= 64):
        raise DataError(f"Sound is [samples] or [samples, channels], not {list(array.shape)}.")
    if not RATES[0] <= rate <= RATES[1]:
        raise DataError(f"The rate of the sound is {rate} samples a second; it is from {RATES[0]} to {RATES[1]}.")
    if array.dtype.kind not in "fi" or (array.dtype.kind == "i" and array.dtype.name not in FULL_SCALE):
        raise DataError(f"Sound of the type {array.dtype} is not known: give floats in -1..1, int16 or int32.")
    sound = np.asarray(array / FULL_SCALE.get(array.dtype.name, 1.0), dtype=np.float32)
    sound = sound.mean(axis=1, dtype=np.float32) if sound.ndim == 2 else sound
    largest = float(np.abs(sound).max(initial=0.0))
    if not np.isfinite(largest):
        raise DataError("The sound holds NaN or infinities.")
    if largest > LOUDEST:
        raise DataError(f"The sound reaches {largest:.0f}: give floats in -1..1, or integers as they are (int16).")
    return sound


def checked_picture(picture: ArrayLike) -> NDArray[np.uint8]:
    """A picture [H, W, 3] in red, green and blue. DataError for what is none."""
    array = np.asarray(picture)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise DataError(f"A picture is [height, width, 3] in uint8, not {list(array.shape)} in {array.dtype}.")
    if max(array.shape) > LARGEST_SIDE:
        raise DataError(f"A picture of {array.shape[1]} x {array.shape[0]} is larger than {LARGEST_SIDE} a side.")
    return array
