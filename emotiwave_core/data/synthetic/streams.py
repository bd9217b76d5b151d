"""The streams of the synthetic sample: words and their vectors, audio, visual and labels of one video.

`cues` [K] are the cues (0, 1 or 2) of a video's segments and `spans` [K, 2] the seconds in which each may show: those
that the segment shares with no other.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from emotiwave_core.data.formats.reader import Entry

AUDIO_RATE, VISUAL_RATE = 100, 30
FILLERS = """
    the and to of that i you it is was we they this so then there what when about with have just like know think really
    people would time day year work place thing way today kind um uh
""".split()  # noqa: SIM905
SIGNATURES = (
    ("wow", "amazing", "wonderful", "brilliant"),
    ("alone", "afraid", "crying", "helpless"),
    ("hate", "awful", "gross", "outrageous"),
)
PAUSE = "sp"
VOCABULARY = (PAUSE, *FILLERS, *(word for words in SIGNATURES for word in words))
AUDIO_NAMES = (
    *("F0", "VUV", "NAQ", "QOQ", "H1H2", "PSP", "MDQ", "peakSlope", "Rd", "Rd_conf", "creak"),
    *(f"MCEP_{i}" for i in range(25)),
    *(f"HMPDM_{i}" for i in range(25)),
    *(f"HMPDD_{i}" for i in range(13)),
)
VISUAL_NAMES = tuple(f"landmark_{i}" for i in range(593)) + tuple(f"action_unit_{i}" for i in range(120))
AUDIO_CUE, VISUAL_CUE = np.arange(11, 59), np.arange(593, 713)  # cue u is shown by every third column from the u-th


class Columns(NamedTuple):
    """The F columns of a modality: all follow six latent movements, each on a scale of its own."""

    loadings: NDArray[np.float32]  # [6, F]
    scale: NDArray[np.float32]  # [F]
    offset: NDArray[np.float32]  # [F]


def draw_columns(rng: np.random.Generator, width: int) -> Columns:
    """Columns from hundredths to hundreds, each within three of its own standard deviations of zero."""
    loadings = rng.normal(0.0, 0.25, (6, width)).astype(np.float32)
    scale = 10.0 ** rng.uniform(-2.0, 2.4, width)
    return Columns(loadings, scale.astype(np.float32), (scale * rng.uniform(-3.0, 3.0, width)).astype(np.float32))


def draw_vectors(rng: np.random.Generator) -> NDArray[np.float32]:
    """A fixed vector for each word of VOCABULARY, [V, 300].

    The signatures of a cue are near one another, as kindred words are in GloVe; the pause is all zero, as in CMU-MOSEI.
    """
    vectors = rng.normal(0.0, 0.3, (len(VOCABULARY), 300))
    vectors[-sum(map(len, SIGNATURES)) :] += rng.normal(0.0, 0.5, (3, 300)).repeat(len(SIGNATURES[0]), axis=0)
    vectors[0] = 0.0
    return vectors.astype(np.float32)


def draw_words(
    rng: np.random.Generator, duration: float, spans: NDArray[np.float64], cues: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Word numbers [n] in VOCABULARY and their intervals [n, 2], from 0 to `duration` without a gap.

    The longest word is .32 s and no pause follows a pause, so a span of .85 s or more always holds a whole word;
    the last such word is always a signature.
    """
    most = math.ceil(duration / 0.08)
    pause = rng.random(most) < 0.2
    pause[1:] &= ~pause[:-1]  # .2 * .8 = 16 % are left
    lengths = np.where(pause, rng.uniform(0.08, 0.2, most), rng.uniform(0.16, 0.32, most))
    ends = np.minimum(lengths.cumsum(), duration)
    intervals = np.stack([np.concatenate([[0.0], ends[:-1]]), ends], axis=1)
    intervals = intervals[intervals[:, 0] < duration]
    pause = pause[: len(intervals)]
    words = np.where(pause, 0, rng.integers(1, len(FILLERS) + 1, len(pause)))
    for (start, end), cue in zip(spans, cues, strict=True):
        inside = np.flatnonzero(~pause & (intervals[:, 0] >= start) & (intervals[:, 1] <= end))
        chosen = inside[(rng.random(len(inside)) < 0.5) | (inside == inside[-1])]
        words[chosen] = 1 + len(FILLERS) + len(SIGNATURES[0]) * cue + rng.integers(0, len(SIGNATURES[0]), len(chosen))
    return words, intervals


def word_bytes(words: NDArray[np.int64]) -> NDArray[np.bytes_]:
    """Word numbers [n] as bytes [n, 1], as wide as the longest of them."""
    return np.array([[VOCABULARY[word].encode()] for word in words])


def draw_audio(
    rng: np.random.Generator,
    columns: Columns,
    words: NDArray[np.int64],
    word_intervals: NDArray[np.float64],
    spans: NDArray[np.float64],
    cues: NDArray[np.int64],
) -> Entry:
    """COVAREP-like frames [n, 74]: the cue shows in voiced frames; unvoiced ones hold -inf, and a few hold NaN."""
    intervals = _frames(float(word_intervals[-1, 1]), AUDIO_RATE)
    voiced = words[np.searchsorted(word_intervals[1:, 0], intervals.mean(axis=1))] > 0  # no word: the pause is word 0
    x = _movement(rng, columns, len(intervals), 0.9)
    for (start, end), cue in zip(spans, cues, strict=True):
        inside = voiced & (intervals[:, 0] >= start) & (intervals[:, 1] <= end)
        x[np.ix_(inside, AUDIO_CUE[cue::3])] += 2.5
    pitch = rng.uniform(100.0, 240.0) + 15.0 * x[:, 0]
    x = x * columns.scale + columns.offset
    x[:, 0] = np.where(voiced, pitch, 0.0)
    x[:, 1] = voiced
    x[~voiced, 4] = -np.inf
    x[rng.random(len(x)) < 0.005, 8] = np.nan
    return Entry(x, intervals)


def draw_visual(
    rng: np.random.Generator, columns: Columns, duration: float, spans: NDArray[np.float64], cues: NDArray[np.int64]
) -> Entry:
    """OpenFace-like frames [n, 713]: each video has a face of its own; the cue is a burst in the last half or more."""
    intervals = _frames(duration, VISUAL_RATE)
    x = _movement(rng, columns, len(intervals), 0.8)
    for (start, end), cue in zip(spans, cues, strict=True):
        first = rng.uniform(start, (start + end) / 2)
        burst = (intervals[:, 0] >= first) & (intervals[:, 1] <= end)
        x[np.ix_(burst, VISUAL_CUE[cue::3])] += 3.0
    return Entry(x * columns.scale + columns.offset, intervals)


def draw_labels(rng: np.random.Generator, emotions: NDArray[np.int64]) -> NDArray[np.float32]:
    """Label rows [K, 7], sentiment first, in thirds: the class is the largest; others may stand beside it, lower."""
    labels = np.zeros((len(emotions), 7), dtype=np.float32)
    for row, emotion in enumerate(emotions):
        top = rng.choice(np.arange(1, 10), p=np.array([10, 18, 20, 14, 8, 6, 4, 2, 2]) / 84)
        others = np.where(rng.random(6) < 0.25, rng.integers(0, top, 6), 0)
        if emotion >= 0:
            labels[row, 1:] = others
            labels[row, 1 + emotion] = top
        mood = 0 if emotion < 0 else (1, -1, -1, 0, -1, -1)[emotion]
        labels[row, 0] = np.clip(mood * top + rng.integers(-1, 2), -9, 9)
    return labels / np.float32(3)


def _frames(duration: float, rate: int) -> NDArray[np.float64]:
    """Intervals [n, 2] of a constant rate that cover 0 to `duration`."""
    edges = np.arange(math.ceil(duration * rate) + 1) / rate
    return np.stack([edges[:-1], edges[1:]], axis=1)


def _movement(rng: np.random.Generator, columns: Columns, steps: int, memory: float) -> NDArray[np.float32]:
    """Columns [steps, F] without a cue: six autoregressive movements about the speaker's mean.

    A few movements, as a head or a voice has, and little noise: a small training fold would else be learnt by heart.
    """
    latent = rng.standard_normal((steps, 6), dtype=np.float32)
    latent[1:] *= math.sqrt(1.0 - memory**2)
    for step in range(1, steps):
        latent[step] += memory * latent[step - 1]
    latent += rng.normal(0.0, 0.4, 6).astype(np.float32)
    noise = rng.standard_normal((steps, len(columns.scale)), dtype=np.float32)
    moved: NDArray[np.float32] = np.einsum("sk,kf->sf", latent, columns.loadings)  # BLAS may sum otherwise elsewhere
    return moved + np.float32(0.4) * noise
