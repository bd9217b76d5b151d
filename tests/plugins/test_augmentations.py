"""The shipped augmentations do what their equations say."""

from typing import Any

import pytest
import torch
from torch import Tensor

from emotiwave_augmentations.damage import Damage
from emotiwave_augmentations.mixup import Mixup
from emotiwave_augmentations.noise import FeatureNoise
from emotiwave_augmentations.specaugment import SpecAugment
from emotiwave_augmentations.speed import Speed
from emotiwave_augmentations.swap import ModalitySwap
from emotiwave_core.errors import SettingsError
from emotiwave_core.interfaces import Augmentation
from emotiwave_core.testing.augmentation import features_of_samples

pytestmark = pytest.mark.full
MANY = 4000


def many(steps: int = 6, width: int = 5) -> tuple[Tensor, Tensor]:
    """x [4000, steps, width] of standard normal features, all steps set."""
    return torch.randn(MANY, steps, width), torch.ones(MANY, steps, dtype=torch.bool)


def drawn(part: Augmentation, x: Tensor, mask: Tensor, name: str = "a") -> tuple[Tensor, Tensor]:
    """One stream after an augmentation in training."""
    augmented = part.train()({name: x}, {name: mask})
    return augmented.inputs[name], augmented.masks[name]


def test_noise_has_the_share_of_the_deviation() -> None:
    """Its deviation is `share`, or that of the stream or of its modality; it is added, and has no mean."""
    x, mask = many()
    part = FeatureNoise(share=0.1, shares={"audio": 0.4, "audio/clip": 0.0})
    for name, share in (("text", 0.1), ("audio/frames", 0.4), ("audio/clip", 0.0)):
        noise = drawn(part, x, mask, name)[0] - x
        assert float(noise.std()) == pytest.approx(share, rel=0.02)
        assert abs(float(noise.mean())) < 0.01


def test_swap_takes_another_samples_modality() -> None:
    """A share p of the samples has the features of another one, whole; streams of a modality come from the same."""
    own = torch.arange(MANY).float()[:, None, None].expand(MANY, 3, 2)
    mask = torch.ones(MANY, 3, dtype=torch.bool)
    streams = ("text", "audio/clip", "audio/frames")
    augmented = ModalitySwap(p=0.3).train()(dict.fromkeys(streams, own), dict.fromkeys(streams, mask))
    source = {name: x[:, 0, 0] for name, x in augmented.inputs.items()}
    for name, x in augmented.inputs.items():
        assert torch.equal(x, source[name][:, None, None].expand_as(x))
        assert float((source[name] != own[:, 0, 0]).float().mean()) == pytest.approx(0.3, abs=0.03)
    assert torch.equal(source["audio/clip"], source["audio/frames"])
    assert not torch.equal(source["text"], source["audio/clip"])


def test_mixup_mixes_features_as_it_says() -> None:
    """x is λ of its own and 1 - λ of its partner's, λ at least a half; a partner without a step gives its mean, 0."""
    inputs, masks = features_of_samples()
    augmented = Mixup(alpha=1.0).train()(inputs, masks)
    assert augmented.mixture is not None
    partner, share = augmented.mixture
    assert bool((share >= 0.5).all() & (share <= 1.0).all())
    assert float(share.mean()) == pytest.approx(0.75, abs=0.06)  # Beta(1, 1) is uniform
    for name, x in inputs.items():
        other = torch.where(masks[name][partner].unsqueeze(-1), x[partner], 0.0)
        due = share[:, None, None] * x + (1 - share[:, None, None]) * other
        torch.testing.assert_close(augmented.inputs[name], due)
        assert augmented.masks[name] is masks[name]


def test_specaugment_masks_bands_and_stretches() -> None:
    """Each band and stretch is in one piece, a band the same at all steps, and its width uniform up to the widest."""
    x, mask = many(10, 20)
    after, left = drawn(SpecAugment(bands=1, band=0.2, stretches=1, stretch=0.3), x, mask)
    blank = (after == 0).all(dim=1)  # [B, F]
    assert torch.equal(after, torch.where(blank[:, None], 0.0, x))
    for lost, widest in ((blank, 4), (~left, 3)):
        width = lost.sum(dim=1)
        assert torch.bincount(width, minlength=widest + 1).tolist() == pytest.approx(
            [MANY / (widest + 1)] * (widest + 1), rel=0.15
        )
        edges = (lost[:, 1:] != lost[:, :-1]).sum(dim=1) + lost[:, 0].int() + lost[:, -1].int()
        assert bool((edges <= 2).all())


def test_specaugment_counts_the_sample_and_not_the_padding() -> None:
    """A stretch is a share of the steps that the sample has; the only step of one stays."""
    mask = torch.arange(100).expand(MANY, -1) < torch.tensor([1, 10]).repeat(MANY // 2)[:, None]
    _, left = drawn(SpecAugment(bands=0, stretch=0.5), torch.randn(MANY, 100, 2), mask)
    kept = left.sum(dim=1)
    assert bool((kept[::2] == 1).all())
    assert (int(kept[1::2].min()), int(kept[1::2].max())) == (5, 10)


def test_speed_resamples_time() -> None:
    """A line stays a line of slope f; what would lie behind the end is lost; all streams of a sample share f."""
    ramp = torch.arange(12.0)[None, :, None].expand(MANY, -1, 1)
    mask = torch.ones(MANY, 12, dtype=torch.bool)
    augmented = Speed(change=0.3).train()({"a": ramp, "b": ramp}, {"a": mask, "b": mask})
    x, left = augmented.inputs["a"].squeeze(-1), augmented.masks["a"]
    factor = x[:, 1]
    assert (float(factor.min()), float(factor.max())) == pytest.approx((0.7, 1.3), abs=0.01)
    due = factor[:, None] * torch.arange(12.0)
    assert torch.equal(left, due <= 11.0)
    torch.testing.assert_close(x[left], due[left])
    torch.testing.assert_close(augmented.inputs["b"].squeeze(-1), x)


def test_speed_counts_steps_that_are_set() -> None:
    """Holes are passed over: what stands in them is never read, and the first step stays."""
    mask = torch.tensor([[False, True, False, True, True, False, True]]).expand(MANY, -1)
    x = torch.where(mask, mask.cumsum(1) - 1.0, float("nan")).unsqueeze(-1)
    after, left = drawn(Speed(change=0.5), x, mask)
    rank = (mask.cumsum(1) - 1).float()
    factor = after[:, 3, 0]
    torch.testing.assert_close(after.squeeze(-1)[left], (rank * factor[:, None])[left])
    assert bool(left[:, 1].all())


ALWAYS = 1 - 1e-9
TENTHS = [0.05, *[0.1] * 8, 0.15]  # how often round(10 r), at most 9, is 0, 1 … 9 for r uniform from 0 to 1


def ramp(streams: tuple[str, ...] = ("a",), steps: int = 10) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The number of each step as its one feature, all set."""
    x = torch.arange(float(steps))[None, :, None].expand(MANY, -1, 1)
    return dict.fromkeys(streams, x), dict.fromkeys(streams, torch.ones(MANY, steps, dtype=torch.bool))


def shares(count: Tensor, most: int = 10) -> list[float]:
    """How often each of 0 … most - 1 is counted."""
    return (torch.bincount(count, minlength=most) / len(count)).tolist()


def test_damaged_noise_has_its_own_strength_in_each_sample() -> None:
    """Its deviation is uniform from 0 to `deviations` over the samples, one for all steps and features of a sample."""
    x, mask = many(50, 40)
    after, left = drawn(Damage(p=ALWAYS, kinds=["noise"], deviations=3.0), x, mask)
    assert left is mask
    strength = (after - x).flatten(1).std(dim=1)
    quartiles = strength.quantile(torch.tensor([0.25, 0.5, 0.75])).tolist()
    assert quartiles == pytest.approx([0.75, 1.5, 2.25], abs=0.1)
    first, second = (after - x).flatten(1).chunk(2, dim=1)
    torch.testing.assert_close(first.std(dim=1), second.std(dim=1), rtol=0.2, atol=0.0)


def test_damaged_blocks_are_one_stretch_anywhere() -> None:
    """One stretch of round(r n) steps is lost, never all, wherever it fits alike; features stay as they are."""
    inputs, masks = ramp()
    after, left = drawn(Damage(p=ALWAYS, kinds=["blocks"]), inputs["a"], masks["a"])
    lost = ~left
    assert torch.equal(after, inputs["a"])
    assert shares(lost.sum(dim=1)) == pytest.approx(TENTHS, abs=0.02)
    edges = (lost[:, 1:] != lost[:, :-1]).sum(dim=1) + lost[:, 0].int() + lost[:, -1].int()
    assert bool((edges <= 2).all())
    half = lost[lost.sum(dim=1) == 5]
    assert shares(half.int().argmax(dim=1), 6) == pytest.approx([1 / 6] * 6, abs=0.06)


def test_damaged_frames_are_lost_one_by_one() -> None:
    """Each step is lost with the sample's own probability, uniform from 0 to 1; one is always left."""
    inputs, masks = ramp()
    after, left = drawn(Damage(p=ALWAYS, kinds=["frames"]), inputs["a"], masks["a"])
    assert torch.equal(after, inputs["a"])
    lost = 10 - left.sum(dim=1)
    assert shares(lost) == pytest.approx([1 / 11] * 9 + [2 / 11], abs=0.02)  # uniform over 0 … 10, and 10 is 9
    assert (~left).float().mean(dim=0).tolist() == pytest.approx([float(lost.float().mean()) / 10] * 10, abs=0.03)


def test_damaged_end_is_frozen() -> None:
    """The last round(r n) steps repeat the one before them, and the first is never one of them."""
    inputs, masks = ramp()
    after, left = drawn(Damage(p=ALWAYS, kinds=["frozen"]), inputs["a"], masks["a"])
    stuck = after[:, -1:]
    assert left is masks["a"]
    assert torch.equal(after, torch.minimum(inputs["a"], stuck))
    assert shares(9 - stuck.flatten().long()) == pytest.approx(TENTHS, abs=0.02)


def test_frozen_damage_passes_over_holes() -> None:
    """A frozen step repeats the last live one that is set; what stands in a hole is never shown."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(MANY, 9, generator=generator) < 0.6
    mask[:, 0] |= ~mask.any(dim=1)
    x = torch.where(mask, torch.arange(9.0), float("nan")).unsqueeze(-1)
    after, _ = drawn(Damage(p=ALWAYS, kinds=["frozen"]), x, mask)
    for number, steps in enumerate(mask):
        own = steps.nonzero().flatten()
        shown = after[number, own, 0].tolist()
        live = max(int(step) for step in shown)
        assert shown == [min(int(step), live) for step in own]
        assert live in own.tolist()


def test_damage_is_drawn_for_each_modality() -> None:
    """A share p of the samples has a modality damaged, in each kind as often; its streams alike, others apart."""
    streams = ("text", "audio/clip", "audio/frames")
    inputs, masks = ramp(streams)
    augmented = Damage(p=0.6, kinds=["frozen", "blocks"]).train()(inputs, masks)
    frozen = {s: (augmented.inputs[s][:, -1, 0] < 9) for s in streams}
    lost = {s: ~augmented.masks[s].all(dim=1) for s in streams}
    for s in streams:
        assert not bool((frozen[s] & lost[s]).any())
        for hit in (frozen[s], lost[s]):
            assert float(hit.float().mean()) == pytest.approx(0.3 * 0.95, abs=0.03)  # a twentieth is too little to see
    assert torch.equal(augmented.inputs["audio/clip"], augmented.inputs["audio/frames"])
    assert torch.equal(augmented.masks["audio/clip"].sum(1), augmented.masks["audio/frames"].sum(1))
    both = (frozen["text"] | lost["text"]) & (frozen["audio/clip"] | lost["audio/clip"])
    assert float(both.float().mean()) == pytest.approx((0.6 * 0.95) ** 2, abs=0.03)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"p": 1.0}, "p"),
        ({"kinds": []}, "kinds"),
        ({"kinds": ["noise", "noise"]}, "kinds"),
        ({"deviations": -1.0}, "deviations"),
    ],
)
def test_impossible_damage_is_refused(options: dict[str, Any], named: str) -> None:
    """An option that cannot be is named."""
    with pytest.raises(SettingsError, match=named):
        Damage(**options)
