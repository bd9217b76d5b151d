"""Augmentation of a batch: before the dropout policy, on standardised features, with all that it gives back checked."""

from typing import cast

import attrs
import torch
from torch import Tensor

from emotiwave_core.compute.distributed import ProcessGroup
from emotiwave_core.data.corpus import Fold
from emotiwave_core.data.loading.batch import Batch, feature_statistics
from emotiwave_core.data.loading.loader import Loader
from emotiwave_core.errors import PluginError, SettingsError
from emotiwave_core.interfaces import Augmentation, Mixture
from emotiwave_core.layers.standardise import CLIP, Standardise
from emotiwave_core.model.fusion_model import FusionModel
from emotiwave_core.parts import interface_check as returned
from emotiwave_core.parts.guard import check_snapshot, snapshot

TINY = 1e-30


@attrs.frozen(eq=False)
class Scale:
    """The mean and deviation of a stream's features over the training fold. A constant feature stays as it is."""

    mean: Tensor  # [F]
    scale: Tensor  # [F], 1 / deviation; 0 for a constant feature
    clip: bool  # as `Standardise` does, where the model has one

    def standardised(self, x: Tensor) -> Tensor:
        """x [B, T, F] with mean 0 and deviation 1."""
        z = torch.where(self.scale > 0, (x - self.mean) * self.scale, 0.0)
        return z.clamp(-CLIP, CLIP) if self.clip else z

    def restored(self, z: Tensor) -> Tensor:
        """Standardised features as they were."""
        return torch.where(self.scale > 0, z / self.scale.clamp(min=TINY), 0.0) + self.mean


@attrs.frozen(eq=False)
class Augmenter:
    """The augmentations of a training, one after another."""

    augmentations: list[tuple[str, Augmentation]]  # each with what errors call it
    scales: dict[str, Scale]  # {stream: …}, without those of words

    def augment(self, batch: Batch, group: ProcessGroup) -> tuple[Batch, Mixture | None]:
        """A batch with other features, and how its samples were mixed.

        Of several processes each augments the samples that it computes, and mixes them among themselves.
        """
        masks, mixture = batch.masks, None
        inputs = {
            s: torch.where(masks[s].unsqueeze(-1), scale.standardised(batch.inputs[s]), 0.0)
            for s, scale in self.scales.items()
        }
        masks = {s: mask for s, mask in masks.items() if s in inputs}
        for who, augmentation in self.augmentations:
            before, written = snapshot(), returned.versions(masks.values())
            augmented = returned.check_augmented(who, augmentation, inputs, masks, augmentation(inputs, masks))
            check_snapshot(before, who)
            returned.check_unwritten(who, masks.values(), written)
            inputs, left = augmented.inputs, augmented.masks
            if any(left[s] is not mask for s, mask in masks.items()):  # else a GPU would be waited for
                returned.check_steps_left(who, masks, left)
            masks, mixture = left, augmented.mixture or mixture
        restored = {s: self.scales[s].restored(x) for s, x in inputs.items()}
        batch = batch._replace(inputs=batch.inputs | restored, masks=batch.masks | masks)
        return self._of_all(batch, mixture, group)

    def _of_all(self, batch: Batch, mixture: Mixture | None, group: ProcessGroup) -> tuple[Batch, Mixture | None]:
        """The masks and the mixture of the whole batch, of which each process knows its share."""
        host = {s: mask.cpu() for s, mask in batch.masks.items()}
        if group.size == 1:
            return batch._replace(host_masks=host), mixture
        own = group.own(len(batch.rows))
        count, device = own.stop - own.start, batch.targets.device
        pair = None if mixture is None else (mixture.partner[:count].cpu() + own.start, mixture.share[:count].cpu())
        shares = group.everyone(({s: mask[:count] for s, mask in host.items()}, pair))
        host = {s: torch.cat([masks[s] for masks, _ in shares]) for s in host}
        if mixture is not None:
            pairs = [cast(tuple[Tensor, Tensor], each) for _, each in shares]
            partner, share = (torch.cat(column).to(device) for column in zip(*pairs, strict=True))
            mixture = Mixture(partner, share)
        return batch._replace(host_masks=host), mixture


def augmenter_of(
    augmentations: list[tuple[str, Augmentation]], model: FusionModel, loader: Loader, training: Fold
) -> Augmenter | None:
    """The augmentations at work on the features of a training fold; None where there are none.

    Words stay as they are. SettingsError where an augmentation mixes samples, or where there is nothing but words.
    """
    if not augmentations:
        return None
    scales, words = {}, model.tokens
    for who, augmentation in augmentations:
        if words and (augmentation.mixes or len(words) == len(model.streams)):
            what = "mixes the features of samples" if augmentation.mixes else "changes features"
            raise SettingsError(f"{who} {what}, and '{next(iter(words))}' is words, which have none: leave it out.")
    for stream in model.streams:
        if stream in words:
            continue
        if stream in model.scalers:
            scaler = cast(Standardise, model.scalers[stream])
            mean, scale = scaler.mean, scaler.scale
        else:
            mean, scale = feature_statistics(loader.store, stream, training.rows)
        scales[stream] = Scale(mean.to(loader.device), scale.to(loader.device), stream in model.scalers)
    for who, augmentation in augmentations:
        if any(True for _ in augmentation.parameters()):
            raise PluginError(f"{who} has parameters, which nothing would train: an augmentation learns nothing.")
        augmentation.train().to(loader.device)
    return Augmenter(augmentations, scales)
