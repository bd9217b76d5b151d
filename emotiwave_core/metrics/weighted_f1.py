"""Weighted F1: the F1 of each class, weighted by its samples."""

import numpy as np

from emotiwave_core.metrics import Array, Metric, Outcomes, register
from emotiwave_core.metrics.decisions import Decisions, count
from emotiwave_core.metrics.macro_f1 import best_f1


class WeightedF1(Metric):
    """F1 weighted by the samples of each class; multi-label the mean over the emotions of that of the CMU-MOSEI papers.

    There the F1 of presence and of absence of an emotion are weighted by how many samples have each.
    """

    key = "weighted_f1"
    title = "Weighted F1"
    single_label = "F1 of the classes by their share of the samples"
    multi_label = (
        "F1 of presence and absence by their share, mean of the emotions: where most emotions are absent, "
        "saying no to all nearly reaches it"
    )
    position = 3
    class_key = "weighted_f1"

    def score_class(self, outcomes: Outcomes, c: int) -> float:
        """F1 of presence and of absence, weighted by how many samples have each."""
        return weighted_f1(outcomes.present[:, c], outcomes.predicted[:, c])

    def guess_class(self, share: float) -> float:
        """Presence or absence is predicted for every sample, whichever is better."""
        return max(_guess(share), _guess(1.0 - share))

    def score(self, outcomes: Outcomes, each: list[float | None]) -> float:
        """Multi-label the mean of the emotions; single-label F1 of the classes weighted by their samples."""
        return _mean(each) if outcomes.multi else weighted_f1(outcomes.truth, outcomes.decided)

    def guess(self, shares: Array, each: list[float | None], multi: bool) -> float:
        """Each emotion by itself; of single labels the most frequent class."""
        return _mean(each) if multi else _guess(float(shares.max()))


def weighted_f1(truth: Decisions, decided: Decisions) -> float:
    """The F1 of each class in `truth` [N], weighted by its samples (scikit-learn `average="weighted"`).

    Of one emotion, [N] of 0 and 1, absence counts as a class like presence: on rare emotions a guess that predicts
    absence for every sample scores high.
    """
    counts = count(truth, decided, int(max(truth.max(), decided.max())) + 1)
    known = counts.present + counts.predicted > 0
    return float(np.average(counts.f1()[known], weights=counts.present[known]))


def _guess(share: float) -> float:
    """Weighted F1 where the class with this share is predicted for every sample: the others have an F1 of 0."""
    return share * best_f1(share)


def _mean(each: list[float | None]) -> float:
    """The mean of the emotions, all of which are defined."""
    return float(np.mean([value for value in each if value is not None]))


register(WeightedF1())
