"""Metrics of predicted numbers, one file each, found as those of classes are: a module that calls `register_number`.

Each is computed for one target; that of several targets is their mean. Some are defined for sentiment alone.
"""

import importlib
import pkgutil
from abc import abstractmethod
from typing import ClassVar, Literal, NamedTuple

import attrs
import numpy as np
from numpy.typing import NDArray

import emotiwave_core.metrics as metrics
from emotiwave_core.metrics import AnyMetric, mean_of_defined

Array = NDArray[np.float64]
SentimentScale = Literal["-3..3", "-1..1"]  # that of CMU-MOSI and CMU-MOSEI, that of CH-SIMS


@attrs.frozen
class TargetScale:
    """The numbers of one target in the training fold. A regression learns (y - mean) / deviation."""

    mean: float
    deviation: float  # 1 where all are the same
    median: float
    lowest: float
    highest: float


class PredictedNumbers(NamedTuple):
    """One target of N samples: the truth and the predictions of one configuration."""

    truth: Array  # [N]
    predicted: Array  # [N]
    scale: SentimentScale | None = None  # None for what is no sentiment, such as arousal


class NumberMetric(AnyMetric):
    """A score of the predicted numbers of one target; None where it is not defined, never NaN."""

    meaning: ClassVar[str]  # what `definition` says

    def definition(self, multi: bool = False) -> str:
        """The sentence of the report."""
        return self.meaning

    @abstractmethod
    def score(self, numbers: PredictedNumbers) -> float | None:
        """The score of one target."""

    def mean(self, each: list[float | None]) -> float | None:
        """The score of several targets: the mean of those for which it is defined."""
        return mean_of_defined(each)


class NumberValues(NamedTuple):
    """All metrics by key, and those of each target by its name."""

    metrics: dict[str, float | None]
    targets: dict[str, dict[str, float | None]]


_REGISTERED: dict[str, NumberMetric] = {}


def register_number(metric: NumberMetric) -> None:
    """Add a metric of numbers. ValueError where another one has its key."""
    if type(_REGISTERED.setdefault(metric.key, metric)) is not type(metric):
        raise ValueError(f"two metrics of numbers are called '{metric.key}'")


def registered_numbers() -> list[NumberMetric]:
    """All metrics of numbers in the order of the report, after an import of every module of this package."""
    for module in pkgutil.iter_modules(metrics.__path__):
        importlib.import_module(f"{metrics.__name__}.{module.name}")
    return sorted(_REGISTERED.values(), key=lambda metric: (metric.position, metric.key))


def score_numbers(targets: dict[str, PredictedNumbers]) -> NumberValues:
    """Every metric of one configuration, of each target by its name."""
    whole: dict[str, float | None] = {}
    each: dict[str, dict[str, float | None]] = {name: {} for name in targets}
    for metric in registered_numbers():
        values = [metric.score(numbers) for numbers in targets.values()]
        whole[metric.key] = metric.mean(values)
        for name, value in zip(targets, values, strict=True):
            each[name][metric.key] = value
    return NumberValues(whole, each)


def sentiment_scale(target: str, scale: TargetScale) -> SentimentScale | None:
    """The scale of a sentiment, by its name and the numbers of the training fold; None for any other target.

    A sentiment has both signs. Within ±1 it is on the scale of CH-SIMS, within ±3 on that of CMU-MOSI.
    """
    if not target.lower().startswith("sentiment") or not scale.lowest < 0.0 < scale.highest:
        return None
    most = max(-scale.lowest, scale.highest)
    return "-1..1" if most <= 1.0 else "-3..3" if most <= 3.0 else None
