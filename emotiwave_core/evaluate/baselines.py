"""What guesses reach that ignore the input: a score must be above them before it says anything."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotiwave_core.evaluate.metrics import Decisions, mean_of_known, one_hot

Array = NDArray[np.float64]


def constant_baselines(truth: Decisions, classes: tuple[str, ...]) -> dict[str, Any]:
    """For each metric the best constant guess on these samples; truth is [N] classes or [N, C] of 0 and 1.

    The guesses are the C classes, or all 2^C sets of emotions. Each metric has a best guess of its own, so no single
    guess need reach them all. A guess of one probability has the share of positives as average precision, and one half
    as weighted accuracy. None where the metric is not defined.

    `drawn_macro_f1` is what answers drawn at random by the class frequencies have on average: the F1 of a class with
    the share p is about p, so 1 / C. Of several labels (None) the constant guess is better.
    """
    positives = one_hot(truth, len(classes)).mean(axis=0)  # [C] share of the samples
    found = _multi(positives) if truth.ndim == 2 else _single(positives)
    each = {
        name: {
            "f1": _f1(p),
            "weighted_f1": max(_one_weighted_f1(p), _one_weighted_f1(1.0 - p)),
            "weighted_accuracy": 0.5 if 0.0 < p < 1.0 else None,
            "average_precision": p or None,
        }
        for name, p in zip(classes, positives.tolist(), strict=True)
    }
    precision = mean_of_known(entry["average_precision"] for entry in each.values())
    accuracy = mean_of_known(entry["weighted_accuracy"] for entry in each.values())
    drawn = None if truth.ndim == 2 else 1.0 / len(classes)
    return {
        **found,
        "drawn_macro_f1": drawn,
        "weighted_accuracy": accuracy,
        "average_precision": precision,
        "classes": each,
    }


def _single(positives: Array) -> dict[str, float]:
    """The most frequent class is the best guess by every metric."""
    p = float(positives.max())
    return {
        "macro_f1": _f1(p) / len(positives),
        "micro_f1": p,
        "weighted_f1": _one_weighted_f1(p),
        "accuracy": p,
    }


def _multi(positives: Array) -> dict[str, float]:
    """Each emotion by itself, but for micro-F1: there the best set of k emotions is the k most frequent ones."""
    hits = np.sort(positives)[::-1].cumsum()  # [C] of 1, 2, … emotions, for one sample
    micro = 2.0 * hits / (np.arange(1, len(positives) + 1) + positives.sum())
    return {
        "macro_f1": float(np.mean([_f1(p) for p in positives])),
        "micro_f1": float(micro.max()),
        "weighted_f1": float(np.mean([max(_one_weighted_f1(p), _one_weighted_f1(1.0 - p)) for p in positives])),
        "accuracy": float(np.maximum(positives, 1.0 - positives).mean()),
    }


def _f1(p: float) -> float:
    """F1 of a class with the share p, where every sample is said to be of it: precision p, recall 1."""
    return float(2.0 * p / (1.0 + p))


def _one_weighted_f1(p: float) -> float:
    """Weighted F1 of the same guess: the other classes have an F1 of 0."""
    return p * _f1(p)
