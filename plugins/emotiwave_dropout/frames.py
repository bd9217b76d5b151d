"""The dropout policy `frames`: single steps are lost."""

from collections.abc import Callable

import torch
from torch import Tensor

from emotiwave_core.config.options import fraction
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import DropoutPolicy, Tensors
from emotiwave_core.layers.masking import draw_nonempty


class Frames(DropoutPolicy):
    """Random steps are lost inside every modality, as in the data of TFR-Net (Yuan et al. 2021).

    Each step of a sample is lost with probability p, independently, given that one of all its modalities' N steps is
    kept: what keeps k of them has the probability (1 - p)^k p^(N - k) / (1 - p^N), exactly. A modality of few steps may
    lose all of them, with about p to the power of their number.

    p: the probability, at least 0 and below 1.
    """

    def __init__(self, *, p: float = 0.3) -> None:
        super().__init__()
        fraction("frames", p=p)
        self.p = p

    def forward(self, masks: Tensors, progress: Tensor) -> Tensors:
        """masks {modality: [B, T] bool}, progress [] -> masks."""
        if not self.training:
            return masks
        kept = draw_nonempty(torch.cat(list(masks.values()), dim=1), self.p)  # [B, sum of all T]
        lengths = [mask.shape[1] for mask in masks.values()]
        return dict(zip(masks, torch.split(kept, lengths, dim=1), strict=True))


@hookimpl
def register_dropout_policies(register: Callable[[str, type[DropoutPolicy]], None]) -> None:
    """Offer `frames`."""
    register("frames", Frames)
