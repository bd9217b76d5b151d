"""The encoder `conformer` follows the equations of the paper, and its masks follow the shortened sequence."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from emotiwave_core.errors import SettingsError
from emotiwave_encoders.conformer import Conformer, ConformerBlock, Convolution

Array = NDArray[np.float64]
MASK = torch.tensor(
    [
        [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        [1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 0, 0, 1, 1, 0, 1],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ],
    dtype=torch.bool,
)


def numbers(parameter: torch.Tensor) -> Array:
    """A parameter as numpy."""
    return parameter.detach().double().numpy()


def linear(module: nn.Linear, x: Array) -> Array:
    """W x + b of one step."""
    return numbers(module.weight) @ x + (0.0 if module.bias is None else numbers(module.bias))


def norm(module: nn.LayerNorm, x: Array) -> Array:
    """The layer norm of one step."""
    centred = x - x.mean()
    return centred / np.sqrt((centred**2).mean() + module.eps) * numbers(module.weight) + numbers(module.bias)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x))."""
    return 1.0 / (1.0 + np.exp(-x))


def feed_forward(module: nn.Sequential, x: Array) -> Array:
    """Norm, linear, swish, linear of one step (section 2.3)."""
    inner = linear(module[1], norm(module[0], x))
    return linear(module[4], inner * sigmoid(inner))


def self_attention(block: ConformerBlock, x: dict[int, Array]) -> dict[int, Array]:
    """Multi-head self-attention with the norm first over the steps that are set, {step: [W]}."""
    module = block.attention
    normed = {t: norm(block.attention_norm, step) for t, step in x.items()}
    d = len(next(iter(x.values()))) // module.heads
    out = {}
    for t in x:
        read = []
        for head in range(module.heads):
            part = slice(head * d, (head + 1) * d)
            query = linear(module.query, normed[t])[part]
            scores = np.array([query @ linear(module.key, normed[s])[part] / math.sqrt(d) for s in x])
            shares = np.exp(scores) / np.exp(scores).sum()
            read.append(sum(a * linear(module.value, normed[s])[part] for a, s in zip(shares, x, strict=True)))
        out[t] = linear(module.output, np.concatenate(read))
    return out


def convolution(module: Convolution, x: dict[int, Array]) -> dict[int, Array]:
    """Norm, pointwise, GLU, depthwise, norm, swish, pointwise (section 2.2) over the steps that are set."""
    gated = {}
    for t, step in x.items():
        value, gate = np.split(linear(module.gated[1], norm(module.gated[0], step)), 2)
        gated[t] = value * sigmoid(gate)
    kernel, bias = numbers(module.depthwise.weight)[:, 0], numbers(module.depthwise.bias)  # [W, K], [W]
    out = {}
    for t in x:
        mixed = bias.copy()
        for tap in range(kernel.shape[1]):
            neighbour = t + tap - kernel.shape[1] // 2
            mixed += kernel[:, tap] * gated.get(neighbour, 0.0)
        mixed = norm(module.output[0], mixed)
        out[t] = linear(module.output[2], mixed * sigmoid(mixed))
    return out


def by_loops(encoder: Conformer, x: Array, mask: NDArray[np.bool_]) -> dict[int, Array]:
    """The states that are set {t': [W]} of one sequence x [T, F], mask [T]."""
    width, stride, weight = encoder.out_features, encoder.stride, numbers(encoder.front.weight)  # [W, F, 2 stride - 1]
    states = {}
    for t in range(math.ceil(len(x) / stride)):
        if not any(mask[s] for s in range(stride * t, min(stride * t + stride, len(x)))):
            continue
        front = numbers(encoder.front.bias).copy()
        for s in range(len(x)):
            if mask[s] and abs(s - stride * t) < stride:
                front += weight[:, :, s - stride * t + stride - 1] @ x[s]
        angles = [t / 10000.0 ** (i // 2 * 2 / width) for i in range(width)]
        place = np.array([math.cos(angle) if i % 2 else math.sin(angle) for i, angle in enumerate(angles)])
        states[t] = math.sqrt(width) * linear(encoder.project, np.maximum(front, 0.0)) + place
    for block in encoder.blocks:
        states = {t: z + 0.5 * feed_forward(block.feed_in, z) for t, z in states.items()}
        states = {t: states[t] + z for t, z in self_attention(block, states).items()}
        states = {t: states[t] + z for t, z in convolution(block.convolution, states).items()}
        states = {t: norm(block.norm, z + 0.5 * feed_forward(block.feed_out, z)) for t, z in states.items()}
    return states


@torch.no_grad()
@pytest.mark.parametrize(("stride", "kernel_size"), [(1, 3), (2, 4), (3, 1), (4, 15)])
def test_states_equal_the_equations(stride: int, kernel_size: int) -> None:
    """States and their mask are those of a float64 loop over the equations, dropout aside."""
    torch.manual_seed(0)
    encoder = Conformer(3, width=6, heads=2, stride=stride, kernel_size=kernel_size, dropout=0.0).double()
    for parameter in encoder.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))  # norms and biases are ones and zeros otherwise
    x = torch.randn(4, 11, 3, dtype=torch.float64)
    states, pooled, mask = encoder(x, MASK)
    for row in range(4):
        due = by_loops(encoder, x[row].numpy(), MASK[row].numpy()) if MASK[row].any() else {}
        assert mask[row].nonzero().flatten().tolist() == list(due)
        for t, state in due.items():
            np.testing.assert_allclose(states[row, t], state, atol=1e-5, rtol=1e-5)  # positions are float32
        mean = np.mean(list(due.values()), axis=0) if due else np.zeros(6)
        np.testing.assert_allclose(pooled[row], mean, atol=1e-5, rtol=1e-5)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 5), st.lists(st.booleans(), min_size=1, max_size=23))
@torch.no_grad()
def test_a_state_is_set_if_one_of_its_steps_is(stride: int, row: list[bool]) -> None:
    """T' is ceil(T / stride), and each step sets the state of its own group of `stride` steps and no other."""
    encoder = Conformer(2, width=2, heads=1, layers=1, kernel_size=1, stride=stride).eval()
    mask = encoder(torch.randn(1, len(row), 2), torch.tensor([row])).mask[0].tolist()
    assert len(mask) == -(-len(row) // stride)
    assert [t for t, kept in enumerate(mask) if kept] == sorted({s // stride for s, kept in enumerate(row) if kept})


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_the_front_is_local(stride: int) -> None:
    """A shortened step has a gradient from exactly the steps less than `stride` away from where it stands."""
    torch.manual_seed(0)
    encoder = Conformer(3, width=8, heads=2, stride=stride)
    x = torch.randn(1, 11, 3, requires_grad=True)
    short, mask = encoder._shorten(x, torch.ones(1, 11, dtype=torch.bool))
    assert mask.all()
    for t in range(short.shape[1]):
        (gradient,) = torch.autograd.grad(short[0, t].square().sum(), x, retain_graph=True)
        read = gradient[0].any(dim=1).nonzero().flatten().tolist()
        assert read == [s for s in range(11) if abs(s - stride * t) < stride]


def test_the_depthwise_convolution_does_not_read_masked_steps() -> None:
    """Content of masked steps changes no step that is set, and gets no gradient from one."""
    torch.manual_seed(0)
    module = Convolution(4, 5, dropout=0.0)
    x = torch.randn(4, 11, 4)
    before = module(x, MASK)[MASK]
    other = torch.where(MASK[..., None], x, 1e3 * torch.randn(4, 11, 4)).requires_grad_()
    after = module(other, MASK)[MASK]
    torch.testing.assert_close(after, before)
    after.square().sum().backward()
    assert not other.grad[~MASK].any()
    assert other.grad[MASK].any(dim=1).all()


@torch.no_grad()
def test_samples_do_not_mix_in_training_either() -> None:
    """In train() a sample alone has the states it has among others: no statistics of the batch."""
    torch.manual_seed(0)
    encoder = Conformer(3, width=8, heads=2, dropout=0.0).train()
    x = torch.randn(4, 11, 3)
    together = encoder(x, MASK)
    for row in range(4):
        alone = encoder(x[row : row + 1], MASK[row : row + 1])
        torch.testing.assert_close(alone.states[0], together.states[row])


@torch.no_grad()
def test_dropout_is_after_every_module_and_only_in_training() -> None:
    """With nearly all dropped, a block in training is its last norm alone: nothing comes in past a dropout."""
    torch.manual_seed(0)
    x = torch.randn(4, 11, 8)
    block = Conformer(3, width=8, heads=2, dropout=0.999).blocks[0]
    alone = (block.train()(x, MASK) == block.norm(x)).all(dim=2)
    assert alone.float().mean() > 0.8
    assert not (block.eval()(x, MASK) == block.norm(x)).all(dim=2).any()
    assert torch.equal(block.train().attention(x, x, MASK), block.eval().attention(x, x, MASK))


@torch.no_grad()
def test_dropout_is_on_the_input_and_inside_the_feed_forward() -> None:
    """In training the input of the first block and the inner layer of a feed-forward are dropped."""
    torch.manual_seed(0)
    encoder = Conformer(3, width=8, heads=2, dropout=0.5).train()
    for feed in (encoder.blocks[0].feed_in, encoder.blocks[0].feed_out):
        inner = feed[:4](torch.randn(4, 11, 8))
        assert 0.3 < float((inner == 0.0).float().mean()) < 0.7
    encoder.blocks = nn.ModuleList()
    states, _, mask = encoder(torch.randn(4, 11, 3), MASK)
    assert 0.3 < float((states[mask] == 0.0).float().mean()) < 0.7


@pytest.mark.parametrize(
    "options",
    [
        {"width": 0},
        {"width": 6, "heads": 4},
        {"heads": 0},
        {"layers": 0},
        {"kernel_size": 0},
        {"stride": 0},
        {"dropout": 1.0},
        {"pooling": "x"},
    ],
)
def test_a_bad_option_is_named(options: dict[str, Any]) -> None:
    """An option out of its range is refused by name."""
    with pytest.raises(SettingsError, match=f"option {next(iter(options))} of conformer"):
        Conformer(5, **options)
