"""Calibration: the definition in a plain loop, and data that are calibrated by construction."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from emotiwave_core.evaluate.calibration import calibration
from emotiwave_core.runs.schema import Fraction
from emotiwave_core.runs.scores import Bin, Calibration

seeds = st.integers(0, 2**32 - 1)
some = settings(max_examples=25, deadline=None)


def by_hand(said: list[float], true: list[bool]) -> tuple[float, list[tuple[float, float, int]]]:
    """Guo et al. 2017: the bins ((m - 1)/15, m/15], and the sum of |B|/n · |accuracy - confidence|."""
    error, bins = 0.0, []
    for m in range(15):
        inside = [i for i, p in enumerate(said) if m < 15 * p <= m + 1 or (m == 0 and p == 0)]
        if inside:
            confidence = math.fsum(said[i] for i in inside) / len(inside)
            frequency = sum(true[i] for i in inside) / len(inside)
            error += len(inside) / len(said) * abs(frequency - confidence)
            bins.append((confidence, frequency, len(inside)))
    return error, bins


def check(result: Calibration, due: tuple[float, list[tuple[float, float, int]]]) -> None:
    """The error and every bin are those that are due."""
    assert result.ece == pytest.approx(due[0], abs=1e-12)
    for one, other in zip(result.bins, due[1], strict=True):
        assert (one.confidence, one.frequency, one.count) == pytest.approx(other, abs=1e-12)


@given(seeds)
@some
def test_single_label_is_the_definition(seed: int) -> None:
    """The probability of the decided class against its being right, in 15 bins; empty ones are not listed."""
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet([0.5, 0.5, 0.5], 60)
    truth, decided = random.integers(0, 3, 60), probabilities.argmax(axis=1)
    said = [float(probabilities[n, decided[n]]) for n in range(60)]
    check(calibration(truth, decided, probabilities), by_hand(said, [bool(t) for t in truth == decided]))


@given(seeds)
@some
def test_multi_label_is_the_definition(seed: int) -> None:
    """The probability of each emotion against its presence, all emotions pooled, whatever the thresholds decide."""
    random = np.random.default_rng(seed)
    probabilities = random.random((40, 3)) ** 3
    probabilities[0] = [0.0, 1.0, 0.4]  # the ends, and the bound between two bins
    truth = random.integers(0, 2, (40, 3))
    due = by_hand(probabilities.ravel().tolist(), [bool(t) for t in truth.ravel()])
    for decided in (np.zeros_like(truth), truth):
        check(calibration(truth, decided, probabilities), due)


def exact(levels: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Of `levels` answers with the probability k/levels exactly k are true, for every k."""
    truth = np.array([[int(i < k)] for k in range(levels + 1) for i in range(levels)])
    return truth, np.array([[k / levels] for k in range(levels + 1) for _ in range(levels)])


@pytest.mark.parametrize("levels", [2, 5, 7, 10, 40])
def test_calibrated_data_have_no_error(levels: int) -> None:
    """Where k of n answers said with k/n are true, the error is 0 and every bin lies on the diagonal."""
    truth, probabilities = exact(levels)
    result = calibration(truth, truth, probabilities)
    assert result.ece == pytest.approx(0.0, abs=1e-12)
    assert all(one.confidence == pytest.approx(one.frequency) for one in result.bins)
    assert sum(one.count for one in result.bins) == len(truth)


def test_drawn_from_what_is_said_it_is_near_zero_and_overconfidence_is_seen() -> None:
    """Presence drawn with the probability that is said: near 0. The same said twice as surely: far from it."""
    random = np.random.default_rng(1)
    logits = random.normal(0, 1.5, (20000, 2))
    truth = (random.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.int64)
    assert calibration(truth, truth, 1 / (1 + np.exp(-logits))).ece < 0.01
    assert calibration(truth, truth, 1 / (1 + np.exp(-2 * logits))).ece > 0.05


@pytest.mark.parametrize(("right", "due"), [(9, 0.0), (5, 0.4), (0, 0.9)])
def test_one_confidence_errs_by_its_distance(right: int, due: float) -> None:
    """Ten answers with .9, of which `right` are right: the error is |right/10 - .9|, in one bin."""
    truth = np.array([0] * right + [1] * (10 - right))
    result = calibration(truth, np.zeros(10, dtype=np.int64), np.tile([0.9, 0.1], (10, 1)))
    assert result.ece == pytest.approx(due)
    assert result.bins == [Bin(pytest.approx(0.9), Fraction(right / 10), 10)]
