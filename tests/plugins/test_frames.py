"""The dropout policy `frames` loses single steps, exactly as often as it says, and never the last one."""

from collections import Counter
from itertools import product

import pytest
import torch
from policy_draws import DRAWS, expect_counts, shares
from scipy.stats import binom, chisquare

from emotiwave_core.errors import SettingsError
from emotiwave_dropout.frames import Frames


@pytest.mark.parametrize("p", [0.0, 0.3, 0.8, 0.97])
def test_what_is_kept_has_the_conditional_probability(p: float) -> None:
    """Keeping k of N steps has the probability (1 - p)^k p^(N - k) / (1 - p^N), over all modalities together."""
    torch.manual_seed(0)
    first, second = torch.tensor([[True, False, True]]), torch.tensor([[False, True, True]])
    masks = {"a": first.repeat(DRAWS, 1), "b": second.repeat(DRAWS, 1), "c": torch.zeros(DRAWS, 2, dtype=torch.bool)}
    after = Frames(p=p)(masks, torch.tensor(0.5))
    assert not after["c"].any()
    assert not (after["a"] & ~first).any()
    assert not (after["b"] & ~second).any()
    kept = torch.cat([after["a"][:, first[0]], after["b"][:, second[0]]], dim=1)
    due = {
        steps: (1.0 - p) ** sum(steps) * p ** (4 - sum(steps))
        for steps in product((False, True), repeat=4)
        if any(steps)
    }
    expect_counts(Counter(tuple(row) for row in kept.tolist()), shares(due))


def test_long_sequences_lose_a_binomial_number() -> None:
    """The number of steps kept in each modality of a long sample is binomial."""
    torch.manual_seed(0)
    masks = {"a": torch.ones(8000, 12, dtype=torch.bool), "b": torch.ones(8000, 300, dtype=torch.bool)}
    after = Frames(p=0.3)(masks, torch.tensor(0.5))
    expect_counts(Counter(after["a"].sum(1).tolist()), {k: float(binom.pmf(k, 12, 0.7)) for k in range(13)})
    per_step = after["b"].sum(0)  # each step is kept as often as any other
    chi_square = float(((per_step - 8000 * 0.7) ** 2 / (8000 * 0.7 * 0.3)).sum())
    assert abs(chi_square - 300) < 5 * (2 * 300) ** 0.5


def test_neighbours_are_lost_independently() -> None:
    """The loss of a step says nothing about the next one, in this modality or another."""
    torch.manual_seed(0)
    after = Frames(p=0.4)({name: torch.ones(DRAWS, 10, dtype=torch.bool) for name in "ab"}, torch.tensor(0.5))
    for left, right in ((after["a"][:, 4], after["a"][:, 5]), (after["a"][:, 0], after["b"][:, 0])):
        pairs = Counter(zip(left.tolist(), right.tolist(), strict=True))
        cells = [(False, False), (False, True), (True, False), (True, True)]
        fit = chisquare([pairs[cell] for cell in cells], [DRAWS * q for q in (0.16, 0.24, 0.24, 0.36)])
        assert fit.pvalue > 1e-4


@pytest.mark.parametrize("p", [-0.1, 1.0, float("nan")])
def test_a_bad_option_is_named(p: float) -> None:
    """A probability out of its range is refused by name."""
    with pytest.raises(SettingsError, match="option p of frames"):
        Frames(p=p)
