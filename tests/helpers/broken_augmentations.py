"""A sound augmentation, and augmentations with one defect each: `breaks` names exactly the laws that it breaks."""
# ruff: noqa: D101, D102 -- the name of a broken plugin says what is wrong with it

import random
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from emotiwave_core.interfaces import Augmentation, Augmented, Mixture, Tensors


class SoundAugmentation(Augmentation):
    """Breaks no law; the broken ones differ from it in one place."""

    breaks: tuple[str, ...] = ()

    def forward(self, inputs: Tensors, masks: Tensors) -> Augmented:
        if not self.training:
            return Augmented(inputs, masks)
        return Augmented(self.features(inputs, masks), self.steps(masks))

    def features(self, inputs: Tensors, masks: Tensors) -> Tensors:
        return {name: x + torch.rand_like(x) for name, x in inputs.items()}

    def steps(self, masks: Tensors) -> Tensors:
        return masks


class NotAnAugmentation(nn.Module):
    breaks = ("is_an_augmentation",)
    mixes = False

    def forward(self, inputs: Tensors, masks: Tensors) -> Augmented:
        return SoundAugmentation().train(self.training)(inputs, masks)  # type: ignore[no-any-return]


class InOtherOrder(SoundAugmentation):
    breaks = ("returns_shapes_and_types",)

    def features(self, inputs: Tensors, masks: Tensors) -> Tensors:
        return dict(reversed(super().features(inputs, masks).items()))


class SetsPadding(SoundAugmentation):
    breaks = ("only_clears", "survives_empty_samples")

    def steps(self, masks: Tensors) -> Tensors:
        return {name: mask | (torch.rand(mask.shape) < 0.2) for name, mask in masks.items()}


class TakesModalities(SoundAugmentation):
    breaks = ("leaves_every_stream_a_step",)

    def steps(self, masks: Tensors) -> Tensors:
        return {name: mask & (torch.rand(len(mask), 1) < 0.5) for name, mask in masks.items()}


class NoisyInEval(SoundAugmentation):
    breaks = ("identity_in_eval",)

    def forward(self, inputs: Tensors, masks: Tensors) -> Augmented:
        return Augmented(self.features(inputs, masks), masks)


class Idle(SoundAugmentation):
    breaks = ("changes_something",)

    def features(self, inputs: Tensors, masks: Tensors) -> Tensors:
        return inputs


class PythonsGenerator(SoundAugmentation):
    breaks = ("seed_repeats_it", "keeps_no_state", "never_reads_masked_steps")

    def features(self, inputs: Tensors, masks: Tensors) -> Tensors:
        return {name: x + random.random() for name, x in inputs.items()}


class LouderEachTime(SoundAugmentation):
    breaks = ("keeps_no_state",)

    def __init__(self) -> None:
        super().__init__()
        self.batches = 0

    def features(self, inputs: Tensors, masks: Tensors) -> Tensors:
        self.batches += 1
        return {name: x + self.batches * torch.rand_like(x) for name, x in inputs.items()}


class LearnsAFactor(SoundAugmentation):
    breaks = ("keeps_no_state",)

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))


class InPlace(SoundAugmentation):
    breaks = ("does_not_change_its_input",)

    def features(self, inputs: Tensors, masks: Tensors) -> Tensors:
        return {name: x.add_(torch.rand_like(x)) for name, x in inputs.items()}


class OverTheWholeMean(SoundAugmentation):
    breaks = ("never_reads_masked_steps",)

    def features(self, inputs: Tensors, masks: Tensors) -> Tensors:
        return {name: x + torch.rand_like(x) * x.mean(dim=1, keepdim=True) for name, x in inputs.items()}


class MixesUnsaid(SoundAugmentation):
    breaks = ("mixture_is_of_the_batch",)

    def forward(self, inputs: Tensors, masks: Tensors) -> Augmented:
        augmented = super().forward(inputs, masks)
        B = len(next(iter(masks.values())))
        return augmented._replace(mixture=Mixture(torch.arange(B), torch.ones(B))) if self.training else augmented


class SharesAboveOne(MixesUnsaid):
    mixes: ClassVar[bool] = True

    def forward(self, inputs: Tensors, masks: Tensors) -> Augmented:
        augmented = super().forward(inputs, masks)
        if augmented.mixture is None:
            return augmented
        return augmented._replace(mixture=augmented.mixture._replace(share=2.0 * augmented.mixture.share))


class DividesBySteps(SoundAugmentation):
    breaks = ("survives_empty_samples",)

    def features(self, inputs: Tensors, masks: Tensors) -> Tensors:
        total = sum(int(mask.sum()) for mask in masks.values())
        return {name: x + torch.rand_like(x) * (1 + 1 // total) for name, x in inputs.items()}


class ByName(SoundAugmentation):
    breaks = ("any_number_of_streams",)

    def features(self, inputs: Tensors, masks: Tensors) -> Tensors:
        text, _, *_ = inputs.values()
        return {name: x + torch.rand_like(x) + 0.0 * text.nansum() for name, x in inputs.items()}


class NeedsTwo(SoundAugmentation):
    breaks = ("batch_of_one",)

    def features(self, inputs: Tensors, masks: Tensors) -> Tensors:
        return {name: x + torch.rand_like(x) * _step(x) for name, x in inputs.items()}


class FreeOptions(SoundAugmentation):
    breaks = ("options_are_explicit",)

    def __init__(self, **options: Any) -> None:
        super().__init__()


def _step(x: Tensor) -> Tensor:
    """Ones, of a batch with two samples at least."""
    return torch.ones_like(x) * torch.ones(1).expand(len(x[1:]) and 1)
