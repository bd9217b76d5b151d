"""The four poolings and the masked softmax equal a float64 loop over the steps that are set, for any mask."""

import math
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from emotiwave_core.layers.pooling import AttentionPool, Pool, Pooling
from emotiwave_core.layers.sequence import masked_softmax

masks = st.integers(1, 6).flatmap(
    lambda steps: st.lists(st.lists(st.booleans(), min_size=steps, max_size=steps), min_size=1, max_size=4)
)
MASK = torch.tensor([[1, 1, 1, 1], [0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]], dtype=torch.bool)


def softmax_by_loop(scores: list[float]) -> list[float]:
    """exp(s) over the sum of all exp(s)."""
    return [math.exp(score) / sum(math.exp(other) for other in scores) for score in scores]


def pooled_by_loop(pool: Pool, steps: list[Tensor]) -> Tensor:
    """The steps that are set, each [D], to [D]."""
    width = len(steps[0])
    if pool.pooling == "last":
        return steps[-1]
    if pool.pooling == "mean":
        return torch.stack([sum(step[i] for step in steps) / len(steps) for i in range(width)])
    if pool.pooling == "max":
        return torch.tensor([max(float(step[i]) for step in steps) for i in range(width)], dtype=steps[0].dtype)
    weights = dict(pool.named_parameters())
    first, bias, last = (weights[f"attention.score.{name}"] for name in ("0.weight", "0.bias", "2.weight"))
    shares = softmax_by_loop([float(last[0] @ torch.tanh(first @ step + bias)) for step in steps])
    return torch.stack([share * step for share, step in zip(shares, steps, strict=True)]).sum(dim=0)


@pytest.mark.parametrize("pooling", get_args(Pooling))
@settings(deadline=None, max_examples=50)
@given(rows=masks)
@torch.no_grad()
def test_each_pooling_equals_a_loop(pooling: Pooling, rows: list[list[bool]]) -> None:
    """For any mask a pooling is that of the steps that are set, NaN elsewhere is not read, and no step gives zero."""
    torch.manual_seed(0)
    mask = torch.tensor(rows)
    pool = Pool(pooling, 3).double()
    # All below zero, so that a maximum which reads a zero in the place of a masked step is wrong.
    states = torch.where(mask[..., None], -1.0 - torch.rand(*mask.shape, 3, dtype=torch.float64), torch.nan)
    pooled = pool(states, mask)
    for row in range(len(mask)):
        due = pooled_by_loop(pool, list(states[row, mask[row]])) if mask[row].any() else torch.zeros(3).double()
        torch.testing.assert_close(pooled[row], due, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("pooling", get_args(Pooling))
def test_gradients_reach_the_steps_that_are_set_and_no_other(pooling: Pooling) -> None:
    """The gradient of a pooling is finite beside NaN in masked steps, zero there, and not zero in a row with a step."""
    torch.manual_seed(0)
    pool = Pool(pooling, 3)
    states = torch.where(MASK[..., None], torch.randn(4, 4, 3), torch.nan).requires_grad_()
    (pool(states, MASK) * torch.randn(4, 3)).sum().backward()
    assert states.grad is not None
    for gradient in (states.grad, *(parameter.grad for parameter in pool.parameters())):
        assert gradient is not None
        assert gradient.isfinite().all()
    assert not states.grad[~MASK].any()
    assert torch.equal(states.grad.flatten(1).any(dim=1), MASK.any(dim=1))


@torch.no_grad()
def test_attention_without_an_opinion_is_the_mean() -> None:
    """With v = 0 attention weighs all steps alike; a state that v prefers without limit takes all the weight."""
    torch.manual_seed(0)
    pool, mean = AttentionPool(3), Pool("mean", 3)
    states = torch.randn(4, 4, 3)
    vector = pool.score[2].weight
    vector.zero_()
    torch.testing.assert_close(pool(states, MASK), mean(states, MASK))
    vector[0, 0] = 1e4
    scores = torch.tanh(pool.score[0](states))[..., 0].masked_fill(~MASK, -2.0)
    best = states[torch.arange(3), scores[:3].argmax(dim=1)]
    torch.testing.assert_close(pool(states, MASK)[:3], best)


@settings(deadline=None, max_examples=50)
@given(masks, st.sampled_from([0.1, 1.0, 100.0]))
def test_masked_softmax_equals_a_loop(rows: list[list[bool]], scale: float) -> None:
    """It is the softmax among what is set, exactly zero elsewhere whatever stood there, and zero where nothing is."""
    mask = torch.tensor(rows)
    generator = torch.Generator().manual_seed(0)
    scores = scale * torch.randn(mask.shape, generator=generator, dtype=torch.float64)
    for odd in (math.nan, math.inf, -math.inf, 1e300):
        weights = masked_softmax(torch.where(mask, scores, odd), mask)
        assert not weights[~mask].any()
        for row in range(len(mask)):
            due = torch.tensor(softmax_by_loop(scores[row, mask[row]].tolist()), dtype=torch.float64)
            torch.testing.assert_close(weights[row, mask[row]], due, atol=1e-12, rtol=1e-12)


def test_masked_softmax_broadcasts() -> None:
    """A mask [B, 1, T] holds for all queries of scores [B, Q, T], and scores [T] for all rows of a mask."""
    scores = torch.randn(4, 3, 4, generator=torch.Generator().manual_seed(0))
    weights = masked_softmax(scores, MASK[:, None])
    for query in range(3):
        torch.testing.assert_close(weights[:, query], masked_softmax(scores[:, query], MASK))
    wide = masked_softmax(scores[0, 0], MASK)
    torch.testing.assert_close(wide, masked_softmax(scores[0, 0].expand(4, 4), MASK))


def test_masked_softmax_has_finite_gradients() -> None:
    """Gradients are finite where nothing is set or NaN is masked, and zero for what is not set."""
    scores = torch.where(MASK, torch.randn(4, 4, generator=torch.Generator().manual_seed(0)), torch.nan)
    scores.requires_grad_()
    masked_softmax(scores, MASK).square().sum().backward()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()
    assert not scores.grad[~MASK].any()
    assert scores.grad[0].any()
