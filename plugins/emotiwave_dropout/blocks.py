"""The dropout policy `blocks`: one stretch of every modality is lost."""

from collections.abc import Callable

import torch
from torch import Tensor

from emotiwave_core.config.options import fraction
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import DropoutPolicy, Tensors
from emotiwave_core.layers.masking import without_stretch


class Blocks(DropoutPolicy):
    """One contiguous stretch of every modality is lost: a face that turns away, a microphone that is covered.

    It is the time masking of SpecAugment (Park et al. 2019) with a stretch whose length is fixed relative to that of
    the sequence. Of the n steps that a modality has, rate × n are lost, rounded to the nearest whole number (halves to
    the even one), but never all of them. Each sample and each modality draws where the stretch begins, and every place
    where it fits is equally likely. It is counted in steps that are set: masked ones inside it do not shorten it.

    rate: the part of the steps, at least 0 and below 1.
    """

    def __init__(self, *, rate: float = 0.3) -> None:
        super().__init__()
        fraction("blocks", rate=rate)
        self.rate = rate

    def forward(self, masks: Tensors, progress: Tensor) -> Tensors:
        """masks {modality: [B, T] bool}, progress [] -> masks."""
        if not self.training:
            return masks
        return {name: self._without_stretch(mask) for name, mask in masks.items()}

    def _without_stretch(self, mask: Tensor) -> Tensor:
        steps = mask.sum(dim=1, keepdim=True)  # [B, 1]
        length = torch.minimum((self.rate * steps).round().long(), steps - 1)  # -1 where there is nothing to lose
        return without_stretch(mask, length, torch.rand(steps.shape, device=mask.device))


@hookimpl
def register_dropout_policies(register: Callable[[str, type[DropoutPolicy]], None]) -> None:
    """Offer `blocks`."""
    register("blocks", Blocks)
