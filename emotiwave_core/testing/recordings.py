"""Recordings that are made up: a voice of tones and noise, a drawn face, words. Nobody's."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotiwave_core.interfaces import Frame, Recording, SpokenWord

PITCH = 140.0  # hertz
SAID = ("I", "did", "not", "know", "that", "you", "were", "unbelievably", "happy", "today")
HEIGHT, WIDTH = 120, 160
BACKGROUND = (110, 125, 140)
# Ellipses of a drawn face in its own measure: middle, radii (a second pair of eyes and brows is mirrored) and colour.
FEATURES: tuple[tuple[tuple[float, float], tuple[float, float], tuple[int, int, int]], ...] = (
    ((0.0, -0.15), (0.95, 1.2), (60, 40, 30)),  # hair
    ((0.0, 0.05), (0.8, 1.05), (212, 170, 142)),  # skin
    ((0.33, -0.17), (0.2, 0.1), (150, 105, 85)),  # an eye's socket, white and iris
    ((0.33, -0.16), (0.16, 0.075), (240, 240, 240)),
    ((0.33, -0.16), (0.075, 0.075), (40, 25, 20)),
    ((0.33, -0.38), (0.22, 0.045), (60, 40, 30)),  # brow
    ((0.09, 0.22), (0.06, 0.035), (120, 75, 60)),  # nostril
    ((0.0, 0.52), (0.3, 0.075), (170, 80, 80)),  # mouth
    ((0.0, 0.52), (0.28, 0.015), (90, 35, 40)),
)


class MadeUpRecording(Recording):
    """A recording of so many seconds, made as it is read.

    late: seconds of nothing before it. lacks: what of "sound", "picture" and "words" is silent, black or empty.
    """

    def __init__(self, seconds: float = 3.0, *, late: float = 0.0, lacks: Sequence[str] = ()) -> None:
        self.length, self.late, self.lacks = seconds, late, frozenset(lacks)
        end = late + seconds
        self.facts: dict[str, Any] = {
            "format": "made up",
            "seconds": end,
            "sound": {"rate": 48_000, "channels": 1},
            "picture": {"width": WIDTH, "height": HEIGHT, "rate": 25.0},
        }
        self.problems: list[str] = []
        times = late + np.linspace(0.1, 0.9, len(SAID) + 1) * seconds
        said = [SpokenWord(word, float(a), float(b)) for word, a, b in zip(SAID, times, times[1:], strict=False)]
        self.words = () if "words" in self.lacks else tuple(said)

    def sound(self, rate: int) -> Iterator[NDArray[np.float32]]:
        """Vowels of a gliding pitch, each of a fifth of a second."""
        last = round((self.late + self.length) * rate)
        for first in range(0, last, rate):
            times = np.arange(first, min(first + rate, last)) / rate - self.late
            yield np.zeros(len(times), np.float32) if "sound" in self.lacks else np.where(times < 0, 0, voice(times))

    def frames(self, rate: float) -> Iterator[Frame]:
        """A drawn face that sways."""
        first = int(np.ceil(self.late * rate - 1e-9))
        for number in range(first, int(np.ceil((self.late + self.length) * rate - 1e-9))):
            sway = 10.0 * np.sin(number / rate - self.late)
            face = None if "picture" in self.lacks else (WIDTH / 2 + sway, HEIGHT / 2)
            yield Frame(number / rate, (number + 1) / rate, drawn(face))


def voice(times: NDArray[np.float64]) -> NDArray[np.float32]:
    """Sound [N] of a voice at these seconds."""
    phase = 2 * np.pi * PITCH * (times + 0.05 * np.sin(2 * times))
    formant = 3.0 + 2.0 * np.sin(5.0 * np.floor(times * 5))
    tones = sum(np.sin(k * phase) * np.exp(-((k - formant) ** 2) / 8) / k for k in range(1, 12))
    envelope = 0.3 * np.sin(np.pi * (times * 5 % 1)) ** 2
    return np.asarray(envelope * tones, dtype=np.float32)


def drawn(middle: tuple[float, float] | None, size: float = 40.0) -> NDArray[np.uint8]:
    """A picture [H, W, 3] with a face in it, or a black one."""
    if middle is None:
        return np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    across, down = (x - middle[0]) / size, (y - middle[1]) / size
    picture = np.ones((HEIGHT, WIDTH, 3)) * np.array(BACKGROUND, dtype=np.float64)
    for (right, below), (wide, high), colour in FEATURES:
        distance = np.sqrt(((np.abs(across) - right) / wide) ** 2 + ((down - below) / high) ** 2)
        cover = np.clip((1 - distance) * size * min(wide, high) + 0.5, 0, 1)[..., None]
        picture = picture * (1 - cover) + cover * np.array(colour, dtype=np.float64)
    return picture.round().astype(np.uint8)
