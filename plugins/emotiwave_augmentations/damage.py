"""The augmentation `damage`: some samples have a modality that lies, in noise, in gaps or frozen."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from emotiwave_core.config.options import fraction, one_of
from emotiwave_core.errors import SettingsError
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Augmentation, Augmented, Tensors
from emotiwave_core.layers.masking import without_stretch
from emotiwave_core.modalities import by_modality

Kind = Literal["noise", "blocks", "frames", "frozen"]
ALL: list[Kind] = ["noise", "blocks", "frames", "frozen"]


class Damage(Augmentation):
    """Modalities of the training are damaged as the protocols `noise`, `blocks`, `frames` and `frozen` damage them.

    Training under the corruptions that are to be met is the oldest way to bear them (multi-style training, Lippmann et
    al. 1987). Each modality that a sample has is damaged with the probability `p`, all of its streams alike: in one of
    the `kinds`, at a strength r, uniform from 0 to 1. Of the n steps of a stream:

    noise: Gaussian noise of r · deviations, of the deviation in the training fold, on every feature.
    blocks: one stretch of round(r · n) steps is lost, anywhere. frames: each step is lost with the probability r.
    frozen: the last round(r · n) steps repeat the one before them.

    One step is always left. Of a stream of one step a sample there is noise alone.

    kinds: which. p: at least 0 and below 1. deviations: of the strongest noise, at least 0.
    """

    def __init__(self, *, p: float = 0.5, kinds: list[Kind] = ALL, deviations: float = 3.0) -> None:
        super().__init__()
        fraction("damage", p=p)
        for kind in kinds:
            one_of("damage", Kind, kinds=kind)
        if not kinds or len(set(kinds)) < len(kinds):
            raise SettingsError(f"The option kinds of damage must name each kind once, not {kinds}.")
        if deviations < 0.0:
            raise SettingsError(f"The option deviations of damage must be at least 0, not {deviations}.")
        self.p, self.kinds, self.deviations = p, list(kinds), deviations

    def forward(self, inputs: Tensors, masks: Tensors) -> Augmented:
        """inputs {stream: [B, T, F]}, masks {stream: [B, T] bool} -> Augmented."""
        if not self.training:
            return Augmented(inputs, masks)
        inputs, left = dict(inputs), dict(masks)
        for streams in by_modality(masks).values():
            B, device = len(masks[streams[0]]), masks[streams[0]].device
            damaged = torch.rand(B, device=device) < self.p
            kind = torch.where(damaged, torch.randint(len(self.kinds), (B,), device=device), -1)
            strength = torch.rand(B, 1, device=device)
            for stream in streams:
                x, mask = inputs[stream], masks[stream]
                for number, name in enumerate(self.kinds):
                    chosen = (kind == number)[:, None]
                    if name == "noise":
                        noisy = x + self.deviations * strength[:, None] * torch.randn_like(x)
                        inputs[stream] = torch.where(chosen[:, None], noisy, inputs[stream])
                    elif name == "frozen":
                        stuck = x.gather(1, _frozen(mask, strength)[:, :, None].expand_as(x))
                        inputs[stream] = torch.where(chosen[:, None], stuck, inputs[stream])
                    else:
                        kept = (_without_block if name == "blocks" else _without_frames)(mask, strength)
                        left[stream] = torch.where(chosen, kept, left[stream])
        return Augmented(inputs, left)


def _without_block(mask: Tensor, share: Tensor) -> Tensor:
    """mask [B, T] bool without one stretch of the share [B, 1] of what is set, anywhere; one step is left."""
    length = _length(mask.sum(dim=1, keepdim=True), share)
    return without_stretch(mask, length, torch.rand(share.shape, device=mask.device))


def _without_frames(mask: Tensor, share: Tensor) -> Tensor:
    """mask [B, T] bool without single steps, each lost with the probability share [B, 1]; one step is left."""
    drawn = torch.where(mask, torch.rand(mask.shape, device=mask.device), -1.0)
    return mask & ((drawn >= share) | (drawn == drawn.max(dim=1, keepdim=True).values))


def _frozen(mask: Tensor, share: Tensor) -> Tensor:
    """The step that each step shows where the last share [B, 1] of what is set repeats the one before, [B, T]."""
    steps = mask.sum(dim=1, keepdim=True)
    live = mask & (mask.cumsum(dim=1) <= steps - _length(steps, share))
    places = torch.arange(mask.shape[1], device=mask.device)
    last = torch.where(live, places, -1).cummax(dim=1).values
    return torch.where(mask & (last >= 0), last, places)


def _length(steps: Tensor, share: Tensor) -> Tensor:
    """round(share · steps), at most all but one."""
    return torch.minimum((share * steps).round().long(), (steps - 1).clamp(min=0))


@hookimpl
def register_augmentations(register: Callable[[str, type[Augmentation]], None]) -> None:
    """Offer `damage`."""
    register("damage", Damage)
