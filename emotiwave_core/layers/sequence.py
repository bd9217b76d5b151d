"""Masked sequences, for authors of encoders and fusions: x [B, T, D] with mask [B, T] bool of any pattern."""

import torch
from torch import Tensor


def zero_masked(x: Tensor, mask: Tensor) -> Tensor:
    """x with every masked step set to zero, whatever stood there (NaN included)."""
    return torch.where(mask.unsqueeze(-1), x, x.new_zeros(()))


def take_steps(x: Tensor, order: Tensor) -> Tensor:
    """x [B, T, D] with its steps rearranged: step t of the result is step order[b, t] of x."""
    # Whole rows of a flat [B · T, D] are copied several times faster than `gather` picks single numbers.
    first = torch.arange(x.shape[0], device=x.device)[:, None] * x.shape[1]
    return x.flatten(0, 1).index_select(0, (order + first).flatten()).view(*order.shape, x.shape[-1])


def front_order(mask: Tensor) -> Tensor:
    """The order [B, T] that moves the steps that are set to the front and leaves them in sequence."""
    # Counted, not sorted: an exported model has no stable sort.
    place = torch.where(mask, mask.cumsum(1), mask.sum(1, keepdim=True) + (~mask).cumsum(1)) - 1
    return inverse_order(place)


def inverse_order(order: Tensor) -> Tensor:
    """The order [B, T] that undoes `order`."""
    step = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.zeros_like(order).scatter(1, order, step)


def reverse_order(lengths: Tensor, steps: int) -> Tensor:
    """The order [B, T] that reverses the first lengths[b] steps and leaves the padding behind them. Its own inverse."""
    position = torch.arange(steps, device=lengths.device).expand(lengths.shape[0], steps)
    return torch.where(position < lengths[:, None], lengths[:, None] - 1 - position, position)


def last_step(x: Tensor, mask: Tensor) -> Tensor:
    """The last step that is set, [B, D]; zero where none is."""
    position = torch.arange(x.shape[1], device=x.device)
    last = torch.where(mask, position, -1).amax(dim=1)
    step = x.gather(1, last.clamp(min=0)[:, None, None].expand(-1, 1, x.shape[-1])).squeeze(1)
    return torch.where((last >= 0)[:, None], step, step.new_zeros(()))


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """The mean over the steps that are set, [B, D]; zero where none is."""
    return zero_masked(x, mask).sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1).to(x.dtype)


def masked_max(x: Tensor, mask: Tensor) -> Tensor:
    """The maximum over the steps that are set, [B, D]; zero where none is."""
    largest = torch.where(mask.unsqueeze(-1), x, torch.finfo(x.dtype).min).amax(dim=1)
    return torch.where(mask.any(dim=1, keepdim=True), largest, largest.new_zeros(()))


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """The softmax over the last dimension among what is set, exactly 0 elsewhere; all 0 where nothing is set.

    scores and mask have the same shape, or shapes that broadcast to it.
    """
    scores = torch.where(mask, scores, torch.finfo(scores.dtype).min)
    weights = scores.softmax(dim=-1)
    return torch.where(mask, weights, weights.new_zeros(()))
