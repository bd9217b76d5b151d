"""The augmentation `noise`: Gaussian noise on every feature."""

from collections.abc import Callable

import torch

from emotiwave_core.errors import SettingsError
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Augmentation, Augmented, Tensors
from emotiwave_core.modalities import setting_of


class FeatureNoise(Augmentation):
    """Gaussian noise on every step and feature; its deviation is a share of that of the feature in the training fold.

    With noise, training is a smoother function of the input (Bishop 1995).

    share: of the deviation, at least 0. shares: of single modalities or streams, instead: {"audio": 0.2}.
    """

    def __init__(self, *, share: float = 0.1, shares: dict[str, float] | None = None) -> None:
        super().__init__()
        self.share, self.shares = share, shares or {}
        if min(share, *self.shares.values(), share) < 0.0:
            raise SettingsError("The option share of noise, and each of its shares, must be at least 0.")

    def forward(self, inputs: Tensors, masks: Tensors) -> Augmented:
        """inputs {stream: [B, T, F]}, masks {stream: [B, T] bool} -> Augmented."""
        if not self.training:
            return Augmented(inputs, masks)
        noisy = {}
        for name, x in inputs.items():
            share = setting_of(name, self.shares)
            noisy[name] = x + (self.share if share is None else share) * torch.randn_like(x)
        return Augmented(noisy, masks)


@hookimpl
def register_augmentations(register: Callable[[str, type[Augmentation]], None]) -> None:
    """Offer `noise`."""
    register("noise", FeatureNoise)
