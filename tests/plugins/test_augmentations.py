"""The shipped augmentations do what their equations say."""

import pytest
import torch
from torch import Tensor

from emotiwave_augmentations.mixup import Mixup
from emotiwave_augmentations.noise import FeatureNoise
from emotiwave_augmentations.specaugment import SpecAugment
from emotiwave_augmentations.speed import Speed
from emotiwave_augmentations.swap import ModalitySwap
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
