"""Runs of a comparison that have ended: their scores, and the sums of each group, by which differences are tested."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from emotiwave_core.compare.plan import PlannedRun, run_folder
from emotiwave_core.data.corpus import Corpus
from emotiwave_core.data.facts import FoldFacts, NumberFoldFacts
from emotiwave_core.errors import DataError
from emotiwave_core.io.untrusted import open_file
from emotiwave_core.metrics.headline import headline_of
from emotiwave_core.runs.data_file import read_data
from emotiwave_core.runs.predictions import PREDICTIONS, class_indices
from emotiwave_core.runs.scores import Scores, read_scores

Array = NDArray[np.float64]


@attrs.frozen(eq=False)
class Outcome:
    """One run: what the groups of its test fold add to its score in each configuration."""

    rotation: int | None
    scores: Scores
    sums: dict[str, Array]  # {configuration: [G, S, C], sums of the headline's terms by group}
    groups: tuple[str, ...]  # [G]
    trained_on: int  # samples


def read_outcome(run: PlannedRun, out: Path, group_of: Mapping[str, str]) -> Outcome:
    """Read a run that has ended. group_of: {sample: group}. DataError where a file is damaged."""
    folder = run_folder(out, run)
    scores = read_scores(folder)
    headline, outputs = headline_of(scores.objective), len(scores.classes)
    sums: dict[str, Array] = {}
    names: tuple[str, ...] = ()
    for configuration, (ids, truth, decided) in _decisions(folder / PREDICTIONS, scores).items():
        names, place = _places([group_of[own] for own in ids])
        terms = headline.terms(truth, decided, outputs)  # [N, S, C]
        total = np.zeros((len(names), *terms.shape[1:]))
        np.add.at(total, place, terms)
        sums[configuration] = total
    data = read_data(folder)
    train = None if data is None or data.folds is None else data.folds.get("train")
    used = train.used if isinstance(train, FoldFacts | NumberFoldFacts) else 0
    return Outcome(run.rotation, scores, sums, names, used)


def check_same_data(run: Path, corpus: Corpus) -> None:
    """DataError where a run was trained on other files than those that are there now, or on another meaning of them."""
    before, now = read_data(run), corpus.facts()
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


def _decisions(path: Path, scores: Scores) -> dict[str, tuple[list[str], NDArray[Any], NDArray[Any]]]:
    """Of each configuration the ids, truths and decisions of all samples, as the objective has them."""
    rows: dict[str, list[list[str]]] = {}
    try:
        for row in _rows(path):
            rows.setdefault(row["configuration"], []).append([row["id"], *_cells(row, scores)])
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise DataError(f"{path} cannot be used: {error}.") from error
    outputs = len(scores.classes)
    decisions = {}
    for configuration, own in rows.items():
        truth, decided = (
            np.array([_value(row[1 + half * _width(scores) :][: _width(scores)], scores, outputs) for row in own])
            for half in (0, 1)
        )
        decisions[configuration] = ([row[0] for row in own], truth, decided)
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


def _value(cells: Sequence[str], scores: Scores, outputs: int) -> Any:
    """A truth or decision: an index, 0 and 1 for each class [C], or numbers [C]."""
    if scores.objective == "regression":
        return [float(cell) for cell in cells]
    indices = class_indices(cells[0], scores)
    return indices[0] if scores.objective == "single" else [int(index in indices) for index in range(outputs)]
