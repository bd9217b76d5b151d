"""Micro-F1: the hits and errors of all classes counted together."""

import numpy as np

from emotiwave_core.metrics import Array, Metric, Outcomes, register
from emotiwave_core.metrics.decisions import Decisions


class MicroF1(Metric):
    """F1 of all classes counted together; in a single-label task it is the accuracy."""

    key = "micro_f1"
    title = "Micro-F1"
    single_label = "with one class a sample it is the accuracy"
    multi_label = "every emotion of every sample counted together"
    position = 2

    def score(self, outcomes: Outcomes, each: list[float | None]) -> float:
        """F1 of all classes counted together."""
        return micro_f1(outcomes.truth, outcomes.decided)

    def guess(self, shares: Array, each: list[float | None], multi: bool) -> float:
        """The most frequent class; the best set of k emotions is the k most frequent ones."""
        if not multi:
            return float(shares.max())
        hits = np.sort(shares)[::-1].cumsum()  # [C] of 1, 2, … emotions, for one sample
        micro = 2.0 * hits / (np.arange(1, len(shares) + 1) + shares.sum())
        return float(micro.max())


def micro_f1(truth: Decisions, decided: Decisions) -> float:
    """F1 of all classes counted together (scikit-learn `average="micro"`); 0 where none is there and none predicted.

    Single-label: every error is one false positive and one false negative, so this is the accuracy.
    """
    if truth.ndim == 1:
        return float((truth == decided).mean())
    there = int(truth.sum() + decided.sum())
    return float(2.0 * (truth & decided).sum() / there) if there else 0.0


register(MicroF1())
