"""An auxiliary head for each modality, on its encoder alone."""

import torch
from torch import Tensor

from emotiwave_core.interfaces import Mixture, Output
from emotiwave_core.model.terms import Term
from emotiwave_core.objectives import TINY, Objective


class UnimodalHeads(Term):
    """The objective's loss of a linear head on each modality's pooled vector: none leaves the work to another."""

    setting = "unimodal"
    needs_heads = True

    def loss(
        self,
        objective: Objective,
        output: Output,
        complete: Output | None,
        targets: Tensor,
        mixture: Mixture | None = None,
    ) -> Tensor:
        """The mean loss, [], over the modalities [B, M] that are present in `complete`, or else in `output`.

        By class weights, where there are some, as the loss of a batch is.
        """
        heads = output if complete is None else complete
        assert heads.unimodal is not None
        losses = [objective.losses(logits.float(), targets, mixture)[1] for logits in heads.unimodal.unbind(dim=1)]
        present_losses = torch.where(heads.present, torch.stack(losses, dim=1), 0.0)  # [B, M]
        weights = torch.where(heads.present, objective.mixed_weights(targets, mixture)[:, None], 0.0)
        return present_losses.sum() / weights.sum().clamp(min=TINY)


TERM = UnimodalHeads()
