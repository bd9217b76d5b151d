"""The objectives are torch's losses and scikit-learn's class weights, and treat rows without emotion as told."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight
from torch import Tensor, nn

from emotiwave_core.config.recipe import ObjectiveSettings
from emotiwave_core.objectives import Objective
from emotiwave_core.objectives.settle import make_objective
from emotiwave_core.objectives.single import NO_EMOTION

EMOTIONS = ("happy", "sad", "anger")
LABELS = torch.tensor([[0.0, 2.0, 1.0], [0.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.3], [0.0, -1.0, 0.0]])
seeds = st.integers(0, 2**32 - 1)


def single(no_emotion: str = "drop") -> Objective:
    """The objective `single`."""
    return make_objective(ObjectiveSettings("single", no_emotion), EMOTIONS)  # type: ignore[arg-type]


def multi() -> Objective:
    """The objective `multi`."""
    return make_objective(ObjectiveSettings("multi"), EMOTIONS)


def used_targets(objective: Objective, labels: Tensor = LABELS) -> list[int]:
    """The targets of the rows that take part."""
    found: list[int] = objective.targets(labels[objective.used(labels)]).tolist()
    return found


def test_rows_without_emotion_are_dropped_first_or_a_class() -> None:
    """A row without an intensity above 0 is left out, or the first class, or one of its own; ties go to the first."""
    assert used_targets(single("drop")) == [1, 0, 2]
    assert used_targets(single("first")) == [1, 0, 0, 2, 0]
    assert used_targets(single("class")) == [1, 3, 0, 2, 3]
    assert single("drop").classes == single("first").classes == EMOTIONS
    assert single("class").classes == (*EMOTIONS, NO_EMOTION)


@given(st.lists(st.lists(st.sampled_from([0.0, 0.33, 1.0, 2.0, 3.0]), min_size=3, max_size=3), min_size=1, max_size=9))
def test_first_is_what_argmax_makes_of_zeros(rows: list[list[float]]) -> None:
    """For intensities of 0 and above, `first` is numpy's argmax of every row: the notebook's targets."""
    assert used_targets(single("first"), torch.tensor(rows)) == np.argmax(rows, axis=1).tolist()


def test_multi_is_an_intensity_above_zero() -> None:
    """Each emotion is there where its intensity is above 0, and every row takes part."""
    assert multi().used(LABELS).all()
    assert multi().targets(LABELS).tolist() == [[0, 1, 1], [0, 0, 0], [1, 1, 0], [0, 0, 1], [0, 0, 0]]


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_single_is_torch_s_cross_entropy(seed: int) -> None:
    """With class weights of scikit-learn's "balanced", it is nn.CrossEntropyLoss, of batch and sample."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.cat([torch.arange(3), torch.randint(3, (20,), generator=generator)])
    logits = 5 * torch.randn(len(targets), 3, generator=generator)
    objective = single()
    for weight in (
        None,
        torch.from_numpy(compute_class_weight("balanced", classes=np.arange(3), y=targets.numpy())).float(),
    ):
        batch = logits[:9], targets[:9]  # of other proportions than the fold
        loss, each = objective.losses(*batch)
        torch.testing.assert_close(loss, nn.CrossEntropyLoss(weight)(*batch))
        torch.testing.assert_close(each, nn.CrossEntropyLoss(weight, reduction="none")(*batch))
        objective.fit_weights(targets)
    torch.testing.assert_close(objective.weights, weight)


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_multi_is_torch_s_binary_cross_entropy(seed: int) -> None:
    """With positive weights N_absent / N_present the loss is nn.BCEWithLogitsLoss, and of each sample its mean."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.cat([torch.ones(1, 3), torch.zeros(1, 3), (torch.rand(20, 3, generator=generator) < 0.3).float()])
    logits = 5 * torch.randn(len(targets), 3, generator=generator)
    objective = multi()
    for weight in (None, (1 - targets).sum(dim=0) / targets.sum(dim=0)):
        loss, each = objective.losses(logits, targets)
        torch.testing.assert_close(loss, nn.BCEWithLogitsLoss(pos_weight=weight)(logits, targets))
        due = nn.BCEWithLogitsLoss(pos_weight=weight, reduction="none")(logits, targets).mean(dim=1)
        torch.testing.assert_close(each, due)
        objective.fit_weights(targets)
    torch.testing.assert_close(objective.weights, weight)


def test_weights_balance_the_classes() -> None:
    """Every class weighs the same in total, whether single (over its samples) or multi (present against absent)."""
    targets = torch.tensor([0, 0, 0, 0, 1, 2, 2])
    objective = single()
    objective.fit_weights(targets)
    np.testing.assert_allclose(
        objective.weights[targets], compute_sample_weight("balanced", targets.numpy()), rtol=1e-6
    )
    many = nn.functional.one_hot(targets, 3).float()
    binary = multi()
    binary.fit_weights(many)
    torch.testing.assert_close((binary.weights * many).sum(dim=0), (1 - many).sum(dim=0))


def test_a_class_without_samples_breaks_nothing() -> None:
    """A class that the training fold lacks (or has everywhere) gives finite weights and a finite loss."""
    objective = single()
    objective.fit_weights(torch.tensor([0, 0, 2]))
    assert objective.weights.tolist() == [0.5, 0.0, 1.0]
    assert torch.isfinite(objective.losses(torch.zeros(2, 3), torch.tensor([0, 2]))[0])
    binary = multi()
    binary.fit_weights(torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 1.0], [1.0, 0.0, 0.0]]))
    assert binary.weights.tolist() == [1.0, 1.0, 2.0]


def test_decisions() -> None:
    """Single is the most probable class; multi is above its emotion's threshold, 0.5 where none was tuned."""
    probabilities = np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]])
    assert single().decide(probabilities, None).tolist() == [1, 0]
    assert multi().decide(probabilities, None).tolist() == [[0, 0, 0], [1, 0, 0]]
    assert multi().decide(probabilities, np.array([0.1, 0.3, 0.3])).tolist() == [[1, 1, 0], [1, 0, 0]]


def test_probabilities() -> None:
    """Softmax for single, a sigmoid for each emotion for multi, over the last dimension of any shape."""
    logits = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    exponential = logits.exp()
    torch.testing.assert_close(single().answers(logits), exponential / exponential.sum(dim=-1, keepdim=True))
    torch.testing.assert_close(multi().answers(logits), 1 / (1 + (-logits).exp()))


@pytest.mark.parametrize("make", [single, multi])
def test_weights_are_ones_until_fitted(make: type) -> None:
    """Without class weights, every class weighs 1."""
    assert make().weights.tolist() == [1.0, 1.0, 1.0]


@given(seeds, st.floats(0.0, 0.9))
@settings(max_examples=15, deadline=None)
def test_label_smoothing_is_the_loss_against_spread_targets(seed: int, smoothing: float) -> None:
    """Single: cross-entropy to (1 - e) y + e / C. Multi: binary cross-entropy to 1 - e / 2 and e / 2."""
    random = np.random.default_rng(seed)
    logits, classes, labels = 3 * random.normal(size=(6, 3)), random.integers(0, 3, 6), random.integers(0, 2, (6, 3))
    softmax, sigmoid = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), 1 / (1 + np.exp(-logits))
    spread = (1 - smoothing) * np.eye(3)[classes] + smoothing / 3
    target = np.where(labels == 1, 1 - smoothing / 2, smoothing / 2)
    for kind, targets, due in (
        ("single", classes, -(spread * np.log(softmax)).sum(axis=1)),
        ("multi", labels, -(target * np.log(sigmoid) + (1 - target) * np.log(1 - sigmoid)).mean(axis=1)),
    ):
        objective = make_objective(ObjectiveSettings(kind, smoothing=smoothing, class_weights=False), EMOTIONS)
        given_targets = torch.from_numpy(targets) if kind == "single" else torch.from_numpy(targets).float()
        losses = objective.losses(torch.from_numpy(logits).float(), given_targets)[1]
        assert losses.tolist() == pytest.approx(due.tolist(), rel=1e-4)
