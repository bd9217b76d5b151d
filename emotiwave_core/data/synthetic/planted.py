"""The plan of the synthetic sample: emotions planted by known odds, and the best score that they allow.

The dominant class of a segment is one of six. Each modality shows a cue of three, each of which stands for a pair of
classes: one modality tells pairs apart, any two tell the class, and three correct one another, for a cue is right only
with a known probability and otherwise one of the other two. So the score of the Bayes rule follows by enumeration.
"""

import itertools
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from emotiwave_core.modalities import configurations, name_of

MODALITIES = ("text", "audio", "visual")
CLASSES = ("happy", "sad", "anger", "surprise", "disgust", "fear")
PRIOR = np.array([0.26, 0.22, 0.15, 0.17, 0.11, 0.09])  # the two classes of a cue are never equally frequent
PAIRS = {
    "text": (("happy", "surprise"), ("sad", "fear"), ("anger", "disgust")),
    "audio": (("happy", "anger"), ("sad", "disgust"), ("surprise", "fear")),
    "visual": (("happy", "fear"), ("sad", "anger"), ("surprise", "disgust")),
}
RIGHT = {"text": 0.90, "audio": 0.86, "visual": 0.88}  # the probability that a cue stands for the segment's class
CHANNELS = np.array(  # [modality, cue, class]: the probability of a cue given the class
    [[[RIGHT[m] if c in pair else (1 - RIGHT[m]) / 2 for c in CLASSES] for pair in PAIRS[m]] for m in MODALITIES]
)
NO_EMOTION = 0.15


@frozen
class Video:
    """The plan of one video: K segments in the order of the label file."""

    id: str
    fold: str
    present: tuple[str, ...]
    duration: float  # seconds
    spans: NDArray[np.float64]  # [K, 2] seconds
    unshared: NDArray[np.float64]  # [K, 2], the part of each span that overlaps no other
    emotions: NDArray[np.int64]  # [K], -1 for a row without an emotion
    cues: NDArray[np.int64]  # [K, modality]


def plan_videos(videos: int, seed: int) -> list[Video]:
    """Draw folds, segments, classes and cues; every fold has every class, and its classes follow the prior closely."""
    rng = np.random.default_rng([seed, 0])
    valid, test = max(5, round(0.15 * videos)), max(5, round(0.25 * videos))
    folds = rng.permutation(["train"] * (videos - valid - test) + ["valid"] * valid + ["test"] * test)
    counts = rng.choice([2, 3, 4, 5, 6], videos, p=[0.2, 0.35, 0.25, 0.12, 0.08])
    decks = {fold: iter(_deck(rng, int(counts[folds == fold].sum()))) for fold in ("train", "valid", "test")}
    early, unordered = _draw_share(rng, videos, 0.1), _draw_share(rng, videos, 0.2)
    lacking = _lacking(rng, videos)
    plan = []
    for i, count in enumerate(counts):
        spans = draw_spans(rng, count, early[i])
        duration = float(spans[-1, 1] + rng.uniform(0.1, 0.5))
        rows = np.roll(np.arange(count), rng.integers(1, count) if unordered[i] else 0)
        fold = str(folds[i])
        emotions = np.array(list(itertools.islice(decks[fold], int(count))))
        present = tuple(m for m, lacks in zip(MODALITIES, lacking[:, i], strict=True) if not lacks)
        name, clear = draw_id(rng, i, videos), unshared(spans)
        plan.append(Video(name, fold, present, duration, spans[rows], clear[rows], emotions, _draw_cues(rng, emotions)))
    return plan


def truth_of(plan: list[Video], seed: int) -> dict[str, Any]:
    """The content of truth.json: what was planted and the best scores. "population" has all modalities present."""
    singles = np.array(list(itertools.product(range(3), repeat=3)))
    weights = PRIOR * np.prod([CHANNELS[m, singles[:, m]] for m in range(3)], axis=0)
    folds = {fold: [v for v in plan if v.fold == fold] for fold in ("train", "valid", "test")}
    return {
        "seed": seed,
        "classes": list(CLASSES),
        "prior": dict(zip(CLASSES, PRIOR.tolist(), strict=True)),
        "channels": {m: {"pairs": PAIRS[m], "right": RIGHT[m]} for m in MODALITIES},
        "best_reachable": {fold: _fold_scores(chosen) for fold, chosen in folds.items()},
        "population": _bayes_scores(singles, np.ones((27, 3), dtype=bool), weights),
        "segments": {
            f"{video.id}[{row}]": _segment_truth(video, row) for video in plan for row in range(len(video.cues))
        },
    }


def _segment_truth(video: Video, row: int) -> dict[str, Any]:
    emotion = int(video.emotions[row])
    return {
        "class": CLASSES[emotion] if emotion >= 0 else None,
        "cues": dict(zip(MODALITIES, video.cues[row].tolist(), strict=True)),
        "present": list(video.present),
    }


def _fold_scores(videos: list[Video]) -> dict[str, float]:
    emotions, cues = np.concatenate([v.emotions for v in videos]), np.concatenate([v.cues for v in videos])
    seen = np.array([[m in v.present for m in MODALITIES] for v in videos for _ in v.emotions])
    labelled = emotions >= 0
    return _bayes_scores(cues[labelled], seen[labelled], np.eye(6)[emotions[labelled]])


def _bayes_scores(cues: NDArray[np.int64], seen: NDArray[np.bool_], weights: NDArray[np.float64]) -> dict[str, float]:
    """Macro-F1 of the most probable class by configuration: cues and seen [N, modality], weights [N, true class]."""
    scores = {}
    for configuration in configurations(MODALITIES):
        posterior = np.tile(PRIOR, (len(cues), 1))
        for m in (MODALITIES.index(name) for name in configuration):
            posterior *= np.where(seen[:, m, None], CHANNELS[m, cues[:, m]], 1.0)
        confusion = np.eye(6)[posterior.argmax(axis=1)].T @ weights  # [predicted class, true class]
        scores[name_of(configuration)] = float(
            np.mean(2 * confusion.diagonal() / (confusion.sum(0) + confusion.sum(1)))
        )
    return scores


def _draw_cues(rng: np.random.Generator, emotions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Cues [K, modality] through the channels; uniform where there is no emotion (-1)."""
    chances = np.where((emotions >= 0)[:, None, None], CHANNELS[:, :, emotions].transpose(2, 0, 1), 1 / 3)
    cues: NDArray[np.int64] = (rng.random((len(emotions), 3, 1)) > chances.cumsum(axis=2)[:, :, :2]).sum(axis=2)
    return cues


def _deck(rng: np.random.Generator, segments: int) -> NDArray[np.int64]:
    """Shuffled classes [segments] in the proportions of the prior, each of them from nine on; -1: no emotion."""
    shares = np.concatenate([[NO_EMOTION], (1 - NO_EMOTION) * PRIOR]).cumsum()
    deck = np.searchsorted(shares[:-1], (np.arange(segments) + 0.5) / segments) - 1
    rng.shuffle(deck)
    return deck


def _draw_share(rng: np.random.Generator, videos: int, share: float) -> NDArray[np.bool_]:
    """Draw a share of the videos, at least one: [videos] bool."""
    return rng.permutation(videos) < max(1, round(share * videos))


def _lacking(rng: np.random.Generator, videos: int) -> NDArray[np.bool_]:
    """Modalities that videos lack, [3, videos] bool: 4 % each; one video lacks text and audio, none all three."""
    order, few = rng.permutation(videos), max(1, round(0.04 * videos))
    return np.array([(order >= first) & (order < first + few) for first in (0, few - 1, 2 * few - 1)])


def draw_spans(rng: np.random.Generator, count: int, early: bool) -> NDArray[np.float64]:
    """Segments [count, 2] of 1.6 to 2.95 s in the order of time; three in ten overlap the one before."""
    lengths = rng.uniform(1.6, 2.95, count)
    gaps = np.where(rng.random(count) < 0.3, -rng.uniform(0.1, 0.15, count), rng.uniform(0.05, 0.5, count))
    gaps[0] = -rng.uniform(0.05, 0.3) if early else rng.uniform(0.0, 0.6)
    ends = (lengths + gaps).cumsum()
    return np.round(np.stack([ends - lengths, ends], axis=1), 3)


def unshared(spans: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spans [K, 2] in the order of time, less what they share with their neighbours."""
    starts, ends = spans.T
    before, after = np.append(-np.inf, ends[:-1]), np.append(starts[1:], np.inf)
    return np.stack([np.maximum(starts, before), np.minimum(ends, after)], axis=1)


def draw_id(rng: np.random.Generator, i: int, videos: int) -> str:
    """An id as YouTube and CMU-MOSEI have them: some begin with '-', some hold '_', some are all digits."""
    letters = list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
    word = "".join(rng.choice(letters, 10))
    digits = str(int(rng.integers(100, 3000)) * videos + i)
    return (f"-{word}", digits, f"{word[:5]}_{word[5:]}", f"{word}k")[i % 4]
