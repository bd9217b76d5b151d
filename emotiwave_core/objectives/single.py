"""The objective `single`: the strongest emotion is the class."""

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import ObjectiveKind, Output
from emotiwave_core.objectives import ClassObjective, Objective

NO_EMOTION = "no emotion"


class SingleLabel(ClassObjective):
    """Cross-entropy on the strongest emotion (the first of equal ones, as argmax).

    Rows without any emotion are dropped, kept as the first class (which argmax of zeros makes of them), or a class of
    their own. Class weights are N / (C · N_c), as scikit-learn's "balanced"; a class without samples weighs 0.
    """

    kind: ClassVar[ObjectiveKind] = "single"

    def used(self, labels: Tensor) -> Tensor:
        """All samples, or those with an emotion."""
        return (
            (labels > 0).any(dim=1) if self.settings.no_emotion == "drop" else torch.ones(len(labels), dtype=torch.bool)
        )

    def targets(self, labels: Tensor) -> Tensor:
        """The index of the strongest emotion, [N]."""
        strongest = labels.argmax(dim=1)
        if self.settings.no_emotion == "class":
            return torch.where((labels > 0).any(dim=1), strongest, labels.shape[1])
        if self.settings.no_emotion == "first":
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

    def sample_losses(self, output: Output, targets: Tensor) -> Tensor:
        """Cross-entropy, with label smoothing (Szegedy et al. 2016) where it is asked for.

        Weighed by its class it is that of `torch.nn.CrossEntropyLoss(weight)`.
        """
        smoothing = self.settings.smoothing
        return functional.cross_entropy(output.logits, targets, reduction="none", label_smoothing=smoothing)

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


@hookimpl
def register_objectives(register: Callable[[str, type[Objective]], None]) -> None:
    """Offer `single`."""
    register("single", SingleLabel)
