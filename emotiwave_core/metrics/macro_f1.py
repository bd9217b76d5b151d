"""Macro-F1: over all classes of the data set, so that a class that is never predicted scores 0."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotiwave_core.metrics import Array, Metric, Outcomes, register
from emotiwave_core.metrics.decisions import Decisions, count, one_hot
from emotiwave_core.metrics.headline import Headline


class MacroF1(Metric, Headline):
    """The mean of the F1 of all classes; of each emotion that of its presence. The headline of classes."""

    key = "macro_f1"
    name = "macro-F1"
    beside = "weighted_accuracy"
    beside_name = "weighted accuracy"
    title = "Macro-F1"
    single_label = multi_label = "mean of the F1 of all classes"
    position = 1
    class_key = "f1"

    def score_class(self, outcomes: Outcomes, c: int) -> float:
        """F1 of its presence; 0 where it is neither there nor predicted."""
        present, predicted = outcomes.present[:, c], outcomes.predicted[:, c]
        return float(2.0 * (present & predicted).sum() / max(present.sum() + predicted.sum(), 1))

    def guess_class(self, share: float) -> float:
        """The class is predicted for every sample: precision is its share, recall 1."""
        return best_f1(share)

    def score(self, outcomes: Outcomes, each: list[float | None]) -> float:
        """The mean over all classes."""
        return macro_f1(outcomes.truth, outcomes.decided, len(outcomes.classes))

    def guess(self, shares: Array, each: list[float | None], multi: bool) -> float:
        """Each emotion predicted for every sample; of single labels the most frequent class, the others score 0."""
        if multi:
            return float(np.mean([best_f1(share) for share in shares]))
        return best_f1(float(shares.max())) / len(shares)

    def terms(self, truth: NDArray[Any], decided: NDArray[Any], outputs: int) -> Array:
        """TP, and 2 TP + FP + FN, of each sample and class, [N, 2, C]."""
        present, predicted = one_hot(truth, outputs), one_hot(decided, outputs)
        return np.stack([present & predicted, present + predicted], axis=1).astype(np.float64)

    def of_sums(self, sums: Array) -> Array:
        """2 TP / (2 TP + FP + FN), [..., 2, C] -> [..., C]; a class that is neither there nor predicted counts as 0."""
        hits, total = np.moveaxis(sums, -2, 0)
        return np.asarray(2.0 * hits / np.maximum(total, 1.0))


def macro_f1(truth: Decisions, decided: Decisions, classes: int) -> float:
    """The mean of per-class F1 (scikit-learn `average="macro"`).

    Multi-label [N, C]: the mean over the emotions of the F1 of their positive class. An undefined F1 (neither there nor
    predicted) counts as 0.
    """
    return float(count(truth, decided, classes).f1().mean())


def best_f1(share: float) -> float:
    """F1 of a class with this share of the samples, where it is predicted for every sample."""
    return float(2.0 * share / (1.0 + share))


MACRO_F1 = MacroF1()
register(MACRO_F1)
