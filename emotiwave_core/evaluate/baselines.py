"""Baselines: scores of guesses that ignore the input. A score must be above them before it says anything."""

from emotiwave_core.evaluate.decisions import Decisions
from emotiwave_core.evaluate.metrics import best_guesses
from emotiwave_core.runs.schema import Fraction
from emotiwave_core.runs.scores import Baselines, ClassBaselines


def baselines(truth: Decisions, classes: tuple[str, ...]) -> Baselines:
    """The best constant guess of every metric, and the macro-F1 of answers that are drawn at random.

    truth is [N] classes or [N, C] of 0 and 1. The constant guesses are the C classes, or all 2^C sets of emotions; each
    metric says itself which is the best. Answers drawn by the class frequencies have a macro-F1 of about 1 / C on
    average, because the F1 of a class with the share p is about p. Multi-label the constant guess is better (None).
    """
    best = best_guesses(truth, classes)
    drawn = None if truth.ndim == 2 else Fraction(1.0 / len(classes))
    return Baselines(best.metrics, drawn, classes={name: ClassBaselines(each) for name, each in best.classes.items()})
