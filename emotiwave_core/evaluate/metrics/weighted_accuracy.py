"""Weighted accuracy of the CMU-MOSEI paper (Zadeh et al. 2018): the balanced accuracy of each class."""

from emotiwave_core.evaluate.decisions import Decisions
from emotiwave_core.evaluate.metrics import ClassMean, Outcomes, register


class WeightedAccuracy(ClassMean):
    """The mean over the classes of ½ (recall + specificity)."""

    key = "weighted_accuracy"
    title = "Weighted accuracy"
    single_label = multi_label = "mean of recall and specificity"
    position = 5
    class_key = "weighted_accuracy"

    def score_class(self, outcomes: Outcomes, c: int) -> float | None:
        """½ (recall + specificity); None where all samples have the class or none has."""
        return weighted_accuracy(outcomes.present[:, c], outcomes.predicted[:, c])

    def guess_class(self, share: float) -> float | None:
        """One half, whatever the guess: recall and specificity are 1 and 0, or 0 and 1."""
        return 0.5 if 0.0 < share < 1.0 else None


def weighted_accuracy(truth: Decisions, decided: Decisions) -> float | None:
    """(TP · N/P + TN) / 2N of one class against the rest, [N] of 0 and 1, with P positives and N negatives.

    None where there are no positives or no negatives.
    """
    from sklearn.metrics import balanced_accuracy_score

    return float(balanced_accuracy_score(truth, decided)) if 0 < truth.sum() < len(truth) else None


register(WeightedAccuracy())
