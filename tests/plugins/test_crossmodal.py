"""The fusion `crossmodal` follows the equations of MulT, and an absent modality has no say in it."""

import math
from typing import Any

import pytest
import torch
from step_fusions import attention_by_loops, batch, copy_weights, scramble, some_absent, stood_in, without
from torch import Tensor, nn

from emotiwave_core.errors import SettingsError
from emotiwave_core.interfaces import Encoded
from emotiwave_core.layers.attention import Attention, positions
from emotiwave_fusions.crossmodal import CrossModal


class Nothing(nn.Module):
    """Zeros."""

    def forward(self, x: Tensor) -> Tensor:
        """Zeros like x."""
        return torch.zeros_like(x)


@torch.no_grad()
def test_attention_equals_its_equation() -> None:
    """The crossmodal attention equals a float64 loop over its equation, and is zero where the source has no step."""
    torch.manual_seed(0)
    module = Attention(width=6, heads=3).double()
    target, source = torch.randn(4, 5, 6).double(), torch.randn(4, 7, 6).double()
    mask = torch.rand(4, 7) < 0.6
    mask[0], mask[1] = True, False
    due = attention_by_loops(module, target, source, mask)
    torch.testing.assert_close(module(target, source, mask), due, atol=1e-12, rtol=1e-12)
    assert not due[1].any()
    assert due[0].any()


def test_positions_equal_their_equation() -> None:
    """Position t is sin(t / 10000^(2i/W)) and cos of the same in turn, whatever the number of steps."""
    like = torch.zeros(())
    for width in (4, 5):
        found = positions(6, width, like)
        for t in range(6):
            for i in range(width):
                angle = t / 10000.0 ** ((i - i % 2) / width)
                assert found[t, i].item() == pytest.approx(math.cos(angle) if i % 2 else math.sin(angle), abs=1e-6)
        assert torch.equal(positions(3, width, like), found[:3])


def attended(module: Attention, target: Tensor, source: Tensor, mask: Tensor, ahead: int | None) -> Tensor:
    """The loop over the equation of attention; step i reads up to i + `ahead`, or everything where it is None."""
    if ahead is None:
        return attention_by_loops(module, target, source, mask)
    steps = [mask & (torch.arange(mask.shape[1]) <= i + ahead) for i in range(target.shape[1])]
    return torch.cat([attention_by_loops(module, target[:, i : i + 1], source, m) for i, m in enumerate(steps)], dim=1)


@pytest.mark.parametrize("causal", [False, True])
@torch.no_grad()
def test_the_vector_equals_the_equations(causal: bool) -> None:
    """With two modalities the vector is what the equations say: crossmodal blocks, three of self-attention, the head.

    Each crossmodal block reads the low-level source, and the inputs of both transformers are scaled and have positions.
    """
    torch.manual_seed(0)
    fusion = CrossModal({"a": 3, "b": 2}, width=4, heads=2, layers=2, causal=causal).double().eval()
    for parameter in fusion.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))
    encoded, present = batch({"a": 3, "b": 2})
    encoded = {name: Encoded(part.states.double(), part.pooled.double(), part.mask) for name, part in encoded.items()}
    masks = [part.mask for part in encoded.values()]
    low = []
    for column, part in enumerate(encoded.values()):
        place = positions(part.states.shape[1], 4, torch.zeros((), dtype=torch.float64))
        low.append(2.0 * fusion.project[column](part.states) + place)
    found = fusion(encoded, present).vector
    for b in range(3):
        parts = []
        for target, source in ((0, 1), (1, 0)):
            lengths = [int(torch.nonzero(masks[column][b]).max()) + 1 for column in (target, source)]
            cross, own = fusion.crossmodal[f"{source}_to_{target}"], fusion.self_attention[target]
            assert (len(cross.blocks), len(own.blocks)) == (2, 3)
            z = low[target][b : b + 1]
            for stack, read, mask in ((cross, low[source], masks[source]), (own, None, masks[target])):
                ahead = None if not causal else abs(lengths[0] - lengths[1]) if read is not None else 0
                if read is None:
                    z = 2.0 * z + positions(z.shape[1], 4, torch.zeros((), dtype=torch.float64))
                for block in stack.blocks:
                    norm = block.attention_norm
                    keys = norm(z if read is None else read[b : b + 1])
                    z = z + attended(block.attention, norm(z), keys, mask[b : b + 1], ahead)
                    z = z + block.feed_forward(z)
                z = stack.norm(z)
            parts.append(z[0, masks[target][b]].mean(dim=0))
        pooled = torch.cat(parts)
        first, _, second = fusion.head
        due = pooled + second(first(pooled).clamp(min=0))
        torch.testing.assert_close(found[b], due, atol=1e-10, rtol=1e-10)


@torch.no_grad()
def test_an_absent_source_has_no_say() -> None:
    """With a modality absent, nothing that reads it changes the vector: not its projection, not the attention to it."""
    torch.manual_seed(0)
    widths = {"a": 3, "b": 2, "c": 5}
    fusion = CrossModal(widths, width=4, heads=2).eval()
    given = without("b", batch(widths))
    fusion.head = nn.Sequential(nn.Identity(), nn.ReLU(), Nothing())  # which mixes the parts of the vector
    before = fusion(*given).vector
    scramble(fusion.project[1])
    for target in (0, 2):
        for block in fusion.crossmodal[f"1_to_{target}"].blocks:
            scramble(block.attention)
    scramble(fusion.self_attention[1])
    assert torch.equal(fusion(*given).vector, before)
    assert not before[:, 8:16].any()
    assert before[:, :8].any()
    assert before[:, 16:].any()


@torch.no_grad()
def test_a_present_source_has_a_say() -> None:
    """Another content of one modality changes what the vector says of every other."""
    torch.manual_seed(0)
    widths = {"a": 3, "b": 2, "c": 5}
    fusion = CrossModal(widths, width=4, heads=2).eval()
    fusion.head = nn.Sequential(nn.Identity(), nn.ReLU(), Nothing())
    (encoded, present), (other, _) = batch(widths), batch(widths, seed=1)
    before = fusion(encoded, present).vector
    after = fusion({**encoded, "b": other["b"]}, present).vector
    for part in (slice(0, 8), slice(8, 16), slice(16, 24)):
        assert (after[:, part] - before[:, part]).abs().amax(dim=1).gt(1e-4).all()


@torch.no_grad()
def test_presence_decides_also_where_masks_are_left() -> None:
    """A modality that `present` leaves out is absent, even if its mask still has steps."""
    torch.manual_seed(0)
    widths = {"a": 3, "b": 2}
    fusion = CrossModal(widths, width=4, heads=2).eval()
    encoded, _ = batch(widths)
    cleared, present = without("b", batch(widths))
    torch.testing.assert_close(fusion(encoded, present).vector, fusion(cleared, present).vector)


@torch.no_grad()
def test_a_learned_vector_is_the_only_step_of_what_is_absent() -> None:
    """With missing="learned" an absent modality is read, and pooled, as a sequence of one step: its learned vector."""
    torch.manual_seed(0)
    widths = {"a": 3, "b": 2, "c": 5}
    fusion = CrossModal(widths, width=4, heads=2, missing="learned").eval()
    for vector in fusion.missing.vectors:
        vector.normal_()
    plain = CrossModal(widths, width=4, heads=2).eval()
    copy_weights(fusion, plain)
    given = some_absent(widths)
    found, due = fusion(*given).vector, plain(*stood_in(fusion, given)).vector
    torch.testing.assert_close(found, due)
    assert found[1, :8].any()
    assert (plain(*given).vector[1] - found[1]).abs().max() > 1e-3


@pytest.mark.parametrize(("number", "out"), [(1, 4), (2, 8), (3, 24), (4, 48)])
def test_the_vector_is_as_wide_as_it_says(number: int, out: int) -> None:
    """M modalities give M (M - 1) W numbers, and one gives W."""
    widths = dict(zip("abcd"[:number], (3, 2, 5, 1), strict=False))
    fusion = CrossModal(widths, width=4, heads=2)
    assert fusion.out_features == out
    assert fusion(*batch(widths)).vector.shape == (3, out)


@pytest.mark.parametrize(
    "options",
    [
        {"heads": 0},
        {"layers": 0},
        {"width": 0},
        {"width": 6, "heads": 4},
        {"dropout": 1.0},
        {"dropout": -1.0},
        {"missing": "mean"},
    ],
)
def test_a_bad_option_is_named(options: dict[str, Any]) -> None:
    """An option out of its range is refused by name."""
    with pytest.raises(SettingsError, match=next(iter(options))):
        CrossModal({"a": 3}, **options)
