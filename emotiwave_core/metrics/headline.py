"""Headlines: the one score that a run is judged by, and that chooses its best epoch."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Headline(ABC):
    """A score that is the mean over the classes or targets, and that can be resampled: it is made of sums over samples.

    Macro-F1 of classes, the concordance correlation of numbers. A guess without the input has 0, or near it.
    """

    key: ClassVar[str]  # in the files of a run, as `macro_f1`, `mean_macro_f1`, `macro_f1_interval`
    name: ClassVar[str]  # in a sentence
    title: ClassVar[str]  # where one begins
    beside: ClassVar[str]  # the key of the metric that tables print beside it
    beside_name: ClassVar[str]

    @abstractmethod
    def terms(self, truth: NDArray[Any], decided: NDArray[Any], outputs: int) -> Array:
        """The S terms of each sample and output whose sums the score is made of, [N, S, C].

        truth and decided are as the objective has them, of C outputs: classes or targets.
        """

    @abstractmethod
    def of_sums(self, sums: Array) -> Array:
        """The score of each output from the sums of its terms, [..., S, C] -> [..., C]; 0 where it is not defined."""

    def overall(self, truth: NDArray[Any], decided: NDArray[Any], outputs: int) -> float:
        """The score of N samples: the mean of the C outputs."""
        return float(self.of_sums(self.terms(truth, decided, outputs).sum(axis=0)).mean())


def headline_of(objective: str) -> Headline:
    """The headline of an objective by its kind: "single", "multi" or "regression"."""
    from emotiwave_core.metrics.ccc import CCC
    from emotiwave_core.metrics.macro_f1 import MACRO_F1

    return CCC if objective == "regression" else MACRO_F1
