"""Baselines: scores of guesses that ignore the input. A score must be above them before it says anything."""

import numpy as np
from numpy.typing import NDArray

from emotiwave_core.metrics import best_guesses
from emotiwave_core.metrics.decisions import Decisions
from emotiwave_core.metrics.numbers import PredictedNumbers, registered_numbers, score_numbers, sentiment_scale
from emotiwave_core.objectives.regression import Regression
from emotiwave_core.runs.schema import Fraction
from emotiwave_core.runs.scores import Baselines, ClassBaselines, Metrics, NumberBaselines


def baselines(truth: Decisions, classes: tuple[str, ...]) -> Baselines:
    """The best constant guess of every metric, and the macro-F1 of answers that are drawn at random.

    truth is [N] classes or [N, C] of 0 and 1. The constant guesses are the C classes, or all 2^C sets of emotions; each
    metric says itself which is the best. Answers drawn by the class frequencies have a macro-F1 of about 1 / C on
    average, because the F1 of a class with the share p is about p. Multi-label the constant guess is better (None).
    """
    best = best_guesses(truth, classes)
    drawn = None if truth.ndim == 2 else Fraction(1.0 / len(classes))
    return Baselines(best.metrics, drawn, classes={name: ClassBaselines(each) for name, each in best.classes.items()})


def number_baselines(objective: Regression, truth: NDArray[np.float64]) -> NumberBaselines:
    """The mean and the median of the training fold as the answer for every sample; truth [N, C].

    The median has the smallest absolute error of all numbers where the fold is like the training fold, the mean the
    smallest squared error.
    """
    guesses = {guess: score_numbers(targets).metrics for guess, targets in guessed_numbers(objective, truth).items()}
    best: Metrics = {}
    for metric in registered_numbers():
        values = [value for each in guesses.values() if (value := each[metric.key]) is not None]
        best[metric.key] = (max if metric.higher_is_better else min)(values) if values else None
    return NumberBaselines(best, guesses)


def guessed_numbers(objective: Regression, truth: NDArray[np.float64]) -> dict[str, dict[str, PredictedNumbers]]:
    """The targets of each guess, by its name: one number of the training fold for every sample; truth [N, C]."""
    guesses = {}
    for guess in ("mean", "median"):
        answers = {name: getattr(objective.scale[name], guess) for name in objective.classes}
        guesses[f"training {guess}"] = {
            name: PredictedNumbers(
                truth[:, c], np.full(len(truth), answers[name]), sentiment_scale(name, objective.scale[name])
            )
            for c, name in enumerate(objective.classes)
        }
    return guesses
