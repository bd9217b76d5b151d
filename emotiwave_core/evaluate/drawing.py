"""Tools to draw a corruption from a seed: the samples it is drawn for, and random numbers that never change."""

import hashlib
from collections.abc import Callable

import attrs
import numpy as np
from numpy.typing import NDArray

from emotiwave_core.modalities import by_modality

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"  # the number of a level
NEVER = "-"


@attrs.frozen(eq=False)
class SampleFacts:
    """The N samples that a corruption is drawn for; `times` and `deviation` are called only where they are needed."""

    dataset: str
    fold: str
    ids: list[str]  # [N]
    videos: list[str]  # [N]
    steps: dict[str, list[int]]  # {stream: [N]}, 0 where a sample lacks the stream
    times: Callable[[str, int], Array]  # (stream, index of the sample) -> [T, 2] seconds
    deviation: Callable[[str], list[float]]  # (stream) -> [F]; 0 for a constant feature

    @property
    def modalities(self) -> dict[str, tuple[str, ...]]:
        """The streams of each modality: what is lost whole is lost of all of them."""
        return by_modality(self.steps)

    def has(self, modality: str) -> Bools:
        """Samples that have a modality, [N]."""
        return np.asarray(np.sum([self.steps[stream] for stream in self.modalities[modality]], axis=0) > 0)


def philox(*key: object) -> np.random.Philox:
    """Generator for a key of words and numbers: the first 16 bytes of the SHA-256 of their lines."""
    digest = hashlib.sha256("\n".join(map(str, key)).encode()).digest()
    return np.random.Philox(key=int.from_bytes(digest[:16], "little"))


def uniform(generator: np.random.Philox, *shape: int) -> Array:
    """Numbers in [0, 1) from the raw stream, which does not change between versions of NumPy."""
    count = int(np.prod(shape))
    if not count:
        return np.zeros(shape)
    raw = np.asarray(generator.random_raw(count), dtype=np.uint64)
    return np.asarray((raw >> np.uint64(11)) * 2.0**-53, dtype=np.float64).reshape(shape)


def first_levels(corrupted: Bools) -> str:
    """A character for each of T steps: the first of K levels at which it is corrupted [K, T], or "-" for none."""
    first = np.where(corrupted.any(axis=0), corrupted.argmax(axis=0), -1)
    return "".join(NEVER if level < 0 else DIGITS[level] for level in first.tolist())


def first_levels_of_steps(samples: SampleFacts, corrupted: Callable[[str, int, int], Bools]) -> dict[str, list[str]]:
    """`first_levels` of every sample, {stream: [N]}, from a function (stream, index of the sample, T) -> [K, T]."""
    return {
        stream: [first_levels(corrupted(stream, index, steps)) if steps else "" for index, steps in enumerate(counts)]
        for stream, counts in samples.steps.items()
    }
