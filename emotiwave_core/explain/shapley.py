"""Shapley values and their kin, exact: with few players every coalition is summed.

The values of the coalitions of M players are an array v [2^M, …]: v[S] is the value of the coalition of number S, and
player m is in it where bit m of S is set (v[0] is the empty coalition, v[-1] that of all). The other dimensions may be
those of samples and classes.
"""

from itertools import combinations
from math import factorial

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def shapley(v: Array) -> Array:
    """The Shapley value of every player, v [2^M, …] -> [M, …] (Shapley 1953).

    phi_m = Σ_S |S|! (M - |S| - 1)! / M! · (v(S ∪ m) - v(S)) over the coalitions S without m: the mean of what m adds
    over all orders in which the players can come. The values sum to v(all) - v(∅); a player who never adds anything
    gets exactly 0.
    """
    M = players_of(v)
    weights = np.array([factorial(s) * factorial(M - s - 1) / factorial(M) for s in range(M)])
    values = []
    for m in range(M):
        S = _without(M, 1 << m)
        # Differences before the weighted sum: equal values then cancel exactly.
        values.append(_weigh(weights, S, v[S | 1 << m] - v[S]))
    return np.stack(values)


def interaction(v: Array) -> Array:
    """The Shapley interaction index of every pair, v [2^M, …] -> [pairs, …] (Grabisch and Roubens 1999).

    I_ij = Σ_S |S|! (M - |S| - 2)! / (M - 1)! · (v(S ∪ ij) - v(S ∪ i) - v(S ∪ j) + v(S)) over the coalitions S without
    both: above 0 the two bring more together than each alone, below 0 they say the same. The pairs stand in the order
    of `itertools.combinations`; with one player there are none.
    """
    M = players_of(v)
    weights = np.array([factorial(s) * factorial(M - s - 2) / factorial(M - 1) for s in range(M - 1)])
    values = np.zeros((M * (M - 1) // 2, *v.shape[1:]))
    for pair, (i, j) in enumerate(combinations(range(M), 2)):
        S = _without(M, 1 << i | 1 << j)
        values[pair] = _weigh(weights, S, v[S | 1 << i | 1 << j] - v[S | 1 << i] - (v[S | 1 << j] - v[S]))
    return values


def cooperation(v: Array) -> Array:
    """SHAPE cooperation of every coalition, v [2^M, …] -> [2^M, …] (Hu, Li and Zhou 2022).

    v(S) - v(∅) - Σ_{m in S} (v(m) - v(∅)): what the modalities in S bring together beyond what each brings alone. 0 for
    the empty coalition and for a single player.
    """
    M = players_of(v)
    members = (np.arange(1 << M)[:, None] >> np.arange(M)) & 1  # [2^M, M]
    alone = v[1 << np.arange(M)] - v[0]  # [M, …]
    return np.asarray(v - v[0] - np.tensordot(members.astype(np.float64), alone, axes=1))


def share(phi: Array) -> Array:
    """The MM-SHAP share of every player, phi [M, …] -> [M, …]: |phi_m| / Σ |phi| (Parcalabescu and Frank 2023).

    They sum it over tokens and patches, here a modality is one player. All 0 where every value is.
    """
    size = np.abs(phi)
    total = size.sum(axis=0)
    return np.asarray(size / np.where(total > 0, total, 1.0))


def players_of(v: Array) -> int:
    """Number of players M of coalition values [2^M, …]; ValueError where their length is no power of 2."""
    M = len(v).bit_length() - 1
    if M < 1 or len(v) != 1 << M:
        raise ValueError(f"There are 2, 4, 8, … coalitions, not {len(v)}.")
    return M


def _without(out_of: int, players: int) -> NDArray[np.int64]:
    """The coalitions, of so many players in all, that hold none of those in the coalition `players`."""
    coalitions = np.arange(1 << out_of)
    return np.asarray(coalitions[coalitions & players == 0])


def _weigh(weights: Array, coalitions: NDArray[np.int64], gain: Array) -> Array:
    """Σ weights[|S|] gain[S] over K coalitions, gain [K, …] -> […]."""
    sizes = [int(S).bit_count() for S in coalitions]
    return np.asarray(np.tensordot(weights[sizes], gain, axes=1))
