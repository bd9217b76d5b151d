"""The objective `multi`: each emotion is there or not."""

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from emotiwave_core.config.recipe import Asymmetric
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import ObjectiveKind, Output
from emotiwave_core.objectives import TINY, ClassObjective, Objective


class MultiLabel(ClassObjective):
    """A sigmoid for each emotion, present where its intensity is above 0. Positive weights are N_absent / N_present."""

    kind: ClassVar[ObjectiveKind] = "multi"

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
        """The log-odds log(N_present / N_absent) of each emotion; 0 where one of them is none.

        Menon et al. 2021, eq. 10, adds log priors to the logits of a softmax over exclusive classes. Here each emotion
        is a softmax over two classes, present and absent, with the logits z and 0. Their eq. 10 with tau makes these
        z + tau log P and tau log (1 - P); a sigmoid knows their difference alone, z + tau log(P / (1 - P)).
        """
        positive = targets.sum(dim=0)
        usable = (positive > 0) & (positive < len(targets))
        return torch.where(usable, (positive / (len(targets) - positive)), 1.0).log()

    def sample_losses(self, output: Output, targets: Tensor) -> Tensor:
        """Mean binary cross-entropy, as `torch.nn.BCEWithLogitsLoss(pos_weight)`, or the asymmetric loss.

        Label smoothing e makes 1 - e / 2 of a target of 1, and e / 2 of one of 0.
        """
        targets = targets + self.settings.smoothing * (0.5 - targets)
        if self.settings.asymmetric is not None:
            return asymmetric_loss(output.logits, targets, self.weights, self.settings.asymmetric).mean(dim=1)
        return functional.binary_cross_entropy_with_logits(
            output.logits, targets, pos_weight=self.weights, reduction="none"
        ).mean(dim=1)

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


@hookimpl
def register_objectives(register: Callable[[str, type[Objective]], None]) -> None:
    """Offer `multi`."""
    register("multi", MultiLabel)
