"""What makes a model robust beside its parts: further losses, and the average of its weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import CROSSMODAL, some_batch, some_model
from scipy.special import expit, log_expit, rel_entr, softmax
from torch import Tensor, nn
from torch.nn import functional
from training import small, start

from emotiwave_core.config.recipe import Asymmetric, ObjectiveSettings, Recipe, read_recipe
from emotiwave_core.errors import SettingsError
from emotiwave_core.interfaces import DropoutPolicy, Output, Tensors
from emotiwave_core.io.tensors import read_tensors
from emotiwave_core.layers.masking import present_in, whole_modalities
from emotiwave_core.model.terms import all_terms, needs_complete, training_loss, weighted_terms
from emotiwave_core.model.terms.unimodal import UnimodalHeads
from emotiwave_core.objectives import Objective
from emotiwave_core.objectives.settle import make_objective
from emotiwave_core.runs.folder import RECIPE
from emotiwave_core.runs.model_file import read_model_file
from emotiwave_core.runs.saved_model import WEIGHTS
from emotiwave_core.train.checkpoint import LAST
from emotiwave_core.train.optimise import moving_average

EMOTIONS = ("happy", "sad", "anger")
SINGLE, MULTI = make_objective(ObjectiveSettings(), EMOTIONS), make_objective(ObjectiveSettings("multi"), EMOTIONS)
seeds = st.integers(0, 2**32 - 1)


def logits_of(seed: int, *shape: int) -> Tensor:
    """Logits of float64."""
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_divergence_is_the_mean_kl_from_the_teacher(seed: int) -> None:
    """Single: KL(teacher, student) of the classes; multi: of each emotion's two outcomes, their mean."""
    student, teacher = logits_of(seed, 7, 3), logits_of(seed + 1, 7, 3)
    due = rel_entr(softmax(teacher.numpy(), axis=1), softmax(student.numpy(), axis=1)).sum(axis=1).mean()
    assert float(SINGLE.divergence(student, teacher)) == pytest.approx(due, rel=1e-9)
    p, q = expit(teacher.numpy()), expit(student.numpy())
    due = (rel_entr(p, q) + rel_entr(1 - p, 1 - q)).mean()
    assert float(MULTI.divergence(student, teacher)) == pytest.approx(due, rel=1e-9)


@pytest.mark.parametrize("objective", [SINGLE, MULTI], ids=["single", "multi"])
def test_who_agrees_with_the_teacher_learns_nothing_and_the_teacher_never_does(objective: Objective) -> None:
    """The divergence of equal predictions is 0 with gradient 0; a teacher gets no gradient from others."""
    student, teacher = logits_of(0, 5, 3).requires_grad_(), logits_of(1, 5, 3).requires_grad_()
    same = objective.divergence(student, student.detach().clone())
    same.backward()  # type: ignore[no-untyped-call]
    assert abs(same.item()) < 1e-12
    assert student.grad is not None
    assert float(student.grad.abs().max()) < 1e-12
    objective.divergence(student, teacher).backward()  # type: ignore[no-untyped-call]
    assert teacher.grad is None
    assert float(student.grad.abs().max()) > 1e-3


def asymmetric_of(shape: Asymmetric) -> Objective:
    """The objective of several labels with an asymmetric loss."""
    return make_objective(ObjectiveSettings("multi", asymmetric=shape), EMOTIONS)


def output_of(seed: int, present: Tensor, loss: float | None = None) -> Output:
    """A model's answer with heads of its own for each modality."""
    B, M = present.shape
    own = None if loss is None else torch.tensor(loss)
    return Output(logits_of(seed, B, 3).float(), None, own, present, logits_of(seed + 1, B, M, 3).float())


@pytest.mark.parametrize("objective", [SINGLE, MULTI], ids=["single", "multi"])
def test_auxiliary_heads_learn_where_their_modality_is(objective: Objective) -> None:
    """Their loss is the mean over the modalities that are present; an absent one gives no gradient."""
    present = torch.tensor([[1, 1], [1, 0], [0, 1], [0, 0]], dtype=torch.bool)
    output = output_of(0, present)
    assert output.unimodal is not None
    alone = output.unimodal.clone().requires_grad_()
    targets = torch.tensor([0, 2, 1, 1])
    targets = functional.one_hot(targets, 3).float() if objective.multi else targets
    loss = UnimodalHeads().loss(objective, output._replace(unimodal=alone), None, targets)
    due = [
        float(objective.losses(output.unimodal[b, m][None], targets[b][None])[1])
        for b in range(4)
        for m in range(2)
        if present[b, m]
    ]
    assert loss.item() == pytest.approx(np.mean(due), rel=1e-6)
    loss.backward()  # type: ignore[no-untyped-call]
    assert alone.grad is not None
    assert torch.equal((alone.grad != 0).any(dim=2), present)
    objective.weights.copy_(torch.tensor([1.0, 2.0, 5.0]))
    weighted = UnimodalHeads().loss(objective, output, None, targets)
    due = [objective.losses(output.unimodal[present[:, m], m], targets[present[:, m]])[0] for m in range(2)]
    shares = [float(objective.sample_weights(targets[present[:, m]]).sum()) for m in range(2)]
    objective.weights.fill_(1.0)
    assert float(weighted) == pytest.approx(np.average([float(one) for one in due], weights=shares), rel=1e-6)
    nobody = output._replace(present=torch.zeros_like(present))
    assert float(UnimodalHeads().loss(objective, nobody, None, targets)) == 0.0


def test_the_whole_is_the_weighted_sum() -> None:
    """The training loss is the loss of what was left, and each further one by its weight; a fusion's own counts too."""
    present = torch.tensor([[1, 0], [0, 1], [1, 1]], dtype=torch.bool)
    left, all_there = output_of(0, present, 0.25), output_of(5, torch.ones_like(present), 0.5)
    targets = torch.tensor([0, 2, 1])
    weighted = ObjectiveSettings(complete=0.5, distillation=2.0, unimodal=0.125)
    loss, each = training_loss(SINGLE, weighted, left, all_there, targets)
    plain, due_each = SINGLE.losses(left.logits, targets)
    due = plain + 0.25
    due = due + 0.5 * (SINGLE.losses(all_there.logits, targets)[0] + 0.5)
    due = due + 2.0 * SINGLE.divergence(left.logits, all_there.logits)
    due = due + 0.125 * UnimodalHeads().loss(SINGLE, all_there, None, targets)
    torch.testing.assert_close(loss, due)
    assert torch.equal(each, due_each)
    alone = training_loss(SINGLE, ObjectiveSettings(unimodal=0.125), left, None, targets)[0]
    torch.testing.assert_close(alone, plain + 0.25 + 0.125 * UnimodalHeads().loss(SINGLE, left, None, targets))
    torch.testing.assert_close(training_loss(SINGLE, ObjectiveSettings(), left, None, targets)[0], plain + 0.25)


def test_logit_adjustment_adds_the_log_priors() -> None:
    """In training tau log(N_c / N) is added to the logits (multi: the log-odds), and not in prediction."""
    targets, logits = torch.tensor([0, 0, 0, 2, 2, 1]), logits_of(0, 6, 3).float()
    objective = make_objective(ObjectiveSettings(), EMOTIONS)
    objective.fit(targets, ObjectiveSettings(class_weights=False, logit_adjustment=0.5))
    due = functional.cross_entropy(logits + 0.5 * torch.tensor([3 / 6, 1 / 6, 2 / 6]).log(), targets)
    torch.testing.assert_close(objective.losses(logits, targets)[0], due)
    torch.testing.assert_close(objective.answers(logits), logits.softmax(dim=1))

    many = functional.one_hot(targets, 3).float()
    binary = make_objective(ObjectiveSettings("multi"), EMOTIONS)
    binary.fit(many, ObjectiveSettings("multi", class_weights=False, logit_adjustment=2.0))
    due = functional.binary_cross_entropy_with_logits(logits + 2.0 * torch.tensor([3 / 3, 1 / 5, 2 / 4]).log(), many)
    torch.testing.assert_close(binary.losses(logits, many)[0], due)


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_priors_of_a_class_without_samples_are_finite(kind: Any) -> None:
    """A class that the training fold lacks, or has everywhere, gives a finite adjustment."""
    objective = make_objective(ObjectiveSettings(kind), EMOTIONS)
    targets = torch.tensor([0, 0, 2])
    objective.fit(functional.one_hot(targets, 3).float() if kind == "multi" else targets, ObjectiveSettings(kind))
    objective.fit(torch.ones(4, 3) if kind == "multi" else targets, ObjectiveSettings(kind, logit_adjustment=1.0))
    assert bool(objective.adjustment.isfinite().all())


@given(seeds, st.floats(0, 4), st.floats(0, 4), st.floats(0, 0.5))
@settings(max_examples=40, deadline=None)
def test_the_asymmetric_loss_follows_its_equation(seed: int, up: float, down: float, margin: float) -> None:
    """A positive costs -(1-p)^γ+ log p, a negative -q^γ- log(1-q) with q = max(p - margin, 0), one by one."""
    logits = logits_of(seed, 5, 3)
    targets = (logits_of(seed + 1, 5, 3) > 0).double()
    objective = asymmetric_of(Asymmetric(up, down, margin)).double()
    objective.weights.copy_(torch.tensor([1.0, 2.0, 3.0]))
    each = objective.losses(logits, targets)[1]
    for b in range(5):
        costs = []
        for c in range(3):
            x = logits[b, c].item()
            p = float(expit(x))
            q = max(p - margin, 0.0)
            positive, negative = (1 - p) ** up * float(log_expit(x)) * (c + 1), q**down * np.log(1 - q)
            costs.append(-positive if targets[b, c] else -negative)
        assert float(each[b]) == pytest.approx(np.mean(costs), rel=1e-6, abs=1e-12)


def test_a_symmetric_asymmetric_loss_is_cross_entropy_and_stays_finite() -> None:
    """Without focus and margin it is binary cross-entropy; far out, loss and gradient are finite."""
    logits, targets = logits_of(0, 50, 3).float(), (logits_of(1, 50, 3) > 0).float()
    plain, _ = MULTI.losses(logits, targets)
    torch.testing.assert_close(asymmetric_of(Asymmetric(0.0, 0.0, 0.0)).losses(logits, targets)[0], plain)

    far, none = torch.tensor([[19.0, 60.0, -60.0]]), torch.zeros(1, 3)
    symmetric = asymmetric_of(Asymmetric(0.0, 0.0, 0.0))
    torch.testing.assert_close(symmetric.losses(far, none)[0], MULTI.losses(far, none)[0])
    torch.testing.assert_close(symmetric.losses(far, 1 - none)[0], MULTI.losses(far, 1 - none)[0])

    for shape in (Asymmetric(), Asymmetric(0.0, 0.0, 0.0), Asymmetric(2.0, 0.5, 0.2), Asymmetric(0.5, 0.5, 0.0)):
        far = torch.tensor([[-1000.0, 17.0, 1000.0]] * 2).requires_grad_()
        loss, _ = asymmetric_of(shape).losses(far, torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]))
        loss.backward()  # type: ignore[no-untyped-call]
        assert bool(loss.isfinite())
        assert far.grad is not None
        assert bool(far.grad.isfinite().all())
    easy = torch.full((1, 3), -4.0)  # p = 0.018, below the margin of 0.05
    loss, _ = asymmetric_of(Asymmetric()).losses(easy, torch.zeros(1, 3))
    assert float(loss) == 0.0


def test_the_asymmetric_loss_is_for_multi_label() -> None:
    """With single-label it is refused, by its key."""
    with pytest.raises(SettingsError, match=r"'objective.asymmetric' is a loss for kind = \"multi\""):
        Recipe.from_table({"objective": {"asymmetric": {}}}, "mine")


class Halves(DropoutPolicy):
    """Drops whole modalities, or the first half of the steps."""

    def __init__(self, *, steps: bool) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, masks: Tensors, progress: Tensor) -> Tensors:
        """The second modality of the first rows, or the early steps of what has several."""
        left = {m: mask.clone() for m, mask in masks.items()}
        if self.steps:
            left["audio"][:, :3] &= ~masks["audio"][:, 3:].any(dim=1, keepdim=True)
        else:
            left["audio"][:2] = False
            left["text"][3:] = False
        return left


@pytest.mark.short_rows(3)
@pytest.mark.parametrize("steps", [False, True], ids=["modalities", "steps"])
@pytest.mark.parametrize("absent", ["mask", "zeros"])
@pytest.mark.parametrize("fusion", ["concat", CROSSMODAL], ids=["concat", "crossmodal"])
def test_both_passes_are_the_two_that_they_stand_for(fusion: Any, absent: str, steps: bool) -> None:
    """In training one pass gives what a forward pass says after the policy, and what it says without one."""
    model, (inputs, masks) = some_model(fusion=fusion, model={"absent": absent}), some_batch()
    for module in model.modules():
        module.training = not isinstance(module, nn.Dropout)  # what is drawn would differ
        if hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = 0.0
    model.policy = Halves(steps=steps)
    left = model.policy(masks, torch.zeros(()))
    assert whole_modalities(masks, left) is not steps
    output, complete = model.forward_both(inputs, masks, left, not steps)
    plain = model(inputs, masks)
    torch.testing.assert_close(output.logits, plain.logits, atol=1e-6, rtol=1e-5)
    assert torch.equal(output.present, plain.present)
    assert not torch.equal(output.present, present_in(masks)) or steps
    model.policy = Halves(steps=steps).eval()
    model.policy.forward = lambda masks, progress: masks  # type: ignore[method-assign]
    torch.testing.assert_close(complete.logits, model(inputs, masks).logits, atol=1e-6, rtol=1e-5)


def test_the_average_follows_the_weights() -> None:
    """average = decay · average + (1 - decay) · weights after each step, from the weights of the first one."""
    model = some_model()
    average = moving_average(model, 0.9)
    due: dict[str, Tensor] = {}
    for step in range(4):
        torch.manual_seed(step)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                weight.normal_()
                due[name] = 0.9 * due[name] + 0.1 * weight if step else weight.clone()
        average.update_parameters(model)
    for name, weight in average.module.named_parameters():
        torch.testing.assert_close(weight, due[name])


def test_the_average_is_what_is_scored_and_kept(tiny: Path, tmp_path: Path) -> None:
    """With training.ema the model of a run is the average at its best epoch, and not the weights that were trained."""
    run = tmp_path / "run"
    start(small(training={"ema": 0.9, "epochs": 1}), tiny, run)
    kept, last = read_tensors(run / WEIGHTS)[0], read_tensors(run / LAST)[0]
    for name, tensor in kept.items():
        assert torch.equal(tensor, last[f"average.module.{name}"]), name
    assert any(not torch.equal(tensor, last[f"model.{name}"]) for name, tensor in kept.items())


def test_all_of_it_in_one_run(tiny: Path, tmp_path: Path) -> None:
    """A run with everything on trains, writes its recipe whole, and can be scored again without the heads' help."""
    extras = {"kind": "multi", "complete": 0.5, "distillation": 1.0, "unimodal": 0.3, "logit_adjustment": 0.5}
    recipe = small(objective=extras | {"asymmetric": {"gamma_negative": 2.0}}, training={"ema": 0.5, "epochs": 2})
    start(recipe, tiny, tmp_path / "run")
    assert Recipe.from_table(read_recipe(tmp_path / "run" / RECIPE), "it").objective == recipe.objective
    heads = [name for name in read_tensors(tmp_path / "run" / WEIGHTS)[0] if name.startswith("unimodal.")]
    assert len(heads) == 6
    assert read_model_file(tmp_path / "run").recipe["objective"]["asymmetric"]["gamma_negative"] == 2.0


def test_all_of_it_is_off_by_default() -> None:
    """A recipe that names none of it has the plain loss, no head beside the model's own, and no average."""
    recipe = small()
    table = recipe.to_table()["objective"]
    assert {key: value for key, value in table.items() if key not in ("kind", "no_emotion", "class_weights")} == {
        "complete": 0.0,
        "distillation": 0.0,
        "unimodal": 0.0,
        "logit_adjustment": 0.0,
        "smoothing": 0.0,
    }
    assert recipe.training.ema == 0.0
    model, (inputs, masks) = some_model(), some_batch()
    assert not any(name.startswith("unimodal") for name, _ in model.named_parameters())
    assert model.train()(inputs, masks).unimodal is None


def test_every_further_loss_is_one_file_with_its_weight_in_the_recipe() -> None:
    """Each term has a weight of its own name in [objective], off by default; a recipe gets what it asks for."""
    names = [term.setting for term in all_terms()]
    assert names == ["complete", "distillation", "unimodal"]
    assert weighted_terms(ObjectiveSettings()) == []
    chosen = weighted_terms(ObjectiveSettings(unimodal=0.5, distillation=2.0))
    assert [(weight, term.setting) for weight, term in chosen] == [(2.0, "distillation"), (0.5, "unimodal")]
    assert needs_complete(ObjectiveSettings(distillation=1.0))
    assert not needs_complete(ObjectiveSettings(unimodal=1.0))
