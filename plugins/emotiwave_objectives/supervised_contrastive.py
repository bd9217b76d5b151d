"""The objective `supervised_contrastive`: cross-entropy, and vectors of one class drawn together."""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from emotiwave_core.errors import SettingsError
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Output
from emotiwave_core.objectives import Objective
from emotiwave_core.objectives.single import SingleLabel


class SupervisedContrastive(SingleLabel):
    """Cross-entropy plus `weight` times the supervised contrastive loss of the vector (Khosla et al. 2020, eq. 2).

    That of a sample is the mean over all others p of its class in the batch of -log(exp(z·z_p / T) / sum over all
    others a of exp(z·z_a / T)), with z the vector at length 1, and 0 where its class has no other. The paper has two
    views of a sample, a projection network, and cross-entropy in a second stage. Here is one view, what the dropout
    policy left, and no projection, for an objective learns no weights. Pairs are those of the whole batch, in all
    processes and microbatches: `training.batch_size` decides how many there are. Of mixed samples own classes and those
    of the partners are contrasted in turn. The loss that validation shows is cross-entropy.

    weight: at least 0. temperature: T, above 0.
    """

    reads_states: ClassVar[bool] = True

    def __init__(self, classes: tuple[str, ...], *, weight: float = 0.5, temperature: float = 0.1) -> None:
        super().__init__(classes)
        if not weight >= 0.0:
            raise SettingsError(f"The option weight of supervised_contrastive must be at least 0, not {weight}.")
        if not temperature > 0.0:
            raise SettingsError(f"The option temperature of supervised_contrastive must be above 0, not {temperature}.")
        self.weight, self.temperature = weight, temperature

    def sample_losses(self, output: Output, targets: Tensor) -> Tensor:
        """The loss [B] of logits [B, C], the fusion's vectors [B, D] and classes [B]."""
        losses = super().sample_losses(output, targets)
        if output.vector is None:
            return losses
        return losses + self.weight * contrastive_losses(output.vector, targets, self.temperature)


def contrastive_losses(vectors: Tensor, classes: Tensor, temperature: float) -> Tensor:
    """The supervised contrastive loss of each sample, [B]: vectors [B, D], classes [B]."""
    z = functional.normalize(vectors, dim=-1)
    own = torch.eye(len(z), dtype=torch.bool, device=z.device)
    similarities = (z @ z.T / temperature).masked_fill(own, torch.finfo(z.dtype).min)  # [B, B]
    positive = (classes[:, None] == classes) & ~own
    log_shares = torch.where(positive, similarities.log_softmax(dim=1), 0.0)
    return -log_shares.sum(dim=1) / positive.sum(dim=1).clamp(min=1)


@hookimpl
def register_objectives(register: Callable[[str, type[Objective]], None]) -> None:
    """Offer `supervised_contrastive`."""
    register("supervised_contrastive", SupervisedContrastive)
