"""Acc-2: the share of the samples whose polarity is right, as MMSA counts it."""

from typing import ClassVar

from emotiwave_core.metrics.numbers import NumberMetric, PredictedNumbers, register_number
from emotiwave_core.metrics.sentiment import Polarity, polarities


class PolarityAccuracy(NumberMetric):
    """The share of right polarities; None for what is no sentiment on the scale."""

    polarity: ClassVar[Polarity]

    def score(self, numbers: PredictedNumbers) -> float | None:
        """The share of right polarities."""
        pair = polarities(numbers, self.polarity)
        return None if pair is None else float((pair[0] == pair[1]).mean())


class AccuracyWithZero(PolarityAccuracy):
    """MMSA's `Has0_acc_2`."""

    key, polarity, position = "acc_2_has0", "has0", 4
    title = "Acc-2 with zero"
    meaning = "share of the samples that are rightly said to be at least 0, or below it"


class AccuracyWithoutZero(PolarityAccuracy):
    """MMSA's `Non0_acc_2`."""

    key, polarity, position = "acc_2_non0", "non0", 5
    title = "Acc-2 without zero"
    meaning = "share of the samples that are rightly said to be above 0, or not; without those whose truth is 0"


class AccuracySims(PolarityAccuracy):
    """MMSA's `Mult_acc_2` of CH-SIMS."""

    key, polarity, position = "acc_2", "sims", 6
    title = "Acc-2"
    meaning = "share of the samples that are rightly said to be above 0, or not"


for _metric in (AccuracyWithZero(), AccuracyWithoutZero(), AccuracySims()):
    register_number(_metric)
