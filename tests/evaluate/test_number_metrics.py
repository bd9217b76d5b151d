"""Metrics of predicted numbers against their definitions, and against scipy and scikit-learn."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error

from emotiwave_core.config.recipe import ObjectiveSettings
from emotiwave_core.evaluate.baselines import number_baselines
from emotiwave_core.evaluate.bootstrap import resampled_scores, score_interval
from emotiwave_core.metrics.ccc import CCC
from emotiwave_core.metrics.decisions import constant_number
from emotiwave_core.metrics.numbers import (
    PredictedNumbers,
    SentimentScale,
    TargetScale,
    registered_numbers,
    score_numbers,
    sentiment_scale,
)
from emotiwave_core.objectives.regression import Regression

Array = NDArray[np.float64]


def drawn(seed: int, size: int = 60, most: float = 3.0) -> tuple[Array, Array]:
    """Truth in steps, as annotators give it, and predictions about it that may lie outside of the scale."""
    random = np.random.default_rng(seed)
    truth = np.round(random.normal(size=size) * 3).clip(-5, 5) / 5 * most
    return truth, truth * 0.7 + random.normal(size=size) * most / 3 + 0.1


def scored(truth: Array, predicted: Array, scale: SentimentScale | None = None) -> dict[str, float | None]:
    """Every metric of one target."""
    return score_numbers({"it": PredictedNumbers(truth, predicted, scale)}).metrics


@pytest.mark.parametrize("seed", range(5))
def test_ccc_is_pearson_times_the_bias_correction(seed: int) -> None:
    """CCC is r · C_b with C_b = 2 / (v + 1/v + u²), v = σ_y/σ_p and u = (μ_y − μ_p) / √(σ_y σ_p) (Lin 1989)."""
    truth, predicted = drawn(seed)
    v = truth.std() / predicted.std()
    u = (truth.mean() - predicted.mean()) / math.sqrt(truth.std() * predicted.std())
    metrics = scored(truth, predicted)
    assert metrics["ccc"] == pytest.approx(pearsonr(truth, predicted)[0] * 2 / (v + 1 / v + u * u))
    assert metrics["pearson"] == pytest.approx(pearsonr(truth, predicted)[0])
    assert metrics["mae"] == pytest.approx(mean_absolute_error(truth, predicted))


def test_ccc_of_known_answers() -> None:
    """The truth itself has 1, its mirror image −1, one number for all 0, and a shift costs what it should."""
    truth, _ = drawn(1)
    assert scored(truth, truth)["ccc"] == pytest.approx(1.0)
    assert scored(truth, 2 * truth.mean() - truth)["ccc"] == pytest.approx(-1.0)
    assert scored(truth, np.full_like(truth, 0.3))["ccc"] == 0.0
    assert scored(truth, truth + 1.0)["ccc"] == pytest.approx(2 * truth.var() / (2 * truth.var() + 1.0))
    assert scored(truth, truth + 1.0)["pearson"] == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(4))
def test_sentiment_on_the_scale_of_mosi_is_that_of_mmsa(seed: int) -> None:
    """Acc-2 and F1 with and without zero, Acc-5 and Acc-7, each counted sample by sample with Python's own rounding."""
    truth, predicted = drawn(seed)
    metrics, pairs = scored(truth, predicted, "-3..3"), list(zip(truth.tolist(), predicted.tolist(), strict=True))
    has0 = [(y >= 0, p >= 0) for y, p in pairs]
    non0 = [(y > 0, p > 0) for y, p in pairs if y != 0]
    assert 0 < len(non0) < len(pairs)
    for key, sides in (("has0", has0), ("non0", non0)):
        assert metrics[f"acc_2_{key}"] == pytest.approx(accuracy_score(*zip(*sides, strict=True)))
        assert metrics[f"f1_{key}"] == pytest.approx(f1_score(*zip(*sides, strict=True), average="weighted"))
    for classes, most in ((5, 2.0), (7, 3.0)):
        right = [round(min(max(y, -most), most)) == round(min(max(p, -most), most)) for y, p in pairs]
        assert metrics[f"acc_{classes}"] == pytest.approx(np.mean(right))
    assert metrics["acc_2"] is metrics["f1"] is metrics["acc_3"] is None


@pytest.mark.parametrize("seed", range(4))
def test_sentiment_on_the_scale_of_sims_has_its_own_borders(seed: int) -> None:
    """Two, three and five classes, each from above its lower border up to its upper one."""
    truth, predicted = drawn(seed, most=1.0)
    metrics = scored(truth, predicted, "-1..1")
    borders = {2: [0.0], 3: [-0.1, 0.1], 5: [-0.7, -0.1, 0.1, 0.7]}

    def class_of(value: float, classes: int) -> int:
        return sum(value > border for border in borders[classes])

    for classes in borders:
        right = [class_of(y, classes) == class_of(p, classes) for y, p in zip(truth, predicted, strict=True)]
        assert metrics[f"acc_{classes}"] == pytest.approx(np.mean(right))
    assert metrics["f1"] == pytest.approx(f1_score(truth > 0, predicted > 0, average="weighted"))
    assert metrics["acc_7"] is metrics["acc_2_has0"] is metrics["f1_non0"] is None


def test_halves_round_to_even_and_borders_hold_in_single_precision() -> None:
    """0.5 is class 0 and 1.5 and 2.5 are class 2, as NumPy rounds; the label 0.1 is neutral, as float32 has it."""
    values = np.array([0.5, 1.5, 2.5, -0.5, -1.5])
    assert scored(np.array([0.0, 2.0, 2.0, 0.0, -2.0]), values, "-3..3")["acc_7"] == 1.0
    border = np.array([0.1, -0.1], dtype=np.float32).astype(np.float64)
    assert scored(np.array([0.0, -0.5]), border, "-1..1")["acc_3"] == 1.0


def test_only_a_sentiment_with_both_signs_has_polarity() -> None:
    """The scale follows from the name and from the numbers of the training fold."""

    def scale(name: str, lowest: float, highest: float) -> SentimentScale | None:
        return sentiment_scale(name, TargetScale(0.0, 1.0, 0.0, lowest, highest))

    assert scale("sentiment", -3.0, 2.4) == scale("Sentiment_V", -1.2, 0.1) == "-3..3"
    assert scale("sentiment", -1.0, 0.8) == "-1..1"
    assert scale("valence", -1.0, 0.8) is scale("sentiment", 0.0, 3.0) is scale("sentiment", -4.0, 3.0) is None


@settings(max_examples=60, deadline=None)
@given(
    pairs=st.lists(
        st.tuples(*[st.sampled_from([-3.0, -0.5, 0.0, 1e-30, 0.1, 1.5]) | st.floats(-1e6, 1e6)] * 2), min_size=1
    ),
    scale=st.sampled_from([None, "-3..3", "-1..1"]),
)
def test_a_metric_is_a_number_or_none(pairs: list[tuple[float, float]], scale: Any) -> None:
    """No numbers, constant ones included, give NaN, infinity or a share beyond its ends."""
    truth, predicted = np.array(pairs).T
    for key, value in scored(truth, predicted, scale).items():
        low, high = (-1.0, 1.0) if key in ("ccc", "pearson") else (0.0, math.inf if key == "mae" else 1.0)
        assert value is None or low <= value <= high, key


def test_what_does_not_vary_has_no_correlation() -> None:
    """One number for all has no Pearson r; where the truth is that number it has no CCC, which counts as 0."""
    truth, flat = np.array([1.0, 2.0, 3.0]), np.full(3, 0.1)
    assert scored(truth, flat)["pearson"] is scored(flat, truth)["pearson"] is None
    same = score_numbers({"a": PredictedNumbers(flat, flat), "b": PredictedNumbers(truth, truth)})
    assert (same.targets["a"]["ccc"], same.metrics["ccc"], same.metrics["mae"]) == (None, 0.5, 0.0)
    assert constant_number(np.stack([flat, truth], axis=1), ("a", "b")) == "every sample is predicted a 0.1"
    assert constant_number(truth[:, None], ("b",)) is None


def test_the_score_of_several_targets_is_the_mean_of_theirs() -> None:
    """Each metric is the mean over the targets for which it is defined."""
    pairs = [drawn(seed) for seed in (3, 4)]
    both = score_numbers({"a": PredictedNumbers(*pairs[0], "-3..3"), "b": PredictedNumbers(*pairs[1])})
    for metric in registered_numbers():
        each = [value for values in both.targets.values() if (value := values[metric.key]) is not None]
        assert both.metrics[metric.key] == (pytest.approx(np.mean(each)) if each else None)
    assert both.metrics["acc_7"] == both.targets["a"]["acc_7"] is not None


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_a_resample_is_scored_as_its_samples_are(offset: float) -> None:
    """The CCC from sums over videos is that of the videos' samples, repeated as often as they were drawn."""
    truth, predicted = np.stack([np.add(drawn(seed), offset) for seed in (0, 1)], axis=2)
    videos = [f"v{row // 3}" for row in range(len(truth))]
    resampled = resampled_scores(truth, predicted[None], videos, 2, CCC)
    assert resampled is not None
    assert resampled.shape == (1000, 1, 2)
    random = np.random.default_rng(0).integers(0, 20, (1000, 20))
    for row in (0, 7, 999):
        taken = np.concatenate(
            [np.arange(3) + 3 * int(sorted({f"v{v}" for v in range(20)})[v][1:]) for v in random[row]]
        )
        for c in range(2):
            due = scored(truth[taken, c], predicted[taken, c])["ccc"]
            assert resampled[row, 0, c] == pytest.approx(due, abs=1e-6)
    interval = score_interval(truth, predicted, videos, 2, CCC)
    assert interval is not None
    assert interval[0] < CCC.overall(truth, predicted, 2) < interval[1]
    assert score_interval(truth, predicted, ["one"] * len(truth), 2, CCC) is None


def test_baselines_are_the_mean_and_the_median_of_training() -> None:
    """Each guess is one number of the training fold for every sample: its CCC is 0, its error what NumPy says."""
    training, test = drawn(5)[0], drawn(6)[0]
    objective = Regression(("sentiment",))
    objective.fit(torch.from_numpy(training[:, None]), ObjectiveSettings())
    guesses = number_baselines(objective, test[:, None])
    assert guesses.floor == 0.0
    for name, number in (("training mean", training.mean()), ("training median", np.median(training))):
        assert guesses.guesses[name]["mae"] == pytest.approx(np.abs(test - number).mean())
        assert guesses.guesses[name]["acc_2_has0"] == pytest.approx(((test >= 0) == (number >= 0)).mean())
    assert guesses.metrics["mae"] == min(each["mae"] for each in guesses.guesses.values() if each["mae"] is not None)
