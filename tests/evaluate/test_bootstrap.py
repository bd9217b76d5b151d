"""Intervals by bootstrap over videos: those of a plain loop, and wide where the segments of a video agree."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from emotiwave_core.evaluate.bootstrap import RESAMPLES, draw_videos, percentiles, resampled_scores, score_interval
from emotiwave_core.metrics.macro_f1 import macro_f1

seeds = st.integers(0, 2**32 - 1)
Numbers = NDArray[np.int64]


def answers(seed: int, kind: str, models: int = 2) -> tuple[Numbers, Numbers, list[str]]:
    """Truth, the decisions of some models, and videos of unequal length in no order; the last class is rare."""
    random = np.random.default_rng(seed)
    videos = [f"v{number}" for number in random.integers(0, 7, 40)]
    if kind == "single":
        return random.integers(0, 3, 40), random.integers(0, 3, (models, 40)), videos
    chance = [0.5, 0.3, 0.05]
    return (
        (random.random((40, 3)) < chance).astype(np.int64),
        (random.random((models, 40, 3)) < chance).astype(np.int64),
        videos,
    )


@pytest.mark.short_rows(1)
@pytest.mark.parametrize("kind", ["single", "multi"])
@given(seed=seeds)
@settings(max_examples=4, deadline=None)
def test_weights_give_what_resampled_rows_give(kind: str, seed: int) -> None:
    """F1 in a resample is scikit-learn's of the rows of the drawn videos, each as often as its video was drawn."""
    truth, decided, videos = answers(seed, kind)
    found = resampled_scores(truth, decided, videos, 3)
    assert found is not None
    assert found.shape == (RESAMPLES, 2, 3)
    names = sorted(set(videos))
    weights = draw_videos(len(names))
    for r in range(0, RESAMPLES, 40):
        rows = np.array(
            [
                row
                for video, times in zip(names, weights[r].astype(int), strict=True)
                for _ in range(times)
                for row in range(len(videos))
                if videos[row] == video
            ]
        )
        for k in range(2):
            due = f1_score(truth[rows], decided[k, rows], labels=range(3), average=None, zero_division=0)
            np.testing.assert_allclose(found[r, k], due, atol=1e-12)
            assert found[r, k].mean() == pytest.approx(macro_f1(truth[rows], decided[k, rows], 3))


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_the_interval_is_between_percentiles(kind: str) -> None:
    """2.5 % of the resampled macro-F1 lie below the interval and 2.5 % above; decisions keep their leading axes."""
    truth, decided, videos = answers(3, kind, 6)
    resampled = resampled_scores(truth, decided, videos, 3)
    found = score_interval(truth, decided, videos, 3)
    assert resampled is not None
    assert found is not None
    assert found.shape == (6, 2)
    for k in range(6):
        values = np.sort(resampled[:, k].mean(axis=1))
        assert values[24] <= found[k, 0] <= values[25]
        assert values[974] <= found[k, 1] <= values[975]
        np.testing.assert_array_equal(score_interval(truth, decided[k], videos, 3), found[k])
    folded = score_interval(truth, decided.reshape(2, 3, *truth.shape), videos, 3)
    np.testing.assert_array_equal(folded, found.reshape(2, 3, 2))
    assert percentiles(np.arange(1001.0)).tolist() == pytest.approx([25.0, 975.0])


def test_a_resample_draws_as_many_videos_as_there_are() -> None:
    """Every row of weights sums to V; each video is drawn once on average, and left out e^-1 of the times."""
    weights = draw_videos(50)
    assert weights.shape == (1000, 50)
    assert (weights.sum(axis=1) == 50).all()
    np.testing.assert_allclose(weights.mean(axis=0), 1.0, atol=0.15)
    assert (weights == 0).mean() == pytest.approx((1 - 1 / 50) ** 50, abs=0.01)
    np.testing.assert_array_equal(weights, draw_videos(50))


def test_a_class_that_a_resample_lacks_counts_as_zero() -> None:
    """One video alone holds the second class: where it is not drawn, a perfect model has a macro-F1 of one half."""
    truth = np.array([0, 0, 0, 1])
    found = resampled_scores(truth, truth, ["a", "b", "c", "d"], 2)
    assert found is not None
    drawn = draw_videos(4)[:, 3] > 0
    np.testing.assert_array_equal(found[:, 1], drawn.astype(float))
    interval = score_interval(truth, truth, ["a", "b", "c", "d"], 2)
    assert interval is not None
    assert interval.tolist() == [0.5, 1.0]


def test_one_video_has_no_interval() -> None:
    """There is nothing to resample, however many segments it has; two videos are enough."""
    truth = np.array([0, 1, 0, 1])
    assert score_interval(truth, truth, ["a"] * 4, 2) is None
    assert score_interval(truth, truth, ["a", "a", "b", "b"], 2) is not None


def clustered(random: np.random.Generator, videos: int, size: int) -> tuple[Numbers, Numbers]:
    """Balanced truth, and decisions that are right in all segments of a video or in none, 7 videos of 10."""
    truth = random.integers(0, 2, videos * size)
    right = np.repeat(random.random(videos) < 0.7, size)
    return truth, np.where(right, truth, 1 - truth)


@given(seeds)
@settings(max_examples=5, deadline=None)
def test_by_video_is_wider_where_segments_agree(seed: int) -> None:
    """Where the n segments of a video are right or wrong together, the interval by video is √n as wide."""
    truth, decided = clustered(np.random.default_rng(seed), 100, 9)
    by_video = score_interval(truth, decided, [f"v{row // 9}" for row in range(900)], 2)
    by_segment = score_interval(truth, decided, [f"v{row}" for row in range(900)], 2)
    assert by_video is not None
    assert by_segment is not None
    assert np.diff(by_video)[0] / np.diff(by_segment)[0] == pytest.approx(3.0, rel=0.25)


@pytest.mark.full
def test_the_interval_covers_the_truth() -> None:
    """Of 150 draws of 60 videos, some 95 % of the intervals by video hold the macro-F1 of all; by segment far fewer."""
    random = np.random.default_rng(0)
    hits = np.zeros(2)
    for _ in range(150):
        truth, decided = clustered(random, 60, 6)
        for k, videos in enumerate(([f"v{row // 6}" for row in range(360)], [f"v{row}" for row in range(360)])):
            interval = score_interval(truth, decided, videos, 2)
            assert interval is not None
            hits[k] += interval[0] <= 0.7 <= interval[1]  # right in 7 of 10, both classes alike: F1 is .7
    assert 0.88 <= hits[0] / 150 <= 0.99
    assert hits[1] / 150 < 0.75


def test_seven_configurations_of_mosei_take_a_moment() -> None:
    """4,662 samples of 678 videos, 6 emotions, 7 configurations, 1,000 resamples: well under a second."""
    random = np.random.default_rng(0)
    truth, decided = random.integers(0, 2, (4662, 6)), random.integers(0, 2, (7, 4662, 6))
    videos = [f"v{number}" for number in random.integers(0, 678, 4662)]
    resampled_scores(truth, decided, videos, 6)
    began = time.process_time()
    resampled_scores(truth, decided, videos, 6)
    assert time.process_time() - began < 1.0
