"""The objective `regression`: each target is a number."""

from collections.abc import Callable, Mapping
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emotiwave_core.config.recipe import ObjectiveSettings
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import ObjectiveKind, Output
from emotiwave_core.metrics.numbers import TargetScale
from emotiwave_core.objectives import TINY, Objective


class Regression(Objective):
    """Squared or absolute error of every target, standardised by the training fold. An answer is the number itself."""

    kind: ClassVar[ObjectiveKind] = "regression"
    mean: Tensor  # [C]
    deviation: Tensor  # [C]

    def __init__(self, classes: tuple[str, ...]) -> None:
        super().__init__(classes)
        self.scale: dict[str, TargetScale] = {}  # empty until it is fitted or restored
        self.register_buffer("mean", torch.zeros(len(classes)))
        self.register_buffer("deviation", torch.ones(len(classes)))

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

    def sample_losses(self, output: Output, targets: Tensor) -> Tensor:
        """The mean over the targets of the squared (or absolute) error, in deviations of the target."""
        error = output.logits - (targets - self.mean) / self.deviation
        return (error.abs() if self.settings.loss == "mae" else error.square()).mean(dim=1)

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


@hookimpl
def register_objectives(register: Callable[[str, type[Objective]], None]) -> None:
    """Offer `regression`."""
    register("regression", Regression)
