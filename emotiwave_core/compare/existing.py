"""Runs that are there already, side by side: those of one recipe are a row, whatever their seed and fold."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from emotiwave_core.compare.compare import check_same_tasks
from emotiwave_core.compare.comparison import Comparison, compare_rows
from emotiwave_core.compare.outcomes import groups_of, read_outcome
from emotiwave_core.compare.pages import write_comparison
from emotiwave_core.compare.protocol_tables import protocol_tables
from emotiwave_core.compare.rows import Key, RowRuns
from emotiwave_core.config.recipe import Recipe, read_recipe
from emotiwave_core.data.corpus import open_corpus
from emotiwave_core.errors import DataError, SettingsError, listed
from emotiwave_core.io.atomic import out_of_space
from emotiwave_core.metrics.headline import headline_of
from emotiwave_core.monitor import Monitor
from emotiwave_core.runs.data_file import DataFile, read_data
from emotiwave_core.runs.folder import RECIPE
from emotiwave_core.runs.protocol_scores import read_protocols
from emotiwave_core.runs.scores import SCORES, Scores, read_scores

APART = ("name", "data.rotation")
BESIDE = ("seed", "watch", "computing")  # like those, what makes no other recipe of one
SHOWN = 3  # values in a row's name


@attrs.frozen
class ExistingRun:
    """A run that has ended."""

    folder: Path
    recipe: Recipe
    data: DataFile
    scores: Scores

    @property
    def key(self) -> tuple[int, int | None]:
        """The seed and the fold."""
        return self.recipe.seed, self.recipe.data.rotation

    @property
    def row(self) -> dict[str, Any]:
        """All values of its recipe that make it a row of its own, {key: value}."""
        values = flat(self.recipe.to_table())
        return {key: value for key, value in values.items() if key.partition(".")[0] not in BESIDE and key not in APART}


def compare_existing(folders: Sequence[Path], out: Path, monitor: Monitor) -> Comparison:
    """Compare runs that have ended with those of the first one's recipe, and write the comparison into `out`.

    SettingsError for runs of other data or of another task, or two of one recipe, seed and fold; DataError for a run
    that has not ended, or data that are no longer there or have changed.
    """
    runs = [_opened(folder) for folder in folders]
    for run in runs[1:]:
        if difference := _lack(runs[0], run) or _lack(run, runs[0]) or _difference(runs[0], run):
            raise SettingsError(f"{runs[0].folder} and {run.folder} cannot be compared: {difference}.")
    corpus = open_corpus(Path(runs[0].data.folder), runs[0].recipe.data, monitor)
    if (now := corpus.facts()).sources != runs[0].data.sources:
        raise DataError(f"The data in {now.folder} have changed since {runs[0].folder} was trained.")
    group_of, unit = groups_of(corpus)
    rows, named, scored = [], _named(runs), dict[str, dict[Key, Path]]()
    for name, own in named.items():
        found: dict[tuple[int, int | None], ExistingRun] = {}
        for run in own:
            if (other := found.setdefault(run.key, run)) is not run:
                raise SettingsError(f"{other.folder} and {run.folder} are one recipe, seed and fold: give one of them.")
        outcomes = {key: read_outcome(run.folder, group_of) for key, run in found.items()}
        ordered = sorted(outcomes.items(), key=lambda pair: (pair[0][0], pair[0][1] or 0))
        filled = {key: dict.fromkeys(outcome.scores, outcome) for key, outcome in ordered}
        rows.append(RowRuns(name, own[0].recipe.name, filled))
        scored[name] = {key: found[key].folder for key in filled}
    objective = check_same_tasks(rows)
    for row in rows[1:]:
        if not row.runs.keys() & rows[0].runs.keys():
            raise SettingsError(
                f"{rows[0].name} and {row.name} have no seed and fold in common ({_keys(rows[0].runs)}; "
                f"{_keys(row.runs)}): differences are tested in pairs."
            )
    result = compare_rows(rows, corpus.dataset.name, unit, headline_of(objective))
    protocols = dict.fromkeys(one.protocol for run in scored[rows[0].name].values() for one in read_protocols(run))
    tables, lacking = protocol_tables(rows, scored, protocols)
    result = attrs.evolve(result, protocols=tables, notes=[*result.notes, *_fewer_runs(rows), *lacking])
    with out_of_space(out):
        out.mkdir(parents=True, exist_ok=True)
    write_comparison(out, result)
    return result


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of a nested table by their keys, joined by dots."""
    values: dict[str, Any] = {}
    for key, value in table.items():
        values |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return values


def _opened(folder: Path) -> ExistingRun:
    if not (folder / RECIPE).exists():
        raise DataError(f"{folder} holds no run; give the folder of one that has ended.")
    if not (folder / SCORES).exists() or (data := read_data(folder)) is None:
        raise DataError(f"{folder} has not ended: emotiwave run --resume {folder}")
    recipe = Recipe.from_table(read_recipe(folder / RECIPE), str(folder / RECIPE))
    return ExistingRun(folder, recipe, data, read_scores(folder))


def _difference(first: ExistingRun, second: ExistingRun) -> str:
    """The difference between the data of two runs; empty where they are the same. Another enrolment is another row."""
    one, other = first.data, second.data
    if one.sources.keys() != other.sources.keys() or one.dataset != other.dataset:
        return f"they are of different data, {one.dataset} in {one.folder} and {other.dataset} in {other.folder}"
    for name, digest in one.sources.items():
        if other.sources[name] != digest:
            return f"{name} in {other.folder} is not the one in {one.folder}"
    if one.unit != other.unit:
        return f"one is of {one.unit}s and the other of {other.unit}s (data.unit)"
    apart = {"enrolment"} if first.recipe.data.enrolment != second.recipe.data.enrolment else set()
    for key in (one.meaning.keys() | other.meaning.keys()) - apart:
        if one.meaning.get(key) != other.meaning.get(key):
            return f"they take the same files in another way ({key})"
    return ""


def _lack(one: ExistingRun, other: ExistingRun) -> str:
    """The modalities, configurations and classes of a run that another one of its data has not; empty where none."""
    if one.data.dataset != other.data.dataset:
        return ""  # which is told of the data
    pairs: list[tuple[str, Iterable[str], Iterable[str]]] = [
        ("modality", one.data.modalities, other.data.modalities),
        ("configuration", one.scores.configurations, other.scores.configurations),
    ]
    if one.scores.objective == other.scores.objective:  # else it is told of the rows
        noun = "target" if one.scores.objective == "regression" else "class"
        pairs.append((noun, one.scores.classes, other.scores.classes))
    for kind, has, lacks in pairs:
        if absent := [name for name in has if name not in lacks]:
            return f"{other.folder} has no {kind} {listed(absent)}, which {one.folder} has"
    return ""


def _fewer_runs(rows: Sequence[RowRuns]) -> list[str]:
    """A sentence for each row that lacks a seed and fold of the first one."""
    return [
        f"{row.name} has no run of {_keys(absent)}, which {rows[0].name} has: they differ by what both have."
        for row in rows[1:]
        if (absent := [key for key in rows[0].runs if key not in row.runs])
    ]


def _named(runs: Sequence[ExistingRun]) -> dict[str, list[ExistingRun]]:
    """The runs by row. A row has the name of its recipe, and what differs from the first one of that name."""
    rows: list[list[ExistingRun]] = []
    for run in runs:
        own = next((row for row in rows if row[0].row == run.row), None)
        rows.append([run]) if own is None else own.append(run)
    named: dict[str, list[ExistingRun]] = {}
    for own in rows:
        name = own[0].recipe.name
        if (first := next((row for row in rows if row[0].recipe.name == name), own)) is not own:
            name += _changes(first[0].row, own[0].row)
        number = 2
        while (unique := name if name not in named else f"{name}-{number}") in named:
            number += 1
        named[unique] = own
    return named


def _changes(first: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    changed = {key: value for key, value in own.items() if key not in first or first[key] != value}
    parts = tuple(
        key.removesuffix("name") for key in changed if key.endswith(".name")
    )  # whose options follow from them
    told = {key: value for key, value in changed.items() if key.endswith(".name") or not key.startswith(parts)}
    words = [f",{key.removesuffix('.name')}={value}" for key, value in told.items()]
    return "".join(words[:SHOWN]) + (",…" if len(words) > SHOWN else "")


def _keys(keys: Iterable[Key]) -> str:
    return ", ".join(f"seed {seed}" + ("" if fold is None else f" fold {fold}") for seed, fold in keys)
