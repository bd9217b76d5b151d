"""Evaluation of a trained run: every configuration scored, and the results kept in its folder."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np

from emotiwave_core.compute.runtime import Runtime
from emotiwave_core.config.recipe import OnAlarm, Part
from emotiwave_core.data.folds import FOLDS
from emotiwave_core.evaluate.certainty import abstentions, alarm_scores
from emotiwave_core.evaluate.plugin_metrics import NO_METRICS, PluginMetrics, find_metrics, load_metrics
from emotiwave_core.evaluate.scoring import score_all
from emotiwave_core.explain.records import write_explanations
from emotiwave_core.parts.registry import Registry
from emotiwave_core.parts.watchers import Watchers, find_watchers
from emotiwave_core.predict.certainty import certainty_of
from emotiwave_core.predict.predictions import Predictions
from emotiwave_core.predict.trained import TrainedRun, open_trained_run
from emotiwave_core.runs.data_file import data_file, write_data
from emotiwave_core.runs.folder import adding_to
from emotiwave_core.runs.predictions import PREDICTIONS, Certainty, LabelledSample, write_predictions
from emotiwave_core.runs.scores import Scores, write_scores


def evaluate(
    run: Path,
    registry: Registry,
    runtime: Runtime,
    *,
    data: Path | None = None,
    fold: str = "test",
    write: bool = False,
    metrics: Sequence[Part] | None = None,
    on_alarm: OnAlarm | None = None,
) -> Scores:
    """Score a run on every configuration, on its own data set or on the one in `data`. `write` keeps it in the run.

    metrics: those of plugins that are asked for; None: those of the run's recipe. on_alarm: as in `open_trained_run`.
    """
    with adding_to(run) if write else contextlib.nullcontext():
        trained = open_trained_run(run, registry, runtime.monitor, data=data, fold=fold, on_alarm=on_alarm)
        watchers = find_watchers(trained.recipe.watch, registry, runtime.monitor)
        if metrics is None:
            asked = find_metrics(trained.recipe.metric, registry, runtime.monitor)
        else:
            asked = load_metrics(metrics, registry, runtime.monitor)
            asked.check(trained.objective.kind)
        scores = score_run(trained, watchers, runtime, write, asked)
        if write:
            write_report(run)
        return scores


def score_run(
    trained: TrainedRun, watchers: Watchers, runtime: Runtime, write: bool, metrics: PluginMetrics = NO_METRICS
) -> Scores:
    """Score an open run on every configuration of its fold. `write` keeps predictions, scores and explanation in it."""
    if write:
        _write_data(trained)
    predictions = trained.predict(runtime.device, runtime.monitor)
    certainty, objective = certainty_of(trained, predictions), trained.objective
    scores = score_all(trained, predictions.answers, watchers, metrics)
    wrong = objective.decide(predictions.answers[-1], trained.thresholds) != objective.truth(trained.fold.targets)
    scores = attrs.evolve(
        scores,
        abstention=abstentions(certainty, wrong),
        alarms=alarm_scores(trained, predictions, certainty),
    )
    if write:
        _write_results(trained, predictions, certainty, scores, runtime)
    return scores


def _write_results(
    trained: TrainedRun, predictions: Predictions, certainty: Certainty, scores: Scores, runtime: Runtime
) -> None:
    """Write the predictions, scores and explanation of a run's test fold."""
    run, own, objective = trained.run, trained.corpus, trained.objective
    store, rows, answers = own.store, trained.fold.rows, predictions.answers
    truth = objective.truth(trained.fold.targets)
    samples = []
    for row, decision in zip(rows, truth, strict=True):
        start, end = store.intervals[row].tolist()
        samples.append(LabelledSample(store.ids[row], start, end, decision))
    decided = np.stack([objective.decide(given, trained.thresholds) for given in answers])
    write_predictions(run / PREDICTIONS, objective.classes, trained.modalities, samples, decided, answers, certainty)
    write_scores(run, scores)
    write_explanations(trained, predictions, runtime.device, runtime.monitor)


def _write_data(trained: TrainedRun) -> None:
    """Write the facts of the data, with those of the folds: the training has ended, and the test fold may be read."""
    folds = {name: trained.corpus.fold_facts(name, trained.objective) for name in FOLDS}
    write_data(trained.run, data_file(trained.corpus.facts(trained.objective), folds))


def write_report(run: Path) -> None:
    """Write the report of a run anew. Matplotlib and jinja2 are imported for it alone."""
    from emotiwave_core.report import page

    page.write_report(run)
