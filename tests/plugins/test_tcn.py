"""The encoder `tcn` follows the equations of the temporal convolutional network, and sees as far back as it says."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from emotiwave_core.errors import SettingsError
from emotiwave_encoders.tcn import TCN


def convolution_by_loops(convolution: nn.Module, z: Tensor, dilation: int) -> Tensor:
    """z [T, F] -> [T, C]: b + sum over i of W_i z_{t - i d}, each output channel of W being g v / |v| (weight norm)."""
    parameters = dict(convolution.named_parameters())
    g, v = (parameters[f"parametrizations.weight.original{part}"] for part in (0, 1))
    kernel = v.shape[2]
    rows = []
    for t in range(len(z)):
        row = parameters["bias"].clone()
        for c in range(len(v)):
            for i in range(kernel):
                if t - i * dilation >= 0:
                    tap = g[c].item() * v[c, :, kernel - 1 - i] / v[c].square().sum().sqrt()
                    row[c] += (tap * z[t - i * dilation]).sum()
        rows.append(row)
    return torch.stack(rows)


def states_by_loops(encoder: TCN, x: Tensor, mask: Tensor) -> Tensor:
    """x [T, F], mask [T] -> [T, C] by figure 1 of the paper, with zeros in masked steps throughout."""
    z = x.masked_fill(~mask[:, None], 0.0)
    for level, block in enumerate(encoder.blocks):
        inner = z
        for convolution in block.convolutions:
            inner = convolution_by_loops(convolution, inner, 2**level).clamp(min=0.0) * mask[:, None]
        own = z if z.shape[1] == inner.shape[1] else z @ block.match.weight[:, :, 0].T + block.match.bias
        z = (own + inner).clamp(min=0.0) * mask[:, None]
    return z


@torch.no_grad()
@pytest.mark.parametrize(("levels", "kernel"), [(1, 1), (1, 3), (3, 2)])
def test_states_equal_the_equations(levels: int, kernel: int) -> None:
    """For any mask the states equal a float64 loop over the equations, and pooled is the mean of those that are set."""
    torch.manual_seed(0)
    encoder = TCN(3, channels=4, levels=levels, kernel=kernel).double().eval()
    for parameter in encoder.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))  # so that g is not |v|
    mask = torch.rand(5, 11) < 0.6
    mask[0], mask[1] = True, torch.arange(11) > 4
    x = torch.randn(5, 11, 3).double()
    states, pooled, _ = encoder(torch.where(mask[..., None], x, torch.nan), mask)
    for row in range(5):
        due = states_by_loops(encoder, x[row], mask[row])
        torch.testing.assert_close(states[row], due, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(pooled[row], due[mask[row]].mean(dim=0), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(
    ("kernel", "levels", "field"), [(1, 3, 1), (2, 1, 3), (2, 3, 15), (3, 2, 13), (3, 4, 61), (5, 2, 25)]
)
def test_a_state_sees_exactly_its_receptive_field(kernel: int, levels: int, field: int) -> None:
    """A state depends on 1 + 2 (k - 1) (2^levels - 1) steps, its own and those right before it, and on no later one."""
    torch.manual_seed(0)
    assert field == 1 + 2 * (kernel - 1) * (2**levels - 1)
    encoder = TCN(2, channels=3, levels=levels, kernel=kernel, dropout=0.0).double()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.abs_()  # with all weights and inputs positive no ReLU shuts and nothing cancels
    steps, at = field + 6, field + 2
    x = torch.rand(1, steps, 2, dtype=torch.float64, requires_grad=True)
    encoder(x, torch.ones(1, steps, dtype=torch.bool)).states[0, at].sum().backward()
    assert x.grad is not None
    seen = [step for step in range(steps) if x.grad[0, step].any()]
    assert seen == list(range(at - field + 1, at + 1))


@torch.no_grad()
def test_masked_steps_in_front_are_as_none() -> None:
    """A sequence behind masked steps gives the states and the pooled vector of the sequence alone."""
    torch.manual_seed(0)
    for pooling in ("last", "mean", "max", "attention"):
        encoder = TCN(3, channels=4, pooling=pooling).double().eval()
        x, mask = torch.randn(2, 9, 3).double(), torch.ones(2, 9, dtype=torch.bool)
        mask[1, 3:5] = False
        alone = encoder(x, mask)
        behind = encoder(
            torch.cat([torch.full_like(x[:, :4], torch.nan), x], dim=1),
            torch.cat([torch.zeros_like(mask[:, :4]), mask], dim=1),
        )
        torch.testing.assert_close(behind.states[:, 4:], alone.states)
        torch.testing.assert_close(behind.pooled, alone.pooled)


@torch.no_grad()
@pytest.mark.parametrize(("kernel", "levels"), [(3, 1), (2, 2), (3, 2)])
def test_a_gap_keeps_its_length(kernel: int, levels: int) -> None:
    """Steps before a gap show after it if the gap is shorter than (k - 1) 2^(levels - 1) steps, and else not."""
    torch.manual_seed(0)
    encoder = TCN(3, channels=8, levels=levels, kernel=kernel).double().eval()
    x = torch.randn(1, 14, 3).double()
    other = torch.cat([torch.randn(1, 6, 3).double(), x[:, 6:]], dim=1)
    reach = (kernel - 1) * 2 ** (levels - 1)
    for gap in (reach - 1, reach):
        mask = torch.ones(1, 14, dtype=torch.bool)
        mask[:, 6 : 6 + gap] = False
        same = torch.equal(encoder(x, mask).states[:, 6 + gap :], encoder(other, mask).states[:, 6 + gap :])
        assert same is (gap == reach), gap


def test_dropout_takes_whole_channels_and_only_in_training() -> None:
    """After each of the two convolutions of a block, dropout in training zeroes a channel at all steps or at none."""
    torch.manual_seed(0)
    encoder = TCN(3, channels=16, levels=2, dropout=0.5)
    calls: list[tuple[Tensor, Tensor]] = []
    for block in encoder.blocks:
        block.dropout.register_forward_hook(lambda _, given, result: calls.append((given[0], result)))
    x, mask = torch.randn(4, 9, 3), torch.ones(4, 9, dtype=torch.bool)
    encoder(x, mask)
    assert len(calls) == 4
    for before, after in calls:
        assert before.min() >= 0.0  # after the ReLU
        lost = ~after.any(dim=2) & before.any(dim=2)
        assert lost.any()
        torch.testing.assert_close(after, torch.where(lost[..., None], 0.0, 2.0 * before))
    encoder.eval()
    assert torch.equal(encoder(x, mask).states, encoder(x, mask).states)


@pytest.mark.parametrize(
    "options",
    [{"channels": 0}, {"levels": 0}, {"kernel": 0}, {"dropout": 1.0}, {"dropout": -0.1}, {"pooling": "x"}],
)
def test_a_bad_option_is_named(options: dict[str, Any]) -> None:
    """An option out of its range is refused by name."""
    with pytest.raises(SettingsError, match=next(iter(options))):
        TCN(5, **options)
