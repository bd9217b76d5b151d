"""The fusion `experts`: answers of single modalities by Bayes' rule, and the model that has no head beside it."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import WIDTHS, write_numbers
from models import some_batch, some_model
from torch import Tensor, nn
from training import REGISTRY, evaluate, resume, small, start

from emotiwave_core.cli import exit_code_of
from emotiwave_core.config.recipe import ObjectiveSettings, Recipe
from emotiwave_core.data.corpus import open_corpus
from emotiwave_core.errors import SettingsError
from emotiwave_core.interfaces import AnsweringFusion, Encoded, Fused, Fusion, OutputSpace
from emotiwave_core.model.assemble import _let_answer, assemble
from emotiwave_core.model.terms import training_loss
from emotiwave_core.objectives import ClassObjective
from emotiwave_core.objectives.multi import MultiLabel
from emotiwave_core.objectives.settle import make_objective
from emotiwave_core.objectives.single import SingleLabel
from emotiwave_core.runs.saved_model import load_model
from emotiwave_fusions.experts import Experts

C, VALUES = 4, 5  # classes, and values that a modality may have
FUSION = {"fusion": {"name": "experts"}}


def expert_of(kind: Any, modalities: int, prior: Tensor) -> Experts:
    """Experts in float64 whose heads give back what they read."""
    fusion = Experts({str(m): C for m in range(modalities)})
    fusion.answer(OutputSpace(kind, C))
    for head in fusion.heads:
        nn.init.eye_(head.weight)
        nn.init.zeros_(head.bias)
    fusion.double().take_prior(prior)
    return fusion


def encoded(logits: list[np.ndarray[Any, Any]]) -> dict[str, Encoded]:
    """Pooled vectors that are these logits [B, C] of each modality."""
    mask = torch.ones(len(logits[0]), 1, dtype=torch.bool)
    pooled = [torch.from_numpy(each) for each in logits]
    return {str(m): Encoded(x[:, None], x, mask) for m, x in enumerate(pooled)}


@torch.no_grad()
def test_it_is_bayes_rule_on_independent_modalities() -> None:
    """From log p(y | x_m) of modalities that are drawn by p(x_m | y), it gives log p(y | x) of all that are present."""
    draw = np.random.default_rng(0)
    prior = draw.dirichlet(np.ones(C))
    likelihoods = draw.dirichlet(np.ones(VALUES), size=(3, C))  # p(x_m | y)
    x = np.array(list(product(range(VALUES), repeat=3)))  # every input that there is
    joint = [prior * likelihoods[m][:, x[:, m]].T for m in range(3)]  # p(y) p(x_m | y), [B, C]
    fusion = expert_of("single", 3, torch.from_numpy(np.log(prior) + 7.0))  # a constant is no part of a prior
    inputs = encoded([np.log(each / each.sum(axis=1, keepdims=True)) for each in joint])
    for kept in product((False, True), repeat=3):
        due = prior * np.prod(
            [likelihoods[m][:, x[:, m]].T for m in range(3) if kept[m]] or [np.ones((len(x), C))], axis=0
        )
        due /= due.sum(axis=1, keepdims=True)
        logits = fusion(inputs, torch.tensor(kept).expand(len(x), 3)).logits
        np.testing.assert_allclose(logits.softmax(dim=-1).numpy(), due, rtol=1e-12)


@torch.no_grad()
def test_each_of_several_labels_is_bayes_rule() -> None:
    """From the log-odds of a label given each modality, it gives those given all that are present."""
    draw = np.random.default_rng(1)
    prior = draw.uniform(0.05, 0.95, C)
    x = np.array(list(product(range(VALUES), repeat=2)))
    yes, no = draw.dirichlet(np.ones(VALUES), size=(2, 2, C))  # p(x_m | label), p(x_m | none)
    ratios = [np.log(yes[m][:, x[:, m]].T / no[m][:, x[:, m]].T) for m in range(2)]
    odds = np.log(prior / (1.0 - prior))
    fusion = expert_of("multi", 2, torch.from_numpy(odds))
    for kept in product((False, True), repeat=2):
        logits = fusion(encoded([odds + each for each in ratios]), torch.tensor(kept).expand(len(x), 2)).logits
        with_it = prior * np.prod([yes[m][:, x[:, m]].T ** kept[m] for m in range(2)], axis=0)
        without = (1 - prior) * np.prod(
            [no[m][:, x[:, m]].T for m in range(2) if kept[m]] or [np.ones((len(x), C))], axis=0
        )
        np.testing.assert_allclose(logits.sigmoid().numpy(), with_it / (with_it + without), rtol=1e-11)


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("tau", [0.0, 0.7])
@pytest.mark.parametrize("kind", [SingleLabel, MultiLabel])
def test_the_prior_has_the_least_loss_of_all_constants(kind: type[ClassObjective], weights: bool, tau: float) -> None:
    """Constant logits that are fitted to the loss itself, with its weights and adjustment, become the prior."""
    draw = torch.Generator().manual_seed(0)
    labels = (torch.rand(300, C, generator=draw) < torch.tensor([0.1, 0.3, 0.5, 0.8])).float()
    objective = kind(tuple("abcd")).double()
    settings = ObjectiveSettings(no_emotion="first", class_weights=weights, logit_adjustment=tau)
    objective.settings = settings
    targets = objective.targets(labels)
    objective.fit(targets, settings)
    constant = torch.zeros(C, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([constant], max_iter=200, tolerance_grad=1e-12, tolerance_change=0.0)

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = objective.losses(constant.expand(len(targets), C), targets)[0]
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call, arg-type]
    found, due = objective.answers(constant.detach()), objective.answers(objective.prior(targets).double())
    torch.testing.assert_close(found, due, atol=1e-6, rtol=1e-5)


def test_the_model_has_no_other_heads() -> None:
    """There is no head beside the fusion's, nor auxiliary ones: their loss reads what its own say of each modality."""
    recipe = Recipe.from_table({**FUSION, "objective": {"unimodal": 1.0}}, "a test")
    model = assemble(REGISTRY.resolve(recipe), WIDTHS, 6).train()
    assert not [name for name in model.state_dict() if name.startswith(("head", "unimodal"))]
    inputs, masks = some_batch()
    output = model.forward_masked(inputs, masks)
    assert output.unimodal is not None
    objective = make_objective(recipe.objective, tuple("abcdef"))
    loss = training_loss(objective, recipe.objective, output, None, torch.arange(6))[0]
    alone = output.present.sum(dim=1) == 1
    torch.testing.assert_close(
        output.logits[alone].log_softmax(-1), output.unimodal[output.present & alone[:, None]].log_softmax(-1)
    )
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(bool((head.weight.grad != 0).any()) for head in model.fusion.heads)  # type: ignore[union-attr]


def test_nothing_there_gets_the_prior() -> None:
    """A sample without any modality is answered by the prior, which is saved with the weights."""
    model = some_model(**FUSION)
    prior = torch.tensor([0.4, 0.3, 0.1, 0.1, 0.05, 0.05])
    assert isinstance(model.fusion, AnsweringFusion)
    model.fusion.take_prior(prior.log())
    inputs, masks = some_batch()
    with torch.inference_mode():
        logits = model(inputs, {m: torch.zeros_like(mask) for m, mask in masks.items()}).logits
    torch.testing.assert_close(logits.softmax(-1), prior.expand(6, 6), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(model.state_dict()["fusion.prior"].exp(), prior)


@pytest.mark.full
def test_a_run_rebuilds_from_its_own_files(tiny: Path, tmp_path: Path) -> None:
    """A run has the training fold's prior, goes on where it stopped, and is scored again with the same result."""
    recipe = small(**FUSION, objective={"kind": "multi", "class_weights": False})
    scores = start(recipe, tiny, tmp_path / "run")
    saved = load_model(tmp_path / "run", REGISTRY)
    targets = open_corpus(tiny, recipe.data).fold("train", saved.objective).targets
    torch.testing.assert_close(saved.model.state_dict()["fusion.prior"].sigmoid(), targets.mean(dim=0))
    assert evaluate(tmp_path / "run").to_dict() == scores.to_dict()
    assert resume(tmp_path / "run").to_dict() == scores.to_dict()
    start(small(**FUSION, objective={"kind": "multi"}), tiny, tmp_path / "weighted")
    weighted = load_model(tmp_path / "weighted", REGISTRY).model.state_dict()["fusion.prior"]
    assert weighted.sigmoid().numpy() == pytest.approx(0.5)  # of a loss that weighs there and not there alike


@pytest.mark.full
def test_a_head_that_is_not_built_is_said(tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A run whose recipe sets the head says that the fusion has none; a recipe that leaves it alone is told nothing."""
    command = ["run", "--data", str(tiny), "--encoder", "mean:width=4", "--set", "training.epochs=1", "--out"]
    for out, flags, said in (("a", ["--set", "model.head=64"], True), ("b", [], False)):
        assert exit_code_of([*command, str(tmp_path / out), "--fusion", "experts", *flags]) == 0
        sentence = "Note: the fusion 'experts' answers itself, and has no use for model.head."
        assert (sentence in capfd.readouterr().err) == said


@pytest.mark.full
def test_numbers_are_refused(tmp_path: Path) -> None:
    """A product of probabilities has no meaning for numbers, which is said in one sentence before the training."""
    (tmp_path / "numbers").mkdir()
    with pytest.raises(SettingsError, match="experts multiplies probabilities, and the labels are numbers"):
        start(small(**FUSION), write_numbers(tmp_path / "numbers"), tmp_path / "run")
    assert not (tmp_path / "run" / "model.json").exists()


class Wrapping(Fusion):
    """A fusion that reads another's vector."""

    def __init__(self, in_features: dict[str, int]) -> None:
        super().__init__()
        self.inner = Experts(in_features)
        self.out_features = self.inner.out_features

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        """Only what the other says."""
        return self.inner(encoded, present)  # type: ignore[no-any-return]


def test_one_that_answers_does_not_stand_inside_another() -> None:
    """Inside a fusion that leaves answering to the model's head it would be told nothing: it is refused."""
    part = REGISTRY.resolve(Recipe()).fusion
    with pytest.raises(SettingsError, match="has a Experts inside, which answers itself"):
        _let_answer(part, Wrapping(WIDTHS), OutputSpace("single", 6))
