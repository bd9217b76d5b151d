"""Streams of a modality, each after its own encoder, as the one modality that policy and fusion see."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from emotiwave_core.interfaces import Encoded, Tensors
from emotiwave_core.layers.sequence import front_order
from emotiwave_core.modalities import by_modality


class StreamJoin(nn.Module):
    """S encoded streams of one modality as one: each is projected to the width of the widest.

    The pooled vectors are summed, which is one linear map of all of them side by side; a stream that a sample lacks
    adds nothing. The states stand one stream after the other, without the padding of the batch between them, so that a
    fusion which counts positions gives a sample the same vector in any batch.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.out_features = joined_width(widths)
        self.projections = nn.ModuleList(nn.Linear(width, self.out_features, bias=False) for width in widths)

    def forward(self, streams: Sequence[Encoded]) -> Encoded:
        """S Encoded of the same samples -> Encoded(states [B, ΣT', D], pooled [B, D], mask [B, ΣT'])."""
        pooled, states = [], []
        for project, stream in zip(self.projections, streams, strict=True):
            has = stream.mask.any(dim=1, keepdim=True)  # [B, 1]
            pooled.append(project(torch.where(has, stream.pooled, 0.0)))  # what is absent is never read
            states.append(project(stream.states))  # zero where masked, and so stay
        mask = torch.cat([stream.mask for stream in streams], dim=1)
        order = front_order(torch.cat([_until_last(stream.mask) for stream in streams], dim=1))
        side_by_side = torch.cat(states, dim=1)
        ordered = side_by_side.gather(1, order.unsqueeze(-1).expand_as(side_by_side))
        return Encoded(ordered, torch.stack(pooled).sum(dim=0), mask.gather(1, order))


def _until_last(mask: Tensor) -> Tensor:
    """The steps up to the last one that is set, [B, T]: all but the padding."""
    return mask.flip(1).cumsum(1).flip(1) > 0


def joined_width(widths: Sequence[int]) -> int:
    """The width of a modality whose streams have these."""
    return max(widths)


def joined_widths(widths: Mapping[str, int]) -> dict[str, int]:
    """The width of each modality, from that of each stream."""
    return {m: joined_width([widths[s] for s in streams]) for m, streams in by_modality(widths).items()}


def join_masks(masks: Tensors) -> Tensors:
    """{stream: [B, T] bool} -> {modality: [B, T]}: the masks of a modality's streams side by side along time."""
    return {
        m: masks[streams[0]] if len(streams) == 1 else torch.cat([masks[s] for s in streams], dim=1)
        for m, streams in by_modality(masks).items()
    }


def split_masks(joined: Tensors, like: Tensors) -> Tensors:
    """The masks of the streams again, {stream: [B, T] bool}, from those of the modalities; steps as in `like`."""
    split: Tensors = {}
    for m, streams in by_modality(like).items():
        pieces = (
            torch.split(joined[m], [like[s].shape[1] for s in streams], dim=1) if len(streams) > 1 else (joined[m],)
        )
        split |= dict(zip(streams, pieces, strict=True))
    return {s: split[s] for s in like}
