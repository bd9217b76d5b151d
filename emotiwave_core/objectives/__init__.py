"""Objectives, one file each: from labels to targets, from outputs to loss, answers (probabilities, numbers), decisions.

`single`, `multi` and `regression` are what labels can be learned as, the `kind` of an objective. One of a plugin is of
one of these kinds, and has another loss.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emotiwave_core.config.recipe import ObjectiveSettings
from emotiwave_core.interfaces import Mixture, ObjectiveKind, Output
from emotiwave_core.metrics.headline import Headline, headline_of

TINY = 1e-12


class Objective(nn.Module, ABC):
    """An objective over C outputs: classes, or the targets of a regression. What it needs it takes from training.

    A new one derives from `SingleLabel`, `MultiLabel` or `Regression`, and overrides `sample_losses` above all. It has
    the constructor `(classes: tuple[str, ...], *, options…)`, learns no weights of its own, draws nothing, and keeps
    nothing from one batch to the next. A run that is opened again makes it anew, and does not fit it: answers and
    decisions depend on no more than its options, and the scale of numbers.
    """

    kind: ClassVar[ObjectiveKind]
    reads_states: ClassVar[bool] = False  # True: in training its loss also reads output.vector and output.pooled

    def __init__(self, classes: tuple[str, ...]) -> None:
        super().__init__()
        self.classes = classes  # the names of its outputs: of a regression the targets
        self.settings = ObjectiveSettings()  # those of the recipe

    @property
    def headline(self) -> Headline:
        """The score that a run is judged by."""
        return headline_of(self.kind)

    @property
    def multi(self) -> bool:
        """True where each of several emotions is decided about."""
        return self.kind == "multi"

    @abstractmethod
    def fit(self, targets: Tensor, settings: ObjectiveSettings) -> None:
        """Take from the targets of the training fold what the settings ask for."""

    @abstractmethod
    def used(self, labels: Tensor) -> Tensor:
        """Labels [N, E] -> [N] bool: the samples that take part."""

    @abstractmethod
    def targets(self, labels: Tensor) -> Tensor:
        """Labels [N, E] of samples that are used -> the class [N] int64, or each emotion or number [N, C]."""

    @abstractmethod
    def truth(self, targets: Tensor) -> NDArray[Any]:
        """Targets as they are compared with decisions: [N] or [N, C] int64 of classes, [N, C] float64 of numbers."""

    @abstractmethod
    def sample_losses(self, output: Output, targets: Tensor) -> Tensor:
        """The loss [B] of each sample, before `sample_weights`: output.logits [B, C] float32, targets [B] or [B, C].

        In training the logits have the adjustment by class frequencies, where the recipe asks for one. With
        `reads_states` there are output.vector and output.pooled, float32, in the whole batch of all processes; they are
        None in validation and for auxiliary heads, of which the logits alone are judged. Of samples that were mixed it
        is asked twice, for their own targets and for their partners'.
        """

    def losses(self, logits: Tensor, targets: Tensor, mixture: Mixture | None = None) -> tuple[Tensor, Tensor]:
        """logits [B, C] alone, targets -> the loss [] of the batch and the loss [B] of each sample."""
        present = torch.ones(len(logits), 1, dtype=torch.bool, device=logits.device)
        return self._losses(Output(logits, None, None, present), targets, mixture)

    def output_loss(self, output: Output, targets: Tensor, mixture: Mixture | None = None) -> tuple[Tensor, Tensor]:
        """The loss [] of a batch, with the fusion's own, and the loss [B] of each sample without it."""
        loss, losses = self._losses(_in_float32(output), targets, mixture)
        return loss if output.loss is None else loss + output.loss, losses

    def _losses(self, output: Output, targets: Tensor, mixture: Mixture | None) -> tuple[Tensor, Tensor]:
        """The mean loss [] by `sample_weights`, and the weighted loss [B] of each sample."""
        output = output._replace(logits=self.adjusted(output.logits))
        losses = self.sample_weights(targets) * self.sample_losses(output, targets)
        if mixture is not None:
            other = targets[mixture.partner]
            losses = mixed(losses, self.sample_weights(other) * self.sample_losses(output, other), mixture)
        return losses.sum() / self.mixed_weights(targets, mixture).sum(), losses

    def adjusted(self, logits: Tensor) -> Tensor:
        """The logits [B, C] that the loss reads."""
        return logits

    def sample_weights(self, targets: Tensor) -> Tensor:
        """The weight of each sample in the loss of a batch, [B]."""
        return torch.ones(len(targets), device=targets.device)

    def mixed_weights(self, targets: Tensor, mixture: Mixture | None) -> Tensor:
        """`sample_weights` [B], of samples that may be mixed with others."""
        weights = self.sample_weights(targets)
        return weights if mixture is None else mixed(weights, weights[mixture.partner], mixture)

    @abstractmethod
    def divergence(self, logits: Tensor, teacher: Tensor) -> Tensor:
        """The mean KL divergence [] from the teacher's distribution, without gradient, to that of `logits` [B, C]."""

    @abstractmethod
    def answers(self, logits: Tensor) -> Tensor:
        """logits [..., C] -> the probability of each class, or the number of each target, [..., C]."""

    @abstractmethod
    def decide(self, answers: NDArray[np.float64], thresholds: NDArray[np.float64] | None) -> NDArray[Any]:
        """Answers [N, C] -> the class [N], each emotion [N, C] as 0 or 1, or each number [N, C] itself."""


def mixed(own: Tensor, partner: Tensor, mixture: Mixture) -> Tensor:
    """Numbers [B] of samples and of those that they are mixed with, by their shares."""
    share = mixture.share.to(own.dtype)
    return share * own + (1.0 - share) * partner


def _in_float32(output: Output) -> Output:
    """All that a loss reads of an output, in float32."""
    pooled = None if output.pooled is None else {m: x.float() for m, x in output.pooled.items()}
    vector = None if output.vector is None else output.vector.float()
    return output._replace(logits=output.logits.float(), vector=vector, pooled=pooled)


def prior_of(settings: ObjectiveSettings, multi: bool, counts: NDArray[np.int64], used: int) -> NDArray[np.float64]:
    """Logits [C] of the class frequencies of a training fold, as the loss of a run weighs them: its best constants."""
    strength = (0.0 if settings.class_weights else 1.0) - settings.logit_adjustment
    return prior_logits(counts, used, multi, strength)


def prior_logits(counts: NDArray[np.int64], total: int, multi: bool, strength: float) -> NDArray[np.float64]:
    """Logits [C] of the class frequencies alone: strength · log(n / N), of several labels strength · log(n / (N - n)).

    `strength` is how much of the class frequencies the loss leaves in the probabilities: 1, or 0 with class weights,
    which balance them; less τ of the logit adjustment. A class that is never, or always, there counts as if one was not
    so.
    """
    others = np.maximum(total - counts, 1) if multi else total
    return np.asarray(strength * np.log(np.maximum(counts, 1) / others))


class ClassObjective(Objective):
    """An objective over classes, with class weights and logit adjustment where they are wanted."""

    weights: Tensor  # [C]
    adjustment: Tensor  # [C], added to the logits in training

    def __init__(self, classes: tuple[str, ...]) -> None:
        super().__init__(classes)
        self.register_buffer("weights", torch.ones(len(classes)))
        self.register_buffer("adjustment", torch.zeros(len(classes)))

    def fit(self, targets: Tensor, settings: ObjectiveSettings) -> None:
        """Fit class weights and logit adjustment, where they are asked for, to the targets of the training fold."""
        if settings.class_weights:
            self.fit_weights(targets)
        self.adjustment.copy_(settings.logit_adjustment * self.log_priors(targets))

    def adjusted(self, logits: Tensor) -> Tensor:
        """The logits with the adjustment."""
        return logits + self.adjustment

    def truth(self, targets: Tensor) -> NDArray[np.int64]:
        """Classes as whole numbers."""
        return targets.cpu().numpy().astype(np.int64)

    def count_classes(self, targets: Tensor) -> list[int]:
        """The number of samples of each class, [C]."""
        counts = targets.sum(dim=0).long() if self.multi else torch.bincount(targets, minlength=len(self.classes))
        return [int(count) for count in counts]

    @abstractmethod
    def fit_weights(self, targets: Tensor) -> None:
        """Take the class weights from the targets of the training fold."""

    def prior(self, targets: Tensor) -> Tensor:
        """The logits [C] of one who sees nothing, from the targets of the training fold (`prior_of`)."""
        counts = np.array(self.count_classes(targets))
        return torch.from_numpy(prior_of(self.settings, self.multi, counts, len(targets))).float()

    @abstractmethod
    def log_priors(self, targets: Tensor) -> Tensor:
        """Terms that logit adjustment adds to the logits, [C]: log priors of a softmax (Menon et al. 2021, eq. 10)."""
