"""An ensemble in one model: each member is the model that it would be alone, and the answer is their mean."""

from typing import Any

import pytest
import torch
from broken_encoders import SoundEncoder
from datasets import WIDTHS
from models import CROSSMODAL, some_batch
from test_streams import FEATURES
from test_streams import batch as batch_of_streams
from torch import Tensor
from training import REGISTRY, small

from emotiwave_core.config.recipe import Recipe
from emotiwave_core.errors import PluginError
from emotiwave_core.interfaces import Encoded, Tensors
from emotiwave_core.layers.parameters import trained_how
from emotiwave_core.model.assemble import assemble
from emotiwave_core.model.fusion_model import FusionModel
from emotiwave_core.model.members import ensemble_encoder
from emotiwave_core.model.terms import training_loss
from emotiwave_core.objectives.settle import make_objective
from emotiwave_core.train.step import join_outputs

K = 3
QUIET = {"head_dropout": 0.0}  # without noise
LSTM = {"name": "bilstm", "hidden_size": 4}
RECIPES: dict[str, dict[str, Any]] = {
    "head": {"fusion": "concat"},
    "heads for single modalities": {"fusion": "concat", "objective": {"unimodal": 0.5}},
    "answers itself": {"fusion": "experts"},
    "answers alone as well": {"fusion": "experts", "objective": {"unimodal": 0.5}},
    "weights and a loss": {"fusion": {"name": "moe"}},
    "attention": {"fusion": CROSSMODAL | {"dropout": 0.0}},
    "all terms": {"fusion": "concat", "objective": {"unimodal": 0.5, "complete": 0.3, "distillation": 0.7}},
    "several labels": {"fusion": "experts", "objective": {"kind": "multi"}},
    "zeros": {"fusion": "concat", "model": {"absent": "zeros"}},
    "statistics": {"encoder": {"name": "stats", "width": 5, "dropout": 0.0}, "fusion": "concat"},
    "neighbours": {"fusion": {"name": "context", "fusion": "concat", "dropout": 0.0}},
}


def recipe(members: int, **tables: Any) -> Recipe:
    """A small recipe without noise."""
    model = QUIET | tables.pop("model", {}) | {"members": members}
    made: Recipe = small(**{"encoder": LSTM, "dropout": "none"} | tables, model=model)
    return made


def built(members: int, features: dict[str, int] = WIDTHS, **tables: Any) -> FusionModel:
    """A model of a recipe, with that many members."""
    torch.manual_seed(0)
    return assemble(REGISTRY.resolve(recipe(members, **tables)), features, 6, dict.fromkeys(features, 12))


def alone(ensemble: FusionModel, k: int, features: dict[str, int] = WIDTHS, **tables: Any) -> FusionModel:
    """Member k as a model of its own, by the names of the weights."""
    places = ((".members.", "."), ("fusion.heads.", "head."), ("fusion.alone.", "unimodal."))
    weights: Tensors = {}
    for name, tensor in ensemble.state_dict().items():
        for inside, outside in places:
            before, found, after = name.partition(inside)
            if found and after.startswith(f"{k}."):
                weights[before + outside + after.removeprefix(f"{k}.")] = tensor
        if not any(inside in name for inside, _ in places):
            weights[name] = tensor
    single = built(1, features, **tables)
    single.load_state_dict(weights)
    return single


def loss_of(model: FusionModel, recipe: Recipe, inputs: Tensors, masks: Tensors) -> tuple[Tensor, Tensor]:
    """The training loss of a batch, and of each sample, where text was taken from every other one."""
    left = masks | {"text": masks["text"] & (torch.arange(6)[:, None] % 2 == 0)}
    output, complete = model.forward_both(inputs, masks, left, whole=True)
    objective = make_objective(recipe.objective, tuple("abcdef"))
    targets = torch.eye(6) if objective.multi else torch.arange(6)
    return training_loss(objective, recipe.objective, output, complete, targets)


def same(found: Tensor, due: Tensor) -> None:
    """Fail where two tensors are further apart than rounding."""
    torch.testing.assert_close(found, due, atol=2e-6, rtol=2e-5)


@pytest.mark.parametrize("tables", RECIPES.values(), ids=RECIPES)
def test_each_member_learns_as_if_there_were_no_other(tables: dict[str, Any]) -> None:
    """The loss is the mean of the losses of the members alone, and so is each one's gradient a K-th of its own."""
    ensemble, (inputs, masks) = built(K, **tables).train(), some_batch()
    loss, losses = loss_of(ensemble, recipe(K, **tables), inputs, masks)
    torch.autograd.backward(loss)
    told = []
    for k in range(K):
        member = alone(ensemble, k, **tables).train()
        own = loss_of(member, recipe(1, **tables), inputs, masks)
        torch.autograd.backward(own[0])
        told.append(own)
        for due, found in zip(member.parameters(), gradients_of(ensemble, k, tables).parameters(), strict=True):
            assert due.grad is not None
            same(found.detach() * K, due.grad)
    same(loss, torch.stack([own[0] for own in told]).mean())
    same(losses, torch.stack([own[1] for own in told]).mean(dim=0))


def gradients_of(ensemble: FusionModel, k: int, tables: dict[str, Any]) -> FusionModel:
    """The gradients of member k, in the places of the weights of a model of its own."""
    bare = built(K, **tables)
    for one, other in zip(bare.parameters(), ensemble.parameters(), strict=True):
        assert other.grad is not None
        one.data = other.grad
    return alone(bare, k, **tables)


@pytest.mark.parametrize("tables", RECIPES.values(), ids=RECIPES)
@torch.inference_mode()
def test_the_answer_is_the_mean_of_the_members(tables: dict[str, Any]) -> None:
    """Logits and weights are the means of those of the members alone, in every sample, whatever it lacks."""
    ensemble, (inputs, masks) = built(K, **tables).eval(), some_batch()
    found = ensemble(inputs, masks)
    each = [alone(ensemble, k, **tables).eval()(inputs, masks) for k in range(K)]
    same(found.logits, torch.stack([one.logits for one in each]).mean(dim=0))
    assert found.members is None
    assert (found.weights is None) == (each[0].weights is None)
    if found.weights is not None:
        same(found.weights, torch.stack([one.weights for one in each]).mean(dim=0))
    assert not torch.equal(each[0].logits, each[1].logits), "members begin alike"


@torch.inference_mode()
def test_members_join_the_streams_of_a_modality_each_for_itself() -> None:
    """With two streams of audio, of encoders of different widths, the answer is the mean of those alone."""
    tables: dict[str, Any] = {"encoder": {"*": LSTM, "audio/clip": {"name": "mean", "width": 5, "dropout": 0.0}}}
    ensemble, (inputs, masks) = built(K, FEATURES, **tables).eval(), batch_of_streams()
    each = [alone(ensemble, k, FEATURES, **tables).eval()(inputs, masks).logits for k in range(K)]
    same(ensemble(inputs, masks).logits, torch.stack(each).mean(dim=0))


@torch.inference_mode()
def test_members_read_words() -> None:
    """An encoder of words several times numbers them once."""
    encoder = {"*": LSTM, "text": {"name": "hashed", "width": 4}}
    features = WIDTHS | {"text": 1}
    ensemble = built(K, features, encoder=encoder).eval()
    inputs, masks = some_batch()
    numbers = ensemble.tokens["text"](["so", "good", "a", "day"])
    inputs["text"] = numbers.float()[None].expand(6, -1, -1)
    masks["text"] = masks["text"][:, :4]
    each = [alone(ensemble, k, features, encoder=encoder).eval()(inputs, masks).logits for k in range(K)]
    same(ensemble(inputs, masks).logits, torch.stack(each).mean(dim=0))


@pytest.mark.parametrize("count", [1, K])
def test_errors_name_every_part(count: int) -> None:
    """Each encoder has its name, also where others have the same, and so has each member, the fusion and the policy."""
    model = built(count)
    ours = [*model.encoders.values(), model.fusion]
    members = [member for part in ours for member in getattr(part, "members", ())]
    assert len(members) == (0 if count == 1 else count * (len(WIDTHS) + 1))
    assert {model.names[part] for part in (*ours, *members, model.policy)} == {
        "The encoder 'bilstm'",
        "The fusion 'concat'",
        "The dropout 'none'",
    }


def test_one_member_is_the_plain_model() -> None:
    """With one member the weights have the names that they always had, and no more."""
    assert list(built(1).state_dict()) == [name.replace("members.0.", "") for name in built(1).state_dict()]


def test_a_pieced_batch_has_the_members_of_all_pieces() -> None:
    """The outputs of two halves of a batch, joined, are the output of the batch, that of the members too."""
    ensemble, (inputs, masks) = built(K, fusion="experts", objective={"unimodal": 0.5}).train(), some_batch()
    pieces = [[{m: x[rows] for m, x in each.items()} for each in (inputs, masks)] for rows in (slice(2), slice(2, 6))]
    halves = [ensemble.forward_masked(own_inputs, own_masks) for own_inputs, own_masks in pieces]
    whole, joined = ensemble.forward_masked(inputs, masks), join_outputs(halves)
    for name in ("logits", "members", "unimodal"):
        same(getattr(joined, name), getattr(whole, name))


def test_parts_inside_members_are_trained_as_they_ask() -> None:
    """What a part says of its parameters (s4d: some without weight decay) holds in every member."""
    tables: dict[str, Any] = {"encoder": {"name": "s4d", "state_size": 2, "width": 4, "layers": 1}}
    ways, single = trained_how(built(K, **tables)), trained_how(built(1, **tables))
    asked = [way for parameter, way in single.items() if way.decays != (parameter.dim() > 1)]
    assert asked, "s4d asks for nothing, and this shows nothing"
    assert sorted(ways.values()) == sorted([*single.values()] * K)


class Choosy(SoundEncoder):
    """An encoder that leaves the steps that its weights like."""

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        """x [B, T, F], mask [B, T] bool -> Encoded."""
        encoded = super().forward(x, mask)
        return encoded._replace(mask=mask & (encoded.states[..., 0] > 0.0))


def test_members_that_leave_other_steps_are_refused() -> None:
    """An encoder whose mask depends on its weights has none that holds for all members."""
    torch.manual_seed(0)
    inputs, masks = some_batch()
    ensemble = ensemble_encoder([Choosy(WIDTHS["audio"]) for _ in range(K)])
    with pytest.raises(PluginError, match=r"Choosy leaves other steps .* model\.members"):
        ensemble(inputs["audio"], masks["audio"])
