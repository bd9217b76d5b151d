"""The augmentation `mixup`: every sample is mixed with another one, and so are their targets."""

from collections.abc import Callable
from typing import ClassVar

import torch

from emotiwave_core.errors import SettingsError
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Augmentation, Augmented, Mixture, Tensors


class Mixup(Augmentation):
    """Mixup (Zhang et al. 2018): λ of a sample and 1 - λ of another one of its batch, in features and in the loss.

    λ is Beta(alpha, alpha), drawn for each sample. As in MixMatch (Berthelot et al. 2019) the larger of λ and 1 - λ is
    the sample's own: it keeps its steps, and where the other has no step, or lacks the modality, it is mixed with the
    mean of the training fold, which is 0. The loss is λ times that for its target and 1 - λ times that for the other's.

    alpha: above 0; small ones mix little.
    """

    mixes: ClassVar[bool] = True

    def __init__(self, *, alpha: float = 0.2) -> None:
        super().__init__()
        if not alpha > 0.0:
            raise SettingsError(f"The option alpha of mixup must be above 0, not {alpha}.")
        self.alpha = alpha

    def forward(self, inputs: Tensors, masks: Tensors) -> Augmented:
        """inputs {stream: [B, T, F]}, masks {stream: [B, T] bool} -> Augmented."""
        if not self.training:
            return Augmented(inputs, masks)
        like = next(iter(inputs.values()))
        partner = torch.randperm(len(like), device=like.device)
        drawn = torch.distributions.Beta(like.new_tensor(self.alpha), like.new_tensor(self.alpha)).sample((len(like),))
        share = torch.maximum(drawn, 1.0 - drawn)
        weight = share[:, None, None]
        mixed = {
            name: weight * x + (1.0 - weight) * torch.where(masks[name][partner].unsqueeze(-1), x[partner], 0.0)
            for name, x in inputs.items()
        }
        return Augmented(mixed, masks, Mixture(partner, share))


@hookimpl
def register_augmentations(register: Callable[[str, type[Augmentation]], None]) -> None:
    """Offer `mixup`."""
    register("mixup", Mixup)
