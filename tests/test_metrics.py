"""Scores are scikit-learn's, or what the definition gives by hand."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import classification_report, f1_score

from emotiwave_core.metrics import GRID, collapse, macro_f1, score, tune_thresholds, weighted_accuracy

CLASSES = ("happy", "sad", "anger", "fear")
seeds = st.integers(0, 2**32 - 1)
some = settings(max_examples=20, deadline=None)
Numbers = NDArray[np.int64]


def single(seed: int) -> tuple[Numbers, Numbers]:
    """Truth and decisions of a single-label task in which the last class may be missing from either."""
    random = np.random.default_rng(seed)
    return random.integers(0, random.integers(2, 5), 30), random.integers(0, random.integers(1, 5), 30)


def multi(seed: int, classes: int = 4) -> tuple[Numbers, Numbers]:
    """Truth and decisions of a multi-label task, some emotions never there or never found."""
    random = np.random.default_rng(seed)
    chance = random.choice([0.0, 0.3, 0.9], size=(2, 1, classes))
    drawn = (random.random((2, 30, classes)) < chance).astype(np.int64)
    return drawn[0], drawn[1]


def counted(truth: Numbers, found: Numbers) -> dict[str, float]:
    """The scores of one class against the rest from its four counts."""
    tp, fp = int((truth & found).sum()), int(((1 - truth) & found).sum())
    fn, tn = int((truth & (1 - found)).sum()), int(((1 - truth) & (1 - found)).sum())
    positives, negatives = tp + fn, fp + tn
    return {
        "precision": tp / (tp + fp) if tp + fp else 0.0,
        "recall": tp / positives if positives else 0.0,
        "f1": 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0.0,
        "support": positives,
        "predicted": tp + fp,
        # Zadeh et al. 2018: (TP * N/P + TN) / 2N
        "weighted_accuracy": (
            (tp * negatives / positives + tn) / (2 * negatives) if positives and negatives else math.nan
        ),
    }


def check_classes(scores: dict[str, Any], truth: Numbers, found: Numbers, classes: tuple[str, ...]) -> None:
    """Every class has the scores that its counts give, and the means are means of them."""
    due = [counted(truth[:, c], found[:, c]) for c in range(len(classes))]
    for name, numbers in zip(classes, due, strict=True):
        entry = scores["classes"][name]
        assert {key: math.nan if value is None else value for key, value in entry.items()} == pytest.approx(
            numbers, nan_ok=True
        )
    assert scores["macro_f1"] == pytest.approx(np.mean([numbers["f1"] for numbers in due]))
    weighted = [numbers["weighted_accuracy"] for numbers in due if not math.isnan(numbers["weighted_accuracy"])]
    assert scores["weighted_accuracy"] == (pytest.approx(np.mean(weighted)) if weighted else None)


@given(seeds)
@some
def test_single_label_scores(seed: int) -> None:
    """Per-class scores are those of one class against the rest; the confusion matrix counts pairs (truth, decision)."""
    truth, decided = single(seed)
    scores = score(truth, decided, CLASSES)
    check_classes(scores, np.eye(4, dtype=np.int64)[truth], np.eye(4, dtype=np.int64)[decided], CLASSES)
    pairs = [[int(((truth == t) & (decided == d)).sum()) for d in range(4)] for t in range(4)]
    assert scores["confusion"] == pairs
    assert scores["accuracy"] == pytest.approx(np.trace(pairs) / 30)
    report = classification_report(truth, decided, labels=range(4), output_dict=True, zero_division=0)
    assert scores["macro_f1"] == pytest.approx(report["macro avg"]["f1-score"])


@pytest.mark.parametrize("classes", [CLASSES, CLASSES[:2], CLASSES[:1]], ids=len)
@given(seed=seeds)
@some
def test_multi_label_scores(classes: tuple[str, ...], seed: int) -> None:
    """Each emotion, be it the only one, is scored as present against absent; macro-F1 is of the positive classes."""
    truth, decided = multi(seed, len(classes))
    scores = score(truth, decided, classes)
    check_classes(scores, truth, decided, classes)
    for c, name in enumerate(classes):
        there, found = truth[:, c].astype(bool), decided[:, c].astype(bool)
        due = [[(~there & ~found).sum(), (~there & found).sum()], [(there & ~found).sum(), (there & found).sum()]]
        assert scores["confusion"][name] == due
    assert scores["accuracy"] == pytest.approx((truth == decided).mean())
    positive = [f1_score(truth[:, c], decided[:, c], zero_division=0) for c in range(len(classes))]
    assert macro_f1(truth, decided, len(classes)) == pytest.approx(np.mean(positive))


def test_a_class_that_is_nowhere_counts_as_zero() -> None:
    """Macro-F1 is over all classes of the data set, also those that are neither there nor found."""
    assert macro_f1(np.array([0, 1]), np.array([0, 1]), 4) == 0.5
    assert macro_f1(np.array([[1, 0]]), np.array([[1, 0]]), 2) == 0.5


def test_weighted_accuracy_by_hand() -> None:
    """(TP · N/P + TN) / 2N; none where there is nothing to tell apart; an all-negative guess gets a half."""
    truth = np.array([1, 1, 1, 0, 0, 0, 0, 0])
    assert weighted_accuracy(truth, np.array([1, 1, 0, 1, 0, 0, 0, 0])) == pytest.approx((2 * 5 / 3 + 4) / 10)
    assert weighted_accuracy(truth, np.zeros(8, dtype=np.int64)) == 0.5
    assert weighted_accuracy(np.zeros(8, dtype=np.int64), truth) is None
    assert weighted_accuracy(np.ones(8, dtype=np.int64), truth) is None


def test_collapse_is_told() -> None:
    """A note where every sample gets the same, in words; none for a single sample or for two different ones."""
    assert collapse(np.array([2, 2, 2]), CLASSES) == "every sample is predicted 'anger'"
    assert collapse(np.array([2, 2, 1]), CLASSES) is None
    assert collapse(np.array([2]), CLASSES) is None
    assert collapse(np.array([[1, 0, 0, 1]] * 3), CLASSES) == "every sample is predicted happy, fear"
    assert collapse(np.zeros((3, 4), dtype=np.int64), CLASSES) == "no emotion is ever predicted"
    assert collapse(np.array([[1, 0, 0, 1], [1, 0, 0, 0]]), CLASSES) is None


@given(seeds)
@settings(max_examples=3, deadline=None)
def test_thresholds_are_the_best_of_the_grid(seed: int) -> None:
    """For each emotion no threshold of the grid has a better scikit-learn F1, averaged over the configurations."""
    random = np.random.default_rng(seed)
    truth = (random.random((12, 2)) < [0.2, 0.6]).astype(np.int64)
    probabilities = GRID[(40 * truth + 59 * random.random((2, 12, 2))).astype(int)]  # some stand on a threshold
    chosen = tune_thresholds(truth, probabilities)
    for c in range(2):
        means = np.array(
            [
                np.mean(
                    [
                        f1_score(truth[:, c], (one[:, c] > threshold).astype(int), zero_division=0)
                        for one in probabilities
                    ]
                )
                for threshold in GRID
            ]
        )
        best = GRID[means > means.max() - 1e-12]
        assert chosen[c] in best
        assert abs(chosen[c] - 0.5) <= np.abs(best - 0.5).min() + 1e-9  # of equally good ones the nearest to 0.5


def test_an_emotion_that_is_never_there_gets_a_half() -> None:
    """Where no threshold is better than another, it is 0.5."""
    assert tune_thresholds(np.zeros((5, 1), dtype=np.int64), np.full((2, 5, 1), 0.3)).tolist() == [0.5]


def test_the_grid_is_hundredths() -> None:
    """0.01 … 0.99."""
    np.testing.assert_allclose(GRID, np.arange(1, 100) / 100)
