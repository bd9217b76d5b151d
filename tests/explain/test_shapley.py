"""Shapley values, interactions and cooperation keep their axioms, and agree with slow implementations of their own."""

import math
from itertools import combinations, permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from emotiwave_core.explain.coalitions import (
    coalition_numbers,
    fold_values,
    log_odds,
    sample_values,
)
from emotiwave_core.explain.shapley import cooperation, interaction, players_of, shapley, share
from emotiwave_core.modalities import configurations
from emotiwave_core.objectives import prior_logits

Array = NDArray[np.float64]


def game(seed: int, players: int, *rest: int) -> Array:
    """A random game [2^M, …]."""
    return np.random.default_rng(seed).normal(size=(1 << players, *rest))


games = st.builds(game, st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 3))


def number(coalition: Any) -> int:
    """A set of players as the number of its coalition."""
    return sum(1 << m for m in coalition)


def by_permutations(v: Array) -> Array:
    """What each player adds when it comes, averaged over all orders in which they can come."""
    M = players_of(v)
    total = np.zeros((M, *v.shape[1:]))
    for order in permutations(range(M)):
        for place, m in enumerate(order):
            total[m] += v[number(order[: place + 1])] - v[number(order[:place])]
    return total / math.factorial(M)


def by_sets(v: Array) -> Array:
    """Shapley's sum, with sets: the weight is one over M times the number of coalitions of that size without m."""
    M = players_of(v)
    values = np.zeros((M, *v.shape[1:]))
    for m in range(M):
        others = [n for n in range(M) if n != m]
        for size in range(M):
            for S in combinations(others, size):
                values[m] += (v[number((*S, m))] - v[number(S)]) / (M * math.comb(M - 1, size))
    return values


def dividends(v: Array) -> Array:
    """Harsanyi's dividends, a(S) = Σ_{T ⊆ S} (-1)^{|S| - |T|} v(T)."""
    found = np.zeros_like(v)
    for S in range(len(v)):
        for T in range(len(v)):
            if T & S == T:
                found[S] += (-1) ** (S.bit_count() - T.bit_count()) * v[T]
    return found


def swapped(v: Array, i: int, j: int) -> Array:
    """The game in which two players have changed places."""
    M = players_of(v)
    names = list(range(M))
    names[i], names[j] = j, i
    return np.stack([v[number(names[m] for m in range(M) if S >> m & 1)] for S in range(len(v))])


@settings(deadline=None, max_examples=40)
@given(games)
def test_shapley_values_equal_the_mean_over_permutations_and_a_sum_over_sets(v: Array) -> None:
    """Three ways to the same numbers: weights by size, all orders of the players, sets by size."""
    np.testing.assert_allclose(shapley(v), by_permutations(v), atol=1e-12)
    np.testing.assert_allclose(shapley(v), by_sets(v), atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(games)
def test_shapley_values_share_out_the_dividends(v: Array) -> None:
    """phi_m = Σ_{S ∋ m} a(S) / |S| and I_ij = Σ_{S ∋ i, j} a(S) / (|S| - 1), a being Harsanyi's dividends."""
    M, a = players_of(v), dividends(v)
    for m, phi in enumerate(shapley(v)):
        due = sum(a[S] / S.bit_count() for S in range(1, len(v)) if S >> m & 1)
        np.testing.assert_allclose(phi, due, atol=1e-12)
    found = interaction(v)
    assert len(found) == math.comb(M, 2)
    for pair, (i, j) in zip(found, combinations(range(M), 2), strict=True):
        due = sum(a[S] / (S.bit_count() - 1) for S in range(len(v)) if S >> i & 1 and S >> j & 1)
        np.testing.assert_allclose(pair, due, atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(games)
def test_efficiency(v: Array) -> None:
    """The values of a game sum to what all are worth beyond what none is worth."""
    np.testing.assert_allclose(shapley(v).sum(axis=0), v[-1] - v[0], atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 5))
def test_symmetry(seed: int, players: int) -> None:
    """Two players who add the same to every coalition get the same, and changing places changes values likewise."""
    v = game(seed, players)
    np.testing.assert_allclose(shapley(swapped(v, 0, 1))[[1, 0]], shapley(v)[[0, 1]], atol=1e-12)
    alike = v + swapped(v, 0, 1)
    first, second = shapley(alike)[:2]
    assert first == pytest.approx(second, abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 5), st.data())
def test_a_null_player_gets_exactly_nothing(seed: int, players: int, data: st.DataObject) -> None:
    """A player who changes no coalition has the value 0, not about 0, and interacts with no one."""
    m = data.draw(st.integers(0, players - 1))
    v = game(seed, players, 2)
    v = v[np.arange(len(v)) & ~(1 << m)]
    assert (shapley(v)[m] == 0).all()
    for pair, names in zip(interaction(v), combinations(range(players), 2), strict=True):
        if m in names:
            assert (pair == 0).all()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 5), st.floats(-2, 2))
def test_a_dummy_player_gets_what_he_brings(seed: int, players: int, worth: float) -> None:
    """A player who adds the same to every coalition has that as his value, and interacts with no one."""
    v = game(seed, players)
    alone = np.arange(len(v)) & 1
    v = v[np.arange(len(v)) & ~1] + worth * alone
    assert shapley(v)[0] == pytest.approx(worth, abs=1e-12)
    np.testing.assert_allclose(interaction(v)[: players - 1], 0.0, atol=1e-12)
    np.testing.assert_allclose(cooperation(v)[alone == 1], cooperation(v)[alone == 0], atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 5), st.floats(-2, 2))
def test_linearity(seed: int, players: int, factor: float) -> None:
    """What is said of v + c w is what is said of v, plus c times what is said of w."""
    v, w = game(seed, players), game(seed + 1, players)
    for measure in (shapley, interaction, cooperation):
        np.testing.assert_allclose(measure(v + factor * w), measure(v) + factor * measure(w), atol=1e-12)


def test_games_are_independent_of_each_other() -> None:
    """The last dimensions hold games of their own: each has the values it has alone."""
    v = game(0, 3, 4, 5)
    for measure in (shapley, interaction, cooperation):
        whole = measure(v)
        for n, c in ((0, 0), (3, 1), (2, 4)):
            np.testing.assert_allclose(whole[:, n, c], measure(v[:, n, c]), atol=1e-14)


@settings(deadline=None, max_examples=40)
@given(games)
def test_cooperation_equals_its_sum(v: Array) -> None:
    """v(S) - v(∅) - Σ_{m in S} (v(m) - v(∅)), which is the sum of the dividends of all larger coalitions in S."""
    M, a = players_of(v), dividends(v)
    found = cooperation(v)
    for S in range(len(v)):
        members = [m for m in range(M) if S >> m & 1]
        due = v[S] - v[0] - sum(v[1 << m] - v[0] for m in members)
        np.testing.assert_allclose(found[S], due, atol=1e-12)
        assert len(members) > 1 or (found[S] == 0).all()
        larger = [a[T] for T in range(len(v)) if T & S == T and T.bit_count() > 1]
        np.testing.assert_allclose(found[S], sum(larger, start=0.0 * v[0]), atol=1e-12)


def test_known_games() -> None:
    """Gloves: who has the only left one gets 2/3. Majority of three: a third each. Both of two: interaction 1."""
    left = np.array([0.0, 0, 0, 1, 0, 1, 0, 1])  # player 0 and any other
    np.testing.assert_allclose(shapley(left), [2 / 3, 1 / 6, 1 / 6])
    majority = np.array([float(S.bit_count() >= 2) for S in range(8)])
    np.testing.assert_allclose(shapley(majority), [1 / 3] * 3)
    np.testing.assert_allclose(interaction(majority), [0.0] * 3, atol=1e-15)
    np.testing.assert_allclose(interaction(np.array([0.0, 0, 0, 1])), [1.0])
    np.testing.assert_allclose(interaction(np.array([0.0, 1, 1, 1])), [-1.0])  # either will do: they say the same


@settings(deadline=None, max_examples=40)
@given(games)
def test_shares_are_of_absolute_values(v: Array) -> None:
    """Shares are |phi_m| over their sum: not below 0, summing to 1, and all 0 where every value is."""
    phi = shapley(v)
    found = share(phi)
    for n in range(phi.shape[1]):
        total = sum(abs(one) for one in phi[:, n])
        np.testing.assert_allclose(found[:, n], [abs(one) / total for one in phi[:, n]])
    assert (share(np.zeros((3, 2))) == 0).all()


@pytest.mark.parametrize("length", [0, 1, 3, 6, 7])
def test_a_game_has_a_power_of_two_coalitions(length: int) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match="2, 4, 8"):
        shapley(np.zeros(length))


@pytest.mark.parametrize("players", [1, 2, 3, 4])
def test_coalitions_are_the_configurations(players: int) -> None:
    """The number of a configuration has the bits of its modalities, so that all but the empty coalition are met."""
    names = [f"m{m}" for m in range(players)]
    numbers = coalition_numbers(players).tolist()
    assert numbers == [number(names.index(m) for m in kept) for kept in configurations(names)]
    assert sorted(numbers) == list(range(1, 1 << players))
    scores = [float(one) for one in numbers]
    np.testing.assert_array_equal(fold_values(scores, -1.0), [-1.0, *range(1, 1 << players)])


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_a_sample_plays_with_what_it_has(seed: int, players: int) -> None:
    """A coalition is worth the prediction with those of it that the sample has; one it lacks gets exactly 0."""
    random = np.random.default_rng(seed)
    names = [str(m) for m in range(players)]
    kept = configurations(names)
    values, empty = random.normal(size=(len(kept), 6, 2)), random.normal(size=2)
    present = random.random((6, players)) < 0.6
    v = sample_values(values, empty, present)
    assert v.shape == (1 << players, 6, 2)
    for S in range(1 << players):
        for n in range(6):
            there = tuple(m for m in names if S >> int(m) & 1 and present[n, int(m)])
            np.testing.assert_array_equal(v[S, n], values[kept.index(there), n] if there else empty)
    assert (shapley(v)[~present.T] == 0).all()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(-20, 20), min_size=2, max_size=6))
def test_log_odds_of_a_softmax(logits: list[float]) -> None:
    """log(p / (1 - p)), as a float64 loop finds it from probabilities; a constant added to the logits is nothing."""
    z = np.array(logits)
    whole = sum(math.exp(one) for one in logits)
    due = [math.log(math.exp(one) / (whole - math.exp(one))) for one in logits if whole - math.exp(one) > 1e-3]
    found = [one for one, own in zip(log_odds(z), logits, strict=True) if whole - math.exp(own) > 1e-3]
    np.testing.assert_allclose(found, due, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(log_odds(z + 100.0), log_odds(z), atol=1e-10)


def test_log_odds_far_out_are_numbers() -> None:
    """Where p rounds to 1 or to 0 the log-odds are still exact: the distance to the best of the others."""
    np.testing.assert_allclose(log_odds(np.array([[900.0, 0.0, -900.0]])), [[900.0, -900.0, -1800.0]])
    assert log_odds(np.zeros((7, 5, 2))).shape == (7, 5, 2)


def test_the_prior_is_what_the_loss_leaves_of_the_frequencies() -> None:
    """All of n / N, or n / (N - n); nothing where weights balance the classes; finite where a class has none or all."""
    counts = np.array([0, 3, 9, 12])
    due = [math.log(1 / 12), math.log(3 / 9), math.log(3), math.log(12)]
    np.testing.assert_allclose(prior_logits(counts, 12, True, 1.0), due)
    np.testing.assert_allclose(prior_logits(counts, 12, True, 0.25), np.array(due) / 4)
    np.testing.assert_allclose(prior_logits(counts, 12, True, 0.0), 0.0)
    np.testing.assert_allclose(np.exp(prior_logits(np.array([2, 4, 6]), 12, False, 1.0)), [1 / 6, 1 / 3, 1 / 2])
    np.testing.assert_allclose(prior_logits(np.array([2, 4, 6]), 12, False, 0.0), 0.0)
