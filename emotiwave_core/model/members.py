"""Members of an ensemble in one model: encoders and fusion several times, each with its own loss, answers averaged.

Deep ensembles (Lakshminarayanan, Pritzel and Blundell 2017) as one checkpoint. Members differ in what they begin with
and in their dropout; batches and lost modalities are the same for all. Their encodings stand side by side along the
width, so that the model around them sees one encoder for each stream and one fusion.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from emotiwave_core.errors import PluginError
from emotiwave_core.interfaces import (
    AnsweringFusion,
    ContextFusion,
    Encoded,
    Encoder,
    Fused,
    Fusion,
    OutputSpace,
    WordEncoder,
)
from emotiwave_core.modalities import by_modality
from emotiwave_core.model.streams import StreamJoin


def side_by_side(members: Sequence[Encoded]) -> Encoded:
    """Encoded of K members -> states [B, T', K D], pooled [B, K D]; the mask is that of each."""
    states, pooled = (torch.cat([getattr(one, name) for one in members], dim=-1) for name in ("states", "pooled"))
    return Encoded(states, pooled, members[0].mask)


def apart(encoded: Encoded, count: int) -> list[Encoded]:
    """The encoding of each of `count` members: `side_by_side`, undone."""
    halves = zip(encoded.states.chunk(count, dim=-1), encoded.pooled.chunk(count, dim=-1), strict=True)
    return [Encoded(states, pooled, encoded.mask) for states, pooled in halves]


def each_apart(encoded: dict[str, Encoded], count: int) -> list[dict[str, Encoded]]:
    """Every modality of each of `count` members."""
    members = {modality: apart(one, count) for modality, one in encoded.items()}
    return [{modality: each[k] for modality, each in members.items()} for k in range(count)]


def ensemble_encoder(members: Sequence[Encoder]) -> Encoder:
    """One encoder of several."""
    words = [one for one in members if isinstance(one, WordEncoder)]
    return WordEncoders(words) if words else Encoders(members)


def ensemble_fusion(
    members: Sequence[Fusion], heads: Sequence[nn.Module], alone: Sequence[nn.ModuleDict], space: OutputSpace
) -> "Fusions":
    """One fusion of several, which have been told the output space where they answer themselves; else heads do.

    heads: of each member, or none; alone: of each member, heads for the modalities that it does not answer alone.
    """
    fusion = (ContextFusions if isinstance(members[0], ContextFusion) else Fusions)(members, heads, alone)
    fusion.answer(space)
    return fusion


class Encoders(Encoder):
    """Encoders of the members for one stream: states [B, T', K D], pooled [B, K D]."""

    def __init__(self, members: Sequence[Encoder]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.out_features = sum(one.out_features for one in members)
        self.is_seen = False  # True once it was seen on a GPU that members leave the same steps

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        """x [B, T, F], mask [B, T] bool -> Encoded.

        PluginError where members leave other steps: then no mask is that of all.
        """
        encoded = [encoder(x, mask) for encoder in self.members]
        masks = [one.mask for one in encoded]
        if not (self.is_seen or torch.compiler.is_exporting()):
            if not all(torch.equal(one, masks[0]) for one in masks[1:]):
                raise PluginError(
                    f"{type(self.members[0]).__name__} leaves other steps of a sequence by other weights, and "
                    "model.members goes with encoders whose mask is a function of the mask they are given: take "
                    "another encoder, or model.members=1."
                )
            self.is_seen = mask.is_cuda  # there each look makes the CPU wait
        return side_by_side(encoded)

    def fit(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Let each member that wants to see the training fold see it."""
        for encoder in self.members:
            cast(Encoder, encoder).fit(batches)

    def attention_over_steps(self, x: Tensor, mask: Tensor) -> Tensor | None:
        """The mean of the members' weights, [B, T]; None where they have none."""
        shares = [cast(Encoder, encoder).attention_over_steps(x, mask) for encoder in self.members]
        known = [share for share in shares if share is not None]
        return torch.stack(known).mean(dim=0) if known else None


class WordEncoders(Encoders, WordEncoder):
    """Encoders of the members for the words of a transcript, whose numbers are the same for all."""

    def tokens(self, words: Sequence[str]) -> Tensor:
        """words -> [W, K] int64, as the first member has them."""
        return cast(WordEncoder, self.members[0]).tokens(words)


class StreamJoins(nn.Module):
    """`StreamJoin` of each member, for a modality of several streams. widths: of the streams of one member."""

    def __init__(self, widths: Sequence[int], count: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(StreamJoin(widths) for _ in range(count))

    def forward(self, streams: Sequence[Encoded]) -> Encoded:
        """S Encoded of the same samples -> Encoded, of each member by itself."""
        each = zip(*(apart(stream, len(self.members)) for stream in streams), strict=True)
        return side_by_side([join(own) for join, own in zip(self.members, each, strict=True)])


def joins_of(widths: Mapping[str, int], count: int) -> nn.ModuleDict:
    """A join for each modality of several streams, from the width of each stream, of all members together."""
    joins: dict[str, nn.Module] = {}
    for modality, streams in by_modality(widths).items():
        own = [widths[stream] // count for stream in streams]
        if len(streams) > 1:
            joins[modality] = StreamJoin(own) if count == 1 else StreamJoins(own, count)
    return nn.ModuleDict(joins)


class Fusions(AnsweringFusion):
    """Fusions of the members, each with a head where it does not answer itself; logits [B, C] are the mean of theirs.

    The mean of log-probabilities, normalised by the softmax, is a logarithmic opinion pool; of several labels it is the
    mean of log-odds, of a regression that of the numbers. In training each member's logits are there for the loss.
    """

    def __init__(self, members: Sequence[Fusion], heads: Sequence[nn.Module], alone: Sequence[nn.ModuleDict]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.out_features = sum(one.out_features for one in members)
        self.heads = nn.ModuleList(heads)
        self.alone = nn.ModuleList(alone)

    def make_heads(self, space: OutputSpace) -> None:
        """No more heads: those of the members are there."""

    def take_prior(self, prior: Tensor) -> None:
        """Pass the prior [C] on to the members."""
        for fusion in self.members:
            if isinstance(fusion, AnsweringFusion):
                fusion.take_prior(prior)

    def forward(self, encoded: dict[str, Encoded], present: Tensor, *videos: Tensor | None) -> Fused:
        """encoded {modality: Encoded}, present [B, M] bool -> Fused."""
        own = each_apart(encoded, len(self.members))
        fused: list[Fused] = [fusion(one, present, *videos) for fusion, one in zip(self.members, own, strict=True)]
        if self.heads:
            fused = [one._replace(logits=head(one.vector)) for head, one in zip(self.heads, fused, strict=True)]
        members = torch.stack([cast(Tensor, one.logits) for one in fused], dim=1)
        weights, loss = (_mean([getattr(one, name) for one in fused]) for name in ("weights", "loss"))
        vector = torch.cat([one.vector for one in fused], dim=-1)
        return Fused(vector, weights, loss, members.mean(dim=1), members if self.training else None)

    def unimodal(self, encoded: dict[str, Encoded], present: Tensor) -> Tensor:
        """Logits [B, K M, C] of each modality alone, one member after the other."""
        own = zip(self.members, self.alone, each_apart(encoded, len(self.members)), strict=True)
        return torch.cat([self._alone(fusion, heads, one, present) for fusion, heads, one in own], dim=1)

    @staticmethod
    def _alone(fusion: nn.Module, heads: nn.Module, encoded: dict[str, Encoded], present: Tensor) -> Tensor:
        found = fusion.unimodal(encoded, present) if isinstance(fusion, AnsweringFusion) else None
        if found is not None:
            return found
        each = cast(nn.ModuleDict, heads)
        return torch.stack([each[m](one.pooled) for m, one in encoded.items()], dim=1)


class ContextFusions(Fusions, ContextFusion):
    """Fusions of the members that see the neighbours of a sample."""

    def __init__(self, members: Sequence[Fusion], heads: Sequence[nn.Module], alone: Sequence[nn.ModuleDict]) -> None:
        super().__init__(members, heads, alone)
        self.neighbours = cast(ContextFusion, members[0]).neighbours


def _mean(tensors: Sequence[Tensor | None]) -> Tensor | None:
    """The mean of those that are there."""
    known = [tensor for tensor in tensors if tensor is not None]
    return torch.stack(known).mean(dim=0) if known else None
