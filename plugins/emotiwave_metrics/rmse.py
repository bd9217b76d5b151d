"""The metric `rmse`: root mean squared error."""

from collections.abc import Callable

import numpy as np

from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.metrics import AnyMetric
from emotiwave_core.metrics.numbers import NumberMetric, PredictedNumbers


class RootMeanSquaredError(NumberMetric):
    """The root of the mean squared distance from the truth, in the unit of the target; the mean over targets."""

    title = "RMSE"
    meaning = "root of the mean squared distance from the truth, in the unit of the target"
    higher_is_better = False

    def score(self, numbers: PredictedNumbers) -> float:
        """The root of the mean of (predicted - truth)²."""
        return float(np.sqrt(np.square(numbers.predicted - numbers.truth).mean()))


@hookimpl
def register_metrics(register: Callable[[str, type[AnyMetric]], None]) -> None:
    """Offer `rmse`."""
    register("rmse", RootMeanSquaredError)
