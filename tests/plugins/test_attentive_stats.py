"""The encoder `attentive_stats` follows the equations of the paper, and has gradients where nothing deviates."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from emotiwave_core.errors import SettingsError
from emotiwave_encoders.attentive_stats import AttentiveStats

Array = NDArray[np.float64]
MASK = torch.tensor(
    [
        [1, 1, 1, 1, 1, 1, 1],
        [1, 1, 1, 1, 0, 0, 0],
        [0, 1, 1, 0, 1, 0, 1],
        [0, 0, 0, 1, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0],
    ],
    dtype=torch.bool,
)
rows = st.lists(st.booleans(), min_size=1, max_size=8)


class Given(nn.Module):
    """In the place of a convolution and its ReLU: what comes in, which must not be negative."""

    def forward(self, x: Tensor) -> Tensor:
        """x [B, F, T] -> x."""
        return x


def of_given_frames(width: int, uniform: bool = False) -> AttentiveStats:
    """The encoder in float64, its frames being what is given to it; with `uniform`, v = 0."""
    torch.manual_seed(0)
    encoder = AttentiveStats(width, hidden_size=width, layers=1, attention_size=4).double().eval()
    encoder.frames = nn.ModuleList([Given()])
    if uniform:
        nn.init.zeros_(encoder.score[2].weight)
    return encoder


def numbers(tensor: Tensor) -> Array:
    """A tensor as numpy."""
    return tensor.detach().double().numpy()


def frames_by_loops(encoder: AttentiveStats, x: Array, steps: list[int]) -> dict[int, Array]:
    """The frames {step: [H]} of one sequence x [T, F]: convolutions with ReLU over the steps that are set."""
    frames = {t: x[t] for t in steps}
    for layer in encoder.frames:
        kernel, bias = numbers(layer.weight), numbers(layer.bias)  # [H, F, K], [H]
        made = {}
        for t in steps:
            total = bias.copy()
            for tap in range(kernel.shape[2]):
                neighbour = t + tap - kernel.shape[2] // 2
                if neighbour in frames:
                    total += kernel[:, :, tap] @ frames[neighbour]
            made[t] = np.maximum(total, 0.0)
        frames = made
    return frames


def weights_by_loops(encoder: AttentiveStats, frames: dict[int, Array]) -> dict[int, float]:
    """a_t: the softmax of v' tanh(W h_t + b), {step: weight}."""
    inner, _, outer = encoder.score
    scores = {
        t: float((numbers(outer.weight) @ np.tanh(numbers(inner.weight) @ h + numbers(inner.bias)))[0])
        for t, h in frames.items()
    }
    whole = sum(np.exp(score) for score in scores.values())
    return {t: float(np.exp(score) / whole) for t, score in scores.items()}


@torch.no_grad()
@pytest.mark.parametrize(("layers", "kernel_size"), [(1, 1), (1, 4), (2, 3), (3, 3)])
def test_it_equals_the_equations(layers: int, kernel_size: int) -> None:
    """Pooled vector and states are what a float64 loop over the paper's equations says."""
    torch.manual_seed(0)
    encoder = AttentiveStats(3, hidden_size=5, layers=layers, kernel_size=kernel_size, attention_size=4).double().eval()
    for parameter in encoder.parameters():
        parameter.add_(0.5 * torch.randn_like(parameter))
    x = torch.randn(5, 7, 3, dtype=torch.float64)
    states, pooled, mask = encoder(x, MASK)
    assert torch.equal(mask, MASK)
    for row in range(4):
        steps = MASK[row].nonzero().flatten().tolist()
        frames = frames_by_loops(encoder, numbers(x[row]), steps)
        weights = weights_by_loops(encoder, frames)
        mean = sum(weights[t] * frames[t] for t in steps)
        square = sum(weights[t] * frames[t] ** 2 for t in steps)
        deviation = np.sqrt(np.maximum(square - mean**2, 0.0))
        np.testing.assert_allclose(pooled[row], np.concatenate([mean, deviation]), atol=1e-7)
        for t in steps:
            due = np.concatenate([frames[t], np.abs(frames[t] - mean)])
            np.testing.assert_allclose(states[row, t], due, atol=1e-12)
    assert not states[~MASK].any()
    assert not pooled[4].any()


@settings(deadline=None)
@given(rows, st.integers(0, 1000))
@torch.no_grad()
def test_uniform_attention_is_the_mean_and_standard_deviation(row: list[bool], seed: int) -> None:
    """With v = 0 the pooled vector is numpy's mean and standard deviation (ddof 0) of the frames that are set."""
    frames = np.abs(np.random.default_rng(seed).normal(size=(len(row), 3)))
    mask = torch.tensor([row])
    pooled = of_given_frames(3, uniform=True)(torch.tensor(frames)[None], mask).pooled[0]
    kept = frames[row] if any(row) else np.zeros((1, 3))
    np.testing.assert_allclose(pooled, np.concatenate([kept.mean(axis=0), kept.std(axis=0)]), atol=1e-9)


@settings(deadline=None)
@given(rows.filter(any), st.integers(0, 1000))
@torch.no_grad()
def test_the_halves_of_pooled_are_those_of_the_states(row: list[bool], seed: int) -> None:
    """By the weights of the attention, the first half is the mean of the states, the second their root mean square."""
    frames = np.abs(np.random.default_rng(seed).normal(size=(len(row), 3)))
    encoder, mask = of_given_frames(3), torch.tensor([row])
    states, pooled, _ = encoder(torch.tensor(frames)[None], mask)
    weights = np.zeros(len(row))
    for t, weight in weights_by_loops(encoder, {t: frames[t] for t, kept in enumerate(row) if kept}).items():
        weights[t] = weight
    first, second = np.split(numbers(states[0]), 2, axis=1)
    np.testing.assert_allclose(pooled[0, :3], weights @ first, atol=1e-9)
    np.testing.assert_allclose(pooled[0, 3:], np.sqrt(weights @ second**2), atol=1e-7)


@pytest.mark.parametrize("noise", [0.0, 1e-9, 1e-6, 1e-3])
@pytest.mark.parametrize("level", [0.0, 1.0, 1e3])
def test_gradients_are_finite_where_nothing_deviates(level: float, noise: float) -> None:
    """A constant sequence, nearly one, a single step and none have bounded gradients of the deviation, in float32."""
    encoder = of_given_frames(3).float()
    x = (level + noise * torch.rand(5, 7, 3, generator=torch.Generator().manual_seed(0))).requires_grad_()
    pooled = encoder(x, MASK).pooled
    pooled[:, 3:].sum().backward()
    for tensor in (x, *encoder.parameters()):
        assert tensor.grad.isfinite().all()
    # d s / d h_t = a_t (h_t - m) / s, at most sqrt(a_t) for fixed weights; what the weights add is small here.
    assert x.grad.abs().max() < 1.5
    assert not pooled[3:, 3:].any()
    assert not x.grad[3:].any()


@torch.no_grad()
def test_a_constant_deviates_by_nothing() -> None:
    """The deviation of a constant is exactly zero, and that of steps apart is not."""
    encoder = of_given_frames(3)
    constant = encoder(torch.full((1, 7, 3), 0.7, dtype=torch.float64), MASK[:1]).pooled[0]
    torch.testing.assert_close(constant, torch.tensor([0.7] * 3 + [0.0] * 3, dtype=torch.float64))
    assert not constant[3:].any()
    apart = encoder(0.7 + 1e-4 * torch.arange(7.0).double()[None, :, None].expand(1, 7, 3), MASK[:1]).pooled[0]
    assert (apart[3:] > 1e-4).all()


def test_gradients_are_those_of_the_equations() -> None:
    """The gradient of the states and the pooled vector is that of finite differences: nothing is detached."""
    encoder = of_given_frames(2)
    x = (0.1 + torch.rand(2, 4, 2, dtype=torch.float64)).requires_grad_()
    mask = torch.tensor([[1, 1, 1, 1], [1, 0, 1, 0]], dtype=torch.bool)
    torch.autograd.gradcheck(lambda given: tuple(encoder(given, mask)[:2]), x)


@torch.no_grad()
@pytest.mark.parametrize("kernel_size", [1, 3])
def test_only_the_convolution_knows_the_order(kernel_size: int) -> None:
    """Steps in another order pool to the same if frames read one step each, and to another if they read three."""
    torch.manual_seed(0)
    encoder = AttentiveStats(3, hidden_size=6, kernel_size=kernel_size, attention_size=4).eval()
    x, order = torch.randn(1, 7, 3), torch.tensor([3, 0, 6, 5, 1, 4, 2])
    change = float((encoder(x[:, order], MASK[:1]).pooled - encoder(x, MASK[:1]).pooled).abs().max())
    assert (change > 1e-3) is (kernel_size > 1)


@torch.no_grad()
def test_dropout_is_after_each_convolution_and_only_in_training() -> None:
    """In training about p of the frames that are not zero anyway are; in eval() none."""
    torch.manual_seed(0)
    encoder = AttentiveStats(3, hidden_size=64, layers=1, dropout=0.5)
    x = torch.randn(5, 7, 3)
    kept = [float((encoder.train(training)(x, MASK).states[MASK][:, :64] > 0).sum()) for training in (True, False)]
    assert 0.4 < kept[0] / kept[1] < 0.6
    assert torch.equal(encoder.eval()(x, MASK).pooled, encoder(x, MASK).pooled)


@pytest.mark.parametrize(
    "options", [{"hidden_size": 0}, {"layers": 0}, {"kernel_size": 0}, {"attention_size": 0}, {"dropout": 1.0}]
)
def test_a_bad_option_is_named(options: dict[str, Any]) -> None:
    """An option out of its range is refused by name."""
    with pytest.raises(SettingsError, match=f"option {next(iter(options))} of attentive_stats"):
        AttentiveStats(5, **options)
