"""Tests of differences, against their equations and against plain loops."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import f1_score

from emotiwave_core.compare.significance import (
    holm,
    nadeau_bengio,
    permutation_over_groups,
    resampled_scores_of_runs,
    signed_rank,
)
from emotiwave_core.metrics.macro_f1 import MACRO_F1

CLASSES, GROUPS, PER_GROUP = 3, 6, 5


def sums(truth: np.ndarray, decided: np.ndarray) -> np.ndarray:
    """The sums of each group in one configuration, [1, G, S, C]."""
    terms = MACRO_F1.terms(truth, decided, CLASSES)
    return terms.reshape(GROUPS, PER_GROUP, *terms.shape[1:]).sum(axis=1)[None]


def decisions(seed: int, accuracy: float, truth: np.ndarray) -> np.ndarray:
    """Classes that are right as often as `accuracy` says."""
    random = np.random.default_rng(seed)
    return np.where(random.random(len(truth)) < accuracy, truth, random.integers(0, CLASSES, len(truth)))


def test_permutation_is_the_exact_one_of_all_exchanges() -> None:
    """With 6 groups, 9,999 random exchanges come within sampling error of all 64, each scored by scikit-learn."""
    truth = np.random.default_rng(0).integers(0, CLASSES, GROUPS * PER_GROUP)
    one, other = decisions(1, 0.8, truth), decisions(2, 0.4, truth)
    group = np.repeat(np.arange(GROUPS), PER_GROUP)

    def difference(exchange: tuple[int, ...]) -> float:
        swap = np.array(exchange)[group] == 1
        scores = [
            f1_score(truth, np.where(swap, b, a), average="macro", labels=range(CLASSES), zero_division=0)
            for a, b in ((one, other), (other, one))
        ]
        return float(scores[0] - scores[1])

    observed = difference((0,) * GROUPS)
    exact = np.mean([abs(difference(each)) >= abs(observed) - 1e-12 for each in product((0, 1), repeat=GROUPS)])
    p = permutation_over_groups([sums(truth, one)], [sums(truth, other)], [None], MACRO_F1)
    assert p == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 9999) + 1e-3)


def test_a_seed_is_no_new_group_and_folds_are() -> None:
    """The same pair twice says no more than once where it is another seed, and more where it is another fold."""
    truth = np.random.default_rng(3).integers(0, CLASSES, GROUPS * PER_GROUP)
    one, other = sums(truth, decisions(4, 0.9, truth)), sums(truth, decisions(5, 0.5, truth))
    alone = permutation_over_groups([one], [other], [0], MACRO_F1)
    seeds = permutation_over_groups([one] * 3, [other] * 3, [0] * 3, MACRO_F1)
    folds = permutation_over_groups([one] * 3, [other] * 3, [0, 1, 2], MACRO_F1)
    assert seeds == alone
    assert folds < alone


def test_a_row_beside_itself_does_not_differ() -> None:
    """Equal answers have p of 1, and resamples that are equal."""
    truth = np.random.default_rng(6).integers(0, CLASSES, GROUPS * PER_GROUP)
    own = sums(truth, decisions(7, 0.6, truth))
    assert permutation_over_groups([own], [own], [None], MACRO_F1) == 1.0
    first, second = (resampled_scores_of_runs([own], [None], MACRO_F1) for _ in range(2))
    assert first is not None
    assert second is not None
    assert (first == second).all()
    score = f1_score(truth, decisions(7, 0.6, truth), average="macro")
    assert np.quantile(first, 0.025) < score < np.quantile(first, 0.975)
    assert resampled_scores_of_runs([own[:, :1]], [None], MACRO_F1) is None


@given(st.lists(st.floats(-1, 1, allow_subnormal=False), min_size=3, max_size=12), st.floats(0, 2))
def test_the_corrected_t_test_is_its_equation(differences: list[float], share: float) -> None:
    """With no test sample for a training one it is Student's test; else its t is smaller by the equation's factor."""
    n = len(differences)
    if np.std(differences) < 1e-3:
        return
    plain = stats.ttest_1samp(differences, 0.0)
    assert nadeau_bengio(differences, 0.0) == pytest.approx(plain.pvalue, rel=1e-9)
    t = plain.statistic / np.sqrt(1 + n * share)
    assert nadeau_bengio(differences, share) == pytest.approx(2 * stats.t.sf(abs(t), n - 1), rel=1e-9)


def test_too_little_is_no_p() -> None:
    """Two folds and five pairs that differ give none; six pairs that agree give the smallest exact p, 2 / 2^6."""
    assert nadeau_bengio([0.1, 0.2], 0.25) is None
    assert signed_rank([0.1] * 5 + [0.0]) is None
    assert signed_rank([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]) == 2 / 2**6


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=10))
def test_holm_is_its_definition(values: list[float | None]) -> None:
    """The corrected p is the largest of (m - k + 1) p(k) up to its own rank, and at most 1."""
    known = sorted(value for value in values if value is not None)
    for value, corrected in zip(values, holm(values), strict=True):
        if value is None:
            assert corrected is None
            continue
        rank = max(k for k, other in enumerate(known) if other == value)
        steps = [(len(known) - k) * known[k] for k in range(rank + 1)]
        assert corrected is not None
        assert corrected <= min(1.0, max(steps)) + 1e-12
        first = min(k for k, other in enumerate(known) if other == value)
        assert corrected >= min(1.0, max((len(known) - k) * known[k] for k in range(first + 1))) - 1e-12
