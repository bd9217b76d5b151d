"""The dropout policy `weighted` draws configurations by their weights, among those that a sample can have."""

from typing import Any

import pytest
import torch
from policy_draws import ALL, PRESENT, Kept, drawn, expect_counts, masks_of, shares, subsets

from emotiwave_core.errors import SettingsError
from emotiwave_core.layers.masking import present_in
from emotiwave_dropout.weighted import Weighted

WEIGHTS = {"a": 3.0, "b+a": 1.0, "c": 0.0, "a+c+b": 4.0, "c+b": 0.25}  # a+c and b have the weight of the others


@pytest.mark.parametrize("present", PRESENT)
def test_each_sample_draws_by_the_weights_of_what_it_can_keep(present: Kept) -> None:
    """The probability of a configuration is its weight over the sum of those that the sample can keep."""
    other = 0.5
    weights: dict[Kept, float] = {
        (True, False, False): 3.0,
        (True, True, False): 1.0,
        (False, False, True): 0.0,
        (True, True, True): 4.0,
        (False, True, True): 0.25,
    }
    due = {kept: weights.get(kept, other) for kept in subsets(present)}
    expect_counts(
        drawn(Weighted(weights=WEIGHTS, other=other), present), shares(due) if any(due.values()) else {present: 1.0}
    )


def test_samples_of_one_batch_draw_for_themselves() -> None:
    """In a batch of different samples each draws among its own configurations."""
    torch.manual_seed(0)
    present = torch.tensor(PRESENT).repeat(3000, 1)
    rows = present_in(Weighted(weights=WEIGHTS, other=0.0)(masks_of(present), torch.tensor(0.5)))
    for number, mine in enumerate(PRESENT):
        kept = rows[number :: len(PRESENT)]
        if mine == ALL:
            singles = (kept.sum(1) == 1).float().mean()
            assert singles == pytest.approx(3.0 / 8.25, abs=0.05)
        if mine == (False, True, False):
            assert torch.equal(kept, present[number :: len(PRESENT)])  # its only configuration has the weight 0


def test_a_specialist_keeps_what_it_is_for() -> None:
    """With one configuration named and others 0, whoever can keeps it, and the rest keep all they have."""
    torch.manual_seed(0)
    present = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 1, 1], [0, 0, 0]], dtype=torch.bool)
    after = present_in(Weighted(weights={"a": 0.1}, other=0.0)(masks_of(present), torch.tensor(0.5)))
    assert after.int().tolist() == [[1, 0, 0], [1, 0, 0], [1, 0, 0], [0, 1, 1], [0, 0, 0]]


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_weights_are_relative(scale: float) -> None:
    """Weights of any size draw as their ratios say."""
    policy = Weighted(weights={"a": 3 * scale, "b": scale}, other=0.0)
    due: dict[Kept, float] = {(True, False, False): 0.75, (False, True, False): 0.25}
    expect_counts(drawn(policy, (True, True, False)), due)


def test_a_modality_that_is_not_there_is_named() -> None:
    """A weight of an unknown modality is refused before the first batch, and at it, with the modalities there are."""
    policy = Weighted(weights={"a": 1.0, "b+d": 1.0})
    with pytest.raises(SettingsError, match=r"the modality 'd'.*Choose from: a, b, c"):
        policy.prepare(("a", "b", "c"))
    with pytest.raises(SettingsError, match=r"the modality 'd'.*Choose from: a, b, c"):
        policy(masks_of(torch.tensor([ALL])), torch.tensor(0.5))


def test_more_than_ten_modalities_are_refused() -> None:
    """Ten modalities work, eleven are told that there is another policy for them."""
    assert present_in(Weighted()(masks_of(torch.ones(2, 10, dtype=torch.bool)), torch.tensor(0.5))).any(1).all()
    with pytest.raises(SettingsError, match="at most 10 modalities, not 11"):
        Weighted()(masks_of(torch.ones(2, 11, dtype=torch.bool)), torch.tensor(0.5))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"other": -1.0}, "option other of weighted"),
        ({"other": float("nan")}, "option other of weighted"),
        ({"weights": {"a": -0.5}}, "option weights of weighted"),
        ({"weights": {"a": float("inf")}}, "option weights of weighted"),
        ({"weights": {"a": 0.0}, "other": 0.0}, "all 0"),
        ({"other": 0.0}, "all 0"),
        ({"weights": {"a+b": 1.0, "b+a": 2.0}}, "'b\\+a' twice"),
    ],
)
def test_bad_weights_are_refused(options: dict[str, Any], word: str) -> None:
    """Weights that are negative, not finite, all 0 or given twice are refused when the policy is made."""
    with pytest.raises(SettingsError, match=word):
        Weighted(**options)
