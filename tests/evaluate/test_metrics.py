"""Scores are scikit-learn's, or what the definition gives by hand; beside them the best guess without input."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, average_precision_score, balanced_accuracy_score, f1_score
from sklearn.metrics import classification_report as report_of

from emotiwave_core.data.dataset import load_dataset
from emotiwave_core.data.folds import read_folds
from emotiwave_core.data.prepare.segments import read_samples
from emotiwave_core.evaluate.baselines import baselines
from emotiwave_core.evaluate.scoring import score_configuration
from emotiwave_core.metrics import Outcomes
from emotiwave_core.metrics.average_precision import average_precision
from emotiwave_core.metrics.decisions import GRID, collapse, one_hot, tune_thresholds
from emotiwave_core.metrics.macro_f1 import macro_f1
from emotiwave_core.metrics.micro_f1 import micro_f1
from emotiwave_core.metrics.weighted_accuracy import weighted_accuracy
from emotiwave_core.metrics.weighted_f1 import weighted_f1
from emotiwave_core.runs.schema import converter

CLASSES = ("happy", "sad", "anger", "fear")
seeds = st.integers(0, 2**32 - 1)
some = settings(max_examples=20, deadline=None)
Numbers = NDArray[np.int64]


def score(
    truth: Numbers, decided: Numbers, probabilities: NDArray[np.float64], classes: tuple[str, ...]
) -> dict[str, Any]:
    """One configuration as it stands in scores.json."""
    scores = score_configuration(Outcomes(truth, decided, probabilities, classes), None, 1.0)
    content: dict[str, Any] = converter.unstructure(scores)
    return content


def constant_baselines(truth: Numbers, classes: tuple[str, ...]) -> dict[str, Any]:
    """The baselines as they stand in scores.json."""
    content: dict[str, Any] = converter.unstructure(baselines(truth, classes))
    return content


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


def sure(decided: Numbers, classes: int) -> NDArray[np.float64]:
    """Probabilities that vary from sample to sample, with ties, and agree with decisions for the most part."""
    binary = decided if decided.ndim == 2 else np.eye(classes, dtype=np.int64)[decided]
    return np.round(0.1 + 0.5 * binary + 0.3 * np.random.default_rng(len(decided)).random(binary.shape), 1)


def weighted_by_hand(truth: Numbers, decided: Numbers) -> float:
    """F1 of every class that is there, each weighted by its samples."""
    total = 0.0
    for value in np.unique(truth):
        tp = int(((truth == value) & (decided == value)).sum())
        total += 2 * tp / int((truth == value).sum() + (decided == value).sum()) * int((truth == value).sum())
    return total / len(truth)


def precision_by_hand(truth: Numbers, chances: NDArray[np.float64]) -> float:
    """The sum over falling thresholds of (recall gained) · (precision there)."""
    area, before = 0.0, 0.0
    for threshold in sorted(set(chances.tolist()), reverse=True):
        found = chances >= threshold
        hits = int((truth.astype(bool) & found).sum())
        area += (hits / int(truth.sum()) - before) * hits / int(found.sum())
        before = hits / int(truth.sum())
    return area


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


def check_classes(
    scores: dict[str, Any],
    truth: Numbers,
    found: Numbers,
    probabilities: NDArray[np.float64],
    classes: tuple[str, ...],
) -> None:
    """Every class has the scores that its counts give, and the means are means of them."""
    due = [counted(truth[:, c], found[:, c]) for c in range(len(classes))]
    for c, (name, numbers) in enumerate(zip(classes, due, strict=True)):
        entry = dict(scores["classes"][name])
        assert entry.pop("f1_interval") is None
        assert entry.pop("weighted_f1") == pytest.approx(weighted_by_hand(truth[:, c], found[:, c]))
        precision = entry.pop("average_precision")
        if truth[:, c].any():
            assert precision == pytest.approx(precision_by_hand(truth[:, c], probabilities[:, c]))
            assert precision == pytest.approx(average_precision_score(truth[:, c], probabilities[:, c]))
        else:
            assert precision is None
        assert {key: math.nan if value is None else value for key, value in entry.items()} == pytest.approx(
            numbers, nan_ok=True
        )
    known = [one["average_precision"] for one in scores["classes"].values() if one["average_precision"] is not None]
    assert scores["average_precision"] == (pytest.approx(np.mean(known)) if known else None)
    assert scores["macro_f1"] == pytest.approx(np.mean([numbers["f1"] for numbers in due]))
    weighted = [numbers["weighted_accuracy"] for numbers in due if not math.isnan(numbers["weighted_accuracy"])]
    assert scores["weighted_accuracy"] == (pytest.approx(np.mean(weighted)) if weighted else None)


@given(seeds)
@some
def test_single_label_scores(seed: int) -> None:
    """Per-class scores are those of one class against the rest; the confusion matrix counts pairs (truth, decision)."""
    truth, decided = single(seed)
    probabilities = sure(decided, 4)
    scores = score(truth, decided, probabilities, CLASSES)
    check_classes(scores, np.eye(4, dtype=np.int64)[truth], np.eye(4, dtype=np.int64)[decided], probabilities, CLASSES)
    pairs = [[int(((truth == t) & (decided == d)).sum()) for d in range(4)] for t in range(4)]
    assert scores["confusion"] == pairs
    assert scores["accuracy"] == pytest.approx(np.trace(pairs) / 30)
    report = report_of(truth, decided, labels=range(4), output_dict=True, zero_division=0)
    assert scores["macro_f1"] == pytest.approx(report["macro avg"]["f1-score"])
    assert scores["weighted_f1"] == pytest.approx(report["weighted avg"]["f1-score"])
    assert scores["weighted_f1"] == pytest.approx(weighted_by_hand(truth, decided))
    assert scores["micro_f1"] == pytest.approx(scores["accuracy"])


@pytest.mark.parametrize("classes", [CLASSES, CLASSES[:2], CLASSES[:1]], ids=len)
@given(seed=seeds)
@some
def test_multi_label_scores(classes: tuple[str, ...], seed: int) -> None:
    """Each emotion, be it the only one, is scored as present against absent; macro-F1 is of the positive classes."""
    truth, decided = multi(seed, len(classes))
    probabilities = sure(decided, len(classes))
    scores = score(truth, decided, probabilities, classes)
    check_classes(scores, truth, decided, probabilities, classes)
    for c, name in enumerate(classes):
        there, found = truth[:, c].astype(bool), decided[:, c].astype(bool)
        due = [[(~there & ~found).sum(), (~there & found).sum()], [(there & ~found).sum(), (there & found).sum()]]
        assert scores["confusion"][name] == due
    assert scores["accuracy"] == pytest.approx((truth == decided).mean())
    positive = [f1_score(truth[:, c], decided[:, c], zero_division=0) for c in range(len(classes))]
    assert macro_f1(truth, decided, len(classes)) == pytest.approx(np.mean(positive))
    assert scores["micro_f1"] == pytest.approx(f1_score(truth.ravel(), decided.ravel(), zero_division=0))
    each = [f1_score(truth[:, c], decided[:, c], average="weighted", zero_division=0) for c in range(len(classes))]
    assert scores["weighted_f1"] == pytest.approx(np.mean(each))


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


def test_nothing_to_score_is_none_and_no_number() -> None:
    """Without a positive there is no average precision, and F1 of nothing found among nothing is 0: never a NaN."""
    nowhere, found = np.zeros((5, 1), dtype=np.int64), np.ones((5, 1), dtype=np.int64)
    assert average_precision(nowhere[:, 0], np.linspace(0, 1, 5)) is None
    assert average_precision(found[:, 0], np.linspace(0, 1, 5)) == 1.0
    assert average_precision(np.array([1] * 9 + [0] * 2), np.linspace(1, 0, 11)) == 1.0  # not above by rounding
    assert micro_f1(nowhere, nowhere) == 0.0
    assert weighted_f1(nowhere[:, 0], found[:, 0]) == 0.0
    scores = score(nowhere, nowhere, np.full((5, 1), 0.2), ("fear",))
    assert (scores["average_precision"], scores["weighted_accuracy"]) == (None, None)
    assert (scores["weighted_f1"], scores["micro_f1"], scores["accuracy"]) == (1.0, 0.0, 1.0)


def brute_single(truth: Numbers) -> dict[str, float]:
    """The best of the C guesses by every metric, from scikit-learn."""
    guesses = [np.full(len(truth), c) for c in range(4)]

    def best(average: str) -> float:
        return max(f1_score(truth, one, labels=range(4), average=average, zero_division=0) for one in guesses)

    accuracy = max(accuracy_score(truth, one) for one in guesses)
    return {"macro_f1": best("macro"), "micro_f1": best("micro"), "weighted_f1": best("weighted"), "accuracy": accuracy}


def brute_multi(truth: Numbers) -> dict[str, float]:
    """The best of all 2^C sets of emotions by every metric, from scikit-learn."""
    columns = range(truth.shape[1])
    guesses = [np.tile(one, (len(truth), 1)) for one in itertools.product([0, 1], repeat=truth.shape[1])]

    def weighted(one: Numbers) -> Any:
        return np.mean([f1_score(truth[:, c], one[:, c], average="weighted", zero_division=0) for c in columns])

    return {
        "macro_f1": max(f1_score(truth, one, average="macro", zero_division=0) for one in guesses),
        "micro_f1": max(f1_score(truth, one, average="micro", zero_division=0) for one in guesses),
        "weighted_f1": max(weighted(one) for one in guesses),
        "accuracy": max((truth == one).mean() for one in guesses),
    }


@pytest.mark.short_rows(1)
@pytest.mark.parametrize("kind", ["single", "multi"])
@given(seed=seeds)
@settings(max_examples=10, deadline=None)
def test_no_constant_guess_is_better_and_one_is_as_good(kind: str, seed: int) -> None:
    """Each score of the best constant guess is the maximum over every guess there is, one scored after the other."""
    truth = single(seed)[0] if kind == "single" else multi(seed)[0]
    found = constant_baselines(truth, CLASSES)
    due = brute_single(truth) if kind == "single" else brute_multi(truth)
    assert {key: found[key] for key in due} == pytest.approx(due)
    binary = truth if kind == "multi" else np.eye(4, dtype=np.int64)[truth]
    for c, name in enumerate(CLASSES):
        both = [np.full(len(truth), value) for value in (0, 1)]
        f1 = [f1_score(binary[:, c], one, zero_division=0) for one in both]
        weighted = [f1_score(binary[:, c], one, average="weighted", zero_division=0) for one in both]
        known = 0 < binary[:, c].sum() < len(truth)
        entry = found["classes"][name]
        assert (entry["f1"], entry["weighted_f1"]) == pytest.approx((max(f1), max(weighted)))
        if known:
            balanced = max(balanced_accuracy_score(binary[:, c], one) for one in both)
            assert entry["weighted_accuracy"] == pytest.approx(balanced)
        if binary[:, c].any():
            flat = average_precision_score(binary[:, c], np.full(len(truth), 0.3))
            assert entry["average_precision"] == pytest.approx(flat)
        assert (entry["weighted_accuracy"] is None) == (not known)
        assert (entry["average_precision"] is None) == (not binary[:, c].any())
    for key in ("weighted_accuracy", "average_precision"):
        each = [one[key] for one in found["classes"].values() if one[key] is not None]
        assert found[key] == (pytest.approx(np.mean(each)) if each else None)


@given(seeds)
@some
def test_the_best_set_of_emotions_for_micro_f1_is_neither_all_nor_none(seed: int) -> None:
    """With one frequent and several rare emotions, saying the frequent one alone beats saying all of them."""
    random = np.random.default_rng(seed)
    truth = (random.random((400, 4)) < [0.8, 0.05, 0.05, 0.05]).astype(np.int64)
    found = constant_baselines(truth, CLASSES)["micro_f1"]
    only_first = np.tile([1, 0, 0, 0], (400, 1))
    assert found == pytest.approx(micro_f1(truth, only_first))
    assert found > micro_f1(truth, np.ones_like(truth)) + 0.1


@given(seeds)
@settings(max_examples=3, deadline=None)
def test_classes_drawn_by_their_frequency_reach_one_in_c(seed: int) -> None:
    """On average, however unequal they are: more than the best constant guess; of several labels that is better."""
    random = np.random.default_rng(seed)
    truth = random.choice(4, 2000, p=random.dirichlet([5] * 4))
    drawn = np.mean([macro_f1(truth, random.permutation(truth), 4) for _ in range(30)])
    found = constant_baselines(truth, CLASSES)
    assert found["drawn_macro_f1"] == pytest.approx(drawn, abs=0.01)
    assert found["macro_f1"] < drawn
    labels = np.eye(4, dtype=np.int64)[truth]
    several = constant_baselines(labels, CLASSES)
    assert several["drawn_macro_f1"] is None
    assert several["macro_f1"] > macro_f1(labels, random.permutation(labels), 4)


@pytest.mark.full
def test_weighted_f1_of_mosei_is_near_that_of_saying_nothing(real_data: Path) -> None:
    """On CMU-MOSEI's test fold an all-absent guess has a weighted F1 of .86 to .88 on rare emotions, and .68 of all."""
    samples = read_samples(load_dataset(real_data / "mosei"), "segment")
    test = set(read_folds(real_data / "mosei" / "folds.json").test)
    truth = (samples.labels[[video in test for video in samples.videos]] > 0).astype(np.int64)
    names = samples.columns.targets
    nothing = score(truth, np.zeros_like(truth), np.full(truth.shape, 0.1), names)
    assert len(truth) == 4662
    assert nothing["weighted_f1"] == pytest.approx(0.684, abs=5e-4)
    assert nothing["classes"]["fear"]["weighted_f1"] == pytest.approx(0.878, abs=5e-4)
    assert nothing["classes"]["surprise"]["weighted_f1"] == pytest.approx(0.860, abs=5e-4)
    assert (nothing["macro_f1"], nothing["weighted_accuracy"]) == (0.0, 0.5)  # which are not so easily fooled
    best = constant_baselines(truth, names)
    assert best["weighted_f1"] == pytest.approx(0.698, abs=5e-4)
    assert best["macro_f1"] == pytest.approx(0.347, abs=5e-4)
    assert best["classes"]["happy"]["f1"] == pytest.approx(0.699, abs=5e-4)  # by saying happy of every sample


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
    """For each emotion no threshold of the grid has a better F1 by its counts, averaged over the configurations."""
    random = np.random.default_rng(seed)
    truth = (random.random((12, 2)) < [0.2, 0.6]).astype(np.int64)
    probabilities = GRID[(40 * truth + 59 * random.random((2, 12, 2))).astype(int)]  # some stand on a threshold
    chosen = tune_thresholds(truth, probabilities)
    for c in range(2):
        decided = probabilities[:, None, :, c] > GRID[:, None]  # [K, thresholds, N]
        hits = (decided & (truth[:, c] == 1)).sum(axis=2)
        means = (2 * hits / np.maximum(decided.sum(axis=2) + truth[:, c].sum(), 1)).mean(axis=0)
        best = GRID[means > means.max() - 1e-12]
        assert chosen[c] in best
        assert abs(chosen[c] - 0.5) <= np.abs(best - 0.5).min() + 1e-9  # of equally good ones the nearest to 0.5


def test_an_emotion_that_is_never_there_gets_a_half() -> None:
    """Where no threshold is better than another, it is 0.5."""
    assert tune_thresholds(np.zeros((5, 1), dtype=np.int64), np.full((2, 5, 1), 0.3)).tolist() == [0.5]


def test_the_grid_is_hundredths() -> None:
    """0.01 … 0.99."""
    np.testing.assert_allclose(GRID, np.arange(1, 100) / 100)


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 9), st.booleans())
def test_f1_and_accuracy_are_scikit_learn_s_to_the_bit(seed: int, samples: int, classes: int, multi: bool) -> None:
    """Macro, micro and weighted F1 and balanced accuracy, also of classes that are never there or never predicted."""
    draw = np.random.default_rng(seed)
    shape = (samples, classes) if multi else (samples,)
    truth, decided = (draw.integers(0, 2 if multi else classes, shape) for _ in range(2))
    padded = [np.pad(some, ((0, 0), (0, 1))) if multi else some for some in (truth, decided)]
    labels = list(range(classes))
    assert macro_f1(truth, decided, classes) == f1_score(*padded, labels=labels, average="macro", zero_division=0)
    assert micro_f1(truth, decided) == f1_score(*padded, average="micro", zero_division=0)
    one, other = (one_hot(some, classes)[:, 0] for some in (truth, decided))
    assert weighted_f1(one, other) == f1_score(one, other, average="weighted", zero_division=0)
    if 0 < one.sum() < samples:
        assert weighted_accuracy(one, other) == balanced_accuracy_score(one, other)


@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.booleans())
def test_average_precision_is_scikit_learn_s_to_the_bit(seed: int, samples: int, tied: bool) -> None:
    """Summed in the same order, also where samples share a probability."""
    draw = np.random.default_rng(seed)
    truth = (draw.random(samples) < draw.choice([0.05, 0.3, 0.9])).astype(np.int64)
    truth[0] = 1
    chances = np.round(draw.random(samples), 1 if tied else 9)
    assert average_precision(truth, chances) == min(average_precision_score(truth, chances), 1.0)
