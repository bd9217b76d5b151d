"""The augmentation `swap`: a modality comes from another sample."""

from collections.abc import Callable

import torch
from torch import Tensor

from emotiwave_core.config.options import fraction
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Augmentation, Augmented, Tensors
from emotiwave_core.modalities import by_modality


class ModalitySwap(Augmentation):
    """Some samples get a modality from another sample of the batch, as the wrong person's voice; the label stays.

    Each modality that a sample has is swapped with the probability `p`, all of its streams together, with that of a
    sample that the batch has at random. Of the other's steps those are taken that the sample has steps for. Where the
    two share no step of a stream, the sample keeps its own.

    p: the probability, at least 0 and below 1.
    """

    def __init__(self, *, p: float = 0.1) -> None:
        super().__init__()
        fraction("swap", p=p)
        self.p = p

    def forward(self, inputs: Tensors, masks: Tensors) -> Augmented:
        """inputs {stream: [B, T, F]}, masks {stream: [B, T] bool} -> Augmented."""
        first = next(iter(masks.values()))
        B, device = len(first), first.device
        if not self.training or B < 2:
            return Augmented(inputs, masks)
        inputs, masks = dict(inputs), dict(masks)
        for streams in by_modality(masks).values():
            partner = (torch.arange(B, device=device) + torch.randint(1, B, (B,), device=device)) % B
            swapped = torch.rand(B, device=device) < self.p
            for name in streams:
                swapped = swapped & self._fits(masks[name], masks[name][partner])
            for name in streams:
                inputs[name] = torch.where(swapped[:, None, None], inputs[name][partner], inputs[name])
                masks[name] = torch.where(swapped[:, None], masks[name] & masks[name][partner], masks[name])
        return Augmented(inputs, masks)

    @staticmethod
    def _fits(mask: Tensor, other: Tensor) -> Tensor:
        """[B] bool: the two [B, T] share a step, or the sample has none."""
        return (mask & other).any(dim=1) | ~mask.any(dim=1)


@hookimpl
def register_augmentations(register: Callable[[str, type[Augmentation]], None]) -> None:
    """Offer `swap`."""
    register("swap", ModalitySwap)
