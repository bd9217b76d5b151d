"""The helpers for masked sequences equal a loop over each row, for any mask."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from emotiwave_core.layers import sequence

masks = st.integers(1, 6).flatmap(
    lambda steps: st.lists(st.lists(st.booleans(), min_size=steps, max_size=steps), min_size=1, max_size=4)
)


def filled(mask: Tensor) -> Tensor:
    """Numbers where the mask is set, and NaN where nobody should look."""
    x = torch.randn(*mask.shape, 3, generator=torch.Generator().manual_seed(0))
    return torch.where(mask[..., None], x, torch.nan)


@settings(deadline=None)
@given(masks)
def test_pooling_equals_a_loop(rows: list[list[bool]]) -> None:
    """Last step, mean and maximum are those of the steps that are set, and zero where none is."""
    mask = torch.tensor(rows)
    x = filled(mask)
    for row in range(len(mask)):
        steps = x[row, mask[row]]
        zero = torch.zeros(3)
        some = len(steps) > 0
        torch.testing.assert_close(sequence.last_step(x, mask)[row], steps[-1] if some else zero)
        torch.testing.assert_close(sequence.masked_mean(x, mask)[row], steps.mean(0) if some else zero)
        torch.testing.assert_close(sequence.masked_max(x, mask)[row], steps.amax(0) if some else zero)


@settings(deadline=None)
@given(masks)
def test_front_order_moves_set_steps_to_the_front(rows: list[list[bool]]) -> None:
    """Steps that are set come first and in sequence, and the inverse order puts all back."""
    mask = torch.tensor(rows)
    x = filled(mask)
    order = sequence.front_order(mask)
    front = sequence.take_steps(x, order)
    for row in range(len(mask)):
        steps = x[row, mask[row]]
        assert torch.equal(front[row, : len(steps)], steps)
    assert torch.equal(order, (~mask).long().argsort(dim=1, stable=True))  # counted, and the same as sorted
    back = sequence.take_steps(front, sequence.inverse_order(order))
    torch.testing.assert_close(back, x, equal_nan=True, atol=0.0, rtol=0.0)


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=4))
def test_reverse_order_reverses_the_sequence_and_not_the_padding(lengths: list[int]) -> None:
    """The first lengths[b] steps are reversed, the rest stays, and twice is as it was."""
    x = torch.randn(len(lengths), 5, 2)
    order = sequence.reverse_order(torch.tensor(lengths), 5)
    reverse = sequence.take_steps(x, order)
    for row, length in enumerate(lengths):
        assert torch.equal(reverse[row], torch.cat([x[row, :length].flip(0), x[row, length:]]))
    assert torch.equal(sequence.take_steps(reverse, order), x)


@settings(deadline=None)
@given(masks)
def test_zero_masked_hides_anything(rows: list[list[bool]]) -> None:
    """Masked steps are zero, set steps are as they were."""
    mask = torch.tensor(rows)
    x = filled(mask)
    assert torch.equal(sequence.zero_masked(x, mask), x.nan_to_num(nan=0.0))


def test_a_maximum_may_be_negative() -> None:
    """The maximum over steps that are all negative is negative, not the zero of the padding."""
    x = torch.tensor([[[-2.0], [-1.0], [0.0]]])
    assert sequence.masked_max(x, torch.tensor([[True, True, False]])).item() == -1.0
