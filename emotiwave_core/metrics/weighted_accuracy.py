"""Weighted accuracy of the CMU-MOSEI paper (Zadeh et al. 2018): the balanced accuracy of each class."""

from emotiwave_core.metrics import ClassMean, Outcomes, register
from emotiwave_core.metrics.decisions import Decisions


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
    positives, negatives = int(truth.sum()), int((1 - truth).sum())
    if not positives or not negatives:
        return None
    recall, specificity = (truth & decided).sum() / positives, ((1 - truth) & (1 - decided)).sum() / negatives
    return float((specificity + recall) / 2)


register(WeightedAccuracy())
