"""Acc-3, Acc-5 and Acc-7: the share of the samples whose class of sentiment is right, as MMSA counts it."""

from typing import ClassVar

from emotiwave_core.metrics.numbers import NumberMetric, PredictedNumbers, register_number
from emotiwave_core.metrics.sentiment import sentiment_classes


class SentimentAccuracy(NumberMetric):
    """The share of right classes of sentiment; None where the scale has no such classes."""

    classes: ClassVar[int]

    def score(self, numbers: PredictedNumbers) -> float | None:
        """The share of right classes."""
        truth = sentiment_classes(numbers.truth, numbers.scale, self.classes)
        predicted = sentiment_classes(numbers.predicted, numbers.scale, self.classes)
        return None if truth is None or predicted is None else float((truth == predicted).mean())


class Accuracy3(SentimentAccuracy):
    """MMSA's `Mult_acc_3`, of CH-SIMS alone."""

    key, classes, position = "acc_3", 3, 10
    title = "Acc-3"
    meaning = "share of right answers out of negative, neutral (above −0.1, up to 0.1) and positive"


class Accuracy5(SentimentAccuracy):
    """MMSA's `Mult_acc_5`."""

    key, classes, position = "acc_5", 5, 11
    title = "Acc-5"
    meaning = (
        "share of right answers out of five: on the scale to ±3 cut to ±2 and rounded, to ±1 with borders of its own"
    )


class Accuracy7(SentimentAccuracy):
    """MMSA's `Mult_acc_7`."""

    key, classes, position = "acc_7", 7, 12
    title = "Acc-7"
    meaning = "share of right answers out of seven: cut to ±3 and rounded"


for _metric in (Accuracy3(), Accuracy5(), Accuracy7()):
    register_number(_metric)
