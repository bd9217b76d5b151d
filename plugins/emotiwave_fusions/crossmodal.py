"""The fusion `crossmodal`: MulT, each modality attends to the steps of every other one."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from emotiwave_core.config.options import fraction, one_of, positive, whole_heads
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Encoded, Fused, Fusion
from emotiwave_core.layers.attention import Transformer, with_positions
from emotiwave_core.layers.missing import MissingKind, StandIn
from emotiwave_core.layers.sequence import masked_mean

LEAST_OWN = 3  # blocks of self-attention, as in the authors' code


class CrossModal(Fusion):
    """MulT (Tsai et al. 2019, ACL, "Multimodal Transformer for Unaligned Multimodal Language Sequences", section 3).

    Each modality's states [B, T_m, D_m] are projected to a common width W, scaled by sqrt(W), and get sinusoidal
    positions. A target meets every other modality in a crossmodal transformer of its own; the M - 1 results stand side
    by side, are scaled and get positions again, go through a self-attention transformer of three blocks at least, and
    are pooled. What is pooled, v [B, M (M - 1) W], or [B, W] for one modality, passes a residual head:
        vector = v + W_2 relu(W_1 v + b_1) + b_2.
    No weights, no loss.

    The projection is linear (the paper's temporal convolution with a kernel of 1). Pooling is the mean over the steps
    that are set: the paper takes the last step, which may be any moment when steps are lost or cut. Biases of queries,
    keys and values are left out (there they are zero at the start), as is dropout on the weights of the attention. An
    absent source adds nothing to its targets; an absent target's part of v is zero. With `missing = "learned"` an
    absent modality is a sequence of one step, its learned vector.

    width: W, a multiple of heads. heads: of each attention. layers: blocks of each crossmodal transformer. causal: step
    i of a target of T steps reads a source of S steps only up to i + |T - S|, as the authors' code does. dropout: on
    the inputs of the transformers and in the blocks. missing: "zero" or "learned".
    """

    def __init__(
        self,
        in_features: dict[str, int],
        *,
        width: int = 40,
        heads: int = 4,
        layers: int = 2,
        causal: bool = False,
        dropout: float = 0.1,
        missing: MissingKind = "zero",
    ) -> None:
        super().__init__()
        positive("crossmodal", width=width, heads=heads, layers=layers)
        whole_heads("crossmodal", width, heads)
        fraction("crossmodal", dropout=dropout)
        one_of("crossmodal", MissingKind, missing=missing)
        self.missing, self.causal = StandIn(in_features, missing), causal
        wide = width * max(1, len(in_features) - 1)
        self.out_features = wide * len(in_features)
        self.project = nn.ModuleList(nn.Linear(features, width) for features in in_features.values())
        self.crossmodal = nn.ModuleDict(
            {
                f"{source}_to_{target}": Transformer(width, heads, layers, dropout)
                for target in range(len(in_features))
                for source in range(len(in_features))
                if source != target
            }
        )
        own = max(layers, LEAST_OWN)
        self.self_attention = nn.ModuleList(Transformer(wide, heads, own, dropout) for _ in in_features)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Sequential(
            nn.Linear(self.out_features, self.out_features),
            nn.ReLU(),
            nn.Linear(self.out_features, self.out_features),
        )

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        """encoded {modality: Encoded}, present [B, M] bool -> Fused."""
        sequences = self.missing.sequences(encoded, present)
        masks = [mask for _, mask in sequences]
        low_level = [
            self.dropout(with_positions(project(states)))
            for project, (states, _) in zip(self.project, sequences, strict=True)
        ]
        parts = []
        for target, mask in enumerate(masks):
            crossed = [
                self.crossmodal[f"{source}_to_{target}"](
                    low_level[target], low_level[source], self._read(mask, masks[source])
                )
                for source in range(len(masks))
                if source != target
            ]
            joined = torch.cat(crossed, dim=-1) if crossed else low_level[target]
            joined = self.dropout(with_positions(joined))
            parts.append(masked_mean(self.self_attention[target](joined, None, self._read(mask, mask)), mask))
        pooled = torch.cat(parts, dim=-1)
        return Fused(pooled + self.head(pooled))

    def _read(self, target: Tensor, source: Tensor) -> Tensor:
        """The steps of a source that are read, by masks [B, T] and [B, S]: [B, S], or [B, T, S] where it is causal."""
        return causal_mask(target, source) if self.causal else source


def causal_mask(target: Tensor, source: Tensor) -> Tensor:
    """Masks [B, T] and [B, S] -> [B, T, S]: of the steps that are set those with j <= i + |T_b - S_b|.

    T_b and S_b are a sample's own lengths, to its last step that is set: how long others are does not count.
    """
    i, j = (torch.arange(mask.shape[1], device=mask.device) for mask in (target, source))
    steps = [(torch.where(mask, place + 1, 0)).amax(dim=1) for mask, place in ((target, i), (source, j))]
    ahead = (steps[0] - steps[1]).abs()
    return source[:, None] & (j <= i[:, None] + ahead[:, None, None])


@hookimpl
def register_fusions(register: Callable[[str, type[Fusion]], None]) -> None:
    """Offer `crossmodal`."""
    register("crossmodal", CrossModal)
