"""Metrics of plugins in a comparison: what the rows reach beside the headline, and which row lacks what."""

from collections.abc import Sequence

import attrs

from emotiwave_core.compare.rows import MEAN, Cell, RowRuns, cell_of
from emotiwave_core.errors import counted, listed
from emotiwave_core.runs.scores import MetricMeaning


@attrs.frozen
class MetricTable:
    """The scores of one metric. A row that lacks it is not there, and a note says why."""

    title: str
    definition: str
    higher_is_better: bool
    rows: dict[str, dict[str, Cell]]  # {row: {configuration, and "mean" where all have a score: cell}}

    @property
    def columns(self) -> list[str]:
        """The configurations that a row has, and their mean last."""
        names = dict.fromkeys(name for cells in self.rows.values() for name in cells if name != MEAN)
        return [*names, *([MEAN] if any(MEAN in cells for cells in self.rows.values()) and len(names) > 1 else [])]

    def best(self, column: str) -> str | None:
        """The row with the best score of a column."""
        means = {row: cells[column].mean for row, cells in self.rows.items() if column in cells}
        return (max if self.higher_is_better else min)(means, key=lambda row: means[row], default=None)


def metric_tables(rows: Sequence[RowRuns], configurations: Sequence[str]) -> tuple[dict[str, MetricTable], list[str]]:
    """The tables of all metrics that a row has, by name, and a sentence for each that another row lacks.

    They have no interval: a metric of a plugin is any function of the answers, and no sum over groups to resample.
    """
    tables, notes = {}, []
    for name in dict.fromkeys(name for row in rows for name in _meanings(row)):
        first = next(row for row in rows if name in _meanings(row))
        meaning = _meanings(first)[name]
        table = MetricTable(meaning.title, meaning.definition, meaning.higher_is_better, {})
        for row in rows:
            own = _meanings(row).get(name)
            if own is None:
                why = f": its runs were not asked for it (metric={name})" if row.is_seeded else ""
                notes.append(f"{row.name} has no {meaning.title}{why}.")
            elif attrs.evolve(own, guess=None) != attrs.evolve(meaning, guess=None):
                notes.append(f"The metric '{name}' of {row.name} is not that of {first.name}, and is left out.")
            else:
                table.rows[row.name], lacking = _cells(row, name, configurations)
                notes += [f"{meaning.title} of {row.name} {sentence}" for sentence in lacking]
        tables[name] = table
    return tables, notes


def _meanings(row: RowRuns) -> dict[str, MetricMeaning]:
    return {name: own for runs in row.runs.values() for one in runs.values() for name, own in one.meanings.items()}


def _cells(row: RowRuns, name: str, configurations: Sequence[str]) -> tuple[dict[str, Cell], list[str]]:
    """The cells of a row where each of its runs has a score, and a sentence about those where one has none."""
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
    cells = {
        column: cell_of(dict(zip(row.runs, values, strict=True)), row.is_seeded) for column, values in known.items()
    }
    absent = [configuration for configuration in configurations if configuration not in known]
    if not absent:
        return cells, []
    most = max(scores[configuration].count(None) for configuration in absent)
    at_most = "" if len(absent) == 1 else "up to "
    runs = f"{at_most}{most} of its {counted(len(row.runs), 'run')}"
    return cells, [f"is not defined in {runs} ({listed(absent)}), and is left out there."]
