"""The fusion `perceiver` follows its equations: latents read all tokens, at a cost that is linear in their number."""

import math
from typing import Any

import pytest
import torch
from step_fusions import attention_by_loops, batch, copy_weights, scramble, some_absent, stood_in
from torch import Tensor

from emotiwave_core.errors import SettingsError
from emotiwave_core.interfaces import Encoded
from emotiwave_core.layers.attention import Block, positions
from emotiwave_fusions.perceiver import Perceiver

WIDTHS = {"a": 3, "b": 2, "c": 5}


def block_by_loops(block: Block, target: Tensor, source: Tensor) -> Tensor:
    """Pre-norm attention of a target [T, W] to all of a source [S, W], and a feed-forward with GELU, both residual."""
    norm, mask = block.attention_norm, torch.ones(1, len(source), dtype=torch.bool)
    if len(source):
        target = target + attention_by_loops(block.attention, norm(target)[None], norm(source)[None], mask)[0]
    norm, wide, *_, narrow, _ = block.feed_forward
    hidden = wide(norm(target))
    gelu = 0.5 * hidden * (1 + torch.erf(hidden / math.sqrt(2.0)))
    return target + narrow(gelu)


def by_the_equations(fusion: Perceiver, encoded: dict[str, Encoded], present: Tensor, b: int) -> Tensor:
    """The vector of sample b, from a token array that holds only what is there."""
    tokens = torch.zeros(0, fusion.out_features, dtype=torch.float64)
    for column, part in enumerate(encoded.values()):
        place = positions(part.states.shape[1], fusion.out_features, tokens)
        made = math.sqrt(fusion.out_features) * part.states[b] @ fusion.project[column].weight.T + place
        made = made + fusion.modality[column]
        tokens = torch.cat([tokens, made[part.mask[b] & present[b, column]]])
    latents = fusion.latents
    for layer in fusion.layers:
        latents = block_by_loops(layer.read, latents, tokens)
        for block in layer.blocks:
            latents = block_by_loops(block, latents, latents)
    return torch.stack([fusion.norm(latent) for latent in latents]).mean(dim=0)


@torch.no_grad()
def test_the_vector_equals_the_equations() -> None:
    """Sample by sample the vector is that of the loop, complete, with a modality less, and without any."""
    torch.manual_seed(0)
    fusion = Perceiver(WIDTHS, latents=3, width=4, heads=2, layers=2, blocks=2).double().eval()
    for parameter in fusion.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))
    encoded, present = batch(WIDTHS)
    encoded = {name: Encoded(part.states.double(), part.pooled.double(), part.mask) for name, part in encoded.items()}
    present[1, 0] = False
    present[2] = False
    found = fusion(encoded, present).vector
    for b in range(3):
        torch.testing.assert_close(found[b], by_the_equations(fusion, encoded, present, b), atol=1e-10, rtol=1e-10)


@torch.no_grad()
def test_the_order_of_modalities_does_not_matter() -> None:
    """Modalities in another order, each with its own weights, give the same vector."""
    torch.manual_seed(0)
    fusion = Perceiver(WIDTHS, latents=3, width=8, heads=2).eval()
    order = [2, 0, 1]
    names = [list(WIDTHS)[column] for column in order]
    other = Perceiver({name: WIDTHS[name] for name in names}, latents=3, width=8, heads=2).eval()
    weights = fusion.state_dict()
    other.load_state_dict(
        weights
        | {f"project.{place}.weight": weights[f"project.{column}.weight"] for place, column in enumerate(order)}
        | {"modality": weights["modality"][order]}
    )
    encoded, present = batch(WIDTHS)
    present[1, 0] = present[2, 2] = False
    after = other({name: encoded[name] for name in names}, present[:, order]).vector
    torch.testing.assert_close(after, fusion(encoded, present).vector)


@torch.no_grad()
def test_modalities_are_told_apart() -> None:
    """Two modalities of the same content and projection are told apart by the learned vector of the modality."""
    torch.manual_seed(0)
    fusion = Perceiver({"a": 3, "b": 3}, latents=3, width=8, heads=2).eval()
    fusion.project[1].weight.copy_(fusion.project[0].weight)
    part, _ = batch({"a": 3})
    same = {"a": part["a"], "b": part["a"]}
    only_a, only_b = (fusion(same, torch.tensor([here]).repeat(3, 1)).vector for here in ([True, False], [False, True]))
    assert (only_a - only_b).abs().max() > 1e-4
    fusion.modality[1] = fusion.modality[0]
    only_b = fusion(same, torch.tensor([[False, True]]).repeat(3, 1)).vector
    torch.testing.assert_close(only_a, only_b)


def saved_numbers(fusion: Perceiver, steps: int) -> int:
    """Number of values that a forward pass in training keeps for the backward one."""
    kept: list[int] = []
    encoded = {
        name: Encoded(
            torch.zeros(2, steps, width, requires_grad=True),
            torch.zeros(2, width),
            torch.ones(2, steps, dtype=torch.bool),
        )
        for name, width in WIDTHS.items()
    }

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        fusion(encoded, torch.ones(2, 3, dtype=torch.bool))
    return sum(kept)


def test_the_cost_is_linear_in_the_number_of_tokens() -> None:
    """Each further step keeps as many numbers for the backward pass as the one before: nothing is tokens by tokens."""
    fusion = Perceiver(WIDTHS, latents=3, width=8, heads=2).train()
    few, more, most = (saved_numbers(fusion, steps) for steps in (64, 128, 192))
    assert most - more == more - few > 0


@torch.no_grad()
def test_where_nothing_is_present_the_latents_speak() -> None:
    """Without any modality the vector is the same for all samples, finite, and of the latents' making."""
    torch.manual_seed(0)
    fusion = Perceiver(WIDTHS, latents=3, width=8, heads=2).eval()
    encoded, present = batch(WIDTHS)
    before = fusion(encoded, torch.zeros_like(present)).vector
    assert before.isfinite().all()
    assert torch.equal(before, before[:1].expand_as(before))
    scramble(fusion.project)
    fusion.modality.normal_()
    for layer in fusion.layers:
        scramble(layer.read.attention)
    assert torch.equal(fusion(encoded, torch.zeros_like(present)).vector, before)
    fusion.latents.normal_()
    assert not torch.allclose(fusion(encoded, torch.zeros_like(present)).vector, before)


@torch.no_grad()
def test_a_learned_vector_is_a_token() -> None:
    """With missing="learned" an absent modality is a sequence of one step, its learned vector."""
    torch.manual_seed(0)
    fusion = Perceiver(WIDTHS, latents=3, width=8, heads=2, missing="learned").eval()
    for vector in fusion.missing.vectors:
        vector.normal_()
    plain = Perceiver(WIDTHS, latents=3, width=8, heads=2).eval()
    copy_weights(fusion, plain)
    given = some_absent(WIDTHS)
    found = fusion(*given).vector
    torch.testing.assert_close(found, plain(*stood_in(fusion, given)).vector)
    assert (plain(*given).vector[1:] - found[1:]).abs().amax(dim=1).gt(1e-4).all()


@pytest.mark.parametrize(
    "options",
    [
        {"latents": 0},
        {"heads": 0},
        {"layers": 0},
        {"blocks": 0},
        {"width": 0},
        {"width": 6, "heads": 4},
        {"dropout": 1.0},
        {"missing": "mean"},
    ],
)
def test_a_bad_option_is_named(options: dict[str, Any]) -> None:
    """An option out of its range is refused by name."""
    with pytest.raises(SettingsError, match=f"option {next(iter(options))} of perceiver"):
        Perceiver({"a": 3}, **options)
