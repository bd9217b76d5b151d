"""Degenerate numbers in the functions that make scores: defined results, and no warning of NumPy or scikit-learn."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from emotiwave_core.config.recipe import Asymmetric, ObjectiveSettings
from emotiwave_core.data.loading.batch import feature_statistics
from emotiwave_core.evaluate.baselines import baselines
from emotiwave_core.evaluate.bootstrap import resampled_scores, score_interval
from emotiwave_core.evaluate.calibration import calibration
from emotiwave_core.evaluate.scoring import score_configuration
from emotiwave_core.layers.standardise import CLIP, Standardise
from emotiwave_core.metrics import Outcomes
from emotiwave_core.metrics.decisions import tune_thresholds
from emotiwave_core.metrics.macro_f1 import macro_f1
from emotiwave_core.objectives.settle import make_objective
from emotiwave_core.objectives.single import SingleLabel
from emotiwave_core.runs.schema import converter

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning", "error::UserWarning")
some = settings(max_examples=25, deadline=None)
Numbers = NDArray[np.int64]
CHANCES = [0.0, 1e-300, 0.5, 1.0 - 1e-16, 1.0]
LOGITS = [-1e4, -80.0, 0.0, 80.0, 1e4]
EXTREMES = [0.0, -0.0, 1e-45, 1e-38, 1.0, -3e38, 3e38]


def finite(found: Any) -> bool:
    """Whether every number in a table is finite; None is what is not defined."""
    if isinstance(found, dict):
        return all(map(finite, found.values()))
    if isinstance(found, list):
        return all(map(finite, found))
    return found is None or isinstance(found, str) or math.isfinite(found)


@st.composite
def answers(draw: st.DrawFn) -> tuple[Numbers, Numbers, NDArray[np.float64], tuple[str, ...]]:
    """Truth and decisions of 1 to 6 samples and 1 to 4 classes, single or multi, and probabilities at the edges."""
    N, C, multi = draw(st.integers(1, 6)), draw(st.integers(1, 4)), draw(st.booleans())
    shape, top = ((N, C), 1) if multi else ((N,), C - 1)

    def decided() -> Numbers:
        number = draw(st.sampled_from([0, top, None]))
        flat = [draw(st.integers(0, top)) if number is None else number for _ in range(int(np.prod(shape)))]
        return np.array(flat, dtype=np.int64).reshape(shape)

    chances = np.array([draw(st.sampled_from(CHANCES)) for _ in range(N * C)]).reshape(N, C)
    return decided(), decided(), chances, tuple("abcd"[:C])


@given(answers())
@some
def test_scores_are_finite(drawn: Any) -> None:
    """All scores, the best constant guess, calibration and intervals are finite or None, and shares lie in [0, 1]."""
    truth, decided, chances, classes = drawn
    scores = score_configuration(Outcomes(truth, decided, chances, classes), None, 1.0)
    guesses = baselines(truth, classes)
    assert finite(converter.unstructure(scores))
    assert finite(converter.unstructure(guesses))
    assert finite(converter.unstructure(calibration(truth, decided, chances)))
    for metrics in (scores.metrics, guesses.metrics, *(one.metrics for one in scores.classes.values())):
        assert all(0.0 <= value <= 1.0 for value in metrics.values() if value is not None)
    assert 0.0 <= macro_f1(truth, decided, len(classes)) <= 1.0
    for videos in (["v"] * len(truth), [str(n) for n in range(len(truth))]):
        resampled = resampled_scores(truth, decided[None], videos, len(classes))
        interval = score_interval(truth, decided[None], videos, len(classes))
        assert (resampled is None) == (interval is None) == (len(set(videos)) < 2)
        assert resampled is None or bool(((resampled >= 0) & (resampled <= 1)).all())
        assert interval is None or bool((interval[..., 0] <= interval[..., 1]).all())


@given(answers())
@some
def test_thresholds_are_of_the_grid(drawn: Any) -> None:
    """With no positive, all positive or probabilities of 0 and 1, each threshold is between 0.01 and 0.99."""
    truth, _, chances, classes = drawn
    binary = truth if truth.ndim == 2 else np.eye(len(classes), dtype=np.int64)[truth]
    found = tune_thresholds(binary, np.stack([chances, 1.0 - chances]))
    assert found.shape == (len(classes),)
    assert bool(((found >= 0.01) & (found <= 0.99)).all())


class Rows:
    """As much of a store as the statistics read: samples of one modality."""

    step_present = None

    def __init__(self, values: list[list[float]], lengths: list[int]) -> None:
        self.values = {"m": torch.tensor(values, dtype=torch.float32).reshape(-1, 2)}
        self.offsets = {"m": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)}
        self.features = {"m": 2}


@given(st.lists(st.tuples(st.sampled_from(EXTREMES), st.sampled_from(EXTREMES)), max_size=7), st.integers(0, 3))
@some
def test_standardised_features_are_finite(values: list[tuple[float, float]], empty: int) -> None:
    """For any float32: mean and scale are finite, and what is standardised with them lies within the clip."""
    store: Any = Rows([list(pair) for pair in values], [0] * empty + [1] * len(values))
    mean, scale = feature_statistics(store, "m", np.arange(empty + len(values)))
    assert bool(torch.isfinite(mean).all() & torch.isfinite(scale).all())
    scaler = Standardise(2)
    scaler.fit(mean, scale)
    found = scaler(torch.tensor([[a, b] for a in EXTREMES for b in EXTREMES]))
    assert bool((found.abs() <= CLIP).all())


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=6), st.sampled_from([-1e4, -80.0, 0.0, 80.0, 1e4]), st.booleans()
)
@some
def test_losses_and_their_gradients_are_finite(targets: list[int], logit: float, adjusted: bool) -> None:
    """For any targets, one class or none of a class, and logits far out: loss and gradient are finite."""
    fitted = ObjectiveSettings(class_weights=not adjusted, logit_adjustment=float(adjusted))
    classes, chosen = ("a", "b", "c", "d"), torch.tensor(targets)
    binary = torch.nn.functional.one_hot(chosen, 4).float()
    cases = [(SingleLabel(classes), chosen)]
    for some_targets in (binary, torch.zeros_like(binary), torch.ones_like(binary)):
        for asymmetric in (None, Asymmetric(), Asymmetric(gamma_negative=0.5, gamma_positive=0.5, margin=0.0)):
            cases.append((make_objective(ObjectiveSettings("multi", asymmetric=asymmetric), classes), some_targets))
    for objective, due in cases:
        objective.fit(due, fitted)
        logits = torch.zeros(len(targets), 4)
        logits[:, 0] = logit
        logits.requires_grad_()
        loss, each = objective.losses(logits, due)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert bool(torch.isfinite(loss) & torch.isfinite(each).all() & torch.isfinite(gradient).all())
        assert bool(torch.isfinite(objective.answers(logits)).all())
        assert bool(torch.isfinite(objective.divergence(logits, logits.flip(0))))
