"""The embedded sample: synthetic data in real `.csd` files, whose emotions are planted by known odds.

The dominant class of a segment is one of six. Each modality shows a cue of three, each of which stands for a pair of
classes: one modality tells pairs apart, any two tell the class, and three correct one another, for a cue is right only
with a known probability and otherwise one of the other two. So the score of the Bayes rule follows by enumeration.
"""

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from emotiwave_core.data.synthetic import features as files
from emotiwave_core.data.synthetic.features import Stream
from emotiwave_core.errors import DataError, SettingsError, choices
from emotiwave_core.io.atomic import out_of_space, write_json, write_text
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
EDITION = 2  # of the files that are written: a cached sample of another edition is not taken
FEWEST_VIDEOS = 15  # five in a fold, of two segments or more: every class is there

DATASET_TOML = """\
name = "Synthetic sample (planted emotions)"
synthetic = true
words = "SYNTHETIC_Words.csd"
[modalities]
text = "SYNTHETIC_WordVectors.csd"
audio = "SYNTHETIC_Audio74.csd"
visual = "SYNTHETIC_Visual713.csd"
[labels]
file = "SYNTHETIC_Labels.csd"
targets = ["happy", "sad", "anger", "surprise", "disgust", "fear"]
[folds]
file = "folds.json"
"""


@frozen
class Video:
    """The plan of one video: K segments in the order of the label file."""

    id: str
    fold: str
    present: tuple[str, ...]
    duration: float
    spans: NDArray[np.float64]  # [K, 2] seconds
    unshared: NDArray[np.float64]  # [K, 2], the part of each span that overlaps no other
    emotions: NDArray[np.int64]  # [K], -1 for a row without an emotion
    cues: NDArray[np.int64]  # [K, modality]


def write_sample(folder: Path, *, videos: int = 112, seed: int = 0) -> None:
    """Write the sample data set: `.csd` files, folds.json, truth.json, and dataset.toml when all the rest is there.

    The same `videos` and `seed` give the same bytes. About 1.1 MB a video. SettingsError for fewer than 15 videos or a
    negative seed, DataError for a folder that holds anything else, ResourceError when it cannot be written.
    """
    if videos < FEWEST_VIDEOS or seed < 0:
        raise SettingsError(f"The sample needs {FEWEST_VIDEOS} videos or more and a seed from 0; got {videos}, {seed}.")
    _claim(folder)
    plan = plan_videos(videos, seed)
    write_json(folder / "truth.json", truth_of(plan, seed))
    write_json(folder / "folds.json", {f: [v.id for v in plan if v.fold == f] for f in ("train", "valid", "test")})
    _write_streams(folder, plan, seed)
    write_text(folder / "dataset.toml", DATASET_TOML)


def best_reachable(folder: Path, fold: str) -> dict[str, float]:
    """Macro-F1 of the Bayes rule on the cues of a fold, for each configuration; from the sample's truth.json.

    The rule names the most probable class, which is the most accurate guess. With one modality the two classes of a cue
    look alike and it always names the more frequent one; a guess that spreads over both is less accurate, yet its
    macro-F1 can be higher. Segments without an emotion do not count. DataError where the folder is no sample.
    """
    try:
        scores = json.loads((folder / "truth.json").read_text(encoding="utf-8"))["best_reachable"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder} is not a sample data set: its truth.json cannot be read ({error}).") from error
    if fold not in scores:
        raise SettingsError(f"The sample has no fold '{fold}'.{choices(fold, scores)}")
    return dict(scores[fold])


def plan_videos(videos: int, seed: int) -> list[Video]:
    """Draw folds, segments, classes and cues; every fold has every class, and its classes follow the prior closely."""
    rng = np.random.default_rng([seed, 0])
    valid, test = max(5, round(0.15 * videos)), max(5, round(0.25 * videos))
    folds = rng.permutation(["train"] * (videos - valid - test) + ["valid"] * valid + ["test"] * test)
    counts = rng.choice([2, 3, 4, 5, 6], videos, p=[0.2, 0.35, 0.25, 0.12, 0.08])
    decks = {fold: iter(_deck(rng, int(counts[folds == fold].sum()))) for fold in ("train", "valid", "test")}
    early, unordered = _some(rng, videos, 0.1), _some(rng, videos, 0.2)
    lacking = _lacking(rng, videos)
    plan = []
    for i, count in enumerate(counts):
        spans = files.draw_spans(rng, count, early[i])
        duration = float(spans[-1, 1] + rng.uniform(0.1, 0.5))
        rows = np.roll(np.arange(count), rng.integers(1, count) if unordered[i] else 0)
        fold = str(folds[i])
        emotions = np.array(list(itertools.islice(decks[fold], int(count))))
        present = tuple(m for m, lacks in zip(MODALITIES, lacking[:, i], strict=True) if not lacks)
        name, clear = files.draw_id(rng, i, videos), files.unshared(spans)
        plan.append(Video(name, fold, present, duration, spans[rows], clear[rows], emotions, _draw_cues(rng, emotions)))
    return plan


def truth_of(plan: list[Video], seed: int) -> dict[str, Any]:
    """What was planted and the scores it allows, as truth.json holds it. "population" has all modalities present."""
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
    for kept in configurations(MODALITIES):
        posterior = np.tile(PRIOR, (len(cues), 1))
        for m in (MODALITIES.index(name) for name in kept):
            posterior *= np.where(seen[:, m, None], CHANNELS[m, cues[:, m]], 1.0)
        confusion = np.eye(6)[posterior.argmax(axis=1)].T @ weights  # [predicted class, true class]
        scores[name_of(kept)] = float(np.mean(2 * confusion.diagonal() / (confusion.sum(0) + confusion.sum(1))))
    return scores


def _draw_cues(rng: np.random.Generator, emotions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Cues [K, modality] through the channels; uniform where there is no emotion (-1)."""
    chances = np.where((emotions >= 0)[:, None, None], CHANNELS[:, :, emotions].transpose(2, 0, 1), 1 / 3)
    cues: NDArray[np.int64] = (rng.random((len(emotions), 3, 1)) > chances.cumsum(axis=2)[:, :, :2]).sum(axis=2)
    return cues


def _deck(rng: np.random.Generator, segments: int) -> NDArray[np.int64]:
    """Shuffled classes [segments] in the proportions of the prior, each there from nine on; -1 for no emotion."""
    shares = np.concatenate([[NO_EMOTION], (1 - NO_EMOTION) * PRIOR]).cumsum()
    deck = np.searchsorted(shares[:-1], (np.arange(segments) + 0.5) / segments) - 1
    rng.shuffle(deck)
    return deck


def _some(rng: np.random.Generator, videos: int, share: float) -> NDArray[np.bool_]:
    return rng.permutation(videos) < max(1, round(share * videos))


def _lacking(rng: np.random.Generator, videos: int) -> NDArray[np.bool_]:
    """Which modality [3] each video [videos] lacks: 4 % each; one video lacks text and audio, none all three."""
    order, few = rng.permutation(videos), max(1, round(0.04 * videos))
    return np.array([(order >= first) & (order < first + few) for first in (0, few - 1, 2 * few - 1)])


def _claim(folder: Path) -> None:
    """Take a folder that is absent, empty or a sample (also an unfinished one), and unmark it until it is complete."""
    with out_of_space(folder):
        folder.mkdir(parents=True, exist_ok=True)
        others = any(not entry.name.startswith(".") for entry in folder.iterdir())
        if others and not (folder / "truth.json").exists():  # the first file of a sample, and of nothing else
            raise DataError(f"{folder} holds other files; choose an empty folder for the sample.")
        (folder / "dataset.toml").unlink(missing_ok=True)


def _write_streams(folder: Path, plan: list[Video], seed: int) -> None:
    """Write the five `.csd` files, video by video. Each video has a generator of its own for each modality."""
    rng = np.random.default_rng
    text, audio, visual = ([(i, v) for i, v in enumerate(plan) if m in v.present] for m in MODALITIES)
    vectors = files.draw_vectors(rng([seed, 1]))
    voice, face = files.draw_columns(rng([seed, 2]), 74), files.draw_columns(rng([seed, 3]), 713)
    words = [files.draw_words(rng([seed, 4, i]), v.duration, v.unshared, v.cues[:, 0]) for i, v in enumerate(plan)]
    streams: dict[str, tuple[Sequence[str] | None, Iterator[tuple[str, Stream]]]] = {
        "Words": (None, ((v.id, Stream(files.word_bytes(words[i][0]), words[i][1])) for i, v in text)),
        "WordVectors": (
            [f"glove_{column}" for column in range(300)],
            ((v.id, Stream(vectors[words[i][0]], words[i][1])) for i, v in text),
        ),
        "Audio74": (
            files.AUDIO_NAMES,
            ((v.id, files.draw_audio(rng([seed, 5, i]), voice, *words[i], v.unshared, v.cues[:, 1])) for i, v in audio),
        ),
        "Visual713": (
            files.VISUAL_NAMES,
            (
                (v.id, files.draw_visual(rng([seed, 6, i]), face, v.duration, v.unshared, v.cues[:, 2]))
                for i, v in visual
            ),
        ),
        "Labels": (
            ("sentiment", *CLASSES),
            ((v.id, Stream(files.draw_labels(rng([seed, 7, i]), v.emotions), v.spans)) for i, v in enumerate(plan)),
        ),
    }
    for name, (columns, videos) in streams.items():
        files.write_csd(folder / f"SYNTHETIC_{name}.csd", name, videos, columns)
