"""The augmentation `speed`: samples are faster or slower."""

from collections.abc import Callable

import torch
from torch import Tensor

from emotiwave_core.config.options import fraction
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Augmentation, Augmented, Tensors
from emotiwave_core.layers.sequence import front_order, take_steps


class Speed(Augmentation):
    """Speed perturbation (Ko et al. 2015) of feature streams: each sample is played faster or slower, all of it alike.

    The factor is uniform from 1 - change to 1 + change, one for all streams of a sample, so that they stay together in
    time. Steps between two are interpolated. A faster sample has fewer steps; a slower one as many as before, without
    its end. Time is counted in steps that are set.

    change: the largest, at least 0 and below 1.
    """

    def __init__(self, *, change: float = 0.1) -> None:
        super().__init__()
        fraction("speed", change=change)
        self.change = change

    def forward(self, inputs: Tensors, masks: Tensors) -> Augmented:
        """inputs {stream: [B, T, F]}, masks {stream: [B, T] bool} -> Augmented."""
        if not self.training:
            return Augmented(inputs, masks)
        like = next(iter(inputs.values()))
        factor = 1.0 + self.change * (2.0 * torch.rand(len(like), 1, device=like.device) - 1.0)  # [B, 1]
        faster, left = {}, {}
        for name, x in inputs.items():
            faster[name], left[name] = _played(x, masks[name], factor)
        return Augmented(faster, left)


def _played(x: Tensor, mask: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
    """x [B, T, F] and its mask [B, T] at a speed [B, 1]: step r among the set ones is what stood at r · factor."""
    ranks = (mask.cumsum(dim=1) - 1).clamp(min=0)  # [B, T]
    last = mask.sum(dim=1, keepdim=True) - 1  # [B, 1]
    source = (ranks * factor).clamp(min=0.0)
    before = source.long().clamp(max=x.shape[1] - 1)
    after = torch.minimum(before + 1, last.clamp(min=0))
    order = front_order(mask)  # the place of the set step of each rank
    weight = (source - before).unsqueeze(-1).to(x.dtype)
    low, high = take_steps(x, order.gather(1, before)), take_steps(x, order.gather(1, after))
    left = mask & (source <= last)
    return torch.where(left.unsqueeze(-1), torch.lerp(low, high, weight), 0.0), left


@hookimpl
def register_augmentations(register: Callable[[str, type[Augmentation]], None]) -> None:
    """Offer `speed`."""
    register("speed", Speed)
