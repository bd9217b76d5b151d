"""Samples worth a look: the most confident ones, right and wrong, and those that a missing modality changes most.

Of numbers: those that are predicted best, and worst.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from emotiwave_core.explain.attribution import Explanation
from emotiwave_core.explain.coalitions import Array
from emotiwave_core.modalities import configurations

OF_EACH_KIND = 3


class Choice(NamedTuple):
    """A sample worth a look."""

    number: int  # of the sample in the fold
    why: str  # "right" | "wrong" | "changed"
    changed_by: str | None = None


def choose(explanation: Explanation) -> list[Choice]:
    """Up to three samples each: most confidently right, most confidently wrong, most changed by a missing modality.

    Right and wrong are judged by the class that is explained, where it was decided for; its probability is the
    confidence. A sample is changed by the modality without which its probabilities move most (total variation; of
    several labels the largest change), if something is left without it.

    Of numbers right are those closest to the truth and wrong those furthest from it, in deviations of the target.
    """
    if explanation.of_numbers:
        error = explanation.of_subject(np.abs(explanation.decided[-1] - explanation.truth) / explanation.unit)
        nearest = _largest(-error, np.ones(len(error), dtype=bool))
        others = ~np.isin(np.arange(len(error)), nearest)
        chosen = [Choice(n, "right") for n in nearest] + [Choice(n, "wrong") for n in _largest(error, others)]
    else:
        confidence = explanation.of_subject(explanation.answers[-1])
        decided = explanation.of_subject(explanation.decided[-1]).astype(bool)
        true = explanation.of_subject(explanation.truth).astype(bool)
        chosen = [Choice(n, "right") for n in _largest(confidence, decided & true)]
        chosen += [Choice(n, "wrong") for n in _largest(confidence, decided & ~true)]
    changes = change_without(explanation)  # [M, N]
    for n in _largest(changes.max(axis=0), changes.max(axis=0) > 0):
        chosen.append(Choice(n, "changed", explanation.modalities[int(changes[:, n].argmax())]))
    return chosen


def change_without(explanation: Explanation) -> Array:
    """Change of the answers about each sample when one modality is taken away, [M, N].

    Total variation; of several labels the largest change, of numbers that in deviations of the target. 0 where it lacks
    the modality or has no other.
    """
    M, subsets = len(explanation.modalities), configurations(explanation.modalities)
    moved = np.zeros((M, len(explanation.subject)))
    if M < 2:
        return moved
    several = explanation.present.sum(axis=1) > 1
    for m, name in enumerate(explanation.modalities):
        rest = subsets.index(tuple(other for other in explanation.modalities if other != name))
        apart = np.abs(explanation.answers[-1] - explanation.answers[rest]) / explanation.unit  # [N, C]
        distance = 0.5 * apart.sum(axis=1) if explanation.kind == "single" else apart.max(axis=1)
        moved[m] = np.where(explanation.present[:, m] & several, distance, 0.0)
    return moved


def _largest(values: Array, allowed: NDArray[np.bool_]) -> list[int]:
    order = np.argsort(-values, kind="stable")
    return [int(n) for n in order if allowed[n]][:OF_EACH_KIND]
