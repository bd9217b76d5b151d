"""Average precision: the ranking by probability, without any threshold."""

import numpy as np
from numpy.typing import NDArray

from emotiwave_core.evaluate.metrics import Array, ClassMean, Outcomes, register


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
    """The area under the steps of precision over recall, of one class against the rest; None without positives."""
    from sklearn.metrics import average_precision_score

    if not truth.any():
        return None
    return min(float(average_precision_score(truth, probabilities)), 1.0)  # its sum of steps may round to above 1


register(AveragePrecision())
