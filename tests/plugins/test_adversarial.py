"""The dropout policy `adversarial` draws by the running losses that it observed."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_draws import (
    ADVERSE_LOSSES,
    ALL,
    PRESENT,
    Kept,
    after_losses,
    by_losses,
    drawn,
    expect_counts,
    masks_of,
    subsets,
)
from torch import Tensor

from emotiwave_core.errors import SettingsError
from emotiwave_core.layers.masking import present_in
from emotiwave_dropout.adversarial import Adversarial

UNTRAINED = ((False, True, False), (True, True, True))


@pytest.mark.short_rows(5)
@pytest.mark.parametrize("present", PRESENT)
@pytest.mark.parametrize(("temperature", "floor"), [(0.1, 0.2), (0.3, 0.0)])
def test_draws_follow_the_losses(temperature: float, floor: float, present: Kept) -> None:
    """A sample draws by exp(loss / temperature) among what it can keep, mixed with an even floor."""
    policy = after_losses(Adversarial(temperature=temperature, floor=floor), ADVERSE_LOSSES)
    expect_counts(drawn(policy, present), by_losses(present, ADVERSE_LOSSES, temperature, floor))


def test_the_worst_comes_most_often() -> None:
    """The configuration with the highest loss is drawn most, the one with the lowest least."""
    counts = drawn(after_losses(Adversarial(), ADVERSE_LOSSES), ALL)
    assert max(PRESENT, key=lambda kept: counts[kept]) == max(PRESENT, key=lambda kept: ADVERSE_LOSSES[kept])
    assert min(PRESENT, key=lambda kept: counts[kept]) == min(PRESENT, key=lambda kept: ADVERSE_LOSSES[kept])


@pytest.mark.parametrize("present", PRESENT)
def test_what_was_never_trained_counts_as_the_worst(present: Kept) -> None:
    """A configuration without a loss is drawn as often as the worst of those that have one."""
    known = {kept: loss for kept, loss in ADVERSE_LOSSES.items() if kept not in UNTRAINED}
    policy = after_losses(Adversarial(temperature=0.2, floor=0.1), known)
    expect_counts(drawn(policy, present), by_losses(present, known, 0.2, 0.1))


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_the_running_mean_is_the_weighted_mean_of_the_batches(momentum: float) -> None:
    """After n batches with a configuration, its mean weighs the i-th of them by momentum^(n - i)."""
    generator = np.random.default_rng(0)
    policy = Adversarial(momentum=momentum)
    history: dict[int, list[float]] = {}
    for _ in range(12):
        numbers, losses = generator.integers(0, 8, size=6), generator.random(6)
        present = torch.tensor([[bool(number >> column & 1) for column in range(3)] for number in numbers])
        policy.observe(present, torch.tensor(losses, dtype=torch.float32))
        for number in set(numbers.tolist()):
            history.setdefault(number, []).append(float(np.mean(losses[numbers == number])))
    for number in range(1024):
        means = history.get(number, [])
        decay = [momentum ** (len(means) - 1 - i) for i in range(len(means))]
        assert policy.weights[number].item() == pytest.approx((1.0 - momentum) * sum(decay), rel=1e-5)
        if means:
            mean = policy.sums[number] / policy.weights[number]
            assert mean.item() == pytest.approx(np.average(means, weights=decay), rel=1e-5)


def test_a_batch_moves_only_what_is_in_it() -> None:
    """The mean of a configuration stays where it was when others learn."""
    policy = after_losses(Adversarial(momentum=0.9), ADVERSE_LOSSES)
    before = policy.sums.clone()
    policy.observe(torch.tensor([[True, False, True]]), torch.tensor([9.0]))
    assert (policy.sums != before).nonzero().tolist() == [[0b101]]


def test_samples_without_anything_teach_nothing() -> None:
    """The loss of an empty sample changes no draw, however high it is."""
    policy = after_losses(Adversarial(temperature=0.2, floor=0.0), {**ADVERSE_LOSSES, (False, False, False): 1e6})
    expect_counts(drawn(policy, ALL), by_losses(ALL, ADVERSE_LOSSES, 0.2, 0.0))


def test_a_sample_that_lacks_the_worst_draws_by_its_own() -> None:
    """Losses far below those of configurations that a sample cannot have still draw by their differences."""
    losses = ADVERSE_LOSSES | {(False, False, True): 1e4}
    policy = after_losses(Adversarial(temperature=0.1, floor=0.0), losses)
    present = (True, True, False)
    mine = {kept: losses[kept] for kept in subsets(present)}
    expect_counts(drawn(policy, present), by_losses(present, mine, 0.1, 0.0))


@settings(deadline=None, max_examples=30)
@given(st.integers(-50, 50), st.integers(0, 100))
def test_only_differences_of_losses_count(shift: int, seed: int) -> None:
    """The same number added to all losses changes no draw."""

    def draw(added: int) -> Tensor:  # in float32 these losses and sums are exact
        losses = {kept: number / 64 + added for number, kept in enumerate(PRESENT)}
        policy = after_losses(Adversarial(momentum=0.0), losses)
        torch.manual_seed(seed)
        return present_in(policy(masks_of(torch.tensor(PRESENT)), torch.tensor(0.5)))

    assert torch.equal(draw(0), draw(shift))


def test_a_new_one_goes_on_where_the_old_one_was() -> None:
    """The state_dict carries all that was learnt, whatever the number of modalities."""
    old = after_losses(Adversarial(temperature=0.2, floor=0.1), ADVERSE_LOSSES)
    new = Adversarial(temperature=0.2, floor=0.1)
    new.load_state_dict(old.state_dict())
    expect_counts(drawn(new, ALL), by_losses(ALL, ADVERSE_LOSSES, 0.2, 0.1))


def test_no_graph_is_kept() -> None:
    """Observing leaves no gradient behind that would keep every batch in memory."""
    policy = Adversarial()
    policy.observe(torch.ones(2, 3, dtype=torch.bool), torch.rand(2, requires_grad=True) * 2.0)
    assert not policy.sums.requires_grad


def test_more_than_ten_modalities_are_refused() -> None:
    """Ten modalities work, eleven are told that there is another policy for them."""
    ten, eleven = (torch.ones(2, modalities, dtype=torch.bool) for modalities in (10, 11))
    policy = Adversarial()
    policy.observe(ten, torch.rand(2))
    assert present_in(policy(masks_of(ten), torch.tensor(0.5))).any(1).all()
    with pytest.raises(SettingsError, match="at most 10 modalities, not 11"):
        policy(masks_of(eleven), torch.tensor(0.5))


@pytest.mark.parametrize(
    "options", [{"temperature": 0.0}, {"temperature": float("nan")}, {"momentum": 1.0}, {"floor": -0.1}, {"floor": 1.0}]
)
def test_a_bad_option_is_named(options: dict[str, Any]) -> None:
    """An option out of its range is refused by name."""
    with pytest.raises(SettingsError, match=f"option {next(iter(options))} of adversarial"):
        Adversarial(**options)
