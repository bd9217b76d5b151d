"""Metrics of plugins that a recipe asks for: the score of each configuration, its meaning, the best constant guess."""

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from emotiwave_core.config.recipe import Part
from emotiwave_core.errors import EmotiwaveError, PluginError, SettingsError, short
from emotiwave_core.evaluate.baselines import guessed_numbers
from emotiwave_core.metrics import AnyMetric, Metric, Outcomes, guess_of, score_of
from emotiwave_core.metrics.decisions import Decisions
from emotiwave_core.metrics.numbers import NumberMetric, PredictedNumbers
from emotiwave_core.monitor import SILENT, Monitor
from emotiwave_core.objectives.regression import Regression
from emotiwave_core.parts.guard import (
    asked_to_end,
    finite_number,
    in_words,
    preserve_global_state,
    shown_value,
)
from emotiwave_core.parts.kinds import METRIC
from emotiwave_core.parts.registry import Registry
from emotiwave_core.runs.scores import MetricMeaning


@attrs.frozen(eq=False)
class PluginMetrics:
    """The metrics that are asked for, by name. One that fails is reported, and costs nothing but its own score.

    Each is given copies: what it writes into them changes the score of no other.
    """

    metrics: Mapping[str, AnyMetric] = attrs.Factory(dict)
    monitor: Monitor = SILENT

    def check(self, kind: str) -> None:
        """SettingsError where one is of classes and the objective of this kind of numbers, or the other way round.

        PluginError where one does not say what it is, as the report must.
        """
        for name, metric in self.metrics.items():
            of_numbers = isinstance(metric, NumberMetric)
            if of_numbers != (kind == "regression"):
                mine, theirs = ("numbers", "classes") if of_numbers else ("classes", "numbers")
                raise SettingsError(f"The metric '{name}' is of {mine}, and the run is of {theirs}: leave it out.")
            try:
                told = (metric.title, metric.definition(kind == "multi"))
            except BaseException as error:  # a plugin may raise anything
                if asked_to_end(error):
                    raise
                raise PluginError(
                    f"The metric '{name}' does not say what it is of a run of kind = \"{kind}\": {in_words(error)}. "
                    f"`emotiwave plugins check {name}` says more."
                ) from error
            if not all(isinstance(text, str) for text in told):
                raise PluginError(f"The metric '{name}' has no text for a title or a definition: {short(told)}.")
            if not isinstance(metric.higher_is_better, bool):
                raise PluginError(f"The metric '{name}' says no True or False of higher_is_better.")

    def of_classes(self, outcomes: Outcomes) -> dict[str, float]:
        """The scores of one configuration, those that are defined."""
        return self._defined(Metric, lambda metric: score_of(metric, copy.deepcopy(outcomes))[0])

    def of_numbers(self, targets: Mapping[str, PredictedNumbers]) -> dict[str, float]:
        """The scores of one configuration of numbers, those that are defined: the mean over the targets."""
        return self._defined(NumberMetric, lambda metric: _mean_over(metric, copy.deepcopy(targets)))

    def meanings(self, truth: Decisions, classes: tuple[str, ...]) -> dict[str, MetricMeaning]:
        """The meanings of the scores, with the best one of one answer for every sample; truth [N] or [N, C]."""
        guesses = self._defined(Metric, lambda metric: guess_of(metric, truth.copy(), classes)[0])
        return self._meanings(guesses, truth.ndim == 2)

    def meanings_of_numbers(self, objective: Regression, truth: NDArray[np.float64]) -> dict[str, MetricMeaning]:
        """The meanings of the scores, with the better one of two guesses: mean and median of training; truth [N, C]."""
        guesses = [self.of_numbers(targets) for targets in guessed_numbers(objective, truth).values()]
        best = {}
        for name, metric in self.metrics.items():
            if values := [each[name] for each in guesses if name in each]:
                best[name] = max(values) if metric.higher_is_better else min(values)
        return self._meanings(best, multi=False)

    def _meanings(self, guesses: Mapping[str, float], multi: bool) -> dict[str, MetricMeaning]:
        return {
            name: MetricMeaning(metric.title, metric.definition(multi), metric.higher_is_better, guesses.get(name))
            for name, metric in self.metrics.items()
        }

    def _defined(self, kind: type, ask: Callable[[Any], float | None]) -> dict[str, float]:
        """The answers of the metrics of a kind, those that answer with a number."""
        answers = {
            name: self._ask(name, partial(ask, metric))
            for name, metric in self.metrics.items()
            if isinstance(metric, kind)
        }
        return {name: value for name, value in answers.items() if value is not None}

    def _ask(self, name: str, work: Callable[[], float | None]) -> float | None:
        """The answer of a metric; None, and a line, where it fails or says what is no finite number."""
        who = f"The metric '{name}'"
        try:
            with preserve_global_state(who, "when it is asked", drawing="anything"):
                value = work()
        except BaseException as error:  # a plugin may raise anything, and the scores are written
            if asked_to_end(error):
                raise
            self.monitor.say(f"{who} failed: {in_words(error)}")
            return None
        if value is not None and (number := finite_number(value)) is None:
            self.monitor.say(f"{who} gives {shown_value(value)}, not a finite number.")
        return None if value is None else number


NO_METRICS = PluginMetrics()


def load_metrics(parts: Sequence[Part], registry: Registry, monitor: Monitor = SILENT) -> PluginMetrics:
    """The metrics of a recipe. SettingsError for an unknown name, a wrong option or a name that comes twice."""
    metrics: dict[str, AnyMetric] = {}
    for part in parts:
        if part.name in metrics:
            raise SettingsError(f"The metric '{part.name}' is asked for twice: its score has one name.")
        metrics[part.name] = registry.make(METRIC, part)
    return PluginMetrics(metrics, monitor)


def find_metrics(parts: Sequence[Part], registry: Registry, monitor: Monitor) -> PluginMetrics:
    """The metrics of a run's recipe. One that does not load is reported: it costs nothing but itself."""
    metrics: dict[str, AnyMetric] = {}
    for part in parts:
        try:
            metrics[part.name] = registry.make(METRIC, part)
        except EmotiwaveError as error:
            monitor.say(f"Without the metric '{part.name}': {error}")
    return PluginMetrics(metrics, monitor)


def _mean_over(metric: NumberMetric, targets: Mapping[str, PredictedNumbers]) -> float | None:
    return metric.mean([metric.score(numbers) for numbers in targets.values()])
