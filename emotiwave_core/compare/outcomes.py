"""Runs of a comparison that have ended: their scores, and the sums of each group, by which differences are tested."""

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import numpy as np
from numpy.typing import NDArray

from emotiwave_core.config.recipe import ObjectiveSettings
from emotiwave_core.data.corpus import Corpus
from emotiwave_core.data.facts import FoldFacts, NumberFoldFacts
from emotiwave_core.data.loading.speakers import enrolment_sha256
from emotiwave_core.errors import DataError, short
from emotiwave_core.io.untrusted import open_file, why
from emotiwave_core.metrics.headline import headline_of
from emotiwave_core.objectives.settle import make_objective, settle
from emotiwave_core.runs.data_file import read_data
from emotiwave_core.runs.predictions import PREDICTIONS, class_indices
from emotiwave_core.runs.schema import anew
from emotiwave_core.runs.scores import SCORES, MetricMeaning, Scores, read_scores

Array = NDArray[np.float64]
ROUNDING = 1e-3  # between a score and that of the predictions as they are written


class Decided(NamedTuple):
    """The answers of a model about N samples in one configuration, as the objective has them."""

    ids: list[str]
    truth: NDArray[Any]
    decided: NDArray[Any]


@attrs.frozen
class Task:
    """The samples of a test fold and their classes: rows that differ in it have no common score."""

    objective: str  # single, multi or regression
    samples: int
    outputs: int  # classes or targets
    sha256: str  # of the samples, and of their classes where they have some


def task_of(corpus: Corpus, settings: ObjectiveSettings) -> Task:
    """The task that a recipe sets itself on a corpus."""
    store = corpus.store
    settled = settle(settings, store.targets, store.facts.label_kind)
    objective = make_objective(settled, store.targets)
    test = corpus.fold("test", objective)
    ids = [store.ids[row] for row in test.rows]
    return Task(
        objective.kind, len(ids), len(objective.classes), _digest(objective.kind, ids, objective.truth(test.targets))
    )


def _digest(objective: str, ids: Sequence[str], truth: NDArray[Any]) -> str:
    known = np.zeros((len(ids), 0)) if objective == "regression" else truth.reshape(len(ids), -1)
    told = sorted([sample, *own] for sample, own in zip(ids, known.tolist(), strict=True))
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


@attrs.frozen(eq=False)
class Outcome:
    """One run: what the groups of its test fold add to its score in each configuration."""

    task: Task
    scores: dict[str, float]  # by configuration
    sums: dict[str, Array]  # {configuration: [G, S, C], sums of the headline's terms by group}
    groups: tuple[str, ...]  # [G]
    trained_on: int  # samples
    metrics: dict[str, dict[str, float]] = attrs.field(factory=dict)  # {metric of a plugin: {configuration: score}}
    meanings: dict[str, MetricMeaning] = attrs.field(factory=dict)  # of these metrics

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON can hold it."""
        return {**attrs.asdict(self), "sums": {name: own.tolist() for name, own in self.sums.items()}}

    @classmethod
    def from_dict(cls, table: dict[str, Any]) -> "Outcome":
        """The outcome of `to_dict`. An error of Python where it is not one."""
        sums = {name: np.asarray(own, dtype=np.float64) for name, own in table["sums"].items()}
        return cls(**{**table, "task": Task(**table["task"]), "sums": sums, "groups": tuple(table["groups"])})


def outcome_of(
    decided: Mapping[str, Decided], objective: str, outputs: int, group_of: Mapping[str, str], trained_on: int
) -> Outcome:
    """The outcome of answers by configuration. outputs: classes or targets. group_of: {sample: group}."""
    headline = headline_of(objective)
    sums: dict[str, Array] = {}
    names: tuple[str, ...] = ()
    for configuration, own in decided.items():
        names, place = _places([group_of[sample] for sample in own.ids])
        terms = headline.terms(own.truth, own.decided, outputs)  # [N, S, C]
        total = np.zeros((len(names), *terms.shape[1:]))
        np.add.at(total, place, terms)
        sums[configuration] = total
    first = next(iter(decided.values()))
    return Outcome(
        task=Task(objective, len(first.ids), outputs, _digest(objective, first.ids, first.truth)),
        scores={name: float(headline.of_sums(own.sum(axis=0)).mean()) for name, own in sums.items()},
        sums=sums,
        groups=names,
        trained_on=trained_on,
    )


def read_outcome(folder: Path, group_of: Mapping[str, str]) -> Outcome:
    """Read a run that has ended. group_of: {sample: group}. DataError where a file is damaged."""
    scores = read_scores(folder)
    data = read_data(folder)
    train = None if data is None or data.folds is None else data.folds.get("train")
    used = train.used if isinstance(train, FoldFacts | NumberFoldFacts) else 0
    decided = _decisions(folder, scores, group_of)
    outcome = outcome_of(decided, scores.objective, len(scores.classes), group_of, used)
    entries = scores.configurations
    metrics = {
        name: {configuration: entry.extra[name] for configuration, entry in entries.items() if name in entry.extra}
        for name in scores.plugin_metrics
    }
    own = {name: entry.score for name, entry in entries.items()}
    others = [name for name, score in own.items() if not abs(score - outcome.scores[name]) <= ROUNDING]
    if others:
        raise DataError(f"{folder / SCORES} is not of its predictions for {short(others[0])}; {anew(folder)}.")
    return attrs.evolve(outcome, scores=own, metrics=metrics, meanings=scores.plugin_metrics)


def check_same_data(run: Path, corpus: Corpus, enrolment: str | None) -> None:
    """DataError where a run was trained on other files than those that are there now, or on another meaning of them.

    enrolment: that of its recipe, which need not be the one that the corpus was opened with.
    """
    before = read_data(run)
    now = attrs.evolve(corpus, enrolment=enrolment_sha256(corpus.dataset.base, enrolment)).facts()
    if before is not None and (before.sources, before.meaning) != (now.sources, now.meaning):
        raise DataError(f"The data in {now.folder} have changed since {run} was trained: give another --out.")


def _places(groups: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    names, place = np.unique(np.asarray(groups), return_inverse=True)
    return tuple(names.tolist()), place


def groups_of(corpus: Corpus) -> tuple[dict[str, str], str]:
    """The group of each sample, and what a group is: a group of the data set, else a video."""
    store = corpus.store
    told = store.facts.groups
    groups = store.videos if told is None else told
    return dict(zip(store.ids, groups, strict=True)), "video" if told is None else "group"


def _decisions(run: Path, scores: Scores, group_of: Mapping[str, str]) -> dict[str, Decided]:
    """Of each configuration the ids, truths and decisions of all samples, as the objective has them.

    DataError where they are not those of the scores.
    """
    path, rows = run / PREDICTIONS, dict[str, list[list[str]]]()
    decisions = {}
    try:
        for row in _rows(path):
            rows.setdefault(row["configuration"], []).append([row["id"], *_cells(row, scores)])
        if rows.keys() != scores.configurations.keys():
            raise ValueError("its configurations are not those of the scores")
        for configuration, own in rows.items():
            ids = [row[0] for row in own]
            if not len(ids) == len(group_of.keys() & ids) == scores.samples:
                raise ValueError(f"it has not the {scores.samples} samples of the scores for {configuration}")
            truth, decided = (
                np.array([_value(row[1 + half * _width(scores) :][: _width(scores)], scores) for row in own])
                for half in (0, 1)
            )
            decisions[configuration] = Decided(ids, truth, decided)
    except (OSError, ValueError, TypeError, LookupError, csv.Error) as error:
        reason = f"it has no column {error}" if isinstance(error, KeyError) else why(error)
        raise DataError(f"{path} cannot be used: {reason}; {anew(run)}.") from error
    return decisions


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with open_file(path) as opened, io.TextIOWrapper(opened, encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file, strict=True)


def _width(scores: Scores) -> int:
    return len(scores.classes) if scores.objective == "regression" else 1


def _cells(row: Mapping[str, str], scores: Scores) -> list[str]:
    if scores.objective == "regression":
        return [row[f"{side}({name})"] for side in ("truth", "predicted") for name in scores.classes]
    return [row["truth"], row["predicted"]]


def _value(cells: Sequence[str], scores: Scores) -> Any:
    """A truth or decision: an index, 0 and 1 for each class [C], or numbers [C]."""
    if scores.objective == "regression":
        return [float(cell) for cell in cells]
    indices = class_indices(cells[0], scores)
    return (
        indices[0] if scores.objective == "single" else [int(index in indices) for index in range(len(scores.classes))]
    )
