"""The objective's loss before the dropout policy, beside the one after it."""

from torch import Tensor

from emotiwave_core.interfaces import Output
from emotiwave_core.model.objective import Objective
from emotiwave_core.model.terms import Term


class CompleteLoss(Term):
    """The same loss on all that a sample has, so that training on subsets does not cost the complete configuration."""

    setting = "complete"
    needs_complete = True

    def loss(self, objective: Objective, output: Output, complete: Output | None, targets: Tensor) -> Tensor:
        """The objective's loss of `complete`, []."""
        assert complete is not None
        return objective.output_loss(complete, targets)[0]


TERM = CompleteLoss()
