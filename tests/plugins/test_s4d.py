"""The encoder `s4d` follows the equations of diagonal state space models: its convolution is their recurrence."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.signal import cont2discrete
from scipy.stats import kstest
from torch import Tensor, nn

from emotiwave_core.errors import SettingsError
from emotiwave_encoders.s4d import S4D, StateSpace


def varied(ssm: StateSpace) -> StateSpace:
    """The same in float64 with steps long enough to matter, and every parameter at a number of its own."""
    ssm.double()
    with torch.no_grad():
        for parameter in ssm.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        ssm.log_step.add_(2.0)
    return ssm


def real_system(ssm: StateSpace, direction: int, feature: int) -> tuple[np.ndarray, ...]:
    """A, B, C of one feature as real matrices, N numbers for N / 2 complex states, and the step Δ.

    A complex state a + ib under A = -d + if is (a, b) under [[-d, -f], [f, -d]], and 2 Re(C x) = 2 Re C a - 2 Im C b.
    """
    decay = ssm.log_decay[direction, feature].detach().exp().tolist()
    frequency = ssm.frequency[direction, feature].tolist()
    size = 2 * len(decay)
    A, B, C = np.zeros((size, size)), np.zeros((size, 1)), np.zeros((1, size))
    output = ssm.C[direction, feature].tolist()
    for n, (d, f, (real, imaginary)) in enumerate(zip(decay, frequency, output, strict=True)):
        A[2 * n : 2 * n + 2, 2 * n : 2 * n + 2] = [[-d, -f], [f, -d]]
        B[2 * n, 0] = 1.0
        C[0, 2 * n : 2 * n + 2] = [2.0 * real, -2.0 * imaginary]
    return A, B, C, ssm.log_step[direction, feature].detach().exp().numpy()


def run_by_loops(ssm: StateSpace, u: Tensor) -> Tensor:
    """u [T, W] -> [T, W], step by step, with scipy's zero-order hold; a second direction reads from the end."""
    steps, width = u.shape
    y = ssm.D.detach() * u
    for direction in range(len(ssm.C)):
        order = range(steps) if direction == 0 else range(steps - 1, -1, -1)
        for feature in range(width):
            A, B, C, step = real_system(ssm, direction, feature)
            A_bar, B_bar, *_ = cont2discrete((A, B, C, np.zeros((1, 1))), step.item(), method="zoh")
            x = np.zeros((len(A), 1))
            for t in order:
                x = A_bar @ x + B_bar * u[t, feature].item()
                y[t, feature] += (C @ x).item()
    return y


def norm_by_hand(norm: nn.LayerNorm, z: Tensor) -> Tensor:
    """(z - mean) / sqrt(variance + eps) * weight + bias."""
    centred = z - z.mean(dim=-1, keepdim=True)
    return centred / (centred.square().mean(dim=-1, keepdim=True) + norm.eps).sqrt() * norm.weight + norm.bias


@pytest.mark.short_rows(3)
@torch.no_grad()
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("steps", [1, 2, 9, 23])
def test_the_convolution_equals_the_recurrence(directions: int, steps: int) -> None:
    """The convolution by FFT equals the recurrence, run step by step in float64 with scipy's discretisation."""
    torch.manual_seed(0)
    ssm = varied(StateSpace(3, 4, directions))
    u = torch.randn(2, steps, 3).double()
    for row, y in zip(u, ssm(u), strict=True):
        torch.testing.assert_close(y, run_by_loops(ssm, row), atol=1e-10, rtol=1e-10)


@torch.no_grad()
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("steps", [1, 2, 23, 300])
def test_the_form_that_is_exported_has_the_same_numbers(directions: int, steps: int) -> None:
    """Summed over time in real numbers it is the convolution by FFT, to rounding."""
    ssm = varied(StateSpace(3, 8, directions))
    u = torch.randn(2, steps, 3, dtype=torch.float64)
    torch.testing.assert_close(ssm.convolved(u), ssm(u), rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(ssm.real_kernel(steps), ssm.kernel(steps), rtol=1e-10, atol=1e-11)
    fresh = StateSpace(4, 64, directions)  # in float32, from the start of a training
    u = torch.randn(2, steps, 4)
    torch.testing.assert_close(fresh.convolved(u), fresh(u), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_discretisation_is_a_zero_order_hold() -> None:
    """The kernel is the response of scipy's zero-order-hold system to an impulse, also where the step is very short."""
    torch.manual_seed(0)
    ssm = varied(StateSpace(3, 8, 2))
    ssm.log_step[:, 0] = math.log(1e-9)
    kernel = ssm.kernel(30)
    assert kernel.shape == (2, 3, 30)
    for direction in range(2):
        for feature in range(3):
            A, B, C, step = real_system(ssm, direction, feature)
            A_bar, B_bar, *_ = cont2discrete((A, B, C, np.zeros((1, 1))), step.item(), method="zoh")
            due = [(C @ np.linalg.matrix_power(A_bar, t) @ B_bar).item() for t in range(30)]
            largest = max(map(abs, due))
            torch.testing.assert_close(kernel[direction, feature].tolist(), due, atol=1e-10 * largest, rtol=0.0)


@torch.no_grad()
def test_a_kernel_does_not_depend_on_its_length() -> None:
    """The first steps of a longer kernel are the shorter kernel."""
    torch.manual_seed(0)
    ssm = varied(StateSpace(2, 4, 1))
    long = ssm.kernel(50)
    for steps in range(1, 50):
        torch.testing.assert_close(ssm.kernel(steps), long[..., :steps], atol=1e-13, rtol=1e-10)


@torch.no_grad()
def test_it_starts_as_s4d_lin() -> None:
    """A_n starts at -1/2 + iπn, Δ log-uniform in 0.001 to 0.1, C and D from normal distributions of variance one."""
    torch.manual_seed(0)
    ssm = StateSpace(1500, 8, 2)
    A = torch.complex(-ssm.log_decay.exp(), ssm.frequency)
    for n in range(4):
        assert A[1, 7, n].item() == pytest.approx(-0.5 + 1j * math.pi * n)
    assert torch.equal(A, A[:1, :1].expand_as(A))
    logs = ssm.log_step.flatten().double()
    assert kstest(logs, "uniform", (math.log(0.001), math.log(100.0))).pvalue > 1e-4
    assert kstest(math.sqrt(2.0) * ssm.C.flatten().double(), "norm").pvalue > 1e-4
    assert kstest(ssm.D.double(), "norm").pvalue > 1e-4


@torch.no_grad()
@pytest.mark.parametrize("bidirectional", [False, True])
def test_states_equal_the_equations(bidirectional: bool) -> None:
    """With any mask the states equal the equations of the layers; a masked step stands in its place as zero input."""
    torch.manual_seed(0)
    encoder = S4D(3, width=4, state_size=4, bidirectional=bidirectional).double().eval()
    for parameter in encoder.parameters():
        parameter.add_(0.2 * torch.randn_like(parameter))  # so that the norms have weights and biases of their own
    for layer in encoder.layers:
        varied(layer.ssm)
    mask = torch.rand(4, 9) < 0.6
    mask[0], mask[1] = True, torch.arange(9) > 3
    x = torch.randn(4, 9, 3).double()
    states, pooled, _ = encoder(torch.where(mask[..., None], x, torch.nan), mask)
    for row in range(4):
        z = x[row] @ encoder.project.weight.T + encoder.project.bias
        for layer in encoder.layers:
            u = norm_by_hand(layer.norm, z) * mask[row, :, None]
            y = run_by_loops(layer.ssm, u)
            mixed = (y * torch.special.ndtr(y)) @ layer.mix.weight.T + layer.mix.bias  # ndtr: the normal's distribution
            z = z + mixed[:, :4] * torch.sigmoid(mixed[:, 4:])
        due = norm_by_hand(encoder.norm, z)[mask[row]]
        torch.testing.assert_close(states[row, mask[row]], due, atol=1e-9, rtol=1e-9)
        torch.testing.assert_close(pooled[row], due.mean(dim=0), atol=1e-9, rtol=1e-9)
        assert not states[row, ~mask[row]].any()


@pytest.mark.parametrize("bidirectional", [False, True])
def test_one_direction_sees_no_future(bidirectional: bool) -> None:
    """A state depends on its own step and all before it, and on later ones only if the encoder is bidirectional."""
    torch.manual_seed(0)
    encoder = S4D(3, width=4, bidirectional=bidirectional).double().eval()
    x = torch.randn(1, 12, 3, dtype=torch.float64, requires_grad=True)
    encoder(x, torch.ones(1, 12, dtype=torch.bool)).states[0, 5, 0].backward()
    assert x.grad is not None
    strength = x.grad[0].abs().amax(dim=1)
    assert (strength[:6] > 1e-6).all()
    assert (strength[6:] > 1e-6).all() if bidirectional else (strength[6:] < 1e-14).all()


@torch.no_grad()
def test_long_sequences_are_finite_and_exact() -> None:
    """In float32, the kernel of 5000 steps is finite and that of float64, and so are states of 1000 steps."""
    torch.manual_seed(0)
    ssm = StateSpace(4, 64, 2)
    kernel = ssm.kernel(5000)
    torch.testing.assert_close(kernel, ssm.double().kernel(5000).float(), atol=1e-4, rtol=1e-3)
    encoder = S4D(3, width=8).eval()
    x, mask = torch.randn(2, 1000, 3), torch.ones(2, 1000, dtype=torch.bool)
    states = encoder(x, mask).states
    due = encoder.double()(x.double(), mask).states
    torch.testing.assert_close(states, due.float(), atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_autocast_does_not_touch_the_state_space() -> None:
    """Under bfloat16 autocast the system runs in float32, on a bfloat16 input as on the same numbers in float32."""
    torch.manual_seed(0)
    ssm = StateSpace(4, 8, 2)
    u = torch.randn(2, 9, 4).bfloat16()
    due = ssm(u.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for given in (u, u.float()):
            y = ssm(given)
            assert y.dtype == torch.float32
            assert torch.equal(y, due)


def test_dropout_takes_whole_channels() -> None:
    """In training a channel of a sample is zero at all its steps or at none, and what is kept is scaled."""
    torch.manual_seed(0)
    encoder = S4D(3, width=16, layers=2, dropout=0.5)
    calls: list[tuple[torch.Tensor, torch.Tensor]] = []
    for layer in encoder.layers:
        layer.dropout.register_forward_hook(lambda _, given, result: calls.append((given[0], result)))
    encoder(torch.randn(4, 9, 3), torch.ones(4, 9, dtype=torch.bool))
    assert len(calls) == 2
    for given, result in calls:
        assert given.shape == (4, 16, 9)
        kept = (result != 0).any(dim=2)
        assert 0 < kept.sum() < kept.numel()
        torch.testing.assert_close(result, torch.where(kept[..., None], 2.0 * given, 0.0))


def test_dropout_is_only_in_training() -> None:
    """Dropout changes the states in training, and eval() repeats itself."""
    torch.manual_seed(0)
    encoder = S4D(3, width=8, dropout=0.5)
    x, mask = torch.randn(2, 9, 3), torch.ones(2, 9, dtype=torch.bool)
    assert not torch.equal(encoder(x, mask).states, encoder(x, mask).states)
    encoder.eval()
    assert torch.equal(encoder(x, mask).states, encoder(x, mask).states)


@pytest.mark.parametrize(
    ("option", "value"),
    [("width", 0), ("state_size", 0), ("state_size", 5), ("layers", 0), ("dropout", 1.0), ("pooling", "x")],
)
def test_a_bad_option_is_named(option: str, value: Any) -> None:
    """An option out of its range is refused by name."""
    with pytest.raises(SettingsError, match=option):
        S4D(5, **{option: value})
