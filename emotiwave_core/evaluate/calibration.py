"""Calibration: whether what is said with 80 % is right in 80 % of all cases."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotiwave_core.evaluate.metrics import Decisions

BINS = 15


def calibration(truth: Decisions, decided: Decisions, probabilities: NDArray[np.float64]) -> dict[str, Any]:
    """The expected calibration error and its bins; probabilities [N, C].

    Single-label (truth and decided [N]): the probability of the decided class against its being right (Guo et al.
    2017). Multi-label (truth [N, C]): the probability of each emotion against its presence, all emotions pooled;
    thresholds play no part.

    `ece` is the mean over all N (or N · C) answers of |frequency - confidence| of their bin. The 15 bins are of equal
    width, (0, 1/15] to (14/15, 1], an answer of 0 in the first; an empty one is not listed. `confidence` is the mean
    probability in a bin, `frequency` the share that was true, `count` the number of answers.
    """
    if truth.ndim == 2:
        said, true = probabilities.ravel(), truth.ravel()
    else:
        said, true = np.take_along_axis(probabilities, decided[:, None], axis=1)[:, 0], truth == decided
    edges = np.linspace(0.0, 1.0, BINS + 1)
    places = np.searchsorted(edges[1:-1], said, side="left")
    counts = np.bincount(places, minlength=BINS)
    sizes = np.maximum(counts, 1)
    confidence = np.bincount(places, weights=said, minlength=BINS) / sizes
    frequency = np.bincount(places, weights=true, minlength=BINS) / sizes
    bins = [
        {"confidence": float(confidence[b]), "frequency": float(frequency[b]), "count": int(counts[b])}
        for b in np.flatnonzero(counts)
    ]
    return {"ece": float(np.average(np.abs(frequency - confidence), weights=counts)), "bins": bins}
