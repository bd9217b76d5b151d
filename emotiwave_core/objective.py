"""What is learned from the intensities: targets, loss, probabilities and decisions."""

from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from emotiwave_core.recipe import ObjectiveSettings

NO_EMOTION = "no emotion"


class Objective(nn.Module, ABC):
    """An objective over C classes. `weights` [C] are of the training fold, ones where none are wanted."""

    weights: Tensor
    multi: bool

    def __init__(self, classes: tuple[str, ...]) -> None:
        super().__init__()
        self.classes = classes
        self.register_buffer("weights", torch.ones(len(classes)))

    @abstractmethod
    def used(self, labels: Tensor) -> Tensor:
        """Intensities [N, E] -> [N] bool: the samples that take part."""

    @abstractmethod
    def targets(self, labels: Tensor) -> Tensor:
        """Intensities [N, E] of samples that are used -> the class [N] int64, or each emotion [N, C] as 0 or 1."""

    @abstractmethod
    def fit_weights(self, targets: Tensor) -> None:
        """Take the class weights from the targets of the training fold."""

    @abstractmethod
    def losses(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """logits [B, C], targets -> the loss [] of the batch and the loss [B] of each sample."""

    @abstractmethod
    def probabilities(self, logits: Tensor) -> Tensor:
        """logits [..., C] -> probabilities [..., C]."""

    @abstractmethod
    def decide(self, probabilities: NDArray[np.float64], thresholds: NDArray[np.float64] | None) -> NDArray[np.int64]:
        """Probabilities [N, C] -> the class [N], or each emotion [N, C] as 0 or 1."""


class SingleLabel(Objective):
    """Cross-entropy on the strongest emotion (the first of equal ones, as argmax).

    Rows without any emotion are dropped, kept as the first class (which argmax of zeros makes of them), or a class of
    their own. Class weights are N / (C · N_c), as scikit-learn's "balanced"; a class without samples weighs 0.
    """

    multi = False

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

    def losses(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted mean cross-entropy, as `torch.nn.CrossEntropyLoss(weight)`."""
        each = functional.cross_entropy(logits, targets, weight=self.weights, reduction="none")
        return each.sum() / self.weights[targets].sum(), each

    def probabilities(self, logits: Tensor) -> Tensor:
        """Softmax."""
        return logits.softmax(dim=-1)

    def decide(self, probabilities: NDArray[np.float64], thresholds: NDArray[np.float64] | None) -> NDArray[np.int64]:
        """The most probable class, [N]."""
        return np.asarray(probabilities.argmax(axis=-1), dtype=np.int64)


class MultiLabel(Objective):
    """A sigmoid for each emotion, present where its intensity is above 0. Positive weights are N_absent / N_present."""

    multi = True

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

    def losses(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mean binary cross-entropy, as `torch.nn.BCEWithLogitsLoss(pos_weight)`."""
        each = functional.binary_cross_entropy_with_logits(
            logits, targets, pos_weight=self.weights, reduction="none"
        ).mean(dim=1)
        return each.mean(), each

    def probabilities(self, logits: Tensor) -> Tensor:
        """Sigmoid."""
        return logits.sigmoid()

    def decide(self, probabilities: NDArray[np.float64], thresholds: NDArray[np.float64] | None) -> NDArray[np.int64]:
        """Above the threshold of each emotion (0.5 where none was tuned), [N, C]."""
        return (probabilities > (0.5 if thresholds is None else thresholds)).astype(np.int64)


def make_objective(settings: ObjectiveSettings, targets: tuple[str, ...]) -> Objective:
    """The objective of a recipe, for the data set's emotions."""
    return MultiLabel(targets) if settings.kind == "multi" else SingleLabel(targets, settings.no_emotion)
