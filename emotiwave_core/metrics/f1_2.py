"""F1 of the polarity, as MMSA computes it: the F1 of both sides, weighted by their samples."""

from typing import ClassVar

from emotiwave_core.metrics.numbers import NumberMetric, PredictedNumbers, register_number
from emotiwave_core.metrics.sentiment import Polarity, polarities
from emotiwave_core.metrics.weighted_f1 import weighted_f1


class PolarityF1(NumberMetric):
    """The weighted F1 of both polarities; None for what is no sentiment on the scale."""

    polarity: ClassVar[Polarity]

    def score(self, numbers: PredictedNumbers) -> float | None:
        """The weighted F1 (scikit-learn `average="weighted"`)."""
        pair = polarities(numbers, self.polarity)
        return None if pair is None else weighted_f1(*pair)


class F1WithZero(PolarityF1):
    """MMSA's `Has0_F1_score`."""

    key, polarity, position = "f1_has0", "has0", 7
    title = "F1 with zero"
    meaning = "F1 of at least 0 and of below 0, weighted by their samples"


class F1WithoutZero(PolarityF1):
    """MMSA's `Non0_F1_score`."""

    key, polarity, position = "f1_non0", "non0", 8
    title = "F1 without zero"
    meaning = "F1 of above 0 and of the rest, weighted by their samples; without those whose truth is 0"


class F1Sims(PolarityF1):
    """MMSA's `F1_score` of CH-SIMS."""

    key, polarity, position = "f1", "sims", 9
    title = "F1"
    meaning = "F1 of above 0 and of the rest, weighted by their samples"


for _metric in (F1WithZero(), F1WithoutZero(), F1Sims()):
    register_number(_metric)
