"""The shipped objectives that are plugins: their losses, and how a recipe names them."""

import math
import tomllib
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from datasets import write_numbers
from killed_runs import killed_at, outcome
from torch import Tensor
from torch.nn import functional
from training import REGISTRY, evaluate, resume, small, start
from trusted import trust_here

import emotiwave as ew
from emotiwave_core.cli import exit_code_of
from emotiwave_core.compare.plan import row_of
from emotiwave_core.config.flags import override
from emotiwave_core.config.recipe import Asymmetric, Recipe
from emotiwave_core.errors import PluginError, SettingsError
from emotiwave_core.interfaces import Mixture, Output
from emotiwave_core.objectives.multi import asymmetric_loss
from emotiwave_core.runs.saved_model import load_model
from emotiwave_objectives.focal import Focal
from emotiwave_objectives.supervised_contrastive import SupervisedContrastive, contrastive_losses

CLASSES = ("happy", "sad", "anger")
CONTRASTIVE = {"name": "supervised_contrastive", "options": {"weight": 2.0}}


def logits_and_classes(count: int = 9) -> tuple[Tensor, Tensor]:
    """Random logits [B, C] and classes [B]."""
    draw = torch.Generator().manual_seed(0)
    return 3.0 * torch.randn(count, len(CLASSES), generator=draw), torch.randint(len(CLASSES), (count,), generator=draw)


def alone(logits: Tensor, **states: Any) -> Output:
    """An output of these logits."""
    return Output(logits, None, None, torch.ones(len(logits), 1, dtype=torch.bool), **states)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_is_lin_s_equation(gamma: float) -> None:
    """It is -(1 - p)^gamma log p of the target's probability; with gamma 0 cross-entropy."""
    logits, classes = logits_and_classes()
    losses = Focal(CLASSES, gamma=gamma).sample_losses(alone(logits), classes)
    p = [row.softmax(-1)[c].item() for row, c in zip(logits.double(), classes, strict=True)]
    assert losses.tolist() == pytest.approx([-((1 - each) ** gamma) * math.log(each) for each in p], rel=1e-5)


def test_focal_of_a_sigmoid_is_the_asymmetric_loss_without_asymmetry() -> None:
    """Of two classes, the softmax of (z, 0) is the sigmoid of z: both losses say the same, as the docstring claims."""
    z = torch.linspace(-6, 6, 25)
    even = Asymmetric(gamma_positive=2.0, gamma_negative=2.0, margin=0.0)
    for target in (0, 1):
        targets = torch.full_like(z, float(target))[:, None]
        due = asymmetric_loss(z[:, None], targets, torch.ones(1), even).squeeze(1)
        pairs = torch.stack([z, torch.zeros_like(z)], dim=1)
        losses = Focal(("there", "not")).sample_losses(alone(pairs), torch.full((len(z),), 1 - target))
        torch.testing.assert_close(losses, due, atol=1e-6, rtol=1e-4)


def test_contrastive_losses_equal_khosla_s_sum() -> None:
    """Sample by sample, in plain Python, eq. 2 with one view; a sample whose class has no other has 0."""
    draw = torch.Generator().manual_seed(1)
    vectors, classes = torch.randn(7, 4, generator=draw).double(), torch.tensor([0, 1, 0, 2, 1, 0, 3])
    found = contrastive_losses(vectors, classes, temperature=0.3).tolist()
    z = [[x / math.hypot(*row) for x in row] for row in vectors.tolist()]
    similar = [[sum(a * b for a, b in zip(i, j, strict=True)) / 0.3 for j in z] for i in z]
    for i, row in enumerate(similar):
        others = [a for a in range(7) if a != i]
        positives = [p for p in others if classes[p] == classes[i]]
        whole = sum(math.exp(row[a]) for a in others)
        due = -sum(math.log(math.exp(row[p]) / whole) for p in positives) / max(len(positives), 1)
        assert found[i] == pytest.approx(due, rel=1e-12, abs=1e-12)


def test_contrastive_adds_to_cross_entropy_where_it_sees_vectors() -> None:
    """With vectors the term is added with its weight, in float32 whatever they are; of logits alone nothing."""
    logits, classes = logits_and_classes()
    vectors = torch.randn(len(logits), 5)
    objective = SupervisedContrastive(CLASSES, weight=0.25, temperature=0.2)
    plain = functional.cross_entropy(logits, classes, reduction="none")
    torch.testing.assert_close(objective.losses(logits, classes)[1], plain)
    due = plain + 0.25 * contrastive_losses(vectors.bfloat16().float(), classes, 0.2)
    _, losses = objective.output_loss(alone(logits, vector=vectors.bfloat16()), classes)
    torch.testing.assert_close(losses, due)
    mixture = Mixture(torch.arange(len(logits)).roll(1), torch.full((len(logits),), 0.75))
    other = objective.sample_losses(alone(logits, vector=vectors), classes.roll(1))
    own = objective.sample_losses(alone(logits, vector=vectors), classes)
    mixed = objective.output_loss(alone(logits, vector=vectors), classes, mixture)[1]
    torch.testing.assert_close(mixed, 0.75 * own + 0.25 * other)


@pytest.mark.full
def test_a_killed_run_goes_on_and_is_opened_again(tiny: Path, tmp_path: Path) -> None:
    """A contrastive run that is killed ends as one that was not; it is opened with its own objective and options."""
    recipe = small(objective={**CONTRASTIVE, "complete": 0.5, "unimodal": 0.25}, augmentation="mixup")
    start(recipe, tiny, tmp_path / "whole")
    with killed_at("torch.optim.AdamW.step", 5):
        start(recipe, tiny, tmp_path / "killed")
    resume(tmp_path / "killed")
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")
    saved = load_model(tmp_path / "whole", REGISTRY)
    assert isinstance(saved.objective, SupervisedContrastive)
    assert (saved.objective.weight, saved.objective.temperature, saved.objective.kind) == (2.0, 0.1, "single")
    scores = evaluate(tmp_path / "whole")
    plain = start(small(objective={"complete": 0.5, "unimodal": 0.25}, augmentation="mixup"), tiny, tmp_path / "plain")
    assert outcome(tmp_path / "plain") != outcome(tmp_path / "whole")
    assert scores.mean >= 0.0 <= plain.mean


def test_a_recipe_names_an_objective_by_flag_row_and_call(tiny: Path, tmp_path: Path) -> None:
    """The flag keeps the other settings of [objective]; a row of a comparison and Python's face say it the same way."""
    table = override({"objective": {"unimodal": 0.5, "name": "single"}}, objective="focal:gamma=1")
    recipe = Recipe.from_table(table, "x")
    assert table["objective"] == {"unimodal": 0.5, "name": "focal", "options": {"gamma": 1}}
    completed = REGISTRY.resolve(recipe).completed()
    assert (completed.objective.kind, completed.objective.options) == ("single", {"gamma": 1.0})
    assert Recipe.from_table(completed.to_table(), "x") == completed
    row = row_of("focal", "default,objective=focal,objective.unimodal=0.5", REGISTRY, None).recipe
    assert attrs.evolve(row.objective, options={"gamma": 1.0}) == completed.objective
    out, quick = tmp_path / "run", {"epochs": 1}
    ew.train(tiny, encoder="mean:width=4", objective="focal:gamma=3", training=quick, out=out, device="cpu")
    assert tomllib.loads((out / "recipe.toml").read_text())["objective"]["options"] == {"gamma": 3.0}


def test_a_recipe_without_a_named_objective_is_as_before() -> None:
    """Runs from before there were any have the recipe that they had."""
    assert not {"name", "options"} & set(small().to_table()["objective"])
    assert REGISTRY.resolve(small()).completed().objective == small().objective


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "of another kind": ({"name": "focal", "kind": "multi"}, "is of the kind single, and objective.kind is multi"),
    "unknown": ({"name": "fokal"}, "no objective 'fokal'. Did you mean 'focal'"),
    "unknown option": ({"name": "focal", "options": {"alpha": 1}}, "'focal' has no option 'alpha'"),
    "out of range": ({"name": "focal", "options": {"gamma": -1.0}}, "gamma of focal must be at least 0, not -1.0"),
    "options of nothing": ({"options": {"gamma": 1.0}}, "'objective.options' are those of an objective with a 'name'"),
    "a loss of another": ({"name": "focal", "loss": "mae"}, "'objective.loss' is a loss of the objective regression"),
    "asymmetric of another": (
        {"kind": "multi", "name": "focal", "asymmetric": {}},
        "'objective.asymmetric' is a loss of the objective multi, and not of 'focal'",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_go_together_is_said(case: str, tiny: Path, tmp_path: Path) -> None:
    """A wrong name, option or kind of objective is one sentence that names the way out, before any training."""
    settings, sentence = WRONG[case]
    with pytest.raises(SettingsError, match=sentence.replace("?", r"\?")):
        start(small(objective=settings), tiny, tmp_path / "run")


@pytest.mark.full
def test_labels_of_another_kind_are_said(tmp_path: Path) -> None:
    """An objective of classes refuses numbers, by its name."""
    (tmp_path / "numbers").mkdir()
    with pytest.raises(SettingsError, match="'focal' is of the kind single, and the labels are of the kind"):
        start(small(objective={"name": "focal"}), write_numbers(tmp_path / "numbers"), tmp_path / "run")


BROKEN = """
from emotiwave_core import SingleLabel, hookimpl

class Bad(SingleLabel):
    def sample_losses(self, output, targets):
        {body}

@hookimpl
def register_objectives(register):
    register("bad", Bad)
"""


@pytest.mark.full
@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("return super().sample_losses(output, targets).mean()", "The objective 'bad' returns from sample_losses []"),
        ("return output.nothing", "The objective 'bad' fails in "),
    ],
)
def test_an_objective_that_fails_is_named(
    body: str, sentence: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    """A loss of the wrong shape, or an exception, ends the run with exit code 4 and the plugin's name."""
    monkeypatch.chdir(tmp_path)
    Path("bad.py").write_text(BROKEN.format(body=body))
    Path("registry.toml").write_text('[plugins]\nbad = "bad.py"')
    trust_here()
    command = ["run", "--data", str(tiny), "--objective", "bad", "--set", "training.epochs=1", "--out", "run"]
    assert exit_code_of(command) == PluginError.exit_code
    said = capfd.readouterr().err
    assert sentence in said
    assert "Traceback" not in said
