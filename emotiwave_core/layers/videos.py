"""The samples of a batch as sequences, a row a video: for fusions that see the neighbours of a sample."""

from typing import NamedTuple

import torch
from torch import Tensor


class VideoSequences(NamedTuple):
    """The places of B samples in V videos of up to S samples each."""

    rows: Tensor  # [V, S] int64, the sample of the batch that stands there; 0 where masked
    mask: Tensor  # [V, S] bool
    places: Tensor  # [B] int64, of each sample in the flat [V * S]

    def sequences(self, x: Tensor) -> Tensor:
        """x [B, …] of samples -> [V, S, …]; where it is masked, a copy of the first sample, not to be read."""
        return x.index_select(0, self.rows.flatten()).view(*self.rows.shape, *x.shape[1:])

    def steps(self, mask: Tensor) -> Tensor:
        """mask [B, T] of samples -> [V, S * T]: the steps of a video are those of its samples, one after another."""
        return (self.sequences(mask) & self.mask[..., None]).flatten(1)

    def samples_of_steps(self, mask: Tensor) -> Tensor:
        """mask [V, S * T] -> [B, T] of the samples again."""
        return self.samples(mask.view(*self.mask.shape, -1))

    def samples(self, x: Tensor) -> Tensor:
        """x [V, S, …] of sequences -> [B, …], the samples in the order of the batch."""
        return x.flatten(0, 1).index_select(0, self.places)


def video_sequences(videos: Tensor | None, count: int, device: torch.device) -> VideoSequences:
    """The sequences of a batch of `count` samples, on a device.

    videos: [B] int64 on the CPU, the number of each sample's video; a video keeps the order that its samples have in
    the batch. None: each sample is a video of its own.
    """
    if videos is None:
        alone = torch.arange(count, device=device)
        return VideoSequences(alone[:, None], torch.ones_like(alone, dtype=torch.bool)[:, None], alone)
    _, video, sizes = torch.unique(videos, return_inverse=True, return_counts=True)
    order = video.argsort(stable=True)
    longest = int(sizes.max())
    position = torch.arange(count) - (sizes.cumsum(0) - sizes)[video[order]]  # in its video, of each in this order
    places = torch.empty_like(order)
    places[order] = video[order] * longest + position
    rows = torch.zeros(len(sizes) * longest, dtype=torch.int64)
    rows[places] = torch.arange(count)
    mask = torch.arange(longest) < sizes[:, None]
    return VideoSequences(rows.view(-1, longest).to(device), mask.to(device), places.to(device))
