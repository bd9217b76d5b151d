"""A sound dropout policy, and policies with one defect each: `breaks` names exactly the laws that it breaks."""
# ruff: noqa: D101, D102 -- the name of a broken plugin says what is wrong with it

import math
import random

import numpy
import torch
from torch import Tensor, nn

from emotiwave_core.errors import SettingsError
from emotiwave_core.interfaces import DropoutPolicy, Tensors
from emotiwave_core.layers.masking import draw_nonempty, keep, present_in


class SoundPolicy(DropoutPolicy):
    """Breaks no law; the broken ones differ from it in one place."""

    breaks: tuple[str, ...] = ()

    def forward(self, masks: Tensors, progress: Tensor) -> Tensors:
        return keep(masks, self.draw(present_in(masks), progress)) if self.training else masks

    def draw(self, present: Tensor, progress: Tensor) -> Tensor:
        return draw_nonempty(present, 0.5)


class NotAPolicy(nn.Module):
    breaks = ("is_a_dropout_policy",)

    def forward(self, masks: Tensors, progress: Tensor) -> Tensors:
        return SoundPolicy().train(self.training)(masks, progress)  # type: ignore[no-any-return]

    def observe(self, present: Tensor, loss: Tensor) -> None:
        pass


class AnotherOrder(SoundPolicy):
    breaks = ("returns_shapes_and_types",)

    def forward(self, masks: Tensors, progress: Tensor) -> Tensors:
        return dict(reversed(super().forward(masks, progress).items()))


class SetsSteps(SoundPolicy):
    breaks = ("only_clears",)

    def forward(self, masks: Tensors, progress: Tensor) -> Tensors:
        after = super().forward(masks, progress)
        if not self.training:
            return after
        return {name: mask.any(dim=1, keepdim=True).expand_as(mask).clone() for name, mask in after.items()}


class EmptiesHalfWay(SoundPolicy):
    breaks = ("never_empties_a_sample",)

    def draw(self, present: Tensor, progress: Tensor) -> Tensor:
        return present & (torch.rand(present.shape, device=present.device) >= 2.0 * progress * (1.0 - progress))


class AlwaysDrops(SoundPolicy):
    breaks = ("identity_in_eval",)

    def forward(self, masks: Tensors, progress: Tensor) -> Tensors:
        return keep(masks, self.draw(present_in(masks), progress))


class DrawsElsewhere(SoundPolicy):
    breaks = ("seed_repeats_it",)

    def draw(self, present: Tensor, progress: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(random.getrandbits(60))
        order = torch.rand(present.shape, generator=generator).to(present.device)
        return present & (order == torch.where(present, order, -1.0).amax(dim=1, keepdim=True))


class WorksInPlace(SoundPolicy):
    breaks = ("does_not_change_its_input",)

    def forward(self, masks: Tensors, progress: Tensor) -> Tensors:
        for name, mask in super().forward(masks, progress).items():
            masks[name] &= mask
        return masks


class DrawsOneOfThePresent(SoundPolicy):
    breaks = ("survives_empty_samples",)

    def draw(self, present: Tensor, progress: Tensor) -> Tensor:
        return torch.zeros_like(present).scatter(1, torch.multinomial(present.float(), 1), True)


class NeverDrops(SoundPolicy):
    breaks = ("drops_something",)

    def draw(self, present: Tensor, progress: Tensor) -> Tensor:
        return present


class DropsTheFirst(SoundPolicy):
    breaks = ("loses_by_chance",)

    def draw(self, present: Tensor, progress: Tensor) -> Tensor:
        first = torch.arange(present.shape[1]) == 0
        return torch.where((present & ~first).any(dim=1, keepdim=True), present & ~first, present)


class DropsTheFirstAndOthers(DropsTheFirst):
    breaks = ("loses_by_chance",)

    def draw(self, present: Tensor, progress: Tensor) -> Tensor:
        return draw_nonempty(super().draw(present, progress), 0.5)


class SeedsItsOwn(SoundPolicy):
    breaks = ("loses_by_chance",)

    def draw(self, present: Tensor, progress: Tensor) -> Tensor:
        order = torch.rand(present.shape, generator=torch.Generator().manual_seed(0)).to(present.device)
        return present & (order == torch.where(present, order, -1.0).amax(dim=1, keepdim=True))


class DrawsFromItsOwn(SoundPolicy):
    breaks = ("seed_repeats_it",)

    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)

    def draw(self, present: Tensor, progress: Tensor) -> Tensor:
        order = torch.rand(present.shape, generator=self.generator).to(present.device)
        return present & (order == torch.where(present, order, -1.0).amax(dim=1, keepdim=True))


class KeepsWithP(SoundPolicy):
    breaks = ("more_p_loses_more",)

    def __init__(self, *, p: float = 0.5) -> None:
        super().__init__()
        self.p = p

    def draw(self, present: Tensor, progress: Tensor) -> Tensor:
        return draw_nonempty(present, 1.0 - self.p)


class TakesALogarithm(SoundPolicy):
    breaks = ("accepts_progress_from_0_to_1",)

    def draw(self, present: Tensor, progress: Tensor) -> Tensor:
        return draw_nonempty(present, 0.5 / (1.0 - math.log(progress.item())))


class SaysOtherRates(SoundPolicy):
    breaks = ("rates_are_what_it_says",)

    def draw(self, present: Tensor, progress: Tensor) -> Tensor:
        return draw_nonempty(present, 0.4)


class ForgetsWhatItLearned(SoundPolicy):
    breaks = ("state_dict_round_trip",)

    def __init__(self) -> None:
        super().__init__()
        self.p = 0.5

    def draw(self, present: Tensor, progress: Tensor) -> Tensor:
        return draw_nonempty(present, self.p)

    def observe(self, present: Tensor, loss: Tensor) -> None:
        self.p = 0.9


class SizedByTheModalities(SoundPolicy):
    breaks = ()

    def prepare(self, modalities: tuple[str, ...]) -> None:
        self.register_buffer("losses", torch.zeros(len(modalities)))

    def draw(self, present: Tensor, progress: Tensor) -> Tensor:
        return draw_nonempty(present, 0.9 if self.losses.sum() > 0.0 else 0.5)

    def observe(self, present: Tensor, loss: Tensor) -> None:
        self.losses += (present * loss[:, None]).sum(dim=0)


class IsForOthers(SoundPolicy):
    breaks = ()

    def prepare(self, modalities: tuple[str, ...]) -> None:
        if "visual" not in modalities:
            raise SettingsError("It is for faces.")


class KnowsThreeNames(SoundPolicy):
    breaks = ("any_number_of_modalities",)

    def forward(self, masks: Tensors, progress: Tensor) -> Tensors:
        return super().forward({name: masks[name] for name in ("text", "audio", "visual")}, progress)


class SqueezesMasks(SoundPolicy):
    breaks = ("batch_of_one",)

    def forward(self, masks: Tensors, progress: Tensor) -> Tensors:
        return {name: mask.squeeze() for name, mask in super().forward(masks, progress).items()}


class PositionalP(SoundPolicy):
    breaks = ("options_are_explicit",)

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()


class PolicyDefaultOfAnotherType(SoundPolicy):
    breaks = ("options_survive_a_recipe",)

    def __init__(self, *, per_batch: bool = 0) -> None:  # type: ignore[assignment]
        super().__init__()


class PolicySeeds(SoundPolicy):
    breaks = ("seeds_nothing",)

    def draw(self, present: Tensor, progress: Tensor) -> Tensor:
        numpy.random.seed(0)  # noqa: NPY002
        return super().draw(present, progress)


class DrawsOnTheCPU(SoundPolicy):
    breaks = ("works_on_cuda",)

    def draw(self, present: Tensor, progress: Tensor) -> Tensor:
        return draw_nonempty(present.cpu(), 0.5)


class LosesTheFirstAlone(SoundPolicy):
    breaks = ("loses_by_chance",)

    def draw(self, present: Tensor, progress: Tensor) -> Tensor:
        kept = present.clone()
        kept[:, 0] &= (torch.rand(len(present), device=present.device) < 0.5) | ~present[:, 1:].any(dim=1)
        return kept
