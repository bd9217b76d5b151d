"""Presence, keeping and drawing of modalities."""

import math
from collections import Counter
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_draws import DRAWS, PRESENT, Kept, expect_counts, shares, subsets

from emotiwave_core.errors import SettingsError
from emotiwave_core.layers.masking import count_subsets, draw_nonempty, draw_subset, keep, present_in, subset_numbers

presence = st.integers(1, 4).flatmap(
    lambda modalities: st.lists(
        st.lists(st.booleans(), min_size=modalities, max_size=modalities), min_size=1, max_size=5
    )
)


def test_present_in_is_a_column_for_each_modality() -> None:
    """A modality is present where its mask has any step, in the order of the dict."""
    masks = {"b": torch.tensor([[True, False], [False, False]]), "a": torch.tensor([[False], [True]])}
    assert present_in(masks).tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize("kept", [[True, False], [[True, False]] * 2])
def test_keep_clears_the_others(kept: list[bool]) -> None:
    """Steps that are not kept are cleared, for all samples or for each, and the masks passed in are left alone."""
    masks = {"a": torch.tensor([[True, False], [True, True]]), "b": torch.ones(2, 3, dtype=torch.bool)}
    after = keep(masks, torch.tensor(kept))
    assert torch.equal(after["a"], masks["a"])
    assert not after["b"].any()
    assert masks["b"].all()


@settings(deadline=None)
@given(presence, st.floats(0.0, 0.999), st.integers(0, 1000))
def test_a_draw_keeps_something_of_what_is_there(rows: list[list[bool]], p: float, seed: int) -> None:
    """A draw keeps only what is present, and something of it wherever there is anything."""
    present = torch.tensor(rows)
    torch.manual_seed(seed)
    kept = draw_nonempty(present, p)
    assert not (kept & ~present).any()
    assert torch.equal(kept.any(dim=1), present.any(dim=1))


@pytest.mark.short_rows(50)
@pytest.mark.parametrize("hundredth", range(100))
def test_the_largest_random_number_empties_nothing(hundredth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even the largest number below 1 that torch can draw keeps the last modality that is left, whatever p."""
    monkeypatch.setattr(torch, "rand", lambda shape, device: torch.full(shape, 1.0 - 2.0**-24, device=device))
    assert draw_nonempty(torch.ones(1, 3, dtype=torch.bool), hundredth / 100.0).any()


@pytest.mark.short_rows(1)
@pytest.mark.parametrize(("p", "empty"), [(0.4, False), (0.9, False), (0.9, True)])
def test_columns_that_lack_take_no_part(p: float, empty: bool) -> None:
    """The draw of many columns, some of which are not there, has the conditional probabilities of those that are."""
    torch.manual_seed(0)
    present = torch.tensor([False, True, False, False, True, True, False, True])
    drawn = draw_nonempty(present.repeat(DRAWS, 1), p, empty)
    assert not (drawn & ~present).any()
    due = {
        kept: (1.0 - p) ** sum(kept) * p ** (4 - sum(kept))
        for kept in product((False, True), repeat=4)
        if empty or any(kept)
    }
    expect_counts(Counter(tuple(row) for row in drawn[:, present].tolist()), shares(due))


def test_the_number_of_a_subset_has_a_bit_for_each_column() -> None:
    """Bit m of the number of a subset says whether the modality of column m is in it."""
    present = torch.tensor([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 1], [1, 1, 1]], dtype=torch.bool)
    assert subset_numbers(present).tolist() == [0, 1, 2, 6, 7]
    assert count_subsets(3) == 8


def test_eleven_modalities_have_too_many_subsets() -> None:
    """Beyond ten modalities there is no table of all subsets."""
    assert count_subsets(10) == 1024
    with pytest.raises(SettingsError, match="at most 10 modalities, not 11"):
        count_subsets(11)


SCORES = [1e5, 0.3, -1.0, 1.2, -math.inf, 0.1, 0.0, -0.5]  # that of the empty subset counts for nothing


def by_scores(present: Kept) -> dict[Kept, float]:
    """The probabilities by the definition; all it has where no subset has any."""
    weights = {kept: math.exp(SCORES[sum(1 << m for m in range(3) if kept[m])]) for kept in subsets(present)}
    return shares(weights) if any(weights.values()) else {present: 1.0}


@pytest.mark.short_rows(3)
@pytest.mark.parametrize("present", PRESENT)
def test_a_subset_is_drawn_by_its_score(present: Kept) -> None:
    """Each sample draws by exp(score) among its own non-empty subsets, and never one with -inf."""
    torch.manual_seed(0)
    drawn = draw_subset(torch.tensor(present).repeat(DRAWS, 1), torch.tensor(SCORES))
    expect_counts(Counter(tuple(row) for row in drawn.tolist()), by_scores(present))


def test_samples_may_have_scores_of_their_own() -> None:
    """Scores [B, 2^M] are read row by row."""
    torch.manual_seed(0)
    scores = torch.tensor([SCORES, [0.0] * 8]).repeat(DRAWS, 1)
    rows = draw_subset(torch.ones(2 * DRAWS, 3, dtype=torch.bool), scores).tolist()
    expect_counts(Counter(map(tuple, rows[::2])), by_scores((True, True, True)))
    expect_counts(Counter(map(tuple, rows[1::2])), dict.fromkeys(PRESENT, 1 / 7))


def test_what_a_sample_cannot_have_does_not_drown_what_it_can() -> None:
    """Scores of other subsets, however much higher, leave the probabilities of a sample's own as they are."""
    torch.manual_seed(0)
    present = (True, True, False)
    scores = torch.tensor([*(score - 1e3 for score in SCORES[:4]), 1e3, 1e3, 1e3, 1e3])
    drawn = draw_subset(torch.tensor(present).repeat(DRAWS, 1), scores)
    expect_counts(Counter(tuple(row) for row in drawn.tolist()), by_scores(present))


@settings(deadline=None)
@given(presence, st.integers(0, 1000))
def test_a_drawn_subset_is_one_of_what_is_there(rows: list[list[bool]], seed: int) -> None:
    """A drawn subset is of what is present and has something wherever there is anything, also if all are forbidden."""
    present = torch.tensor(rows)
    torch.manual_seed(seed)
    scores = torch.where(torch.rand(1 << present.shape[1]) < 0.5, 0.0, -math.inf)
    drawn = draw_subset(present, scores)
    assert not (drawn & ~present).any()
    assert torch.equal(drawn.any(dim=1), present.any(dim=1))
    assert torch.equal(draw_subset(present, torch.full_like(scores, -math.inf)), present)
