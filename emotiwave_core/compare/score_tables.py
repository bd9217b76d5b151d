"""Scores of whole runs beside the headline, such as the metric of a plugin: a table, and the differences in it."""

from collections.abc import Mapping, Sequence

import attrs
import numpy as np

from emotiwave_core.compare.rows import MEAN, Cell, Key, RowRuns, cell_of
from emotiwave_core.compare.significance import LEVEL, holm, nadeau_bengio

Values = Mapping[str, Mapping[str, Mapping[Key, float]]]  # {row: {column: {seed and fold: score}}}


@attrs.frozen
class ScoreDifference:
    """A row less the first row in one column, over the pairs of runs that both have."""

    difference: float
    pairs: int
    p_folds: float | None  # Nadeau and Bengio's test; None for fewer than three folds
    p_holm: float | None  # corrected for the rows and columns of the table

    @property
    def is_significant(self) -> bool:
        """True where the corrected p is below .05."""
        return self.p_holm is not None and self.p_holm < LEVEL


@attrs.frozen
class ScoreTable:
    """One score of all rows that have it. It is a number of each run: there are no groups to resample, so no interval.

    The cells of a row are by column; those of configurations have a last one, "mean", where all have a score.
    """

    title: str
    definition: str
    higher_is_better: bool
    rows: dict[str, dict[str, Cell]]
    differences: dict[str, dict[str, ScoreDifference]]  # against the first row of the comparison, where it has a score

    @property
    def columns(self) -> list[str]:
        """The columns that a row has, and the mean of all last."""
        names = dict.fromkeys(name for cells in self.rows.values() for name in cells if name != MEAN)
        return [*names, *([MEAN] if any(MEAN in cells for cells in self.rows.values()) and len(names) > 1 else [])]

    def best(self, column: str) -> str | None:
        """The row with the best score of a column."""
        means = {row: cells[column].mean for row, cells in self.rows.items() if column in cells}
        return (max if self.higher_is_better else min)(means, key=lambda row: means[row], default=None)

    def is_significant(self, row: str, column: str) -> bool:
        """True where the difference of a cell to the first row has a corrected p below .05."""
        difference = self.differences.get(row, {}).get(column)
        return difference is not None and difference.is_significant


def score_table(
    title: str, definition: str, higher_is_better: bool, values: Values, rows: Sequence[RowRuns]
) -> ScoreTable:
    """The table of scores by row, column, seed and fold. rows: all of the comparison, the first one first."""
    seeded = {row.name: row.is_seeded for row in rows}
    cells = {
        row: {column: cell_of(scores, seeded[row]) for column, scores in own.items()} for row, own in values.items()
    }
    first = rows[0]
    theirs = values.get(first.name, {})
    raw = {
        (row, column): _difference(scores, theirs[column], first)
        for row, own in values.items()
        for column, scores in own.items()
        if row != first.name and scores.keys() & theirs.get(column, {}).keys()
    }
    differences: dict[str, dict[str, ScoreDifference]] = {}
    for ((row, column), one), p in zip(raw.items(), holm([one.p_folds for one in raw.values()]), strict=True):
        differences.setdefault(row, {})[column] = attrs.evolve(one, p_holm=p)
    return ScoreTable(title, definition, higher_is_better, cells, differences)


def _difference(own: Mapping[Key, float], theirs: Mapping[Key, float], first: RowRuns) -> ScoreDifference:
    values = {key: score - theirs[key] for key, score in own.items() if key in theirs}
    folds = dict.fromkeys(fold for _, fold in values)
    by_fold = [float(np.mean([value for key, value in values.items() if key[1] == fold])) for fold in folds]
    p = nadeau_bengio(by_fold, first.test_share(list(values)))
    return ScoreDifference(float(np.mean(list(values.values()))), len(values), p, None)
