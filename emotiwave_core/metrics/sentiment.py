"""Sentiment as classes, as MMSA (Mao et al. 2022, https://github.com/thuiar/MMSA) makes them of numbers.

On the scale of CMU-MOSI and CMU-MOSEI numbers are cut to ±3, or ±2 for five classes, and rounded, halves to the even
neighbour as NumPy rounds; of two classes the border is 0. On that of CH-SIMS the classes have borders of their own.
Comparisons are in float32, as the labels are: 0.1 as a label is not above the border 0.1.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from emotiwave_core.metrics.numbers import Array, PredictedNumbers, SentimentScale

Polarity = Literal["has0", "non0", "sims"]

# The upper borders of all classes but the last, each of which belongs to its class.
SIMS_BORDERS = {2: (0.0,), 3: (-0.1, 0.1), 5: (-0.7, -0.1, 0.1, 0.7)}
CUT = {5: 2.0, 7: 3.0}  # of the numbers on the scale from -3 to 3, by the number of classes


def sentiment_classes(values: Array, scale: SentimentScale | None, classes: int) -> NDArray[np.int64] | None:
    """Numbers [N] as so many classes, [N] from 0; None where MMSA has no such classes on the scale."""
    exact = values.astype(np.float32)
    if scale == "-1..1" and classes in SIMS_BORDERS:
        borders = np.array(SIMS_BORDERS[classes], dtype=np.float32)
        return np.searchsorted(borders, exact, side="left").astype(np.int64)
    if scale == "-3..3" and classes in CUT:
        return (np.round(np.clip(exact, -CUT[classes], CUT[classes])) + CUT[classes]).astype(np.int64)
    return None


def polarities(numbers: PredictedNumbers, kind: Polarity) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Truth and predictions as 0 and 1, [K] each; None where the scale has no polarity of this kind, or K is 0.

    "has0": at least 0 against below it. "non0": above 0 against the rest, without samples whose truth is 0. Both are of
    the scale from -3 to 3. "sims": above 0 against the rest, of the scale of CH-SIMS.
    """
    truth, predicted = numbers.truth, numbers.predicted
    if numbers.scale != ("-1..1" if kind == "sims" else "-3..3"):
        return None
    if kind == "has0":
        return (truth >= 0).astype(np.int64), (predicted >= 0).astype(np.int64)
    used = truth != 0 if kind == "non0" else np.ones(len(truth), dtype=bool)
    return ((truth[used] > 0).astype(np.int64), (predicted[used] > 0).astype(np.int64)) if used.any() else None
