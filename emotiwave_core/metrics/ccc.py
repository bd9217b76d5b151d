"""Concordance correlation coefficient (Lin 1989), the headline of a regression."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotiwave_core.metrics.headline import Array, Headline
from emotiwave_core.metrics.numbers import NumberMetric, PredictedNumbers, register_number


class Concordance(NumberMetric, Headline):
    """2 cov / (var + var + (difference of the means)²): a correlation that falls with every wrong mean and deviation.

    Variances are those of the samples, divided by N. Any one answer for all samples has 0, so 0 is chance.
    """

    key = "ccc"
    name = "CCC"
    title = "CCC"
    beside = "mae"
    beside_name = "MAE"
    meaning = "concordance correlation (Lin 1989): agreement in order, mean and deviation; one answer to all has 0"
    position = 1

    def score(self, numbers: PredictedNumbers) -> float | None:
        """The coefficient of one target; None where truth and predictions are one and the same number throughout."""
        truth, predicted = numbers.truth, numbers.predicted
        if not np.ptp(truth) or not np.ptp(predicted):
            return None if np.array_equal(truth, predicted) else 0.0
        own, other = predicted - predicted.mean(), truth - truth.mean()
        both = np.square(own).mean() + np.square(other).mean() + (predicted.mean() - truth.mean()) ** 2
        return float(np.clip(2.0 * (own * other).mean() / both, -1.0, 1.0)) if both else 0.0

    def mean(self, each: list[float | None]) -> float:
        """The mean of the targets. One that is not defined counts as 0, as the F1 of a class that is nowhere does."""
        return float(np.mean([value or 0.0 for value in each]))

    def overall(self, truth: NDArray[Any], decided: NDArray[Any], outputs: int) -> float:
        """The mean of the targets, truth and decided [N, C]."""
        return self.mean([self.score(PredictedNumbers(y, p)) for y, p in zip(truth.T, decided.T, strict=True)])

    def terms(self, truth: NDArray[Any], decided: NDArray[Any], outputs: int) -> Array:
        """1, y, p, y², p² and y p of each sample and target, [N, 6, C], with the mean of the truth as the origin."""
        y, p = truth - truth.mean(axis=0), decided - truth.mean(axis=0)
        return np.stack([np.ones_like(y), y, p, y * y, p * p, y * p], axis=1)

    def of_sums(self, sums: Array) -> Array:
        """[..., 6, C] -> [..., C]; 0 where neither truth nor predictions vary."""
        n, *others = np.moveaxis(sums, -2, 0)
        y, p, yy, pp, yp = (other / n for other in others)
        both = (yy - y * y) + (pp - p * p) + (y - p) ** 2
        varies = both > 1e-12 * (yy + pp)  # what is less is what rounding leaves of nothing
        return np.asarray(np.divide(2.0 * (yp - y * p), both, out=np.zeros_like(both), where=varies))


CCC = Concordance()
register_number(CCC)
