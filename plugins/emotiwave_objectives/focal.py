"""The objective `focal`: cross-entropy in which easy samples count less."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from emotiwave_core.errors import SettingsError
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Output
from emotiwave_core.objectives import TINY, Objective
from emotiwave_core.objectives.single import SingleLabel


class Focal(SingleLabel):
    """Focal loss (Lin et al. 2017, eq. 4, 5) of the softmax: -(1 - p)^gamma log p, with p that of the target.

    The paper's alpha is the class weight (`objective.class_weights`). Its own form, a sigmoid for each class, is
    `objective.asymmetric` of multi-label with both gammas alike and no margin.

    gamma: the focusing parameter, at least 0, which is plain cross-entropy.
    """

    def __init__(self, classes: tuple[str, ...], *, gamma: float = 2.0) -> None:
        super().__init__(classes)
        if not gamma >= 0.0:
            raise SettingsError(f"The option gamma of focal must be at least 0, not {gamma}.")
        self.gamma = gamma

    def sample_losses(self, output: Output, targets: Tensor) -> Tensor:
        """The focal loss [B] of logits [B, C] and classes [B]."""
        cross_entropy = functional.cross_entropy(output.logits, targets, reduction="none")
        rest = -torch.expm1(-cross_entropy)  # 1 - p would cancel
        return rest.clamp(min=TINY).pow(self.gamma) * cross_entropy  # a power below 1 has an infinite slope at 0


@hookimpl
def register_objectives(register: Callable[[str, type[Objective]], None]) -> None:
    """Offer `focal`."""
    register("focal", Focal)
