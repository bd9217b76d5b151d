"""Metrics, one file each: a module of this package that calls `register` is found by itself, no list names it.

A registered metric stands in `scores.json` (each configuration, each class, the best constant guess), in the output of
the command line and in the report's table of metrics with its definition.
"""

import functools
import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar, NamedTuple

import attrs
import numpy as np
from numpy.typing import NDArray

from emotiwave_core.metrics.decisions import Decisions, one_hot

Array = NDArray[np.float64]


@attrs.frozen(eq=False)
class Outcomes:
    """Decisions of one configuration about N samples of C classes, beside the truth."""

    truth: Decisions  # [N] classes, or [N, C] of 0 and 1
    decided: Decisions  # as the truth
    probabilities: Array  # [N, C]
    classes: tuple[str, ...]

    @property
    def multi(self) -> bool:
        """Multi-label: a sample may have several classes or none."""
        return self.truth.ndim == 2

    @functools.cached_property
    def present(self) -> Decisions:
        """The truth of each class against the rest, [N, C] of 0 and 1."""
        return one_hot(self.truth, len(self.classes))

    @functools.cached_property
    def predicted(self) -> Decisions:
        """The decision about each class against the rest, [N, C] of 0 and 1."""
        return one_hot(self.decided, len(self.classes))


class AnyMetric(ABC):
    """A score of one configuration, of classes (`Metric`) or of numbers (`metrics.numbers.NumberMetric`).

    That of a plugin has the constructor `(*, options…)`. It stands in a run's scores by the name that it is offered by.
    """

    key: ClassVar[str]  # in scores.json; of a plugin's nothing asks for it
    title: ClassVar[str]  # in the report, with the definition
    position: ClassVar[int] = 100  # among the metrics; ties by key
    higher_is_better: ClassVar[bool] = True

    def __init__(self) -> None:  # a metric without options takes nothing
        return None

    @abstractmethod
    def definition(self, multi: bool = False) -> str:
        """The sentence of the report, without a subject and a full stop."""

    def gain(self, value: float | None, guess: float | None) -> float | None:
        """Distance of a score from a guess, positive where the score is the better one."""
        if value is None or guess is None:
            return None
        return value - guess if self.higher_is_better else guess - value


class Metric(AnyMetric):
    """A score of the decisions of one configuration, a core one from 0 to 1; None where it is not defined.

    A subclass says what the metric is; its instance is given to `register`. A metric that is a mean over the classes
    sets `class_key` and writes `score_class` and `guess_class`; any other writes `score` and `guess`.
    """

    single_label: ClassVar[str]
    multi_label: ClassVar[str]
    class_key: ClassVar[str | None] = None  # of its per-class form in scores.json, where it has one

    def definition(self, multi: bool = False) -> str:
        """The sentence of the report."""
        return self.multi_label if multi else self.single_label

    def score_class(self, outcomes: Outcomes, c: int) -> float | None:
        """The score of class number `c` against the rest."""
        raise NotImplementedError(f"{type(self).__name__} has a class_key and no score_class")

    def guess_class(self, share: float) -> float | None:
        """The best score of one answer for every sample about a class that this share of the samples has."""
        raise NotImplementedError(f"{type(self).__name__} has a class_key and no guess_class")

    @abstractmethod
    def score(self, outcomes: Outcomes, each: list[float | None]) -> float | None:
        """The score over all classes; `each` are those of the classes [C], empty without `class_key`."""

    @abstractmethod
    def guess(self, shares: Array, each: list[float | None], multi: bool) -> float | None:
        """The best score of one answer for every sample: one of the C classes, or of the 2^C sets of emotions.

        `shares` [C] are those of the samples that have each class, `each` the best scores of the classes.
        """


class ClassMean(Metric):
    """A metric that is the mean over the classes for which it is defined, and so is its best guess."""

    def score(self, outcomes: Outcomes, each: list[float | None]) -> float | None:
        """The mean of the classes."""
        return mean_of_defined(each)

    def guess(self, shares: Array, each: list[float | None], multi: bool) -> float | None:
        """The mean of the best guesses: each class has one of its own."""
        return mean_of_defined(each)


class MetricValues(NamedTuple):
    """All metrics by key, and those of each class by its name."""

    metrics: dict[str, float | None]
    classes: dict[str, dict[str, float | None]]


_REGISTERED: dict[str, Metric] = {}


def register(metric: Metric) -> None:
    """Add a metric. ValueError where another one has its key."""
    if type(_REGISTERED.setdefault(metric.key, metric)) is not type(metric):
        raise ValueError(f"two metrics are called '{metric.key}'")


def registered() -> list[Metric]:
    """All metrics in the order of the report, after an import of every module of this package."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return sorted(_REGISTERED.values(), key=lambda metric: (metric.position, metric.key))


def compute_metrics(outcomes: Outcomes) -> MetricValues:
    """Every metric of one configuration, as plain numbers."""
    whole: dict[str, float | None] = {}
    classes: dict[str, dict[str, float | None]] = {name: {} for name in outcomes.classes}
    for metric in registered():
        whole[metric.key], each = score_of(metric, outcomes)
        _enter(classes, metric.class_key, each)
    return MetricValues(whole, classes)


def score_of(metric: Metric, outcomes: Outcomes) -> tuple[float | None, list[float | None]]:
    """A metric of one configuration, and those of the classes [C], empty without `class_key`."""
    each = [metric.score_class(outcomes, c) for c in range(len(outcomes.classes))] if metric.class_key else []
    return metric.score(outcomes, each), each


def best_guesses(truth: Decisions, classes: tuple[str, ...]) -> MetricValues:
    """The best score of one answer for every sample, of each metric by itself: no one guess need reach them all."""
    whole: dict[str, float | None] = {}
    guesses: dict[str, dict[str, float | None]] = {name: {} for name in classes}
    for metric in registered():
        whole[metric.key], each = guess_of(metric, truth, classes)
        _enter(guesses, metric.class_key, each)
    return MetricValues(whole, guesses)


def guess_of(metric: Metric, truth: Decisions, classes: tuple[str, ...]) -> tuple[float | None, list[float | None]]:
    """The best score of one answer for every sample, and those of the classes [C], empty without `class_key`."""
    shares = one_hot(truth, len(classes)).mean(axis=0)  # [C]
    each = [metric.guess_class(share) for share in shares.tolist()] if metric.class_key else []
    return metric.guess(shares, each, truth.ndim == 2), each


def _enter(classes: dict[str, dict[str, float | None]], key: str | None, each: list[float | None]) -> None:
    """Give every class its value [C] of a metric."""
    if key is not None:
        for values, value in zip(classes.values(), each, strict=True):
            values[key] = value


def mean_of_defined(values: Iterable[float | None]) -> float | None:
    """The mean of the values that are not None; None where all are."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None
