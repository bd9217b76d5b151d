"""Augmentation in a training: reproducible, resumable, checked, and of no effect on any other draw."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from killed_runs import killed_at, outcome
from torch import Tensor
from training import REGISTRY, resume, small, start

from emotiwave_augmentations.noise import FeatureNoise
from emotiwave_core.compute.device import seeded
from emotiwave_core.compute.distributed import SINGLE, ProcessGroup
from emotiwave_core.config.recipe import ObjectiveSettings
from emotiwave_core.data.loading.batch import Batch
from emotiwave_core.errors import PluginError, SettingsError
from emotiwave_core.interfaces import Augmented, Mixture, Output, Tensors
from emotiwave_core.model.terms import training_loss
from emotiwave_core.objectives.settle import make_objective
from emotiwave_core.runs.saved_model import WEIGHTS
from emotiwave_core.train.augment import Augmenter, Scale

pytestmark = pytest.mark.full
ALL = ["noise", {"name": "swap", "p": 0.5}, "mixup", {"name": "specaugment", "stretch": 0.5}, "speed"]


@pytest.fixture(autouse=True)
def _no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emotiwave_core.report.page.write_report", lambda run: None)


def scales(inputs: Tensors, mean: float = 3.0, scale: float = 0.5) -> dict[str, Scale]:
    """The same statistics for every feature of every stream."""
    return {s: Scale(torch.full(x.shape[2:], mean), torch.full(x.shape[2:], scale), False) for s, x in inputs.items()}


def batch_of(samples: int) -> Batch:
    """A batch of two streams, whose samples have one to four steps."""
    masks = {
        s: torch.arange(4) < torch.randint(1, 5, (samples, 1), generator=torch.Generator().manual_seed(n))
        for n, s in enumerate(("text", "audio"))
    }
    inputs = {s: torch.randn(samples, 4, 3) for s in masks}
    return Batch(inputs, masks, masks, torch.zeros(samples, dtype=torch.long), np.arange(samples))


@pytest.mark.parametrize("point", [("emotiwave_dropout.uniform.Uniform.forward", 5), ("torch.optim.AdamW.step", 6)])
def test_a_killed_run_goes_on_with_the_same_draws(tiny: Path, tmp_path: Path, point: tuple[str, int]) -> None:
    """With every shipped augmentation, a run that is stopped in an epoch and resumed ends as one that was not."""
    recipe = small(augmentation=ALL, objective={"unimodal": 0.5, "complete": 1.0})
    start(recipe, tiny, tmp_path / "whole")
    with killed_at(*point):
        start(recipe, tiny, tmp_path / "killed")
    torch.rand(3)
    resume(tmp_path / "killed")
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")
    plain = start(small(objective={"unimodal": 0.5, "complete": 1.0}), tiny, tmp_path / "plain")
    assert (tmp_path / "plain" / WEIGHTS).read_bytes() != (tmp_path / "whole" / WEIGHTS).read_bytes()
    assert plain.mean >= 0.0


def test_augmentation_moves_no_other_draw(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dropout policy draws the same with noise as without it: two recipes differ in their augmentation alone."""
    from emotiwave_dropout.uniform import Uniform

    drawn: list[Tensor] = []
    forward = Uniform.forward

    def noted(policy: Uniform, masks: Tensors, progress: Tensor) -> Tensors:
        left = forward(policy, masks, progress)
        drawn.extend(left.values())
        return left

    monkeypatch.setattr(Uniform, "forward", noted)
    start(small(), tiny, tmp_path / "without")
    without = list(drawn)
    drawn.clear()
    start(small(augmentation="noise"), tiny, tmp_path / "with")
    assert without
    assert all(torch.equal(one, other) for one, other in zip(without, drawn, strict=True))


def test_seeded_leaves_no_trace() -> None:
    """Within it the same key draws the same; outside, draws go on as if it had not been."""
    torch.manual_seed(5)
    due = torch.rand(4)
    torch.manual_seed(5)
    with seeded(torch.device("cpu"), 1, 2, 3):
        first = torch.rand(4)
    assert torch.equal(torch.rand(4), due)
    with seeded(torch.device("cpu"), 1, 2, 3):
        assert torch.equal(torch.rand(4), first)
    with seeded(torch.device("cpu"), 1, 2, 4):
        assert not torch.equal(torch.rand(4), first)


def test_augmentations_see_standardised_features() -> None:
    """Noise of a share of the deviation has that share of the raw feature's; a constant feature stays constant."""
    inputs, masks = {"a": torch.full((500, 8, 2), 7.0)}, {"a": torch.ones(500, 8, dtype=torch.bool)}
    scale = Scale(torch.tensor([3.0, 7.0]), torch.tensor([0.25, 0.0]), False)
    batch = Batch(inputs, masks, masks, torch.zeros(500), np.arange(500))
    augmented, mixture = Augmenter([("It", FeatureNoise(share=0.5).train())], {"a": scale}).augment(batch, SINGLE)
    assert mixture is None
    noise = augmented.inputs["a"] - 7.0
    assert float(noise[..., 0].std()) == pytest.approx(0.5 / 0.25, rel=0.05)
    assert torch.equal(noise[..., 1], torch.zeros(500, 8))


@pytest.mark.parametrize("kind", ["single", "multi", "regression"])
def test_the_loss_of_mixed_samples_is_the_mixed_loss(kind: Any) -> None:
    """λ of the weighted loss for the own target and 1 - λ of that for the partner's, over the weights mixed alike."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(4, 3, generator=generator)
    classes = torch.tensor([0, 1, 2, 1])
    targets = classes if kind == "single" else torch.nn.functional.one_hot(classes, 3).float()
    settings = ObjectiveSettings(kind, unimodal=0.5, complete=0.25)
    objective = make_objective(settings, ("a", "b", "c"))
    objective.fit(targets, settings)
    mixture = Mixture(torch.tensor([1, 2, 3, 0]), torch.tensor([1.0, 0.75, 0.5, 0.0]))
    present = torch.tensor([[1, 1], [1, 0], [0, 1], [1, 1]], dtype=torch.bool)
    output = Output(logits, None, torch.tensor(0.125), present, torch.stack([logits + 1.0, 2.0 * logits], dim=1))
    loss, each = training_loss(objective, settings, output, output, targets, mixture)

    def mixed(of: Callable[[Tensor], Tensor]) -> Tensor:
        own, other = of(targets), of(targets[mixture.partner])
        return mixture.share * own + (1 - mixture.share) * other

    weights = mixed(objective.sample_weights)
    losses = mixed(lambda y: objective.losses(logits, y)[1])
    torch.testing.assert_close(each, losses)
    heads = [mixed(lambda y, x=x: objective.losses(x, y)[1]) for x in (logits + 1.0, 2.0 * logits)]
    alone = torch.where(present, torch.stack(heads, dim=1), 0.0).sum() / (weights[:, None] * present).sum()
    due = 1.25 * (losses.sum() / weights.sum() + 0.125) + 0.5 * alone
    torch.testing.assert_close(loss, due)
    untouched = Mixture(mixture.partner, torch.ones(4))
    whole = training_loss(objective, settings, output, output, targets, untouched)[0]
    torch.testing.assert_close(whole, training_loss(objective, settings, output, output, targets)[0])


@pytest.mark.parametrize("count", [1, 5])
def test_processes_share_masks_and_mixtures(count: int) -> None:
    """Every process has the masks of the whole batch and its mixture, each sample mixed within its process's share."""
    whole = batch_of(count)
    shares: list[tuple[Tensors, tuple[Tensor, Tensor] | None]] = []

    class Told(ProcessGroup):
        def everyone(self, value: Any) -> list[Any]:
            shares.append(value)
            return list(shares) if self.rank == 2 else [value]

    parts = [("It", REGISTRY.part("augmentation", name)().train()) for name in ("specaugment", "mixup")]
    for rank in range(3):
        group = Told(rank, 3)
        own = group.computed(count)
        taken = whole._replace(
            inputs={s: x[own] for s, x in whole.inputs.items()}, masks={s: mask[own] for s, mask in whole.masks.items()}
        )
        batch, mixture = Augmenter(parts, scales(whole.inputs)).augment(taken, group)
    assert mixture is not None
    assert {s: mask.shape for s, mask in batch.host_masks.items()} == {s: m.shape for s, m in whole.masks.items()}
    assert not any(bool((mask & ~whole.masks[s]).any()) for s, mask in batch.host_masks.items())
    for rank in range(3):
        own = ProcessGroup(rank, 3).own(count)
        assert bool(((mixture.partner[own] >= own.start) & (mixture.partner[own] < own.stop)).all())
    assert len(mixture.share) == count


WRONG: dict[str, tuple[Callable[[Tensors, Tensors], Any], str]] = {
    "a tuple": (lambda x, m: (x, m), "returns tuple where Augmented"),
    "other streams": (
        lambda x, m: Augmented({"b": x["text"]}, m),
        "returns the keys b as inputs",
    ),
    "a step more": (lambda x, m: Augmented({s: y[:, :-1] for s, y in x.items()}, m), r"the shape \[4, 3, 3\]"),
    "floats": (lambda x, m: Augmented(x, {s: y.float() for s, y in m.items()}), "type torch.float32"),
    "steps set": (lambda x, m: Augmented(x, {s: y | True for s, y in m.items()}), "sets steps of 'text'"),
    "none left": (lambda x, m: Augmented(x, {s: y & False for s, y in m.items()}), "takes all steps of 'text'"),
    "a mixture": (lambda x, m: Augmented(x, m, Mixture(torch.arange(4), torch.ones(4))), "mixes = True"),
    "in place": (lambda x, m: Augmented(x, {s: y.logical_not_() for s, y in m.items()}), "writes into the mask"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_an_augmentation_gives_back_is_checked(name: str) -> None:
    """A result that breaks the interface is a PluginError that names the augmentation and says what came."""
    wrong, said = WRONG[name]

    class Wrong(FeatureNoise):
        def forward(self, inputs: Tensors, masks: Tensors) -> Augmented:
            return wrong(inputs, masks)  # type: ignore[no-any-return]

    batch = batch_of(4)
    with pytest.raises(PluginError, match=f"^The augmentation 'wrong' .*{said}"):
        Augmenter([("The augmentation 'wrong'", Wrong())], scales(batch.inputs)).augment(batch, SINGLE)


def test_two_mixtures_are_refused_before_training(tiny: Path, tmp_path: Path) -> None:
    """Samples are mixed once: the sentence names both, and no run is left behind."""
    with pytest.raises(SettingsError, match="mixup and mixup both mix samples"):
        start(small(augmentation=["mixup", "noise", "mixup"]), tiny, tmp_path / "run")
    assert not (tmp_path / "run" / "recipe.toml").exists()


def test_a_recipe_without_augmentation_is_as_before() -> None:
    """Its table has no key for it, so that runs from before go on; one or several may be named in it."""
    assert "augmentation" not in small().to_table()
    one, several = small(augmentation="noise"), small(augmentation=["noise", {"name": "mixup", "alpha": 0.4}])
    assert one.to_table()["augmentation"] == [{"name": "noise"}]
    assert [part.name for part in several.augmentation] == ["noise", "mixup"]
    again = partial(type(one).from_table, source="It")
    assert again(several.to_table()) == several
