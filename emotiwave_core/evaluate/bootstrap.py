"""Confidence intervals of the headline score, by bootstrap over videos.

The segments of one video are not independent of each other.

They say how much a score would change with other videos of the same kind, of one trained model; not what another seed
of its training would give. Where one person speaks in several videos, they are too narrow for new people, unless the
data set tells its groups (speakers): then these are drawn, and "video" below stands for a group.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotiwave_core.metrics.headline import Headline
from emotiwave_core.metrics.macro_f1 import MACRO_F1
from emotiwave_core.runs.schema import Fraction
from emotiwave_core.runs.scores import Bootstrap

LEVEL, RESAMPLES, SEED = 0.95, 1000, 0

Array = NDArray[np.float64]


def score_interval(
    truth: NDArray[Any], decided: NDArray[Any], videos: Sequence[str], classes: int, headline: Headline = MACRO_F1
) -> Array | None:
    """The 95 % interval of the headline score of one or of several models that decide about the same samples.

    truth [N] or [N, C], decided [..., N] or [..., N, C], the video of each sample [N] -> [..., 2], low and high. All
    models meet the same resamples. None where there is one video only: there is nothing to resample.
    """
    values = resampled_scores(truth, decided, videos, classes, headline)
    return None if values is None else percentiles(values.mean(axis=-1))


def resampled_scores(
    truth: NDArray[Any], decided: NDArray[Any], videos: Sequence[str], classes: int, headline: Headline = MACRO_F1
) -> Array | None:
    """The score of each class or target in 1,000 resamples of the V videos: V of them, drawn with replacement.

    truth [N] or [N, C], decided [..., N] or [..., N, C] -> [R, ..., C]. The cluster bootstrap (Davison and Hinkley
    1997, section 3.8) from a fixed seed: a video brings all its samples. A class that is neither there nor predicted in
    a resample counts as 0, as it does in the score. None where there is one video only.
    """
    names, video_of = np.unique(np.asarray(videos), return_inverse=True)
    if len(names) < 2:
        return None
    leading = decided.shape[: decided.ndim - truth.ndim]
    weights = draw_videos(len(names))
    scores = np.empty((RESAMPLES, int(np.prod(leading)), classes))
    for k, decisions in enumerate(decided.reshape(-1, *truth.shape)):
        terms = headline.terms(truth, decisions, classes)  # [N, S, C]
        sums = weights @ _sum_by_video(terms.reshape(len(terms), -1), video_of, len(names))
        scores[:, k] = headline.of_sums(sums.reshape(RESAMPLES, *terms.shape[1:]))
    return scores.reshape(RESAMPLES, *leading, classes)


def draw_videos(videos: int) -> Array:
    """Number of times that each of V videos is in each resample, [R, V]; every row sums to V."""
    drawn = np.random.default_rng(SEED).integers(0, videos, (RESAMPLES, videos))
    drawn += videos * np.arange(RESAMPLES)[:, None]
    return np.bincount(drawn.ravel(), minlength=RESAMPLES * videos).reshape(RESAMPLES, videos).astype(np.float64)


def percentiles(values: Array) -> Array:
    """The percentile interval (Efron 1979) of resampled values [R, ...] -> [..., 2]: 2.5 % lie below, 2.5 % above."""
    tail = (1.0 - LEVEL) / 2.0
    return np.moveaxis(np.quantile(values, [tail, 1.0 - tail], axis=0), 0, -1)


def bootstrap_settings(groups: Sequence[str], unit: str = "video") -> Bootstrap:
    """Settings of the intervals, for `scores.json`; the group of each sample [N], and what a group is."""
    return Bootstrap(Fraction(LEVEL), RESAMPLES, unit, len(set(groups)), SEED)


def _sum_by_video(counts: NDArray[Any], video_of: NDArray[np.int64], videos: int) -> Array:
    """[N, C] summed over the samples of each video, [V, C]."""
    return np.stack([np.bincount(video_of, weights=column, minlength=videos) for column in counts.T], axis=1)
