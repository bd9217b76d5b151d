"""Parameters are trained as the recipe and the parts say: decayed or not, faster, slower or not at all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import WIDTHS
from killed_runs import killed_at
from torch import Tensor, nn
from training import CPU, REGISTRY, small

from emotiwave_core.compute.runtime import Runtime
from emotiwave_core.config.recipe import Recipe, TrainingSettings
from emotiwave_core.errors import PluginError
from emotiwave_core.interfaces import Encoded, Encoder, ParameterGroup, Tensors
from emotiwave_core.io.tensors import read_tensors
from emotiwave_core.layers.missing import StandIn
from emotiwave_core.layers.parameters import trained_how
from emotiwave_core.layers.sequence import masked_mean, zero_masked
from emotiwave_core.model.assemble import assemble
from emotiwave_core.model.fusion_model import FusionModel
from emotiwave_core.parts.registry import load_registry
from emotiwave_core.train import run
from emotiwave_core.train.checkpoint import LAST
from emotiwave_core.train.optimise import make_optimiser, set_learning_rate
from emotiwave_fusions.concat import Concat

pytestmark = pytest.mark.full
SPEEDS = '''
"""Encoders whose parameters are trained in ways of their own."""
import torch
from emotiwave_core import Encoded, Encoder, ParameterGroup, hookimpl
from emotiwave_core.layers.sequence import masked_mean, zero_masked
from torch import nn

class Paced(Encoder):
    """Two maps: the first is frozen or slow."""
    def __init__(self, in_features: int, *, rate: float = 0.0, wrong: bool = False) -> None:
        super().__init__()
        self.out_features, self.rate, self.wrong = 4, rate, wrong
        self.first, self.second = nn.Linear(in_features, 4), nn.Linear(4, 4)

    def forward(self, x, mask):
        states = zero_masked(self.second(self.first(zero_masked(x, mask)).tanh()), mask)
        return Encoded(states, masked_mean(states, mask), mask)

    def parameter_groups(self):
        stranger = [nn.Parameter(torch.zeros(1))] if self.wrong else []
        return [ParameterGroup([*self.first.parameters(), *stranger], learning_rate=self.rate)]

@hookimpl
def register_encoders(register):
    register("paced", Paced)
'''


class Rated(Encoder):
    """A linear map for which a test says how it is trained."""

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.out_features = 4
        self.map = nn.Linear(in_features, 4)
        self.groups: Callable[[Rated], object] = lambda part: []

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        """The mapped steps and their mean."""
        states = zero_masked(self.map(zero_masked(x, mask)), mask)
        return Encoded(states, masked_mean(states, mask), mask)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Whatever the test says."""
        return self.groups(self)  # type: ignore[return-value]


def model_of(encoder: str = "bilstm", fusion: str | dict[str, object] = "concat") -> FusionModel:
    """A model of these parts as they come."""
    recipe = Recipe.from_table({"encoder": encoder, "fusion": fusion}, "a test")
    return assemble(REGISTRY.resolve(recipe), WIDTHS, 2)


def undecayed(model: FusionModel) -> set[str]:
    """The names of the parameters that the optimiser does not shrink."""
    optimiser = make_optimiser(model, Recipe().training)
    free = {id(p) for group in optimiser.param_groups if not group["weight_decay"] for p in group["params"]}
    assert {id(p) for group in optimiser.param_groups for p in group["params"]} == {id(p) for p in model.parameters()}
    return {name for name, parameter in model.named_parameters() if id(parameter) in free}


@pytest.mark.parametrize("encoder", ["bilstm", "conformer", "tcn", "attentive_stats", "s4d", "transformer"])
def test_biases_and_norms_do_not_decay_and_maps_do(encoder: str) -> None:
    """Without further word weight decay leaves out biases and norms, and shrinks every matrix and kernel."""
    model = model_of(encoder)
    free = undecayed(model)
    for owner, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            full = f"{owner}.{name}"
            if isinstance(module, nn.LayerNorm) or name.startswith("bias"):
                assert full in free
            elif isinstance(module, nn.Linear | nn.Conv1d | nn.RNNBase):
                assert (full in free) == (parameter.dim() < 2)


def test_the_dynamics_of_s4d_do_not_decay() -> None:
    """Δ and A of `s4d` are left as their gradient makes them, C is not, as in the authors' code."""
    free = undecayed(model_of("s4d"))
    for name in ("log_step", "log_decay", "frequency"):
        assert any(each.endswith(name) for each in free), name
    assert not any(each.endswith("ssm.C") for each in free)


@pytest.mark.parametrize(
    ("fusion", "names"),
    [("perceiver", ("latents", "modality")), ("bottleneck", ("bottlenecks",))],
)
def test_latents_do_not_decay(fusion: str, names: tuple[str, ...]) -> None:
    """What a fusion learns as tokens has no weight decay."""
    assert {f"fusion.{name}" for name in names} <= undecayed(model_of(fusion=fusion))


def test_learned_vectors_of_the_missing_do_not_decay() -> None:
    """The vectors that stand for absent modalities have no weight decay."""
    model = model_of(fusion={"name": "concat", "missing": "learned"})
    [stand_in] = [name for name, module in model.named_modules() if isinstance(module, StandIn)]
    assert {f"{stand_in}.vectors.{number}" for number in range(len(WIDTHS))} <= undecayed(model)


def test_all_may_decay_as_torch_has_it() -> None:
    """With training.decayed = "all" the optimiser is torch.optim.AdamW over all parameters, bit for bit."""
    settings = Recipe.from_table({"training": {"decayed": "all", "weight_decay": 0.3}}, "a test").training
    torch.manual_seed(0)
    ours = model_of("s4d", "perceiver")
    theirs = model_of("s4d", "perceiver")
    theirs.load_state_dict(ours.state_dict())
    plain = torch.optim.AdamW(theirs.parameters(), lr=settings.learning_rate, weight_decay=0.3, fused=True)
    for model, optimiser in ((ours, make_optimiser(ours, settings)), (theirs, plain)):
        torch.manual_seed(1)
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimiser.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


@pytest.fixture
def registry_file(tmp_path: Path) -> Path:
    """A registry.toml that offers `paced`."""
    (tmp_path / "paced.py").write_text(SPEEDS)
    (tmp_path / "registry.toml").write_text('[plugins]\npaced = "paced.py"\n')
    return tmp_path / "registry.toml"


def trained(rate: float, epochs: int, data: Path, out: Path, registry: Path) -> Tensors:
    """The weights after the last epoch of a run of `paced`."""
    recipe = small(encoder={"name": "paced", "rate": rate}, training={"epochs": epochs, "weight_decay": 0.3})
    run.start(recipe, data, out, load_registry(registry), Runtime(CPU, tests=False))
    tensors, _ = read_tensors(out / LAST)
    return {name: tensor for name, tensor in tensors.items() if name.startswith("model.encoders.")}


def test_a_frozen_part_keeps_its_weights(tiny: Path, tmp_path: Path, registry_file: Path) -> None:
    """A factor of 0 leaves parameters as they were made, decay included; the others learn."""
    one = trained(0.0, 1, tiny, tmp_path / "one", registry_file)
    three = trained(0.0, 3, tiny, tmp_path / "three", registry_file)
    free = trained(1.0, 1, tiny, tmp_path / "free", registry_file)
    for name in one:
        assert torch.equal(one[name], three[name]) == (".first." in name), name
        assert not torch.equal(one[name], free[name]) or ".first." not in name


def test_a_factor_scales_the_step() -> None:
    """Parameters with a factor of 0.1 move a tenth as far as the others do for the same gradient."""
    encoder = Rated(3)
    encoder.groups = lambda part: [ParameterGroup([part.map.bias], learning_rate=0.1)]
    model, settings = around(encoder), TrainingSettings(weight_decay=0.0)
    optimiser = make_optimiser(model, settings)
    before = {name: parameter.detach().clone() for name, parameter in encoder.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    set_learning_rate(optimiser, 1e-2)
    optimiser.step()
    moved = {name: float((before[name] - p).abs().max().detach()) for name, p in encoder.named_parameters()}
    assert moved["map.weight"] == pytest.approx(1e-2, rel=1e-4)
    assert moved["map.bias"] == pytest.approx(1e-3, rel=1e-4)


def test_the_outer_part_decides_about_an_inner_one() -> None:
    """Of a part inside a part, the group that the outer one names counts."""
    inner, outer = Rated(3), Rated(3)
    inner.groups = lambda part: [ParameterGroup([part.map.weight], learning_rate=0.5)]
    outer.add_module("inner", inner)
    assert trained_how(outer)[inner.map.weight].learning_rate == 0.5
    outer.groups = lambda part: [ParameterGroup(list(part.inner.parameters()), learning_rate=0.0)]
    assert {how.learning_rate for p, how in trained_how(outer).items() if p in set(inner.parameters())} == {0.0}


def around(encoder: Encoder) -> FusionModel:
    """A model of one modality around an encoder."""
    model = FusionModel(
        {"text": encoder}, Concat({"text": 4}), REGISTRY.make("dropout", Recipe().dropout), 2, {"text": 3}, Recipe()
    )
    model.names[encoder] = "The encoder 'rated'"
    return model


@pytest.mark.parametrize(
    ("groups", "fault"),
    [
        (lambda part: [ParameterGroup([nn.Parameter(torch.zeros(2))])], "not its own"),
        (lambda part: [ParameterGroup([part.map.weight])] * 2, "in two groups"),
        (lambda part: [ParameterGroup([part.map.weight], learning_rate=-1.0)], "learning rate -1.0"),
        (lambda part: [ParameterGroup(["map"])], "no parameter"),
        (lambda part: [[part.map.weight]], "list of ParameterGroup"),
    ],
)
def test_wrong_groups_are_the_part_s_fault(groups: Any, fault: str) -> None:
    """A group of a strange parameter, a parameter in two, or a negative factor is told with the part's name."""
    encoder = Rated(3)
    encoder.groups = groups
    with pytest.raises(PluginError, match=rf"The encoder 'rated' .*{fault}"):
        make_optimiser(around(encoder), TrainingSettings())


def test_a_run_with_groups_resumes(tiny: Path, tmp_path: Path, registry_file: Path) -> None:
    """A run whose parameters are of several groups, some frozen, ends alike where it was killed in the middle."""
    recipe = small(encoder={"name": "paced"}, fusion="perceiver", training={"epochs": 3})
    registry, runtime = load_registry(registry_file), Runtime(CPU, tests=False)
    run.start(recipe, tiny, tmp_path / "whole", registry, runtime)
    with killed_at("torch.optim.AdamW.step", 6, after=False):
        run.start(recipe, tiny, tmp_path / "again", registry, runtime)
    run.resume(tmp_path / "again", registry, runtime)
    assert (tmp_path / "whole" / LAST).read_bytes() == (tmp_path / "again" / LAST).read_bytes()
