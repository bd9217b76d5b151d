"""Mean absolute error."""

import numpy as np

from emotiwave_core.metrics.numbers import NumberMetric, PredictedNumbers, register_number


class MeanAbsoluteError(NumberMetric):
    """The mean distance from the truth, in the unit of the target."""

    key = "mae"
    title = "MAE"
    meaning = "mean distance from the truth, in the unit of the target"
    position = 2
    higher_is_better = False

    def score(self, numbers: PredictedNumbers) -> float:
        """The mean of |predicted - truth|."""
        return float(np.abs(numbers.predicted - numbers.truth).mean())


register_number(MeanAbsoluteError())
