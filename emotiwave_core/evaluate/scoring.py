"""Scores of a fold in every configuration, as `scores.json` holds them."""

import numpy as np
from numpy.typing import NDArray

from emotiwave_core.data.corpus import spread_of
from emotiwave_core.errors import PluginError, listed
from emotiwave_core.evaluate.baselines import baselines, number_baselines
from emotiwave_core.evaluate.bootstrap import bootstrap_settings, percentiles, resampled_scores
from emotiwave_core.evaluate.calibration import calibration
from emotiwave_core.evaluate.plugin_metrics import NO_METRICS, PluginMetrics
from emotiwave_core.metrics import Outcomes, compute_metrics
from emotiwave_core.metrics.ccc import CCC
from emotiwave_core.metrics.decisions import collapse, confusion, constant_number, count, ratio
from emotiwave_core.metrics.macro_f1 import MACRO_F1
from emotiwave_core.metrics.numbers import PredictedNumbers, score_numbers, sentiment_scale
from emotiwave_core.modalities import configurations, name_of
from emotiwave_core.objectives.regression import Regression
from emotiwave_core.parts.watchers import NOBODY, Watchers
from emotiwave_core.predict.trained import TrainedRun
from emotiwave_core.runs.schema import Fraction, Interval, Score, ScoreInterval
from emotiwave_core.runs.scores import (
    ClassScores,
    ConfigurationScores,
    NamedScore,
    Scores,
    TargetScores,
    without_large_matrices,
)

Array = NDArray[np.float64]


def score_all(
    trained: TrainedRun, answers: Array, watchers: Watchers = NOBODY, metrics: PluginMetrics = NO_METRICS
) -> Scores:
    """Scores of every configuration from its answers [K, N, C], with their mean, the worst and the baselines.

    The intervals are by bootstrap over groups, or videos; where there is one only they are None. PluginError where an
    answer is not a finite number.
    """
    fold, objective, thresholds, dataset = trained.fold, trained.objective, trained.thresholds, trained.corpus.dataset
    truth, headline = objective.truth(fold.targets), objective.headline
    groups = [trained.corpus.store.groups[row] for row in fold.rows]
    unit = "video" if trained.corpus.store.facts.groups is None else "group"
    names = [name_of(configuration) for configuration in configurations(trained.modalities)]
    for name, given in zip(names, answers, strict=True):
        _check_finite(given, name)
    decided = np.stack([objective.decide(given, thresholds) for given in answers])
    resampled = resampled_scores(truth, decided, groups, len(objective.classes), headline)  # [R, K, C]
    complete = headline.overall(truth, decided[-1], len(objective.classes))
    scores = {}
    for k, name in enumerate(names):
        own = None if resampled is None else resampled[:, k]
        if isinstance(objective, Regression):
            scores[name] = score_targets(objective, truth, decided[k], own, complete, metrics)
        else:
            outcomes = Outcomes(truth, decided[k], answers[k], objective.classes)
            scores[name] = score_configuration(outcomes, own, complete, watchers, metrics)
    worst = min(scores, key=lambda name: scores[name].score)
    return Scores(
        dataset=dataset.name,
        synthetic=dataset.synthetic,
        fold=fold.name,
        no_emotion=trained.recipe.objective.no_emotion,
        samples=len(truth),
        objective=objective.kind,
        classes=list(objective.classes),
        modalities=list(trained.modalities),
        configurations=without_large_matrices(scores, names[-1]),
        mean=Score(float(np.mean([entry.score for entry in scores.values()]))),
        mean_interval=None if resampled is None else _interval(resampled.mean(axis=(1, 2))),
        complete=NamedScore(names[-1], Score(complete), headline.key),
        worst=NamedScore(worst, Score(scores[worst].score), headline.key),
        constant=number_baselines(objective, truth)
        if isinstance(objective, Regression)
        else baselines(truth, objective.classes),
        interval=bootstrap_settings(groups, unit),
        thresholds=None if thresholds is None else dict(zip(objective.classes, thresholds.tolist(), strict=True)),
        plugin_metrics=metrics.meanings_of_numbers(objective, truth)
        if isinstance(objective, Regression)
        else metrics.meanings(truth, objective.classes),
        notes=[*trained.notes, *_notes(scores[names[-1]], unit if resampled is None else None)],
        headline=headline.key,
    )


def score_configuration(
    outcomes: Outcomes,
    resampled: Array | None,
    complete: float,
    watchers: Watchers = NOBODY,
    metrics: PluginMetrics = NO_METRICS,
) -> ConfigurationScores:
    """All scores of one configuration; its F1 in every resample [R, C], and the macro-F1 of the complete one."""
    truth, decided, chances, classes = outcomes.truth, outcomes.decided, outcomes.probabilities, outcomes.classes
    computed, drop = compute_metrics(outcomes), complete - MACRO_F1.overall(truth, decided, len(classes))
    return ConfigurationScores(
        metrics=computed.metrics,
        classes=_score_classes(outcomes, computed.classes, resampled),
        confusion=confusion(truth, decided, classes),
        collapsed=collapse(decided, classes),
        calibration=calibration(truth, decided, chances),
        extra=metrics.of_classes(outcomes) | watchers.metrics(truth, decided, chances, classes),
        interval=None if resampled is None else _interval(resampled.mean(axis=1)),
        absolute_drop=drop,
        relative_drop=drop / complete if complete > 0 else None,
    )


def score_targets(
    objective: Regression,
    truth: Array,
    predicted: Array,
    resampled: Array | None,
    complete: float,
    metrics: PluginMetrics = NO_METRICS,
) -> ConfigurationScores:
    """All scores of one configuration of numbers: truth and predicted [N, C], its CCC in every resample [R, C]."""
    numbers = {
        name: PredictedNumbers(truth[:, c], predicted[:, c], sentiment_scale(name, objective.scale[name]))
        for c, name in enumerate(objective.classes)
    }
    computed, drop = score_numbers(numbers), complete - CCC.overall(truth, predicted, len(numbers))
    return ConfigurationScores(
        metrics=computed.metrics,
        targets={
            name: TargetScores(
                metrics=computed.targets[name],
                truth=spread_of(one.truth),
                predicted=spread_of(one.predicted),
                ccc_interval=None if resampled is None else _interval(resampled[:, c]),
            )
            for c, (name, one) in enumerate(numbers.items())
        },
        collapsed=constant_number(predicted, objective.classes),
        extra=metrics.of_numbers(numbers),
        interval=None if resampled is None else _interval(resampled.mean(axis=1)),
        absolute_drop=drop,
        relative_drop=drop / complete if complete > 0 else None,
        headline=CCC.key,
    )


def _score_classes(
    outcomes: Outcomes, metrics: dict[str, dict[str, float | None]], resampled: Array | None
) -> dict[str, ClassScores]:
    """Scores and counts of each class against the rest, from its metrics and its F1 in every resample [R, C]."""
    hits, support, predicted = count(outcomes.truth, outcomes.decided, len(outcomes.classes))
    precision, recall = ratio(hits, predicted), ratio(hits, support)
    return {
        name: ClassScores(
            precision=Fraction(float(precision[c])),
            recall=Fraction(float(recall[c])),
            support=int(support[c]),
            predicted=int(predicted[c]),
            metrics=metrics[name],
            f1_interval=None if resampled is None else Interval(_interval(resampled[:, c])),
        )
        for c, name in enumerate(outcomes.classes)
    }


def _interval(resampled: Array) -> ScoreInterval:
    """The interval of a score from its values in every resample [R]."""
    low, high = percentiles(resampled).tolist()
    return ScoreInterval((low, high))


def _check_finite(answers: Array, name: str) -> None:
    bad = int((~np.isfinite(answers)).any(axis=1).sum())
    if bad:
        raise PluginError(
            f"With {name} the model says NaN of {bad} of {len(answers)} samples: their features are too large "
            "for it (`emotiwave data inspect`), or a part does not hold its interface (`emotiwave plugins check`)."
        )


def _notes(complete: ConfigurationScores, single: str | None) -> list[str]:
    """Sentences about classes without samples, about targets that do not vary and about missing intervals."""
    empty = [name for name, entry in complete.classes.items() if not entry.support]
    notes = [f"No sample of {listed(empty)} in this fold: its F1 counts as 0 in every macro-F1."] if empty else []
    flat = [name for name, entry in complete.targets.items() if entry.truth.lowest == entry.truth.highest]
    if flat:
        notes.append(f"All samples of this fold have the same {listed(flat)}: its CCC is 0 whatever is predicted.")
    if single:
        notes.append(f"All samples are of one {single}: there is nothing to resample, and no score has an interval.")
    return notes
