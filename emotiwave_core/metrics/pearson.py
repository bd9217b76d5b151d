"""Pearson's correlation coefficient."""

import numpy as np

from emotiwave_core.metrics.numbers import NumberMetric, PredictedNumbers, register_number


class Pearson(NumberMetric):
    """The linear correlation of predictions and truth, whatever their means and deviations."""

    key = "pearson"
    title = "Pearson r"
    meaning = "linear correlation with the truth, whatever the means and deviations; not defined for one answer to all"
    position = 3

    def score(self, numbers: PredictedNumbers) -> float | None:
        """The covariance over the product of the deviations; None where the truth or the predictions are constant."""
        truth, predicted = numbers.truth, numbers.predicted
        if not np.ptp(truth) or not np.ptp(predicted):
            return None
        own, other = predicted - predicted.mean(), truth - truth.mean()
        size = float(np.linalg.norm(own) * np.linalg.norm(other))
        return float(np.clip(own @ other / size, -1.0, 1.0)) if size else None  # what underflows has no direction


register_number(Pearson())
