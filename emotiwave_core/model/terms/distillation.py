"""Distillation from the complete configuration to what the dropout policy left."""

from torch import Tensor

from emotiwave_core.interfaces import Mixture, Output
from emotiwave_core.model.terms import Term
from emotiwave_core.objectives import Objective


class Distillation(Term):
    """KL divergence from the prediction on all modalities (teacher, without gradient) to the one after dropout.

    Hinton, Vinyals and Dean 2015, at temperature 1, with the model as its own teacher.
    """

    setting = "distillation"
    needs_complete = True

    def loss(
        self,
        objective: Objective,
        output: Output,
        complete: Output | None,
        targets: Tensor,
        mixture: Mixture | None = None,
    ) -> Tensor:
        """The mean divergence over the batch, []."""
        assert complete is not None
        return objective.divergence(output.logits.float(), complete.logits.float())


TERM = Distillation()
