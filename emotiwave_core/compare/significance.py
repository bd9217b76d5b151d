"""Tests of the difference of two recipes that met the same samples: paired, and corrected for how many there are."""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from emotiwave_core.metrics.headline import Headline

Array = NDArray[np.float64]
PERMUTATIONS, RESAMPLES, SEED = 9_999, 1_000, 0
LEVEL = 0.05  # a corrected p below it is called significant
LEAST_PAIRS = 6  # of a signed-rank test: five pairs that all agree have p = .0625


def permutation_over_groups(
    one: Sequence[Array], other: Sequence[Array], folds: Sequence[Hashable], headline: Headline
) -> float:
    """The p of no difference in the mean score over runs: the answers of each group are exchangeable between both rows.

    one, other: for each pair of runs the sums of the score's terms of its G groups in K configurations, [K, G, S, C];
    folds: the fold of each pair. The groups of a fold are exchanged in all its pairs at once, so that a seed is no new
    group. Two-sided, from 9,999 random exchanges (Noreen 1989), the observed one counted: p is never 0.
    """
    random = np.random.default_rng(SEED)
    exchanges: dict[Hashable, Array] = {}
    observed, permuted = 0.0, np.zeros(PERMUTATIONS)
    for a, b, fold in zip(one, other, folds, strict=True):
        if fold not in exchanges:
            exchanges[fold] = random.integers(0, 2, (PERMUTATIONS, a.shape[1])).astype(np.float64)
        for mine, theirs in zip(a, b, strict=True):  # [G, S, C] of a configuration
            total = (mine + theirs).sum(axis=0)
            difference = (theirs - mine).reshape(len(mine), -1)
            moved = mine.sum(axis=0) + (exchanges[fold] @ difference).reshape(PERMUTATIONS, *total.shape)
            permuted += (headline.of_sums(moved) - headline.of_sums(total - moved)).mean(axis=-1) / len(a)
            ends = headline.of_sums(np.stack([mine.sum(axis=0), theirs.sum(axis=0)])).mean(axis=-1)
            observed += float(ends[0] - ends[1]) / len(a)
    at_least = np.abs(permuted) >= abs(observed) - 1e-12
    return float((1 + at_least.sum()) / (1 + PERMUTATIONS))


def resampled_scores_of_runs(runs: Sequence[Array], folds: Sequence[Hashable], headline: Headline) -> Array | None:
    """The mean score over runs in 1,000 resamples of the groups of each fold, [R]; None where a fold has one group.

    runs: sums [K, G, S, C] of each run. All rows of a comparison meet the same resamples, so that differences pair.
    """
    weights: dict[Hashable, Array] = {}
    values = np.zeros(RESAMPLES)
    for sums, fold in zip(runs, folds, strict=True):
        groups = sums.shape[1]
        if groups < 2:
            return None
        if fold not in weights:
            drawn = np.random.default_rng([SEED, len(weights)]).multinomial(groups, [1 / groups] * groups, RESAMPLES)
            weights[fold] = drawn.astype(np.float64)
        for own in sums:
            resampled = (weights[fold] @ own.reshape(groups, -1)).reshape(RESAMPLES, *own.shape[1:])
            values += headline.of_sums(resampled).mean(axis=-1) / (len(sums) * len(runs))
    return values


def nadeau_bengio(differences: Sequence[float], test_share: float) -> float | None:
    """The p of the corrected resampled t-test (Nadeau and Bengio 2003, equation 9): training sets of folds overlap.

    differences: of each fold, the mean over its seeds. test_share: n_test / n_train of a fold. None for fewer than
    three folds, and where they are all equal but not 0.
    """
    from scipy import stats

    values = np.asarray(differences, dtype=np.float64)
    n = len(values)
    if n < 3:
        return None
    variance = float(values.var(ddof=1))
    if variance == 0.0:
        return 1.0 if float(values.mean()) == 0.0 else None
    t = float(values.mean()) / np.sqrt((1 / n + test_share) * variance)
    return float(2 * stats.t.sf(abs(t), n - 1))


def signed_rank(differences: Sequence[float]) -> float | None:
    """The exact p of Wilcoxon's signed-rank test over pairs of runs; None for fewer than six that differ."""
    from scipy import stats

    values = [value for value in differences if value != 0.0]
    if len(values) < LEAST_PAIRS:
        return None
    return float(stats.wilcoxon(values, method="auto").pvalue)


def holm(values: Sequence[float | None]) -> list[float | None]:
    """The p values corrected for their number by Holm (1979), in their order; those that are None are not counted."""
    known = sorted((value, place) for place, value in enumerate(values) if value is not None)
    corrected: list[float | None] = [None] * len(values)
    highest = 0.0
    for rank, (value, place) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * value))
        corrected[place] = highest
    return corrected
