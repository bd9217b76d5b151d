"""The dropout policies draw configurations with exactly the probabilities that they promise."""

from collections import Counter
from typing import Any

import pytest
import torch
from policy_draws import ALL, DRAWS, PRESENT, Kept, by_coins, expect_counts, masks_of
from torch import Tensor

from emotiwave_core.errors import SettingsError
from emotiwave_core.interfaces import DropoutPolicy
from emotiwave_core.layers.masking import present_in
from emotiwave_dropout.bernoulli import Bernoulli
from emotiwave_dropout.none import NoDropout
from emotiwave_dropout.uniform import Uniform


def probabilities(present: Kept, p: float, empty: bool) -> dict[Kept, float]:
    """Of each configuration, by the definition: each present modality is dropped with probability p."""
    rest = by_coins(present, p)
    nothing = p ** sum(present) if empty else 0.0
    return {kept: (1.0 - nothing) * value for kept, value in rest.items()} | ({(False,) * 3: nothing} if empty else {})


def count(rows: Tensor) -> Counter[Kept]:
    """The count of each configuration among rows [B, M]."""
    return Counter(tuple(row) for row in rows.tolist())


@pytest.mark.short_rows(7)
@pytest.mark.parametrize("present", PRESENT)
@pytest.mark.parametrize(
    ("policy", "p", "empty"),
    [
        (Uniform(), 0.5, False),
        (Bernoulli(), 0.3, False),
        (Bernoulli(p=0.9), 0.9, False),
        (Bernoulli(p=0.0), 0.0, False),
        (Bernoulli(p=0.3, allow_empty=True), 0.3, True),
        (Bernoulli(p=0.95, allow_empty=True), 0.95, True),
    ],
    ids=["uniform", "0.3", "0.9", "0.0", "0.3 or empty", "0.95 or empty"],
)
def test_each_sample_draws_by_the_probabilities(policy: DropoutPolicy, p: float, empty: bool, present: Kept) -> None:
    """Whatever a sample has, its configurations come as often as the definition says."""
    torch.manual_seed(0)
    after = policy(masks_of(torch.tensor([present]).repeat(DRAWS, 1)), torch.tensor(0.5))
    expect_counts(count(present_in(after)), probabilities(present, p, empty))


def test_uniform_is_uniform() -> None:
    """Each of the seven configurations of three modalities has the probability 1/7."""
    assert all(value == pytest.approx(1 / 7) for value in probabilities(ALL, 0.5, empty=False).values())


@pytest.mark.short_rows(1)
@pytest.mark.parametrize("empty", [False, True])
def test_a_draw_for_the_batch_is_the_same_for_all_its_samples(empty: bool) -> None:
    """With per="batch" all samples lose the same, by the probabilities, and none is emptied unless allowed."""
    torch.manual_seed(0)
    policy = Bernoulli(p=0.4, per="batch", allow_empty=empty)
    present = torch.tensor([[1, 1, 1], [1, 0, 0], [0, 1, 1], [0, 0, 0]], dtype=torch.bool)
    counts: Counter[Kept] = Counter()
    for _ in range(2000):
        complete, *others = present_in(policy(masks_of(present), torch.tensor(0.5)))
        counts[tuple(complete.tolist())] += 1
        for row, mine in zip(others, present[1:], strict=True):
            shared = mine & complete
            assert torch.equal(row, shared if empty or shared.any() else mine)
    expect_counts(counts, probabilities(ALL, 0.4, empty))


def test_a_batch_draws_among_what_it_has() -> None:
    """With per="batch" a modality that no sample has takes no part in the draw."""
    torch.manual_seed(0)
    policy = Bernoulli(p=0.4, per="batch")
    masks = masks_of(torch.tensor([[True, False, True]]).repeat(3, 1))
    counts = Counter(tuple(present_in(policy(masks, torch.tensor(0.5)))[0].tolist()) for _ in range(2000))
    expect_counts(counts, probabilities((True, False, True), 0.4, empty=False))


def test_what_is_kept_keeps_its_steps() -> None:
    """A modality loses all of its steps or none."""
    torch.manual_seed(0)
    masks = {name: torch.rand(500, 6) < 0.5 for name in "abc"}
    for policy in (Uniform(), Bernoulli(), Bernoulli(per="batch")):
        for name, mask in policy(masks, torch.tensor(0.5)).items():
            kept = mask.any(dim=1)
            assert torch.equal(mask[kept], masks[name][kept])


def test_none_keeps_all() -> None:
    """`none` gives the masks back in training."""
    masks = {name: torch.rand(50, 6) < 0.5 for name in "abc"}
    assert all(torch.equal(mask, masks[name]) for name, mask in NoDropout().train()(masks, torch.tensor(0.0)).items())


@pytest.mark.parametrize("options", [{"p": 1.0}, {"p": -0.1}, {"p": float("nan")}, {"per": "epoch"}])
def test_a_bad_option_is_named(options: dict[str, Any]) -> None:
    """An option out of its range is refused by name."""
    with pytest.raises(SettingsError, match=f"option {next(iter(options))} of bernoulli"):
        Bernoulli(**options)
