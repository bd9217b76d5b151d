"""A comparison from start to end: plan, runs, tests, page. What is done already is not done again."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from emotiwave_core.compare.comparison import Comparison, compare_rows
from emotiwave_core.compare.jobs import Runs, carry_out_runs, score_under_protocols
from emotiwave_core.compare.linear import ROW as LINEAR
from emotiwave_core.compare.linear import linear_outcomes, sentence
from emotiwave_core.compare.outcomes import Outcome, Task, check_same_data, groups_of, read_outcome, task_of
from emotiwave_core.compare.pages import write_comparison
from emotiwave_core.compare.plan import PlannedRun, Row, planned_runs, row_of, run_folder, specialists_of
from emotiwave_core.compare.protocol_tables import check_protocols, protocol_tables
from emotiwave_core.compare.rows import Key, RowRuns, merged_specialists
from emotiwave_core.data.corpus import Corpus, open_corpus, rotations_of
from emotiwave_core.data.dataset import load_dataset
from emotiwave_core.errors import DataError, SettingsError
from emotiwave_core.io.atomic import out_of_space
from emotiwave_core.io.locks import BusyError, locked
from emotiwave_core.metrics.headline import headline_of
from emotiwave_core.modalities import name_of
from emotiwave_core.monitor import Monitor
from emotiwave_core.parts.registry import Registry
from emotiwave_core.runs.scores import SCORES

LOCK = ".compare.lock"


@attrs.frozen
class ComparisonPlan:
    """The rows of a comparison, and the seeds and folds that they run on."""

    recipes: dict[str, "str | Mapping[str, Any]"]  # {row: recipe}, the first is what others are compared with
    seeds: tuple[int, ...]
    folds: str | None = None  # a file of folds to rotate; None: those of the recipes
    specialists: tuple[str, ...] = ()  # rows that a specialist for each configuration stands beside
    baseline: bool = False  # a linear model for each configuration is a row
    protocols: tuple[str, ...] = ()  # of corruption, under which the complete configuration is scored too


def compare(plan: ComparisonPlan, setting: Runs, registry: Registry, monitor: Monitor) -> Comparison:
    """Carry out all runs, and compare their rows. Errors in a recipe come before any run.

    A run that fails costs itself, a row whose runs all fail is a note; DataError where that is the first row, which the
    others are compared with, SettingsError for what cannot be compared.
    """
    if len(plan.recipes) < 1 or not plan.seeds:
        raise SettingsError("Name at least one recipe and one seed.")
    rows = [row_of(name, recipe, registry, plan.folds) for name, recipe in plan.recipes.items()]
    if plan.baseline and LINEAR in plan.recipes:
        raise SettingsError(f"The row of the baseline is called {LINEAR}: name the recipe's row otherwise.")
    rotations = rotations_of(load_dataset(setting.data), rows[0].recipe.data)
    corpus = _corpus(setting.data, rows[0], rotations[0], monitor)
    for name in plan.specialists:
        row = next((row for row in rows if row.name == name), None)
        if row is None:
            raise SettingsError(f"--specialists {name}: there is no such row; there are {', '.join(plan.recipes)}.")
        rows += specialists_of(row, corpus.store.modalities, registry)
    _check_common_task(rows[: len(plan.recipes)], rotations[0], setting, monitor)
    check_protocols(plan.protocols, corpus.store)
    runs = planned_runs(rows, plan.seeds, rotations)
    with _alone_in(setting.out):
        linear = linear_outcomes(setting.data, setting.out, rows[0].recipe, rotations, monitor) if plan.baseline else {}
        failed = carry_out_runs(runs, setting, monitor)
        complete = [run for run in runs if run.row.configuration in (None, name_of(corpus.store.modalities))]
        unscored = score_under_protocols(complete, plan.protocols, setting, monitor)
        shown, notes = _rows(rows, runs, failed, linear, setting, corpus)
        result = _compared(shown, corpus)
        tables, lacking = protocol_tables(shown, _folders(complete, shown, setting.out), plan.protocols)
        notes = [*notes, *result.notes, *lacking]
        result = attrs.evolve(result, protocols=tables, unscored=unscored, notes=notes)
        write_comparison(setting.out, result)
    return result


@contextlib.contextmanager
def _alone_in(out: Path) -> Iterator[None]:
    """Hold the folder of a comparison, which is made. SettingsError where another process does."""
    with out_of_space(out):
        out.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        try:
            with out_of_space(out / LOCK):
                held.enter_context(locked(out / LOCK))
        except BusyError as error:
            raise SettingsError(f"Another process works on the comparison in {out}.") from error
        yield


def _corpus(data: Path, row: Row, rotation: int | None, monitor: Monitor) -> Corpus:
    return open_corpus(data, attrs.evolve(row.recipe.data, rotation=rotation), monitor)


def _rows(
    rows: Sequence[Row],
    runs: Sequence[PlannedRun],
    failed: Mapping[str, str],
    linear: Mapping[int | None, Outcome],
    setting: Runs,
    corpus: Corpus,
) -> tuple[list[RowRuns], list[str]]:
    """The rows that have runs, and a sentence about each that has none. DataError where that is the first row."""
    group_of, _ = groups_of(corpus)
    found = {row.name: RowRuns(row.name, row.recipe.name, {}) for row in rows}
    for run in runs:
        own = found[run.row.name]
        if run.folder in failed:
            own.failed[run.folder] = failed[run.folder]
        elif (run_folder(setting.out, run) / SCORES).exists():
            check_same_data(run_folder(setting.out, run), corpus, run.row.recipe.data.enrolment)
            outcome = read_outcome(run_folder(setting.out, run), group_of)
            own.runs[run.seed, run.rotation] = dict.fromkeys(outcome.scores, outcome)
    lost = {
        name: f"No run of {name} has ended: {next(iter(own.failed.values()), 'it was stopped')}"
        for name, own in found.items()
        if not own.runs
    }
    if rows[0].name in lost:
        raise DataError(lost[rows[0].name])
    shown = [found[row.name] for row in rows if row.specialist_of is None and row.name not in lost]
    for name in dict.fromkeys(row.specialist_of for row in rows if row.specialist_of is not None):
        parts = {row.configuration or "": found[row.name] for row in rows if row.specialist_of == name}
        if name in lost or any(part.name in lost for part in parts.values()):
            continue
        shown.append(merged_specialists(f"{name}.specialists", found[name].recipe, parts))
    if linear:
        keys = dict.fromkeys((run.seed, run.rotation) for run in runs)
        answered = {key: dict.fromkeys(linear[key[1]].scores, linear[key[1]]) for key in keys}
        shown.append(RowRuns(LINEAR, LINEAR, answered, is_seeded=False))
    return shown, list(lost.values())


def _compared(rows: Sequence[RowRuns], corpus: Corpus) -> Comparison:
    objective = check_same_tasks(rows)
    result = compare_rows(rows, corpus.dataset.name, groups_of(corpus)[1], headline_of(objective))
    of_baseline = [] if all(row.is_seeded for row in rows) else [sentence(objective)]
    return attrs.evolve(result, notes=[*result.notes, *of_baseline])


def _folders(complete: Sequence[PlannedRun], rows: Sequence[RowRuns], out: Path) -> dict[str, dict[Key, Path]]:
    """The run of each row, seed and fold that answers the complete configuration."""
    folders: dict[str, dict[Key, Path]] = {row.name: {} for row in rows if row.is_seeded}
    for run in complete:
        name = run.row.name if run.row.specialist_of is None else f"{run.row.specialist_of}.specialists"
        key = run.seed, run.rotation
        if any(row.name == name and key in row.runs for row in rows):
            folders[name][key] = run_folder(out, run)
    return folders


def check_same_tasks(rows: Sequence[RowRuns]) -> str:
    """The objective of all rows. SettingsError for rows that were tested on other samples or classes of a fold."""
    tasks: dict[int | None, tuple[str, Task]] = {}
    for row in rows:
        for (_, fold), outcomes in row.runs.items():
            for outcome in outcomes.values():
                _check_same_task(*tasks.setdefault(fold, (row.name, outcome.task)), row.name, outcome.task)
    return next(iter(tasks.values()))[1].objective


def _check_common_task(rows: Sequence[Row], rotation: int | None, setting: Runs, monitor: Monitor) -> None:
    """SettingsError for rows that are tested on other samples, on other classes, or by another score."""
    tasks = {row.name: task_of(_corpus(setting.data, row, rotation, monitor), row.recipe.objective) for row in rows}
    first = next(iter(tasks))
    for name, task in tasks.items():
        _check_same_task(first, tasks[first], name, task)


def _check_same_task(one: str, task: Task, other: str, another: Task) -> None:
    if task.objective != another.objective:
        raise SettingsError(
            f"{one} and {other} have no common score: the objective of one is {task.objective}, and that of the other "
            f"{another.objective}."
        )
    if task != another:
        raise SettingsError(
            f"{one} and {other} have no common score: they are tested on {task.samples} samples of "
            f"{task.outputs} classes and on {another.samples} of {another.outputs}, which are not the same: give both "
            "the same objective.no_emotion and [data]."
        )
