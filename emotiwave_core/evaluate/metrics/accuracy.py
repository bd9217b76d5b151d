"""Accuracy: the share of right decisions."""

import numpy as np

from emotiwave_core.evaluate.metrics import Array, Metric, Outcomes, register


class Accuracy(Metric):
    """The share of right decisions: one for each sample, or one for each emotion of each sample."""

    key = "accuracy"
    title = "Accuracy"
    single_label = "share of the answers that are right"
    multi_label = "share of the answers that are right, one for each emotion of each sample"
    position = 4

    def score(self, outcomes: Outcomes, each: list[float | None]) -> float:
        """The share of right decisions."""
        return float((outcomes.truth == outcomes.decided).mean())

    def guess(self, shares: Array, each: list[float | None], multi: bool) -> float:
        """The most frequent class; of each emotion its presence or absence, whichever is more frequent."""
        return float(np.maximum(shares, 1.0 - shares).mean()) if multi else float(shares.max())


register(Accuracy())
