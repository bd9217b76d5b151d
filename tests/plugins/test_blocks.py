"""The dropout policy `blocks` loses one stretch of every modality, anywhere with the same probability."""

from collections import Counter
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_draws import DRAWS, expect_counts

from emotiwave_core.errors import SettingsError
from emotiwave_dropout.blocks import Blocks

HOLES = torch.tensor([False, True, True, False, True, True, True, False, False, True, True, False])  # 7 steps


@pytest.mark.parametrize(("rate", "length"), [(0.1, 1), (0.3, 2), (0.55, 4), (0.8, 6), (0.99, 6)])
def test_every_place_is_equally_likely(rate: float, length: int) -> None:
    """A stretch of 7 steps with holes between them begins at each place where it fits equally often."""
    torch.manual_seed(0)
    after = Blocks(rate=rate)({"a": HOLES.repeat(DRAWS, 1)}, torch.tensor(0.5))["a"]
    assert not (after & ~HOLES).any()
    whole = [True] * 7
    places = [tuple(whole[:start] + [False] * length + whole[start + length :]) for start in range(7 - length + 1)]
    counts = Counter(tuple(row) for row in after[:, HOLES].tolist())
    expect_counts(counts, dict.fromkeys(places, 1.0 / len(places)))


def test_modalities_and_samples_draw_for_themselves() -> None:
    """The start of one modality's loss says nothing about another of the sample or the same of the next sample."""
    torch.manual_seed(0)
    after = Blocks(rate=0.25)({name: torch.ones(DRAWS, 4, dtype=torch.bool) for name in "ab"}, torch.tensor(0.5))
    lost = {name: (~mask).int().argmax(1) for name, mask in after.items()}
    even = dict.fromkeys(product(range(4), repeat=2), 1 / 16)
    for left, right in ((lost["a"], lost["b"]), (lost["a"][::2], lost["a"][1::2])):
        expect_counts(Counter(zip(left.tolist(), right.tolist(), strict=True)), even)


@settings(deadline=None)
@given(
    st.lists(st.lists(st.booleans(), min_size=9, max_size=9), min_size=1, max_size=5),
    st.floats(0.0, 0.999),
    st.integers(0, 100),
)
def test_one_stretch_of_the_right_length_is_lost(rows: list[list[bool]], rate: float, seed: int) -> None:
    """Of n steps round(rate × n) in a row are lost, at most all but one; what is empty stays empty."""
    mask = torch.tensor(rows)
    torch.manual_seed(seed)
    after = Blocks(rate=rate)({"a": mask}, torch.tensor(0.5))["a"]
    assert not (after & ~mask).any()
    for row, left in zip(mask, after, strict=True):
        lost = (~left[row]).nonzero().flatten().tolist()
        steps = int(row.sum())
        due = {max(min(round(about * steps), steps - 1), 0) for about in (rate - 1e-6, rate, rate + 1e-6)}
        assert len(lost) in due  # a half may be rounded either way in float32
        assert not lost or lost == list(range(lost[0], lost[-1] + 1))


@pytest.mark.parametrize("steps", range(1, 12))
def test_the_largest_random_number_is_the_last_place(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even the largest number below 1 that torch can draw gives a stretch of the whole length."""
    monkeypatch.setattr(torch, "rand", lambda shape, device: torch.full(shape, 1.0 - 2.0**-24, device=device))
    after = Blocks(rate=0.3)({"a": torch.ones(1, steps, dtype=torch.bool)}, torch.tensor(0.5))["a"]
    length = min(round(0.3 * steps), steps - 1)
    assert after[0].tolist() == [True] * (steps - length) + [False] * length


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_a_bad_option_is_named(rate: float) -> None:
    """A rate out of its range is refused by name."""
    with pytest.raises(SettingsError, match="option rate of blocks"):
        Blocks(rate=rate)
