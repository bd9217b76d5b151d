"""The dropout policy `scheduled` hands samples to another policy with a probability that rises over training."""

from typing import Any

import pytest
import torch
from policy_draws import ALL, Kept, by_coins, drawn, expect_counts, masks_of, mixture
from torch import Tensor

from emotiwave_core.errors import SettingsError
from emotiwave_core.interfaces import DropoutPolicy, Tensors
from emotiwave_core.layers.masking import present_in
from emotiwave_dropout.bernoulli import Bernoulli
from emotiwave_dropout.frames import Frames
from emotiwave_dropout.scheduled import Scheduled


class Recorder(DropoutPolicy):
    """Keeps what it was told."""

    def forward(self, masks: Tensors, progress: Tensor) -> Tensors:
        """Everything goes."""
        self.progress = progress
        return {name: torch.zeros_like(mask) for name, mask in masks.items()}

    def observe(self, present: Tensor, loss: Tensor) -> None:
        """Keep the observation."""
        self.observed = (present, loss)


@pytest.mark.short_rows(5)
@pytest.mark.parametrize("present", [ALL, (True, False, True)])
@pytest.mark.parametrize(
    ("progress", "handed"), [(0.0, 0.0), (0.2, 0.0), (0.25, 0.1), (0.45, 0.5), (0.6, 0.8), (0.7, 1.0), (1.0, 1.0)]
)
def test_the_probability_rises_from_start_to_end(progress: float, handed: float, present: Kept) -> None:
    """A sample is handed over with the probability (progress - start) / (end - start), kept within 0 and 1."""
    counts = drawn(Scheduled(policy=Bernoulli(p=0.6), start=0.2, end=0.7), present, progress)
    expect_counts(counts, mixture((handed, by_coins(present, 0.6)), (1.0 - handed, {present: 1.0})))


def test_a_sample_is_handed_over_as_a_whole() -> None:
    """A sample loses what the other policy takes of it: all modalities or none come from there."""
    torch.manual_seed(0)
    masks = masks_of(torch.ones(1000, 3, dtype=torch.bool))
    after = present_in(Scheduled(policy=Recorder())(masks, torch.tensor(0.25)))
    assert set(after.sum(1).tolist()) == {0, 3}


def test_steps_are_ramped_too() -> None:
    """A policy that takes steps takes them from the samples that are handed over, and the others keep all."""
    torch.manual_seed(0)
    masks = {"a": torch.ones(4000, 50, dtype=torch.bool)}
    lost = (~Scheduled(policy=Frames(p=0.4))(masks, torch.tensor(0.1))["a"]).sum(1)
    assert (lost > 0).float().mean() == pytest.approx(0.2, abs=0.03)
    assert lost[lost > 0].float().mean() == pytest.approx(20.0, abs=0.7)


def test_the_other_policy_is_told_what_happens() -> None:
    """Progress, what is observed and eval() reach the other policy."""
    inner = Recorder()
    policy = Scheduled(policy=inner)
    present, loss, progress = torch.ones(2, 3, dtype=torch.bool), torch.rand(2), torch.tensor(0.3)
    policy(masks_of(present), progress)
    policy.observe(present, loss)
    assert inner.progress is progress
    assert inner.observed == (present, loss)
    assert not policy.eval().policy.training


@pytest.mark.parametrize("options", [{"start": -0.1}, {"end": 1.1}, {"start": 0.5}, {"start": float("nan")}])
def test_bad_ends_are_refused(options: dict[str, Any]) -> None:
    """The ramp must lie inside training and rise."""
    with pytest.raises(SettingsError, match="start and end of scheduled"):
        Scheduled(**options)
