"""Sound objectives, and objectives with one defect each: `breaks` names exactly the laws that it breaks."""
# ruff: noqa: D101, D102 -- the name of a broken objective says what is wrong with it

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emotiwave_core.config.recipe import ObjectiveSettings
from emotiwave_core.interfaces import Output
from emotiwave_core.objectives.multi import MultiLabel
from emotiwave_core.objectives.regression import Regression
from emotiwave_core.objectives.single import SingleLabel


class SoundObjective(SingleLabel):
    """Breaks no law; the broken ones differ from it in one place."""

    breaks: tuple[str, ...] = ()

    def __init__(self, classes: tuple[str, ...], *, scale: float = 1.0) -> None:
        super().__init__(classes)
        self.scale = scale

    def sample_losses(self, output: Output, targets: Tensor) -> Tensor:
        return self.scale * super().sample_losses(output, targets)


class SoundLabels(MultiLabel):
    breaks = ()


class SoundNumbers(Regression):
    breaks = ()


class NoObjective(nn.Module):
    breaks = (
        "is_an_objective",
        *("gives_each_sample_a_loss", "learns_nothing", "right_is_better_than_wrong", "far_logits_are_finite"),
        *("every_logit_learns", "logits_are_enough", "says_what_it_reads", "batch_of_one", "draws_nothing"),
        *("batch_order_does_not_matter", "keeps_no_state", "does_not_change_its_input", "answers_need_no_fit"),
        "any_batch_is_finite",
        *("answers_what_the_logits_say", "options_are_explicit", "options_survive_a_recipe", "seeds_nothing"),
        "import_draws_nothing",
    )

    def __init__(self, classes: tuple[str, ...], **options: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


class MeanOfTheBatch(SoundObjective):
    breaks = (*("gives_each_sample_a_loss", "batch_of_one", "batch_order_does_not_matter"),)

    def sample_losses(self, output: Output, targets: Tensor) -> Tensor:
        return super().sample_losses(output, targets).mean()


class LearnsATemperature(SoundObjective):
    breaks = ("learns_nothing",)

    def __init__(self, classes: tuple[str, ...]) -> None:
        super().__init__(classes)
        self.temperature = nn.Parameter(torch.ones(1))


class Maximises(SoundObjective):
    breaks = ("right_is_better_than_wrong",)

    def sample_losses(self, output: Output, targets: Tensor) -> Tensor:
        return -super().sample_losses(output, targets)


class LogOfSoftmax(SoundObjective):
    breaks = ("far_logits_are_finite",)

    def sample_losses(self, output: Output, targets: Tensor) -> Tensor:
        return -output.logits.softmax(dim=-1).gather(1, targets[:, None]).squeeze(1).log()


class LearnsFromHalf(SoundObjective):
    breaks = ("every_logit_learns",)

    def sample_losses(self, output: Output, targets: Tensor) -> Tensor:
        losses = super().sample_losses(output, targets)
        return torch.where(targets % 2 == 0, losses, losses.detach())


class NeedsTheVector(SoundObjective):
    breaks = ("logits_are_enough", "says_what_it_reads")
    reads_states: ClassVar[bool] = True

    def sample_losses(self, output: Output, targets: Tensor) -> Tensor:
        assert output.vector is not None
        return super().sample_losses(output, targets) + output.vector.square().mean(dim=1)


class ReadsInSilence(SoundObjective):
    breaks = ("says_what_it_reads",)

    def sample_losses(self, output: Output, targets: Tensor) -> Tensor:
        losses = super().sample_losses(output, targets)
        return losses if output.pooled is None else losses + output.pooled["text"].square().mean(dim=1)


class DividesByTheOthers(SoundObjective):
    breaks = ("batch_of_one",)

    def sample_losses(self, output: Output, targets: Tensor) -> Tensor:
        losses = super().sample_losses(output, targets)
        return losses + 0.1 * (losses.sum() - losses) / (len(losses) - 1)


class WeighsTheFirst(SoundObjective):
    breaks = ("batch_order_does_not_matter",)

    def sample_losses(self, output: Output, targets: Tensor) -> Tensor:
        losses = super().sample_losses(output, targets)
        return losses * torch.linspace(2.0, 1.0, len(losses))


class DropsAtRandom(SoundObjective):
    breaks = ("draws_nothing",)

    def sample_losses(self, output: Output, targets: Tensor) -> Tensor:
        return super().sample_losses(output, targets) * (0.5 + torch.rand(()))


class CountsBatches(SoundObjective):
    breaks = ("keeps_no_state",)

    def __init__(self, classes: tuple[str, ...]) -> None:
        super().__init__(classes)
        self.batches = 0

    def sample_losses(self, output: Output, targets: Tensor) -> Tensor:
        self.batches += 1
        return super().sample_losses(output, targets) / max(self.batches - 2, 1)


class ShiftsInPlace(SoundObjective):
    breaks = ("does_not_change_its_input",)

    def sample_losses(self, output: Output, targets: Tensor) -> Tensor:
        losses = super().sample_losses(output, targets)
        if output.vector is not None:
            output.vector.sub_(1.0)
        return losses


class AnswersLogits(SoundObjective):
    breaks = ("answers_what_the_logits_say",)

    def answers(self, logits: Tensor) -> Tensor:
        return logits


class DecidesForTheFirst(SoundObjective):
    breaks = ("answers_what_the_logits_say",)

    def decide(self, answers: NDArray[np.float64], thresholds: NDArray[np.float64] | None) -> NDArray[np.int64]:
        return np.zeros(len(answers), dtype=np.int64)


class AnswersByFrequency(SoundObjective):
    breaks = ("answers_need_no_fit",)

    def fit(self, targets: Tensor, settings: ObjectiveSettings) -> None:
        super().fit(targets, settings)
        self.frequencies: Any = targets.bincount(minlength=len(self.classes)) + torch.arange(len(self.classes))

    def answers(self, logits: Tensor) -> Tensor:
        return (logits + getattr(self, "frequencies", torch.ones(())).log()).softmax(dim=-1)


class AnyObjectiveOptions(SoundObjective):
    breaks = ("options_are_explicit",)

    def __init__(self, classes: tuple[str, ...], **options: float) -> None:
        super().__init__(classes, **options)


class DividesByTheOthersOfItsClass(SoundObjective):
    breaks = ("any_batch_is_finite", "batch_of_one")

    def sample_losses(self, output: Output, targets: Tensor) -> Tensor:
        others = (targets[:, None] == targets).sum(dim=1) - 1
        return super().sample_losses(output, targets) * (others / others)


class NeedsAnotherClass(SoundObjective):
    breaks = ("any_batch_is_finite",)

    def sample_losses(self, output: Output, targets: Tensor) -> Tensor:
        others = (targets[:, None] != targets).any(dim=1).float()
        return super().sample_losses(output, targets) - (others.log() if len(targets) > 1 else 0.0)
