"""Attention over the steps is what it says: the share of each step in the pooled vector."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from emotiwave_core.interfaces import Encoder
from emotiwave_core.layers.pooling import Pool
from emotiwave_core.testing.batches import FEATURES, sequences_and_empty
from emotiwave_encoders.attentive_stats import AttentiveStats
from emotiwave_encoders.bigru import BiGRU
from emotiwave_encoders.bilstm import BiLSTM
from emotiwave_encoders.conformer import Conformer
from emotiwave_encoders.mean import MeanEncoder
from emotiwave_encoders.s4d import S4D
from emotiwave_encoders.tcn import TCN
from emotiwave_encoders.transformer import SelfAttention

POOLED: list[Callable[..., Encoder]] = [BiLSTM, BiGRU, S4D, TCN, SelfAttention]


def made(kind: Callable[..., Encoder], **options: Any) -> Encoder:
    """An encoder in eval(), its weights moved from where they start, so that no two steps weigh the same."""
    torch.manual_seed(0)
    encoder = kind(FEATURES, **options).eval()
    for parameter in encoder.parameters():
        parameter.requires_grad_(False).add_(0.1 * torch.randn_like(parameter))
    return encoder


def weighed(states: Tensor, shares: Tensor) -> Tensor:
    """The sum of the states [B, T, D] by the shares [B, T] of each."""
    return (states.double() * shares.double()[..., None]).sum(dim=1)


@pytest.mark.parametrize("kind", POOLED)
def test_the_pooled_vector_is_the_states_weighed_by_it(kind: Callable[..., Encoder]) -> None:
    """pooled = Σ share_t · state_t for every encoder that pools by attention; with another pooling there is none."""
    x, mask = sequences_and_empty()
    encoder = made(kind, pooling="attention")
    shares = encoder.attention_over_steps(x, mask)
    assert shares is not None
    states, pooled, _ = encoder(x, mask)
    torch.testing.assert_close(weighed(states, shares), pooled.double(), atol=1e-5, rtol=1e-5)
    assert shares[0].unique().numel() == mask.shape[1]
    for pooling in ("last", "mean", "max"):
        assert made(kind, pooling=pooling).attention_over_steps(x, mask) is None
    assert made(MeanEncoder).attention_over_steps(x, mask) is None


def test_attentive_statistics_weigh_mean_and_deviation_alike() -> None:
    """Both halves of the pooled vector come of the same shares: the mean, and the root of the mean square deviation."""
    x, mask = sequences_and_empty()
    encoder = made(AttentiveStats, hidden_size=6)
    shares = encoder.attention_over_steps(x, mask)
    assert shares is not None
    states, pooled, _ = encoder(x, mask)
    torch.testing.assert_close(weighed(states[..., :6], shares), pooled[:, :6].double(), atol=1e-5, rtol=1e-5)
    squares = weighed(states[..., 6:].square(), shares)
    torch.testing.assert_close(squares.sqrt(), pooled[:, 6:].double(), atol=1e-4, rtol=1e-4)


@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(1, 11).flatmap(
        lambda steps: st.lists(st.lists(st.booleans(), min_size=steps, max_size=steps), min_size=1, max_size=4)
    ),
    stride=st.integers(1, 5),
)
def test_a_state_of_several_steps_shares_its_weight_among_those_that_are_set(
    rows: list[list[bool]], stride: int
) -> None:
    """Of the conformer, the steps of a state have its weight together, each that is set the same, the others none."""
    mask = torch.tensor(rows)
    encoder = made(Conformer, width=8, heads=2, layers=1, kernel_size=3, stride=stride, pooling="attention")
    x = torch.randn(*mask.shape, FEATURES)
    shares = encoder.attention_over_steps(x, mask)
    assert shares is not None
    assert shares.shape == mask.shape
    states, pooled, kept = encoder(x, mask)
    pool = encoder.pool
    assert isinstance(pool, Pool)
    weights = pool.weights(states, kept)
    assert weights is not None
    torch.testing.assert_close(weighed(states, weights), pooled.double(), atol=1e-5, rtol=1e-5)
    for b, row in enumerate(rows):
        for t, is_set in enumerate(row):
            group = row[t // stride * stride : t // stride * stride + stride]
            due = float(weights[b, t // stride]) / sum(group) if is_set else 0.0
            assert float(shares[b, t]) == pytest.approx(due, abs=1e-6)


@pytest.mark.parametrize("kind", [*POOLED, Conformer])
def test_asking_changes_nothing(kind: Callable[..., Encoder]) -> None:
    """The encoder returns the same before and after it was asked for its attention."""
    x, mask = sequences_and_empty()
    encoder = made(kind, pooling="attention")
    before, state = encoder(x, mask), {name: one.clone() for name, one in encoder.state_dict().items()}
    encoder.attention_over_steps(x, mask)
    for one, same in zip(before, encoder(x, mask), strict=True):
        assert torch.equal(one, same)
    assert all(torch.equal(one, state[name]) for name, one in encoder.state_dict().items())
