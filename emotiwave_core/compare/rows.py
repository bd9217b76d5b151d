"""Rows of a comparison: the runs of each by seed and fold, and their mean score."""

from collections.abc import Mapping, Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from emotiwave_core.compare.outcomes import Outcome

Array = NDArray[np.float64]
MEAN = "mean"  # over all configurations
Key = tuple[int, int | None]  # seed and fold


@attrs.frozen
class Cell:
    """The score of a row in one configuration."""

    mean: float  # over seeds and folds
    deviation: float | None  # over seeds, of the mean over folds; None for one seed
    interval: list[float] | None  # 95 %, other groups of the same kind; None where a fold has one group


@attrs.frozen
class RowRuns:
    """The runs of a row by seed and fold; of specialists each configuration is of another run."""

    name: str
    recipe: str
    runs: dict[Key, dict[str, Outcome]]  # {seed and fold: {configuration: the run that answers it}}
    failed: dict[str, str] = attrs.field(factory=dict)
    is_seeded: bool = True  # else the runs of all seeds are one and the same

    def sums(self, key: Key, configurations: Sequence[str]) -> Array:
        """The sums of the groups of one seed and fold in these configurations, [K, G, S, C]."""
        return np.stack([self.runs[key][name].sums[name] for name in configurations])

    def score(self, key: Key, configurations: Sequence[str]) -> float:
        """The mean score of one seed and fold over these configurations."""
        return float(np.mean([self.runs[key][name].scores[name] for name in configurations]))

    def test_share(self, keys: Sequence[Key]) -> float:
        """The samples of a fold that are tested for each one that was trained on."""
        outcomes = [next(iter(self.runs[key].values())) for key in keys]
        return float(np.mean([own.task.samples / max(own.trained_on, 1) for own in outcomes]))


def cell_of(scores: Mapping[Key, float], is_seeded: bool) -> Cell:
    """The mean of scores by seed and fold, and the deviation over seeds of the means over folds; without interval."""
    by_seed = [np.mean([scores[key] for key in scores if key[0] == seed]) for seed in {seed for seed, _ in scores}]
    deviation = float(np.std(by_seed, ddof=1)) if is_seeded and len(by_seed) > 1 else None
    return Cell(float(np.mean(list(scores.values()))), deviation, None)


def merged_specialists(name: str, recipe: str, parts: Mapping[str, RowRuns]) -> RowRuns:
    """The specialists of a row as one row: each configuration is answered by its own."""
    keys = set.intersection(*(set(own.runs) for own in parts.values()))
    runs = {key: {configuration: own.runs[key][configuration] for configuration, own in parts.items()} for key in keys}
    failed = {folder: why for own in parts.values() for folder, why in own.failed.items()}
    return RowRuns(name, recipe, dict(sorted(runs.items(), key=lambda pair: (pair[0][0], pair[0][1] or 0))), failed)
