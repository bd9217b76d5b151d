"""Calibration: a decision with a probability of 80 % should be right in 80 % of all cases; surer ones err less."""

import numpy as np
from numpy.typing import NDArray

from emotiwave_core.metrics.aurc import at_levels, selective_risks
from emotiwave_core.metrics.decisions import Decisions
from emotiwave_core.runs.schema import Fraction
from emotiwave_core.runs.scores import Bin, Calibration

BINS = 15


def calibration(truth: Decisions, decided: Decisions, probabilities: NDArray[np.float64]) -> Calibration:
    """The expected calibration error and its bins; probabilities [N, C].

    Single-label (truth and decided [N]): the probability of the decided class against its being right (Guo et al.
    2017). Multi-label (truth [N, C]): the probability of each emotion against its presence, all emotions pooled;
    thresholds play no part.

    `ece` is the mean over all N (or N · C) predictions of |frequency - confidence| of their bin. The 15 bins are of
    equal width, (0, 1/15] to (14/15, 1], a probability of 0 in the first; an empty one is not listed. `confidence` is
    the mean probability in a bin, `frequency` the share that was true, `count` the number of predictions. `risks`, of
    single-label answers, are the shares of errors among the surest 1/20, 2/20, … of them.
    """
    if truth.ndim == 2:
        stated, true = probabilities.ravel(), truth.ravel()
    else:
        stated, true = np.take_along_axis(probabilities, decided[:, None], axis=1)[:, 0], truth == decided
    edges = np.linspace(0.0, 1.0, BINS + 1)
    bin_of = np.searchsorted(edges[1:-1], stated, side="left")
    counts = np.bincount(bin_of, minlength=BINS)
    sizes = np.maximum(counts, 1)
    confidence = np.bincount(bin_of, weights=stated, minlength=BINS) / sizes
    frequency = np.bincount(bin_of, weights=true, minlength=BINS) / sizes
    bins = [
        Bin(Fraction(float(confidence[b])), Fraction(float(frequency[b])), int(counts[b]))
        for b in np.flatnonzero(counts)
    ]
    risks: list[Fraction] = []
    if truth.ndim == 1:
        curve = selective_risks(stated, np.asarray(truth != decided))
        risks = [Fraction(float(risk)) for risk in curve[at_levels(len(curve))]]
    return Calibration(Fraction(float(np.average(np.abs(frequency - confidence), weights=counts))), bins, risks)
