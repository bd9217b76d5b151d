"""AURC: the area under the risk-coverage curve. Can the confidence tell right answers from wrong ones?"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotiwave_core.metrics import Array, Metric, Outcomes, register

LEVELS = 20  # of coverage, where the curve is kept


class RiskCoverage(Metric):
    """The area under the risk-coverage curve (Geifman and El-Yaniv 2017)."""

    key = "aurc"
    title = "AURC"
    single_label = (
        "area under the risk-coverage curve: the share of errors among the n surest answers, averaged over all n"
    )
    multi_label = (
        "area under the risk-coverage curve: the share of wrong answers about emotions among the n surest samples, "
        "averaged over all n; a sample is as sure as the mean probability of what it says of each"
    )
    position = 12
    higher_is_better = False

    def score(self, outcomes: Outcomes, each: list[float | None]) -> float:
        """The mean over n of the share of errors among the n answers of the highest probability."""
        wrong, given = outcomes.truth != outcomes.decided, outcomes.probabilities
        if not outcomes.multi:
            return aurc(given.max(axis=1), wrong)
        return aurc(np.where(outcomes.decided > 0, given, 1.0 - given).mean(axis=1), wrong.mean(axis=1))

    def guess(self, shares: Array, each: list[float | None], multi: bool) -> float:
        """The error of the best one answer for all, of which none is surer than another."""
        return float(np.minimum(shares, 1.0 - shares).mean()) if multi else float(1.0 - shares.max())


def aurc(confidence: Array, wrong: NDArray[Any]) -> float:
    """confidence [N], wrong [N] (or the share of it that is) -> the mean over n = 1 … N of the n surest's errors."""
    return float(selective_risks(confidence, wrong).mean())


def selective_risks(confidence: Array, wrong: NDArray[Any]) -> Array:
    """confidence [N], wrong [N] -> [N], the share of errors among the n surest answers, n = 1 … N.

    The risk-coverage curve (El-Yaniv and Wiener 2010). Answers that are equally sure count as the mean of them, so that
    the curve does not depend on their order.
    """
    descending = -np.sort(-confidence)
    _, start, count = np.unique(-descending, return_index=True, return_counts=True)
    even = np.add.reduceat(wrong[np.argsort(-confidence, kind="stable")].astype(np.float64), start) / count
    return np.asarray(np.repeat(even, count).cumsum() / np.arange(1, len(confidence) + 1))


def at_levels(count: int) -> NDArray[np.int64]:
    """Places in a curve over `count` answers of its values for the surest 1/20, 2/20, … of them, rounded up."""
    return np.ceil(np.arange(1, LEVELS + 1) / LEVELS * count).astype(np.int64) - 1


register(RiskCoverage())
