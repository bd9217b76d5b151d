"""Scores of a fold in every configuration, as `scores.json` holds them."""

import numpy as np
from numpy.typing import NDArray

from emotiwave_core.errors import PluginError
from emotiwave_core.evaluate.baselines import baselines
from emotiwave_core.evaluate.bootstrap import bootstrap_settings, percentiles, resampled_f1
from emotiwave_core.evaluate.calibration import calibration
from emotiwave_core.metrics import Outcomes, compute_metrics
from emotiwave_core.metrics.decisions import collapse, confusion, count, ratio
from emotiwave_core.metrics.macro_f1 import macro_f1
from emotiwave_core.modalities import configurations, name_of
from emotiwave_core.parts.watchers import NOBODY, Watchers
from emotiwave_core.predict.trained import TrainedRun
from emotiwave_core.runs.schema import Fraction, Interval
from emotiwave_core.runs.scores import ClassScores, ConfigurationScores, NamedScore, Scores

Array = NDArray[np.float64]


def score_all(trained: TrainedRun, probabilities: Array, watchers: Watchers = NOBODY) -> Scores:
    """Scores of every configuration from its probabilities [K, N, C], with their mean, the worst and the baselines.

    The intervals are by bootstrap over groups, or videos; where there is one only they are None. PluginError where a
    probability is not a finite number.
    """
    fold, objective, thresholds, dataset = trained.fold, trained.objective, trained.thresholds, trained.corpus.dataset
    truth = fold.targets.cpu().numpy().astype(np.int64)
    groups = [trained.corpus.store.groups[row] for row in fold.rows]
    unit = "video" if trained.corpus.store.facts.groups is None else "group"
    outcomes = {}
    for name, chances in zip(map(name_of, configurations(trained.modalities)), probabilities, strict=True):
        _check_finite(chances, name)
        outcomes[name] = Outcomes(truth, objective.decide(chances, thresholds), chances, objective.classes)
    decided = np.stack([outcome.decided for outcome in outcomes.values()])
    resampled = resampled_f1(truth, decided, groups, len(objective.classes))  # [R, K, C]
    complete, last = macro_f1(truth, decided[-1], len(objective.classes)), next(reversed(outcomes))
    scores = {
        name: score_configuration(outcome, None if resampled is None else resampled[:, k], complete, watchers)
        for k, (name, outcome) in enumerate(outcomes.items())
    }
    worst = min(scores, key=lambda name: scores[name].macro_f1)
    return Scores(
        dataset=dataset.name,
        synthetic=dataset.synthetic,
        fold=fold.name,
        no_emotion=trained.recipe.objective.no_emotion,
        samples=len(truth),
        objective="multi" if objective.multi else "single",
        classes=list(objective.classes),
        modalities=list(trained.modalities),
        configurations=scores,
        mean_macro_f1=Fraction(float(np.mean([entry.macro_f1 for entry in scores.values()]))),
        mean_macro_f1_interval=None if resampled is None else _interval(resampled.mean(axis=(1, 2))),
        complete=NamedScore(last, Fraction(complete)),
        worst=NamedScore(worst, Fraction(scores[worst].macro_f1)),
        constant=baselines(truth, objective.classes),
        interval=bootstrap_settings(groups, unit),
        thresholds=None if thresholds is None else dict(zip(objective.classes, thresholds.tolist(), strict=True)),
        notes=[*trained.notes, *_notes(scores[last], unit if resampled is None else None)],
    )


def score_configuration(
    outcomes: Outcomes, resampled: Array | None, complete: float, watchers: Watchers = NOBODY
) -> ConfigurationScores:
    """All scores of one configuration; its F1 in every resample [R, C], and the macro-F1 of the complete one."""
    truth, decided, chances, classes = outcomes.truth, outcomes.decided, outcomes.probabilities, outcomes.classes
    computed, drop = compute_metrics(outcomes), complete - macro_f1(truth, decided, len(classes))
    return ConfigurationScores(
        metrics=computed.metrics,
        classes=_score_classes(outcomes, computed.classes, resampled),
        confusion=confusion(truth, decided, classes),
        collapsed=collapse(decided, classes),
        calibration=calibration(truth, decided, chances),
        extra=watchers.metrics(truth, decided, chances, classes),
        macro_f1_interval=None if resampled is None else _interval(resampled.mean(axis=1)),
        absolute_drop=drop,
        relative_drop=drop / complete if complete > 0 else None,
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
            f1_interval=None if resampled is None else _interval(resampled[:, c]),
        )
        for c, name in enumerate(outcomes.classes)
    }


def _interval(resampled: Array) -> Interval:
    """The interval of a score from its values in every resample [R]."""
    low, high = percentiles(resampled).tolist()
    return Interval((low, high))


def _check_finite(probabilities: Array, name: str) -> None:
    bad = int((~np.isfinite(probabilities)).any(axis=1).sum())
    if bad:
        raise PluginError(
            f"With {name} the model says NaN of {bad} of {len(probabilities)} samples: their features are too large "
            "for it (`emotiwave data inspect`), or a part does not hold its interface (`emotiwave plugins check`)."
        )


def _notes(complete: ConfigurationScores, single: str | None) -> list[str]:
    """Sentences about classes without samples and about missing intervals."""
    empty = [name for name, entry in complete.classes.items() if not entry.support]
    notes = [f"No sample of {', '.join(empty)} in this fold: its F1 counts as 0 in every macro-F1."] if empty else []
    if single:
        notes.append(f"All samples are of one {single}: there is nothing to resample, and no score has an interval.")
    return notes
