"""The report of a run: `report.html`, one self-contained page, and its figures for a paper.

Everything that is shown may be hostile (names, ids, words, notes, the recipe): jinja2 escapes all of it, every
attribute is quoted, and what goes into a `style` or a path is a number formatted here. The page's content security
policy lets nothing load and no script run but the panel's own, known by its hash.
"""

import base64
import functools
import hashlib
import shlex
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from emotiwave_core.io.atomic import write_text
from emotiwave_core.metrics import Metric, registered
from emotiwave_core.metrics.numbers import NumberMetric, registered_numbers
from emotiwave_core.report.alarms import alarmed_samples
from emotiwave_core.report.card import write_card
from emotiwave_core.report.charts import (
    FIRM,
    Chart,
    learning_charts,
    protocol_chart,
    reliability_chart,
    risk_chart,
    scatter_chart,
)
from emotiwave_core.report.model_words import model_in_words, seed_of
from emotiwave_core.report.numbers import FILTERS
from emotiwave_core.report.pictures import write_pictures
from emotiwave_core.report.samples import drawn_samples
from emotiwave_core.report.shown_classes import most_frequent, shown_matrix
from emotiwave_core.report.verdict import verdict
from emotiwave_core.report.waterfall import waterfall
from emotiwave_core.runs.contents import RunContents, read_run
from emotiwave_core.runs.folder import REPORT
from emotiwave_core.runs.predictions import embedded
from emotiwave_core.runs.schema import Matrix
from emotiwave_core.runs.scores import ConfigurationScores, Scores


def write_report(run: Path) -> Path:
    """Write the pictures, `model-card.md` and then `report.html` into the folder of a run, and return the page's path.

    DataError when a file of the run is missing or damaged, ResourceError when nothing can be written.
    """
    facts = read_run(run)
    pictures = write_pictures(facts)
    write_card(run, facts)
    page = run / REPORT
    write_text(page, render(facts, pictures))
    return page


@functools.cache
def environment() -> jinja2.Environment:
    """The templates, which are compiled once in a process."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("emotiwave_core.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    return environment


def render(run: RunContents, pictures: list[str]) -> str:
    """The page as HTML text; `pictures` are the names of the files it mentions."""
    scores, explained = run.scores, run.explanation
    fold = explained.score if explained else None
    drawn = drawn_samples(explained) if explained else {}
    plots = [plot for samples in drawn.values() for sample in samples for plot in sample.plots]
    absent = explained.absent if explained else {}
    complete = scores.configurations[scores.complete.configuration]
    script = (files("emotiwave_core.report") / "templates" / "panel.js").read_text("utf-8") if run.predicted else ""
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            run=run,
            scores=scores,
            synthetic=scores.synthetic and "synthetic" not in scores.dataset.lower(),  # to be said beside the name
            data=run.data,
            model=run.model,
            pictures=pictures,
            complete=complete,
            model_in_words=model_in_words(run.model),
            constant=scores.constant,
            verdict=verdict(scores),
            metrics=metric_rows(scores, complete),
            headline=scores.judged_by,
            beside=beside(scores, complete),
            class_columns=class_columns(scores),
            target_columns=target_columns(complete),
            scatters=scatters(run),
            ranges=ranges(run),
            crowded=len(scores.classes) > 8 or max(map(len, scores.classes), default=0) > 12,
            row_shares=row_shares,
            shown_matrix=shown_matrix,
            most_frequent=most_frequent,
            supports=lambda one: {name: entry.support for name, entry in one.classes.items()},
            firm=FIRM,
            reliability=complete.calibration and reliability_chart(complete.calibration),
            risks=risk_chart(complete.risks) if complete.risks else None,
            explained=explained,
            fold_steps=waterfall(fold.empty, fold.complete, fold.shapley, (0.0, 1.0)) if fold else [],
            by_class_most=max((abs(value) for value in _values_by_class(run)), default=0.0),
            drawn_samples=drawn,
            attentive=any(plot.attention for plot in plots),
            gapped=any(plot.gaps for plot in plots),
            worded=any(plot.words for plot in plots),
            charts=learning_charts(run.history, run.model.best.epoch, scores.judged_by.title) if run.history else [],
            alarmed=alarmed_samples(run),
            protocols=[(protocol, protocol_chart(protocol, run.guess(protocol))) for protocol in run.protocols],
            predicted=run.predicted,
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            embedded=Markup(embedded(run.predicted, scores.modalities, absent)) if run.predicted else "",
            view=view,
            seed=seed_of(run.model.recipe),
            folder=shlex.quote(str(run.folder)),
            command=shlex.join(
                (
                    "emotiwave",
                    "run",
                    f"{run.folder / 'recipe.toml'}",
                    "--data",
                    run.data.folder,
                    "--out",
                    f"{run.folder}-again",
                )
            ),
        )
    )


def _values_by_class(run: RunContents) -> list[float]:
    classes = run.explanation.by_class.values() if run.explanation else ()
    return [value for explained in classes for value in explained.shapley.values() if value is not None]


def view(sample: str, off: str | None = None) -> str:
    """The link to the panel with one sample, and with one modality off."""
    return f"#sample={quote(sample, safe='')}" + (f"&off={quote(off, safe='')}" if off else "")


class MetricRow(NamedTuple):
    """One metric of one configuration, beside the better of both guesses that ignore the input."""

    title: str
    value: float | None
    chance: float | None
    gain: float | None  # distance from chance, positive where the score is better
    definition: str
    has_bar: bool  # from 0 to 1, the longer the better


def metric_rows(scores: Scores, scored: ConfigurationScores) -> list[MetricRow]:
    """Every metric that the file has and this version knows, in the order of their registration."""
    rows = []
    for metric in _metrics(scores):
        if metric.key in scored.metrics and (scored.metrics[metric.key] is not None or isinstance(metric, Metric)):
            value, chance = scored.metrics[metric.key], scores.constant.metrics[metric.key]
            if metric.key == scores.headline:
                chance = scores.constant.floor
            definition = metric.definition(scores.objective == "multi")
            definition += "" if metric.higher_is_better else "; lower is better"
            gain = metric.gain(value, chance)
            rows.append(MetricRow(metric.title, value, chance, gain, definition, metric.higher_is_better))
    return [*rows, *_plugin_rows(scores, scored)]


def _plugin_rows(scores: Scores, scored: ConfigurationScores) -> list[MetricRow]:
    """Those of plugins, whose meaning is in the file: they need not be installed."""
    rows = []
    for name, metric in scores.plugin_metrics.items():
        definition = metric.definition + ("" if metric.higher_is_better else "; lower is better")
        value = scored.extra.get(name)
        rows.append(MetricRow(metric.title, value, metric.guess, metric.gain(value), definition, False))
    return rows


def _metrics(scores: Scores) -> Sequence[Metric | NumberMetric]:
    """The metrics of the objective, in the order of the report."""
    return registered_numbers() if scores.objective == "regression" else registered()


def beside(scores: Scores, complete: ConfigurationScores) -> dict[str, str]:
    """The metrics that stand beside the score of each configuration: their titles by key, those that are defined."""
    shown = (
        ("mae", "pearson", "acc_2_non0", "acc_2", "acc_7") if complete.targets else ("accuracy", "weighted_accuracy")
    )
    titles = {metric.key: metric.title for metric in _metrics(scores)}
    return {key: titles[key] for key in shown if key in titles and complete.metrics.get(key) is not None}


def target_columns(complete: ConfigurationScores) -> list[NumberMetric]:
    """Every metric beside the CCC that is defined for some target, in the order of registration."""
    return [
        metric
        for metric in registered_numbers()
        if metric.key != "ccc" and any(one.metrics.get(metric.key) is not None for one in complete.targets.values())
    ]


def scatters(run: RunContents) -> list[Chart]:
    """Predicted over true numbers of every target in the complete configuration."""
    samples = run.predicted.number_samples if run.predicted else []
    if not samples:
        return []
    return [
        scatter_chart(name, [it.truth[c] for it in samples], [it.numbers[-1][c] for it in samples])
        for c, name in enumerate(run.scores.classes)
    ]


def ranges(run: RunContents) -> list[tuple[float, float]]:
    """The lowest and the highest number of each target that the panel shows, true or predicted."""
    samples = run.predicted.number_samples if run.predicted else []
    rows = [row for sample in samples for row in (sample.truth, *sample.numbers)]
    return [(min(column), max(column)) for column in zip(*rows, strict=True)]


def class_columns(scores: Scores) -> list[Metric]:
    """Every metric that classes have beside their F1, in the order of registration."""
    entries = [entry for scored in scores.configurations.values() for entry in scored.classes.values()]
    keys = set().union(*(entry.metrics for entry in entries)) - {"f1"}
    return [metric for metric in registered() if metric.class_key in keys]


def row_shares(matrix: Matrix) -> list[list[tuple[int, float | None]]]:
    """Each count with its share of the row, None where the row is empty."""
    return [[(cell, cell / sum(row) if sum(row) else None) for cell in row] for row in matrix]
