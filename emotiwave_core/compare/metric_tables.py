"""Metrics of plugins in a comparison: what the rows reach beside the headline, and which row lacks what."""

from collections.abc import Sequence

import attrs

from emotiwave_core.compare.rows import MEAN, Key, RowRuns
from emotiwave_core.compare.score_tables import ScoreTable, score_table
from emotiwave_core.errors import counted, listed
from emotiwave_core.runs.scores import MetricMeaning


def metric_tables(rows: Sequence[RowRuns], configurations: Sequence[str]) -> tuple[dict[str, ScoreTable], list[str]]:
    """The tables of all metrics that a row has, by name, and a sentence for each that another row lacks."""
    tables, notes = {}, []
    for name in dict.fromkeys(name for row in rows for name in _meanings(row)):
        first = next(row for row in rows if name in _meanings(row))
        meaning, values = _meanings(first)[name], {}
        for row in rows:
            own = _meanings(row).get(name)
            if own is None:
                why = f": its runs were not asked for it (metric={name})" if row.is_seeded else ""
                notes.append(f"{row.name} has no {meaning.title}{why}.")
            elif attrs.evolve(own, guess=None) != attrs.evolve(meaning, guess=None):
                notes.append(f"The metric '{name}' of {row.name} is not that of {first.name}, and is left out.")
            else:
                values[row.name], lacking = _scores(row, name, configurations)
                notes += [f"{meaning.title} of {row.name} {sentence}" for sentence in lacking]
        tables[name] = score_table(meaning.title, meaning.definition, meaning.higher_is_better, values, rows)
    return tables, notes


def _meanings(row: RowRuns) -> dict[str, MetricMeaning]:
    return {name: own for runs in row.runs.values() for one in runs.values() for name, own in one.meanings.items()}


def _scores(row: RowRuns, name: str, configurations: Sequence[str]) -> tuple[dict[str, dict[Key, float]], list[str]]:
    """The scores of a row by column where each of its runs has one, and a sentence about those where one has none."""
    scores = {
        configuration: [runs[configuration].metrics.get(name, {}).get(configuration) for runs in row.runs.values()]
        for configuration in configurations
    }
    known = {
        configuration: [value for value in values if value is not None]
        for configuration, values in scores.items()
        if None not in values
    }
    if len(known) == len(configurations):
        known[MEAN] = [sum(values) / len(values) for values in zip(*known.values(), strict=True)]
    by_key = {column: dict(zip(row.runs, values, strict=True)) for column, values in known.items()}
    absent = [configuration for configuration in configurations if configuration not in known]
    if not absent:
        return by_key, []
    most = max(scores[configuration].count(None) for configuration in absent)
    at_most = "" if len(absent) == 1 else "up to "
    runs = f"{at_most}{most} of its {counted(len(row.runs), 'run')}"
    return by_key, [f"is not defined in {runs} ({listed(absent)}), and is left out there."]
