"""Presence, keeping and drawing of modalities."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emotiwave_core.masking import draw_nonempty, keep, present_in

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
    """What is not kept is cleared, for all samples or for each, and the masks that were given are left alone."""
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


@pytest.mark.parametrize("hundredth", range(100))
def test_the_largest_random_number_empties_nothing(hundredth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even the largest number below 1 that torch can draw keeps the last modality that is left, whatever p."""
    monkeypatch.setattr(torch, "rand", lambda shape, device: torch.full(shape, 1.0 - 2.0**-24, device=device))
    assert draw_nonempty(torch.ones(1, 3, dtype=torch.bool), hundredth / 100.0).any()
