"""The encoder `transformer` equals torch's pre-norm encoder, and knows where a step stands."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_twins import torch_layer

from emotiwave_core.errors import SettingsError
from emotiwave_core.layers.attention import positions
from emotiwave_encoders.transformer import TABLE, SelfAttention

MASK = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [0, 1, 1, 0, 1, 0], [0, 0, 0, 0, 0, 0]], dtype=torch.bool)


def by_torch(encoder: SelfAttention, x: Tensor, mask: Tensor) -> Tensor:
    """The states of torch's own encoder with the same weights; x [B, T, F] zero where masked, every row has a step."""
    width = encoder.out_features
    place = torch.empty(x.shape[1], width, dtype=torch.float64)
    for t in range(x.shape[1]):
        for i in range(width):
            angle = t / 10000.0 ** (i // 2 * 2 / width)
            place[t, i] = math.cos(angle) if i % 2 else math.sin(angle)
    z = math.sqrt(width) * nn.functional.linear(x, encoder.project.weight, encoder.project.bias) + place
    for block in encoder.transformer.blocks:
        z = torch_layer(block, width)(z, src_key_padding_mask=~mask)
    norm = encoder.transformer.norm
    return nn.functional.layer_norm(z, (width,), norm.weight, norm.bias)


@pytest.mark.parametrize("kind", ["sinusoidal", "learned"])
def test_it_equals_torch(kind: Any) -> None:
    """States and the gradient of x are torch's; learned positions start as the sinusoids."""
    torch.manual_seed(0)
    encoder = SelfAttention(3, width=6, heads=2, layers=3, dropout=0.0, positions=kind).double()
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if name != "table":  # norms and biases are ones and zeros otherwise
                parameter.add_(0.3 * torch.randn_like(parameter))
    ours = torch.randn(4, 6, 3, dtype=torch.float64, requires_grad=True)
    theirs = torch.where(MASK[..., None], ours, 0.0).detach()[:3].requires_grad_()
    states = encoder(ours, MASK).states
    due = by_torch(encoder, theirs, MASK[:3])
    torch.testing.assert_close(states[MASK], due[MASK[:3]], atol=1e-6, rtol=1e-6)  # positions are float32
    weights = torch.randn(int(MASK.sum()), 6, dtype=torch.float64)
    (states[MASK] * weights).sum().backward()
    (due[MASK[:3]] * weights).sum().backward()
    torch.testing.assert_close(ours.grad[MASK], theirs.grad[MASK[:3]], atol=1e-6, rtol=1e-6)
    assert not ours.grad[~MASK].any()


@torch.no_grad()
@pytest.mark.parametrize("kind", ["sinusoidal", "learned"])
def test_order_matters_and_only_by_the_positions(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps in another order give another mean; with the positions taken out they give the same."""
    torch.manual_seed(0)
    encoder = SelfAttention(3, width=8, heads=2, positions=kind).eval()
    x, mask, order = torch.randn(2, 6, 3), torch.ones(2, 6, dtype=torch.bool), torch.tensor([3, 0, 5, 1, 4, 2])
    change = encoder(x[:, order], mask).pooled - encoder(x, mask).pooled
    assert change.abs().amax(dim=1).min() > 1e-2
    monkeypatch.setattr(encoder, "_positions", lambda projected: projected.new_zeros(()))
    torch.testing.assert_close(encoder(x[:, order], mask).pooled, encoder(x, mask).pooled)


@torch.no_grad()
def test_a_lost_step_leaves_its_place_empty() -> None:
    """The steps behind a hole keep their positions, so it is not the sequence with the hole cut out."""
    torch.manual_seed(0)
    encoder = SelfAttention(3, width=8, heads=2).eval()
    x, mask = torch.randn(1, 6, 3), torch.tensor([[1, 1, 0, 0, 1, 1]], dtype=torch.bool)
    cut = encoder(x[:, mask[0]], mask[:, mask[0]])
    assert (encoder(x, mask).pooled - cut.pooled).abs().max() > 1e-2


def test_learned_positions_repeat_their_end() -> None:
    """A step beyond the table has the position of its last row, and the table learns from every step that is there."""
    torch.manual_seed(0)
    encoder = SelfAttention(3, width=8, heads=2, layers=1, dropout=0.0, positions="learned")
    torch.testing.assert_close(encoder.table.detach(), positions(TABLE, 8, torch.zeros(())))
    with torch.no_grad():
        encoder.table.normal_()
    found = encoder._positions(torch.zeros(1, TABLE + 3, 8))
    assert torch.equal(found[:TABLE], encoder.table)
    assert torch.equal(found[TABLE:], encoder.table[-1:].expand(3, 8))
    encoder(torch.randn(1, 7, 3), torch.arange(7)[None] < 5).states.square().sum().backward()
    learns = encoder.table.grad.any(dim=1)
    assert learns[:5].all()
    assert not learns[5:].any()


@torch.no_grad()
def test_a_step_beyond_the_table_is_told_by_its_content_only() -> None:
    """Steps beyond the table of learned positions may change places among each other; those within may not."""
    torch.manual_seed(0)
    encoder = SelfAttention(3, width=8, heads=2, positions="learned").eval()
    x, mask = torch.randn(1, TABLE + 20, 3), torch.ones(1, TABLE + 20, dtype=torch.bool)
    before = encoder(x, mask).pooled
    behind, within = x.clone(), x.clone()
    behind[:, TABLE:] = x[:, TABLE:].flip(1)
    within[:, :TABLE] = x[:, :TABLE].flip(1)
    torch.testing.assert_close(encoder(behind, mask).pooled, before, atol=1e-5, rtol=1e-5)
    assert (encoder(within, mask).pooled - before).abs().max() > 1e-3


@torch.no_grad()
def test_dropout_is_on_the_input_and_after_parts() -> None:
    """In training the input is dropped, and each block drops; with dropout 0 nothing is."""
    torch.manual_seed(0)
    x = torch.randn(4, 6, 3)
    encoder = SelfAttention(3, width=8, heads=2, dropout=0.5)
    seen: list[Tensor] = []
    encoder.transformer.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    encoder(x, MASK)
    assert 0.3 < float((seen[0] == 0.0).float().mean()) < 0.7
    assert [block.attention_dropout.p for block in encoder.transformer.blocks] == [0.5, 0.5]
    still = SelfAttention(3, width=8, heads=2, dropout=0.0)
    assert torch.equal(still(x, MASK).states, still.eval()(x, MASK).states)


@pytest.mark.parametrize(
    "options",
    [
        {"width": 0},
        {"width": 6, "heads": 4},
        {"heads": 0},
        {"layers": 0},
        {"dropout": 1.0},
        {"positions": "x"},
        {"pooling": "x"},
    ],
)
def test_a_bad_option_is_named(options: dict[str, Any]) -> None:
    """An option out of its range is refused by name."""
    with pytest.raises(SettingsError, match=f"option {next(iter(options))} of transformer"):
        SelfAttention(5, **options)
