"""Values of coalitions of modalities, from the predictions of a model in all configurations."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from emotiwave_core.modalities import configurations

Array = NDArray[np.float64]
Value = Literal["probability", "logit"]  # of classes; of a regression it is the "number" itself
Empty = Literal["prior", "zeros"]


def coalition_numbers(players: int) -> NDArray[np.int64]:
    """Numbers of the coalitions of all configurations, [K]: bit m is set where modality m is in it."""
    return np.array([sum(1 << int(m) for m in subset) for subset in configurations([str(m) for m in range(players)])])


def sample_values(values: Array, empty: Array, present: NDArray[np.bool_]) -> Array:
    """Coalition values of every sample and class: values [K, N, C], empty [C], present [N, M] bool -> [2^M, N, C].

    A coalition is worth what the model says with the modalities that the sample has of it: one that it lacks changes
    nothing, exactly, and a coalition of which it has nothing is worth `empty`.
    """
    N, M = present.shape
    v = np.empty((1 << M, *values.shape[1:]))
    v[0] = empty
    v[coalition_numbers(M)] = values
    has = (present << np.arange(M)).sum(axis=1)  # [N]
    return np.asarray(v[np.arange(1 << M)[:, None] & has, np.arange(N)])


def fold_values(scores: Sequence[float], empty: float) -> Array:
    """Coalition values of a score of a whole fold: one for each of the K configurations, in their order -> [2^M]."""
    v = np.empty(len(scores) + 1)
    v[0] = empty
    v[coalition_numbers(len(v).bit_length() - 1)] = scores
    return v


def log_odds(logits: Array) -> Array:
    """log(p / (1 - p)) of every class of a softmax, [..., C] -> [..., C]: z_c - log Σ_{j ≠ c} exp(z_j).

    From the logits, for p may round to 1. A softmax's own logits are defined only up to a constant, this is not.
    """
    C = logits.shape[-1]
    others = np.where(np.eye(C, dtype=bool), -np.inf, logits[..., None, :])  # [..., C, C]
    return np.asarray(logits - np.logaddexp.reduce(others, axis=-1))
