"""The fusion `bottleneck` follows the equations of MBT: modalities meet in the shared tokens and nowhere else."""

import math
from typing import Any

import pytest
import torch
from step_fusions import batch, copy_weights, scramble, some_absent, stood_in, without
from torch import Tensor, nn

from emotiwave_core.errors import SettingsError
from emotiwave_core.interfaces import Encoded
from emotiwave_core.layers.attention import Block, positions
from emotiwave_fusions.bottleneck import Bottleneck

WIDTHS = {"a": 3, "b": 2, "c": 5}


def twin_of(block: Block, width: int) -> nn.TransformerEncoderLayer:
    """torch's own pre-norm layer, with GELU as in the paper, with the weights of a block."""
    attention, (norm, wide, _, _, narrow, _) = block.attention, block.feed_forward
    twin = nn.TransformerEncoderLayer(
        width, attention.heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    ).double()
    weights = {
        "self_attn.in_proj_weight": torch.cat([attention.query.weight, attention.key.weight, attention.value.weight]),
        "self_attn.in_proj_bias": torch.zeros(3 * width),
    }
    for name, part in (
        ("self_attn.out_proj", attention.output),
        ("norm1", block.attention_norm),
        ("norm2", norm),
        ("linear1", wide),
        ("linear2", narrow),
    ):
        weights |= {f"{name}.weight": part.weight, f"{name}.bias": part.bias}
    twin.load_state_dict(weights)
    return twin.eval()


def by_the_equations(fusion: Bottleneck, encoded: dict[str, Encoded], present: Tensor, b: int) -> Tensor:
    """The vector of sample b: only what is there is ever made, so that there is nothing to mask."""
    width = fusion.bottlenecks.shape[-1]
    streams: dict[int, Tensor] = {}
    for column, part in enumerate(encoded.values()):
        if present[b, column]:
            place = positions(part.states.shape[1], width, torch.zeros((), dtype=torch.float64))
            tokens = math.sqrt(width) * fusion.project[column](part.states[b]) + place
            streams[column] = tokens[part.mask[b]]
    z = fusion.bottlenecks
    for layer in fusion.layers:
        written = []
        for column, tokens in streams.items():
            both = twin_of(layer.blocks[column], width)(torch.cat([tokens, z])[None])[0]
            streams[column] = both[: len(tokens)]
            written.append(both[len(tokens) :])
        z = torch.stack(written).mean(dim=0) if written else z
    parts = [
        fusion.norms[column](streams[column]).mean(dim=0) if column in streams else torch.zeros(width)
        for column in range(len(encoded))
    ]
    return torch.cat(parts)


@pytest.mark.parametrize("bottlenecks", [0, 1, 3])
@torch.no_grad()
def test_the_vector_equals_the_equations(bottlenecks: int) -> None:
    """Sample by sample the vector is that of torch's transformer layers over the tokens that are there."""
    torch.manual_seed(0)
    fusion = Bottleneck(WIDTHS, bottlenecks=bottlenecks, width=4, heads=2, layers=3).double().eval()
    for parameter in fusion.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))  # norms and biases too
    encoded, present = batch(WIDTHS)
    encoded = {name: Encoded(part.states.double(), part.pooled.double(), part.mask) for name, part in encoded.items()}
    present[1, 0] = present[2, 1] = present[2, 2] = False
    found = fusion(encoded, present).vector
    for b in range(3):
        torch.testing.assert_close(
            found[b], by_the_equations(fusion, encoded, present, b).double(), atol=1e-10, rtol=1e-10
        )


@pytest.mark.parametrize(("bottlenecks", "layers", "meet"), [(0, 3, False), (2, 1, False), (1, 2, True), (3, 3, True)])
def test_modalities_meet_in_the_bottlenecks_only(bottlenecks: int, layers: int, meet: bool) -> None:
    """A modality's part depends on another modality if, and only if, there are bottlenecks and a second layer."""
    torch.manual_seed(0)
    fusion = Bottleneck(WIDTHS, bottlenecks=bottlenecks, width=4, heads=2, layers=layers).eval()
    encoded, present = batch(WIDTHS)
    leaves = {name: part._replace(states=part.states.requires_grad_()) for name, part in encoded.items()}
    vector = fusion(leaves, present).vector
    for column in range(3):
        weights = torch.randn(3, 4)  # a plain sum is blind to what a norm takes out
        loss = (vector[:, 4 * column : 4 * column + 4] * weights).sum()
        found = torch.autograd.grad(loss, [part.states for part in leaves.values()], retain_graph=True)
        for other, gradient in enumerate(found):
            assert bool(gradient.any()) is (meet or other == column), (column, other)


@torch.no_grad()
def test_an_absent_modality_has_no_say() -> None:
    """With a modality absent, none of its weights changes the vector, in which its part is zero."""
    torch.manual_seed(0)
    fusion = Bottleneck(WIDTHS, width=4, heads=2, layers=3).eval()
    given = without("b", batch(WIDTHS))
    before = fusion(*given).vector
    scramble(fusion.project[1])
    scramble(fusion.norms[1])
    for layer in fusion.layers:
        scramble(layer.blocks[1])
    assert torch.equal(fusion(*given).vector, before)
    assert not before[:, 4:8].any()
    assert before[:, :4].any()
    scramble(fusion.layers[0].blocks[0])
    assert not torch.equal(fusion(*given).vector[:, 8:], before[:, 8:])


@torch.no_grad()
def test_without_any_modality_the_vector_is_zero() -> None:
    """With missing="zero" a sample without any modality gives zeros."""
    fusion = Bottleneck(WIDTHS, width=4, heads=2).eval()
    assert not fusion(*some_absent(WIDTHS)).vector[2].any()


@torch.no_grad()
def test_a_learned_vector_takes_part_as_a_step() -> None:
    """With missing="learned" an absent modality is a sequence of one step, and has a share in the bottlenecks."""
    torch.manual_seed(0)
    fusion = Bottleneck(WIDTHS, width=4, heads=2, missing="learned").eval()
    for vector in fusion.missing.vectors:
        vector.normal_()
    plain = Bottleneck(WIDTHS, width=4, heads=2).eval()
    copy_weights(fusion, plain)
    given = some_absent(WIDTHS)
    found = fusion(*given).vector
    torch.testing.assert_close(found, plain(*stood_in(fusion, given)).vector)
    assert (plain(*given).vector[1, 4:] - found[1, 4:]).abs().max() > 1e-4


@pytest.mark.parametrize(
    "options",
    [
        {"bottlenecks": -1},
        {"heads": 0},
        {"layers": 0},
        {"width": 0},
        {"width": 6, "heads": 4},
        {"dropout": 1.0},
        {"missing": "mean"},
    ],
)
def test_a_bad_option_is_named(options: dict[str, Any]) -> None:
    """An option out of its range is refused by name."""
    with pytest.raises(SettingsError, match=f"option {next(iter(options))} of bottleneck"):
        Bottleneck({"a": 3}, **options)
