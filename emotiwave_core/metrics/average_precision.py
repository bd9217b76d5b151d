"""Average precision: the ranking by probability, without any threshold."""

import numpy as np
from numpy.typing import NDArray

from emotiwave_core.metrics import Array, ClassMean, Outcomes, register


class AveragePrecision(ClassMean):
    """The mean over the classes of the area under precision over recall."""

    key = "average_precision"
    title = "Average precision"
    single_label = multi_label = "precision over recall at every threshold, mean of the classes"
    position = 6
    class_key = "average_precision"

    def score_class(self, outcomes: Outcomes, c: int) -> float | None:
        """The area under precision over recall; None without positives."""
        return average_precision(outcomes.present[:, c], outcomes.probabilities[:, c])

    def guess_class(self, share: float) -> float | None:
        """One probability for every sample: precision is the share of positives at any recall."""
        return share or None


def average_precision(truth: NDArray[np.int64], probabilities: Array) -> float | None:
    """The area under the steps of precision over recall, of one class against the rest; None without positives.

    The sum over falling thresholds of (recall gained) · (precision there), to the bit as scikit-learn sums it, which
    spends most of its time on checks: from the highest recall down.
    """
    if not truth.any():
        return None
    order = np.argsort(-probabilities, kind="stable")
    last_of_ties = np.append(np.flatnonzero(np.diff(probabilities[order])), len(order) - 1)
    hits = np.cumsum(truth[order])[last_of_ties]
    gains = np.diff(hits / hits[-1], prepend=0.0)
    area = np.ascontiguousarray((gains * (hits / (last_of_ties + 1)))[::-1]).sum()
    return min(float(area), 1.0)  # a sum of steps may round to above 1


register(AveragePrecision())
