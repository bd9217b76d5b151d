"""Scores, from scikit-learn. Macro-F1 is over all classes of the data set: one that is never predicted scores 0."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Decisions = NDArray[np.int64]  # [N] classes, or [N, C] of 0 and 1
GRID = np.linspace(0.01, 0.99, 99)


def macro_f1(truth: Decisions, decided: Decisions, classes: int) -> float:
    """The mean of per-class F1 (scikit-learn `average="macro"`).

    Multi-label [N, C]: the mean over the emotions of the F1 of their positive class. An undefined F1 (nothing to find,
    nothing found) counts as 0.
    """
    from sklearn.metrics import f1_score

    if truth.ndim == 2:
        truth, decided = _indicator(truth), _indicator(decided)
    labels = list(range(classes))
    return float(f1_score(truth, decided, labels=labels, average="macro", zero_division=0))


def tune_thresholds(truth: Decisions, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each emotion the threshold whose F1, averaged over the configurations, is best. [N, C], [K, N, C] -> [C].

    The grid is 0.01 … 0.99; of equally good thresholds the one nearest to 0.5 is taken.
    """
    classes = truth.shape[1]
    positive = truth.astype(bool)
    scores = np.zeros((len(GRID), classes))
    for number, threshold in enumerate(GRID):
        found = probabilities > threshold  # [K, N, C]
        hits = (found & positive).sum(axis=1)  # [K, C]
        scores[number] = (2 * hits / np.maximum(found.sum(axis=1) + positive.sum(axis=0), 1)).mean(axis=0)
    scores -= 1e-9 * np.abs(GRID - 0.5)[:, None]
    return np.asarray(GRID[scores.argmax(axis=0)])


def score(
    truth: Decisions, decided: Decisions, probabilities: NDArray[np.float64], classes: tuple[str, ...]
) -> dict[str, Any]:
    """All scores of one configuration, as plain numbers; probabilities [N, C]. None where a score is not defined.

    Per class, against the rest: `f1` of its presence, `weighted_f1` (the mean of the F1 of presence and of absence,
    weighted by how many samples have each: what the CMU-MOSEI literature calls weighted F1), `weighted_accuracy`, and
    `average_precision` (None without positives). Of the whole: `macro_f1` is the mean of `f1`; `weighted_accuracy` and
    `average_precision` are means over the classes that have one; `micro_f1` counts all classes together, which in a
    single-label task is the accuracy; `weighted_f1` is the mean of the classes' where it is multi-label, and the mean
    of `f1` weighted by the samples of each class where it is single-label (scikit-learn `average="weighted"`).
    """
    from sklearn.metrics import precision_recall_fscore_support

    binary, found = one_hot(truth, len(classes)), one_hot(decided, len(classes))
    precision, recall, f1, support = precision_recall_fscore_support(
        _indicator(binary), _indicator(found), labels=list(range(len(classes))), average=None, zero_division=0
    )
    each = {
        name: {
            "precision": float(precision[c]),
            "recall": float(recall[c]),
            "f1": float(f1[c]),
            "support": int(support[c]),
            "predicted": int(found[:, c].sum()),
            "weighted_accuracy": weighted_accuracy(binary[:, c], found[:, c]),
            "weighted_f1": weighted_f1(binary[:, c], found[:, c]),
            "average_precision": average_precision(binary[:, c], probabilities[:, c]),
        }
        for c, name in enumerate(classes)
    }
    emotions = float(np.mean([entry["weighted_f1"] for entry in each.values()]))
    return {
        "macro_f1": macro_f1(truth, decided, len(classes)),
        "micro_f1": micro_f1(truth, decided),
        "weighted_f1": emotions if truth.ndim == 2 else weighted_f1(truth, decided),
        "accuracy": float((truth == decided).mean()),
        "weighted_accuracy": mean_of_known(entry["weighted_accuracy"] for entry in each.values()),
        "average_precision": mean_of_known(entry["average_precision"] for entry in each.values()),
        "classes": each,
        "confusion": confusion(truth, decided, classes),
        "collapsed": collapse(decided, classes),
    }


def micro_f1(truth: Decisions, decided: Decisions) -> float:
    """F1 of all classes counted together (scikit-learn `average="micro"`); 0 where nothing is there and nothing found.

    Single-label: every error is one false positive and one false negative, so this is the accuracy.
    """
    from sklearn.metrics import f1_score

    if truth.ndim == 2:
        truth, decided = _indicator(truth), _indicator(decided)
    return float(f1_score(truth, decided, average="micro", zero_division=0))


def weighted_f1(truth: NDArray[np.int64], decided: NDArray[np.int64]) -> float:
    """The F1 of each class in `truth` [N], weighted by its samples (scikit-learn `average="weighted"`).

    Of one emotion, [N] of 0 and 1, it takes absence for a class as good as presence: on rare emotions a guess that
    says "absent" of every sample scores high.
    """
    from sklearn.metrics import f1_score

    return float(f1_score(truth, decided, average="weighted", zero_division=0))


def average_precision(truth: NDArray[np.int64], probabilities: NDArray[np.float64]) -> float | None:
    """The area under the steps of precision over recall, of one class against the rest; None without positives."""
    from sklearn.metrics import average_precision_score

    if not truth.any():
        return None
    return min(float(average_precision_score(truth, probabilities)), 1.0)  # its sum of steps may round to above 1


def weighted_accuracy(truth: NDArray[np.int64], found: NDArray[np.int64]) -> float | None:
    """(TP · N/P + TN) / 2N of one class against the rest, with N negatives and P positives: the balanced accuracy.

    The measure of the CMU-MOSEI paper (Zadeh et al. 2018). None where there are no positives or no negatives.
    """
    from sklearn.metrics import balanced_accuracy_score

    return float(balanced_accuracy_score(truth, found)) if 0 < truth.sum() < len(truth) else None


def confusion(truth: Decisions, decided: Decisions, classes: tuple[str, ...]) -> Any:
    """Single-label: [C, C] counts, a row for each true class. Multi-label: {emotion: [[TN, FP], [FN, TP]]}."""
    from sklearn.metrics import multilabel_confusion_matrix

    if truth.ndim == 1:  # scikit-learn's warns of a single class
        C = len(classes)
        return np.bincount(truth * C + decided, minlength=C * C).reshape(C, C).tolist()
    matrices = multilabel_confusion_matrix(_indicator(truth), _indicator(decided))
    return {name: matrices[c].tolist() for c, name in enumerate(classes)}


def collapse(decided: Decisions, classes: tuple[str, ...]) -> str | None:
    """In words, where a model says the same of every sample; else None."""
    if len(decided) < 2 or (decided != decided[0]).any():
        return None
    if decided.ndim == 1:
        return f"every sample is predicted '{classes[decided[0]]}'"
    always = [name for name, value in zip(classes, decided[0], strict=True) if value]
    return f"every sample is predicted {', '.join(always)}" if always else "no emotion is ever predicted"


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """The mean of those that are defined; None where none is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def one_hot(decisions: Decisions, classes: int) -> Decisions:
    """[N] classes as [N, C] of 0 and 1; what already is, stays."""
    return decisions if decisions.ndim == 2 else np.eye(classes, dtype=np.int64)[decisions]


def _indicator(decisions: Decisions) -> Decisions:
    """[N, C] and an empty column: scikit-learn would take a single column for the two classes 0 and 1."""
    return np.pad(decisions, ((0, 0), (0, 1)))
