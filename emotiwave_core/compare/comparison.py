"""The result of a comparison: the score of every row in every configuration, and the differences to the first row."""

from collections.abc import Hashable, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from emotiwave_core.compare.metric_tables import metric_tables
from emotiwave_core.compare.rows import MEAN, Cell, RowRuns, cell_of
from emotiwave_core.compare.score_tables import ScoreTable
from emotiwave_core.compare.significance import (
    LEAST_PAIRS,
    LEVEL,
    holm,
    nadeau_bengio,
    permutation_over_groups,
    resampled_scores_of_runs,
    signed_rank,
)
from emotiwave_core.errors import counted
from emotiwave_core.evaluate.bootstrap import percentiles
from emotiwave_core.metrics.headline import Headline

Array = NDArray[np.float64]
FEW_GROUPS = 10


@attrs.frozen
class Difference:
    """A row less the first row in one configuration, over the pairs of runs that both have."""

    difference: float
    interval: list[float] | None
    pairs: int
    p_groups: float  # permutation over groups
    p_folds: float | None  # Nadeau and Bengio's test; None for fewer than three folds
    p_runs: float | None  # Wilcoxon's signed-rank test over seeds and folds; None for fewer than six pairs
    p: float | None  # the one that counts, see Comparison.test
    p_holm: float | None  # corrected for the number of rows and configurations

    @property
    def is_significant(self) -> bool:
        """True where the corrected p is below .05."""
        return self.p_holm is not None and self.p_holm < LEVEL


@attrs.frozen
class ComparedRow:
    """One recipe."""

    name: str
    recipe: str
    runs: int
    failed: dict[str, str]  # {run: why}
    scores: dict[str, Cell]  # by configuration, and "mean"
    differences: dict[str, Difference]  # against the first row; empty of the first row


@attrs.frozen
class Comparison:
    """All rows, and how they were tested."""

    data: str
    headline: str  # macro_f1 or ccc
    configurations: list[str]
    seeds: list[int]
    folds: list[int] | None
    samples: int  # tested, over all folds
    groups: int
    unit: str  # of a group
    rows: list[ComparedRow]
    test: str
    notes: list[str]
    metrics: dict[str, ScoreTable] = attrs.field(factory=dict)  # of plugins, that a row was asked for
    protocols: dict[str, ScoreTable] = attrs.field(factory=dict)  # under which a row was scored: areas by curve
    unscored: dict[str, str] = attrs.field(factory=dict)  # {run: why it has no scores under the protocols}

    @property
    def tables(self) -> list[ScoreTable]:
        """Scores beside the headline."""
        return [*self.metrics.values(), *self.protocols.values()]

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON can hold it."""
        table = attrs.asdict(self)
        for row, own in zip(table["rows"], self.rows, strict=True):
            for name, difference in own.differences.items():
                row["differences"][name]["significant"] = difference.is_significant
        return table


def compare_rows(rows: Sequence[RowRuns], data: str, unit: str, headline: Headline) -> Comparison:
    """Compare all rows with the first one."""
    first = next(iter(rows[0].runs.values()))
    outcome = next(iter(first.values()))
    names = list(outcome.scores)
    asked = {name: [name] for name in names} | {MEAN: names}
    keys = sorted({key for row in rows for key in row.runs}, key=lambda key: (key[0], key[1] or 0))
    seeds, folds = sorted({seed for seed, _ in keys}), sorted({fold for _, fold in keys if fold is not None})
    test, key_of_test = _test(len(folds))
    raw = [[_difference(row, rows[0], own, headline) for own in asked.values()] for row in rows[1:]]
    corrected = holm([getattr(one, key_of_test) for table in raw for one in table])
    differences = iter(corrected)
    tested = [
        {
            name: attrs.evolve(one, p=getattr(one, key_of_test), p_holm=next(differences))
            for name, one in zip(asked, table, strict=True)
        }
        for table in raw
    ]
    compared = [
        ComparedRow(
            name=row.name,
            recipe=row.recipe,
            runs=len(row.runs) if row.is_seeded else len({fold for _, fold in row.runs}),
            failed=row.failed,
            scores={name: _cell(row, own, headline) for name, own in asked.items()},
            differences={} if row is rows[0] else tested[number - 1],
        )
        for number, row in enumerate(rows)
    ]
    of_folds = {fold: next(iter(own.values())) for (_, fold), own in rows[0].runs.items()}
    groups = {(fold, group) for fold, own in of_folds.items() for group in own.groups}
    metrics, lacking = metric_tables(rows, names)
    return Comparison(
        data=data,
        headline=headline.key,
        configurations=names,
        seeds=seeds,
        folds=folds or None,
        samples=sum(own.task.samples for own in of_folds.values()),
        groups=len(groups),
        unit=unit,
        rows=compared,
        test=test,
        notes=[*_notes(rows, len(seeds), len(folds), len(groups), unit), *lacking],
        metrics=metrics,
    )


def _cell(row: RowRuns, configurations: Sequence[str], headline: Headline) -> Cell:
    scores = {key: row.score(key, configurations) for key in row.runs}
    resampled = resampled_scores_of_runs(
        [row.sums(key, configurations) for key in row.runs], [fold for _, fold in row.runs], headline
    )
    interval = None if resampled is None else percentiles(resampled).tolist()
    return attrs.evolve(cell_of(scores, row.is_seeded), interval=interval)


def _difference(row: RowRuns, first: RowRuns, configurations: Sequence[str], headline: Headline) -> Difference:
    keys = [key for key in row.runs if key in first.runs]
    one, other = ([own.sums(key, configurations) for key in keys] for own in (row, first))
    folds: list[Hashable] = [fold for _, fold in keys]
    values = {key: row.score(key, configurations) - first.score(key, configurations) for key in keys}
    by_fold = [float(np.mean([values[key] for key in keys if key[1] == fold])) for fold in dict.fromkeys(folds)]
    resampled = [resampled_scores_of_runs(sums, folds, headline) for sums in (one, other)]
    interval = None if resampled[0] is None or resampled[1] is None else percentiles(resampled[0] - resampled[1])
    return Difference(
        difference=float(np.mean(list(values.values()))),
        interval=None if interval is None else interval.tolist(),
        pairs=len(keys),
        p_groups=permutation_over_groups(one, other, folds, headline),
        p_folds=nadeau_bengio(by_fold, first.test_share(keys)),
        p_runs=signed_rank(list(values.values())),
        p=None,
        p_holm=None,
    )


def _test(folds: int) -> tuple[str, str]:
    if folds >= 3:
        return (
            f"Nadeau and Bengio's corrected t-test over {folds} folds (seeds are averaged first): the training sets of "
            "folds overlap, which a plain t-test takes for independent. p is corrected by Holm for all rows and "
            "configurations.",
            "p_folds",
        )
    return (
        "Permutation over groups: in each of 9,999 exchanges the answers of some groups change sides, in all seeds at "
        "once. It says whether new groups would show the difference between these trained models. p is corrected by "
        "Holm for all rows and configurations.",
        "p_groups",
    )


def _notes(rows: Sequence[RowRuns], seeds: int, folds: int, groups: int, unit: str) -> list[str]:
    notes = []
    if seeds < 3:
        notes.append(f"{counted(seeds, 'seed')}: how much training itself varies is hardly seen.")
    if groups < FEW_GROUPS:
        smallest = 2.0 ** (1 - groups)
        notes.append(
            f"{counted(groups, unit)} {'is' if groups == 1 else 'are'} too few to conclude much: no permutation can "
            f"give p below {smallest:.3f}."
        )
    if (pairs := seeds * max(folds, 1)) < LEAST_PAIRS and len(rows) > 1:
        notes.append(
            f"{counted(pairs, 'pair')} of runs {'is' if pairs == 1 else 'are'} too few for a signed-rank test, which "
            f"needs {LEAST_PAIRS}."
        )
    missing = {row.name: len(row.failed) for row in rows if row.failed}
    notes += [
        f"{counted(count, 'run')} of {name} failed and {'is' if count == 1 else 'are'} left out."
        for name, count in missing.items()
    ]
    return notes
