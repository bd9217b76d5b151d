"""Decisions about samples as arrays: one-hot form, thresholds, confusion matrices and collapse."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Decisions = NDArray[np.int64]  # [N] classes, or [N, C] of 0 and 1
GRID = np.linspace(0.01, 0.99, 99)


def one_hot(decisions: Decisions, classes: int) -> Decisions:
    """[N] classes as [N, C] of 0 and 1; an array [N, C] is returned as it is."""
    return decisions if decisions.ndim == 2 else np.eye(classes, dtype=np.int64)[decisions]


class Counts(NamedTuple):
    """Samples of C classes, each against the rest."""

    hits: NDArray[np.int64]  # [C], that have the class and are predicted to
    present: NDArray[np.int64]  # [C], that have the class
    predicted: NDArray[np.int64]  # [C], that are predicted to

    def f1(self) -> NDArray[np.float64]:
        """2 TP / (2 TP + FP + FN) of each class, [C]; 0 where it is neither there nor predicted."""
        return ratio(2.0 * self.hits, self.present + self.predicted)


def count(truth: Decisions, decided: Decisions, classes: int) -> Counts:
    """Counts of decisions [N] or [N, C] beside the truth: scikit-learn checks its input for longer than it counts."""
    truth, decided = one_hot(truth, classes), one_hot(decided, classes)
    return Counts((truth & decided).sum(axis=0), truth.sum(axis=0), decided.sum(axis=0))


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """part / whole [C]; 0 where the whole is 0."""
    ratios: NDArray[np.float64] = np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)
    return ratios


def tune_thresholds(truth: Decisions, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each emotion the threshold whose F1, averaged over the configurations, is best. [N, C], [K, N, C] -> [C].

    The grid is 0.01 … 0.99; of equally good thresholds the one nearest to 0.5 is taken.
    """
    positive = truth.astype(bool)
    scores = np.zeros((len(GRID), truth.shape[1]))
    for number, threshold in enumerate(GRID):
        predicted = probabilities > threshold  # [K, N, C]
        hits = (predicted & positive).sum(axis=1)  # [K, C]
        scores[number] = (2 * hits / np.maximum(predicted.sum(axis=1) + positive.sum(axis=0), 1)).mean(axis=0)
    scores -= 1e-9 * np.abs(GRID - 0.5)[:, None]
    return np.asarray(GRID[scores.argmax(axis=0)])


def confusion(truth: Decisions, decided: Decisions, classes: tuple[str, ...]) -> Any:
    """Single-label: [C, C] counts, a row for each true class. Multi-label: {emotion: [[TN, FP], [FN, TP]]}."""
    if truth.ndim == 1:
        C = len(classes)
        return np.bincount(truth * C + decided, minlength=C * C).reshape(C, C).tolist()
    return {
        name: np.bincount(2 * truth[:, c] + decided[:, c], minlength=4).reshape(2, 2).tolist()
        for c, name in enumerate(classes)
    }


def collapse(decided: Decisions, classes: tuple[str, ...]) -> str | None:
    """A sentence about a model that decides the same for every sample; None where it does not."""
    if len(decided) < 2 or (decided != decided[0]).any():
        return None
    if decided.ndim == 1:
        return f"every sample is predicted '{classes[decided[0]]}'"
    always = [name for name, value in zip(classes, decided[0], strict=True) if value]
    return f"every sample is predicted {', '.join(always)}" if always else "no emotion is ever predicted"


def constant_number(predicted: NDArray[np.float64], targets: tuple[str, ...]) -> str | None:
    """A sentence about a model that predicts the same numbers [N, C] for every sample; None where it does not."""
    size = np.maximum(np.abs(predicted).max(axis=0), 1e-12)
    flat = [c for c in range(len(targets)) if np.ptp(predicted[:, c]) <= 1e-6 * size[c]]
    if len(predicted) < 2 or not flat:
        return None
    return "every sample is predicted " + " and ".join(f"{targets[c]} {predicted[0, c]:.4g}" for c in flat)
