"""Numbers as an objective, and the kind of objective that labels ask for."""

from typing import Any

import numpy as np
import pytest
import torch

from emotiwave_core.config.recipe import ObjectiveSettings, Recipe
from emotiwave_core.errors import SettingsError
from emotiwave_core.objectives.regression import Regression
from emotiwave_core.objectives.settle import make_objective, settle

TARGETS = ("valence", "arousal")


def fitted(loss: str | None = None) -> tuple[Regression, torch.Tensor]:
    """An objective of two targets on scales of their own, and the numbers it was fitted to."""
    numbers = torch.randn(50, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([0.2, 30.0]) + 5.0
    objective = make_objective(ObjectiveSettings("regression", loss=loss), TARGETS)  # type: ignore[arg-type]
    assert isinstance(objective, Regression)
    objective.fit(numbers, ObjectiveSettings("regression"))
    return objective, numbers


@pytest.mark.parametrize("loss", [None, "mse", "mae"])
def test_the_loss_is_the_error_in_deviations_of_the_training_fold(loss: str | None) -> None:
    """It is the mean squared (or absolute) difference of the standardised numbers, and nothing of the other scale."""
    objective, numbers = fitted(loss)
    logits = torch.randn(50, 2)
    z = (numbers.double().numpy() - numbers.double().numpy().mean(0)) / numbers.double().numpy().std(0)
    error = logits.numpy() - z
    each = (np.abs(error) if loss == "mae" else error**2).mean(axis=1)
    whole, losses = objective.losses(logits, numbers)
    np.testing.assert_allclose(losses.numpy(), each, rtol=1e-4, atol=1e-5)
    assert float(whole) == pytest.approx(each.mean(), rel=1e-4)


def test_an_answer_is_in_the_unit_of_the_labels() -> None:
    """Perfect outputs have no loss and answer the labels; zeros answer the mean of the training fold."""
    objective, numbers = fitted()
    perfect = (numbers - objective.mean) / objective.deviation
    assert float(objective.losses(perfect, numbers)[0]) == pytest.approx(0.0, abs=1e-10)
    torch.testing.assert_close(objective.answers(perfect), numbers)
    torch.testing.assert_close(objective.answers(torch.zeros(2)), numbers.mean(dim=0))
    answers = objective.answers(perfect).double().numpy()
    assert objective.decide(answers, None) is answers
    assert bool(objective.used(numbers).all())


def test_a_scale_is_restored_as_it_was_fitted() -> None:
    """An objective that takes the scale of another answers the same; a target that never varies keeps its numbers."""
    objective, _ = fitted()
    other = Regression(TARGETS)
    other.restore(objective.scale)
    logits = torch.randn(5, 2)
    assert torch.equal(other.answers(logits), objective.answers(logits))
    objective.fit(torch.full((4, 2), 0.1), ObjectiveSettings())
    assert objective.scale["valence"].deviation == 1.0
    torch.testing.assert_close(objective.answers(torch.zeros(2)), torch.full((2,), 0.1))


def test_distillation_is_half_the_squared_distance_and_teaches_the_student_alone() -> None:
    """The divergence is that of two normal distributions of deviation 1; the teacher gets no gradient."""
    objective, _ = fitted()
    student, teacher = torch.randn(6, 2, requires_grad=True), torch.randn(6, 2, requires_grad=True)
    divergence = objective.divergence(student, teacher)
    normal = torch.distributions.Normal
    due = torch.distributions.kl_divergence(normal(teacher, 1.0), normal(student, 1.0)).mean()
    torch.testing.assert_close(divergence, due)
    divergence.backward()  # type: ignore[no-untyped-call]
    assert teacher.grad is None
    assert student.grad is not None


@pytest.mark.parametrize(
    ("labels", "kind"),
    [("intensities", "single"), ("classes", "single"), ("multi", "multi"), ("regression", "regression")],
)
def test_auto_follows_the_labels(labels: str, kind: str) -> None:
    """Left to the labels, each of their kinds has its objective, and the settings say which."""
    settled = settle(ObjectiveSettings(), TARGETS, labels)
    assert settled.kind == kind
    assert make_objective(settled, TARGETS).kind == kind
    assert settle(settled, TARGETS, labels) == settled


@pytest.mark.parametrize(
    ("settings", "labels", "targets", "said"),
    [
        (
            {"kind": "single"},
            "regression",
            TARGETS,
            'is "single", and the labels are of the kind "regression": set it to "regression"',
        ),
        ({"kind": "multi"}, "regression", TARGETS, 'or to "auto", or say'),
        ({"kind": "single"}, "multi", TARGETS, 'set it to "multi", or to "auto"'),
        ({"kind": "regression"}, "classes", TARGETS, 'set it to "single", "multi", or to'),
        ({"kind": "regression"}, "multi", TARGETS, "`kind` under"),
        ({}, "intensities", ("happy",), "a task of one class, happy"),
        ({"no_emotion": "class"}, "classes", ("happy", "no emotion"), "A target is called 'no emotion'"),
        ({"logit_adjustment": 1.0}, "regression", TARGETS, "objective.logit_adjustment is for classes"),
        ({"no_emotion": "first"}, "regression", TARGETS, "objective.no_emotion is for classes"),
        ({"smoothing": 0.1}, "regression", TARGETS, "objective.smoothing is for classes"),
        ({"loss": "mae"}, "intensities", TARGETS, "objective.loss is for numbers"),
    ],
)
def test_a_contradiction_is_one_sentence(
    settings: dict[str, Any], labels: str, targets: tuple[str, ...], said: str
) -> None:
    """What the labels contradict, or what means nothing to them, is refused with the way out."""
    with pytest.raises(SettingsError) as refused:
        settle(ObjectiveSettings(**settings), targets, labels)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_one_class_with_no_emotion_as_another_is_a_task() -> None:
    """It is there or it is nowhere: two classes. So it is for several labels."""
    assert settle(ObjectiveSettings(no_emotion="class"), ("happy",), "intensities").kind == "single"
    assert settle(ObjectiveSettings("multi"), ("happy",), "intensities").kind == "multi"


def test_a_loss_of_numbers_is_refused_for_classes_in_the_recipe() -> None:
    """`loss` beside another kind is an error of the recipe, before any data are read."""
    with pytest.raises(SettingsError, match=r"'objective\.loss' is for kind"):
        Recipe.from_table({"objective": {"kind": "multi", "loss": "mae"}}, "It")
    assert "loss" not in Recipe().to_table()["objective"]
