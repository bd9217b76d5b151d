"""Objectives: from labels to targets, and from logits to loss, answers (probabilities or numbers) and decisions."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from emotiwave_core.config.recipe import Asymmetric, ObjectiveSettings
from emotiwave_core.errors import SettingsError
from emotiwave_core.interfaces import Output
from emotiwave_core.metrics.headline import Headline, headline_of
from emotiwave_core.metrics.numbers import TargetScale

NO_EMOTION = "no emotion"
TINY = 1e-12
Kind = Literal["single", "multi", "regression"]
# The objectives that labels of a kind can be learned by; the first one where the recipe leaves it to the labels.
KINDS_FOR: Mapping[str, tuple[Kind, ...]] = {
    "intensities": ("single", "multi", "regression"),
    "classes": ("single", "multi"),
    "multi": ("multi",),
    "regression": ("regression",),
}


class Objective(nn.Module, ABC):
    """An objective over C outputs: classes, or the targets of a regression. What it needs it takes from training."""

    kind: Kind

    def __init__(self, classes: tuple[str, ...]) -> None:
        super().__init__()
        self.classes = classes  # the names of its outputs: of a regression the targets

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
    def losses(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """logits [B, C], targets -> the loss [] of the batch and the loss [B] of each sample."""

    def output_loss(self, output: Output, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The loss [] of a batch, with the fusion's own, and the loss [B] of each sample without it."""
        loss, losses = self.losses(output.logits.float(), targets)
        return loss if output.loss is None else loss + output.loss, losses

    def sample_weights(self, targets: Tensor) -> Tensor:
        """The weight of each sample in the loss of a batch, [B]."""
        return torch.ones(len(targets), device=targets.device)

    @abstractmethod
    def divergence(self, logits: Tensor, teacher: Tensor) -> Tensor:
        """The mean KL divergence [] from the teacher's distribution, without gradient, to that of `logits` [B, C]."""

    @abstractmethod
    def answers(self, logits: Tensor) -> Tensor:
        """logits [..., C] -> the probability of each class, or the number of each target, [..., C]."""

    @abstractmethod
    def decide(self, answers: NDArray[np.float64], thresholds: NDArray[np.float64] | None) -> NDArray[Any]:
        """Answers [N, C] -> the class [N], each emotion [N, C] as 0 or 1, or each number [N, C] itself."""


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

    @abstractmethod
    def log_priors(self, targets: Tensor) -> Tensor:
        """The logarithms that logit adjustment (Menon et al. 2021, eq. 10) adds to the logits of each class, [C]."""


class SingleLabel(ClassObjective):
    """Cross-entropy on the strongest emotion (the first of equal ones, as argmax).

    Rows without any emotion are dropped, kept as the first class (which argmax of zeros makes of them), or a class of
    their own. Class weights are N / (C · N_c), as scikit-learn's "balanced"; a class without samples weighs 0.
    """

    kind = "single"

    def __init__(self, targets: tuple[str, ...], no_emotion: str) -> None:
        super().__init__((*targets, NO_EMOTION) if no_emotion == "class" else targets)
        self.no_emotion = no_emotion

    def used(self, labels: Tensor) -> Tensor:
        """All samples, or those with an emotion."""
        return (labels > 0).any(dim=1) if self.no_emotion == "drop" else torch.ones(len(labels), dtype=torch.bool)

    def targets(self, labels: Tensor) -> Tensor:
        """The index of the strongest emotion, [N]."""
        strongest = labels.argmax(dim=1)
        if self.no_emotion == "class":
            return torch.where((labels > 0).any(dim=1), strongest, labels.shape[1])
        if self.no_emotion == "first":
            return torch.where((labels > 0).any(dim=1), strongest, 0)
        return strongest

    def fit_weights(self, targets: Tensor) -> None:
        """N / (C · N_c)."""
        counts = torch.bincount(targets, minlength=len(self.classes))
        self.weights.copy_(torch.where(counts > 0, len(targets) / (len(self.classes) * counts.clamp(min=1)), 0.0))

    def log_priors(self, targets: Tensor) -> Tensor:
        """log(N_c / N); a class without samples counts as one."""
        counts = torch.bincount(targets, minlength=len(self.classes)).clamp(min=1)
        return (counts / max(len(targets), 1)).log()

    def losses(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted mean cross-entropy, as `torch.nn.CrossEntropyLoss(weight)`."""
        logits = logits + self.adjustment
        losses = functional.cross_entropy(logits, targets, weight=self.weights, reduction="none")
        return losses.sum() / self.sample_weights(targets).sum(), losses

    def sample_weights(self, targets: Tensor) -> Tensor:
        """The weight of its class."""
        return self.weights[targets]

    def divergence(self, logits: Tensor, teacher: Tensor) -> Tensor:
        """Between two softmax distributions."""
        target = teacher.detach().log_softmax(dim=-1)
        return functional.kl_div(logits.log_softmax(dim=-1), target, reduction="batchmean", log_target=True)

    def answers(self, logits: Tensor) -> Tensor:
        """Softmax."""
        return logits.softmax(dim=-1)

    def decide(self, answers: NDArray[np.float64], thresholds: NDArray[np.float64] | None) -> NDArray[np.int64]:
        """The most probable class, [N]."""
        return np.asarray(answers.argmax(axis=-1), dtype=np.int64)


class MultiLabel(ClassObjective):
    """A sigmoid for each emotion, present where its intensity is above 0. Positive weights are N_absent / N_present."""

    kind = "multi"

    def __init__(self, targets: tuple[str, ...], asymmetric: Asymmetric | None = None) -> None:
        super().__init__(targets)
        self.asymmetric = asymmetric

    def used(self, labels: Tensor) -> Tensor:
        """All samples."""
        return torch.ones(len(labels), dtype=torch.bool)

    def targets(self, labels: Tensor) -> Tensor:
        """Intensity above 0, [N, C] float."""
        return (labels > 0).float()

    def fit_weights(self, targets: Tensor) -> None:
        """N_absent / N_present of each emotion; 1 where there is none to weigh."""
        positive = targets.sum(dim=0)
        usable = (positive > 0) & (positive < len(targets))
        self.weights.copy_(torch.where(usable, (len(targets) - positive) / positive.clamp(min=1), 1.0))

    def log_priors(self, targets: Tensor) -> Tensor:
        """The log-odds log(N_present / N_absent) of each emotion; 0 where one of them is none."""
        positive = targets.sum(dim=0)
        usable = (positive > 0) & (positive < len(targets))
        return torch.where(usable, (positive / (len(targets) - positive)), 1.0).log()

    def losses(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mean binary cross-entropy, as `torch.nn.BCEWithLogitsLoss(pos_weight)`, or the asymmetric loss."""
        logits = logits + self.adjustment
        if self.asymmetric is not None:
            losses = asymmetric_loss(logits, targets, self.weights, self.asymmetric).mean(dim=1)
        else:
            losses = functional.binary_cross_entropy_with_logits(
                logits, targets, pos_weight=self.weights, reduction="none"
            ).mean(dim=1)
        return losses.mean(), losses

    def divergence(self, logits: Tensor, teacher: Tensor) -> Tensor:
        """Between the two Bernoulli distributions of each emotion, their mean."""
        target = teacher.detach()
        cross_entropy = functional.binary_cross_entropy_with_logits(logits, target.sigmoid())
        return cross_entropy - functional.binary_cross_entropy_with_logits(target, target.sigmoid())

    def answers(self, logits: Tensor) -> Tensor:
        """Sigmoid."""
        return logits.sigmoid()

    def decide(self, answers: NDArray[np.float64], thresholds: NDArray[np.float64] | None) -> NDArray[np.int64]:
        """Above the threshold of each emotion (0.5 where none was tuned), [N, C]."""
        return (answers > (0.5 if thresholds is None else thresholds)).astype(np.int64)


class Regression(Objective):
    """Squared or absolute error of every target, standardised by the training fold. An answer is the number itself."""

    kind = "regression"
    mean: Tensor  # [C]
    deviation: Tensor  # [C]

    def __init__(self, targets: tuple[str, ...], loss: Literal["mse", "mae"] = "mse") -> None:
        super().__init__(targets)
        self.loss = loss
        self.scale: dict[str, TargetScale] = {}  # empty until it is fitted or restored
        self.register_buffer("mean", torch.zeros(len(targets)))
        self.register_buffer("deviation", torch.ones(len(targets)))

    def fit(self, targets: Tensor, settings: ObjectiveSettings) -> None:
        """Take the scale of every target from the training fold."""
        columns = targets.cpu().double().numpy().T  # [C, N]
        self.restore({name: _scale_of(column) for name, column in zip(self.classes, columns, strict=True)})

    def restore(self, scale: Mapping[str, TargetScale]) -> None:
        """Take the scale that a run was trained with."""
        self.scale = {name: scale[name] for name in self.classes}
        self.mean.copy_(torch.tensor([each.mean for each in self.scale.values()]))
        self.deviation.copy_(torch.tensor([each.deviation for each in self.scale.values()]))

    def used(self, labels: Tensor) -> Tensor:
        """All samples."""
        return torch.ones(len(labels), dtype=torch.bool)

    def targets(self, labels: Tensor) -> Tensor:
        """The numbers as they stand, [N, C] float."""
        return labels.float()

    def truth(self, targets: Tensor) -> NDArray[np.float64]:
        """The numbers in double precision."""
        return targets.cpu().double().numpy()

    def losses(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The mean over samples and targets of the squared (or absolute) error, in deviations of the target."""
        error = logits - (targets - self.mean) / self.deviation
        losses = (error.square() if self.loss == "mse" else error.abs()).mean(dim=1)
        return losses.mean(), losses

    def divergence(self, logits: Tensor, teacher: Tensor) -> Tensor:
        """Half the squared distance, which is the KL divergence between normal distributions of the same deviation."""
        return 0.5 * (logits - teacher.detach()).square().mean()

    def answers(self, logits: Tensor) -> Tensor:
        """The numbers in the unit of the labels."""
        mean, deviation = self.mean.to(logits.device), self.deviation.to(logits.device)
        return logits * deviation + mean

    def decide(self, answers: NDArray[np.float64], thresholds: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """The numbers themselves."""
        return answers


def _scale_of(numbers: NDArray[np.float64]) -> TargetScale:
    deviation = float(numbers.std())
    return TargetScale(
        mean=float(numbers.mean()),
        deviation=deviation if deviation > TINY * max(float(np.abs(numbers).max()), 1.0) else 1.0,
        median=float(np.median(numbers)),
        lowest=float(numbers.min()),
        highest=float(numbers.max()),
    )


def settle(settings: ObjectiveSettings, targets: tuple[str, ...], label_kind: str) -> ObjectiveSettings:
    """The settings with the kind of objective that labels of a kind are to be learned by, where it was left to them.

    SettingsError for an objective that the labels contradict, for a setting that means nothing to it, and for a task of
    one class.
    """
    possible = KINDS_FOR[label_kind]
    kind = possible[0] if settings.kind == "auto" else settings.kind
    if kind not in possible:
        raise SettingsError(
            f'objective.kind is "{kind}", and the labels are of the kind "{label_kind}": set it to '
            f'{_in_words(possible)}, or to "auto", or say what the labels mean by `kind` under [labels] in '
            "dataset.toml."
        )
    if kind == "regression":
        for name, idle in (("logit_adjustment", 0.0), ("no_emotion", "drop"), ("asymmetric", None)):
            if getattr(settings, name) != idle:
                raise SettingsError(f"objective.{name} is for classes, and the labels are numbers: leave it out.")
        return attrs.evolve(settings, kind=kind, class_weights=False)
    if settings.loss is not None:
        raise SettingsError(f"objective.loss is for numbers, and the labels are {label_kind}: leave it out.")
    if kind == "single" and len(targets) == 1 and settings.no_emotion != "class":
        raise SettingsError(
            f"This is a task of one class, {targets[0]}: there is nothing to tell apart. Name more `targets` under "
            '[labels] in dataset.toml, or set objective.kind to "multi" (it is there or not) or objective.no_emotion '
            'to "class".'
        )
    if kind == "single" and settings.no_emotion == "class" and NO_EMOTION in targets:
        raise SettingsError(
            f"A target is called '{NO_EMOTION}', and so is the class that objective.no_emotion adds: leave that "
            "setting out, or name the targets without it under [labels] in dataset.toml."
        )
    return attrs.evolve(settings, kind=kind)


def _in_words(kinds: tuple[Kind, ...]) -> str:
    return ", ".join(f'"{kind}"' for kind in kinds)


def make_objective(settings: ObjectiveSettings, targets: tuple[str, ...]) -> Objective:
    """The objective of settled settings, for the data set's targets."""
    if settings.kind == "regression":
        return Regression(targets, settings.loss or "mse")
    if settings.kind == "multi":
        return MultiLabel(targets, settings.asymmetric)
    return SingleLabel(targets, settings.no_emotion)


def asymmetric_loss(logits: Tensor, targets: Tensor, weights: Tensor, settings: Asymmetric) -> Tensor:
    """The asymmetric loss (Ridnik et al. 2021, "ASL", eq. 2, 4, 5), [B, C]; `weights` [C] of the positives.

    -(1 - p)^γ+ log p of a positive, -q^γ- log(1 - q) of a negative, with q = max(p - margin, 0).
    """
    p, rest = logits.sigmoid(), logits.neg().sigmoid()  # 1 - p would cancel
    # A power below 1 has an infinite slope at 0.
    focus = rest.clamp(min=TINY).pow(settings.gamma_positive)
    positive = -weights * focus * functional.logsigmoid(logits)
    shifted = (p - settings.margin).clamp(min=0.0)
    # log(1 - q), which without a margin is exact however far out.
    missed = (rest + settings.margin).clamp(max=1.0).log() if settings.margin else functional.logsigmoid(-logits)
    negative = -torch.where(shifted > 0.0, shifted.clamp(min=TINY).pow(settings.gamma_negative) * missed, 0.0)
    return targets * positive + (1.0 - targets) * negative
