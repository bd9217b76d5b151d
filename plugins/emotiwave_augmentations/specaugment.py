"""The augmentation `specaugment`: bands of features and stretches of time are lost."""

from collections.abc import Callable

import torch
from torch import Tensor

from emotiwave_core.config.options import fraction
from emotiwave_core.errors import SettingsError
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Augmentation, Augmented, Tensors
from emotiwave_core.layers.masking import without_stretch


class SpecAugment(Augmentation):
    """SpecAugment (Park et al. 2019) without its time warping: bands of features and stretches of time are masked.

    In each stream of each sample the features of `bands` bands are the mean of the training fold, and the steps of
    `stretches` stretches are lost. The width of each is uniform from 0 to a share of the features, or of the sample's
    steps, and its place is uniform. A sample that would lose its last step of a stream loses none. Bands say something
    where neighbouring features do, as in a spectrum: elsewhere set bands = 0.

    bands, stretches: how many. band, stretch: the widest share, at least 0 and below 1.
    """

    def __init__(self, *, bands: int = 1, band: float = 0.2, stretches: int = 1, stretch: float = 0.2) -> None:
        super().__init__()
        fraction("specaugment", band=band, stretch=stretch)
        if min(bands, stretches) < 0:
            raise SettingsError("The options bands and stretches of specaugment must be at least 0.")
        self.bands, self.band = bands, band
        self.stretches, self.stretch = stretches, stretch

    def forward(self, inputs: Tensors, masks: Tensors) -> Augmented:
        """inputs {stream: [B, T, F]}, masks {stream: [B, T] bool} -> Augmented."""
        if not self.training:
            return Augmented(inputs, masks)
        inputs, left = dict(inputs), dict(masks)
        for name, mask in masks.items():
            every = torch.ones(len(mask), inputs[name].shape[2], dtype=torch.bool, device=mask.device)
            for _ in range(self.bands):
                kept = _without_stretch(every, self.band)
                inputs[name] = torch.where(kept[:, None], inputs[name], 0.0)
            for _ in range(self.stretches):
                kept = left[name] & _without_stretch(mask, self.stretch)
                left[name] = torch.where(kept.any(dim=1, keepdim=True), kept, left[name])
        return Augmented(inputs, left)


def _without_stretch(mask: Tensor, widest: float) -> Tensor:
    """mask [B, N] bool without one stretch of what is set: up to the share `widest` of it, anywhere."""
    count = mask.sum(dim=1, keepdim=True)  # [B, 1]
    drawn = torch.rand(2, len(mask), 1, device=mask.device)
    length = (drawn[0] * (widest * count + 1)).long().clamp(max=count)  # uniform over 0 … widest · count
    return without_stretch(mask, length, drawn[1])


@hookimpl
def register_augmentations(register: Callable[[str, type[Augmentation]], None]) -> None:
    """Offer `specaugment`."""
    register("specaugment", SpecAugment)
