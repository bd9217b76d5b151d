"""The dropout policy `mixed` sends each sample to one of several policies."""

from typing import Any

import pytest
import torch
from policy_draws import ALL, Kept, by_coins, drawn, expect_counts, masks_of, mixture
from torch import Tensor

from emotiwave_core.errors import SettingsError
from emotiwave_core.interfaces import DropoutPolicy
from emotiwave_dropout.adversarial import Adversarial
from emotiwave_dropout.bernoulli import Bernoulli
from emotiwave_dropout.frames import Frames
from emotiwave_dropout.mixed import Mixed
from emotiwave_dropout.none import NoDropout
from emotiwave_dropout.uniform import Uniform
from emotiwave_dropout.weighted import Weighted


@pytest.mark.short_rows(3)
@pytest.mark.parametrize("present", [ALL, (False, True, True)])
@pytest.mark.parametrize("weights", [None, [1.0, 3.0, 0.5], [0.0, 1.0, 1.0], [0.0, 0.0, 7e300]])
def test_each_sample_draws_by_the_mixture(weights: list[float] | None, present: Kept) -> None:
    """The probability of a configuration is the mean of those of the policies, weighted."""
    policies = [Bernoulli(p=0.7), Weighted(weights={"b": 1.0}, other=0.0), Bernoulli(p=0.1)]
    due: list[dict[Kept, float]] = [by_coins(present, 0.7), {(False, True, False): 1.0}, by_coins(present, 0.1)]
    counts = drawn(Mixed(policies=policies, weights=weights), present)
    expect_counts(counts, mixture(*zip(weights or [1.0] * 3, due, strict=True)))


def test_a_sample_is_drawn_by_one_policy() -> None:
    """Each sample loses modalities by one policy or steps by the other, as each alone would take them, never both."""
    torch.manual_seed(0)
    masks = masks_of(torch.ones(4000, 3, dtype=torch.bool))
    masks = {name: mask.repeat(1, 20) for name, mask in masks.items()}
    after = Mixed(policies=[Uniform(), Frames(p=0.5)])(masks, torch.tensor(0.5))
    part = torch.stack([mask.float().mean(1) for mask in after.values()], dim=1)  # [B, M] of the steps are kept
    whole = ((part == 0.0) | (part == 1.0)).all(1)
    broken = ((part > 0.0) & (part < 1.0)).all(1)
    assert (whole | broken).all()
    assert whole.float().mean() == pytest.approx(0.5, abs=0.04)


def test_every_policy_observes() -> None:
    """Observations reach every policy, whichever drew the samples."""
    policies: list[DropoutPolicy] = [Adversarial(), Uniform(), Adversarial()]
    mixed = Mixed(policies=policies, weights=[1.0, 1.0, 0.0])
    mixed.observe(torch.tensor([[True, False]]), torch.tensor([2.0]))
    for policy in (policies[0], policies[2]):
        assert isinstance(policy, Adversarial)
        assert policy.sums[1] == pytest.approx(0.02)


def test_every_policy_sees_the_batch_as_it_came() -> None:
    """The policies see how far training is and what the samples have, not what another took; eval() reaches them."""
    seen = []

    class Watcher(NoDropout):
        """Notes what it is given."""

        def forward(self, masks: dict[str, Tensor], progress: Tensor) -> dict[str, Tensor]:
            seen.append((progress.item(), self.training, masks))
            return masks

    mixed = Mixed(policies=[Weighted(weights={"a": 1.0}, other=0.0), Watcher()], weights=[1.0, 0.0])
    masks = masks_of(torch.tensor([ALL]))
    mixed(masks, torch.tensor(0.25))
    assert seen == [(0.25, True, masks)]
    assert not any(module.training for module in mixed.eval().modules())


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"policies": []}, "option policies of mixed"),
        ({"weights": [1.0]}, "each of 2 policies, not 1"),
        ({"weights": [1.0, -1.0]}, "option weights of mixed"),
        ({"weights": [1.0, float("nan")]}, "option weights of mixed"),
        ({"weights": [0.0, 0.0]}, "option weights of mixed"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], word: str) -> None:
    """No policy, a weight too few, or weights that draw nothing are refused."""
    with pytest.raises(SettingsError, match=word):
        Mixed(**options)
