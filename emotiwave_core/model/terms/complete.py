"""The objective's loss before the dropout policy, beside the one after it."""

from torch import Tensor

from emotiwave_core.interfaces import Mixture, Output
from emotiwave_core.model.terms import Term
from emotiwave_core.objectives import Objective


class CompleteLoss(Term):
    """The same loss on all that a sample has, so that training on subsets does not cost the complete configuration."""

    setting = "complete"
    needs_complete = True

    def loss(
        self,
        objective: Objective,
        output: Output,
        complete: Output | None,
        targets: Tensor,
        mixture: Mixture | None = None,
    ) -> Tensor:
        """The objective's loss of `complete`, []."""
        assert complete is not None
        return objective.output_loss(complete, targets, mixture)[0]


TERM = CompleteLoss()
