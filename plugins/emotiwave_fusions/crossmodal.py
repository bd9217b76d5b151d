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


class CrossModal(Fusion):
    """MulT (Tsai et al. 2019, ACL, "Multimodal Transformer for Unaligned Multimodal Language Sequences", section 3).

    Each modality's states [B, T_m, D_m] are projected to a common width W and get sinusoidal positions. A target meets
    every other modality in a crossmodal transformer of its own; the M - 1 results stand side by side, go through a
    self-attention transformer and are pooled. vector [B, M (M - 1) W], or [B, W] for one modality; no weights, no loss.

    The projection is linear (the paper's temporal convolution with a kernel of 1). Pooling is the mean over the steps
    that are set: the paper takes the last step, which may be any moment when steps are lost or cut. An absent source
    adds nothing to its targets; an absent target's part of the vector is zero. With `missing = "learned"` an absent
    modality is a sequence of one step, its learned vector.

    width: W, a multiple of heads. heads: of each attention. layers: blocks of each transformer. dropout: on the inputs
    and in the blocks. missing: "zero" or "learned".
    """

    def __init__(
        self,
        in_features: dict[str, int],
        *,
        width: int = 40,
        heads: int = 4,
        layers: int = 2,
        dropout: float = 0.1,
        missing: MissingKind = "zero",
    ) -> None:
        super().__init__()
        positive("crossmodal", width=width, heads=heads, layers=layers)
        whole_heads("crossmodal", width, heads)
        fraction("crossmodal", dropout=dropout)
        one_of("crossmodal", MissingKind, missing=missing)
        self.missing = StandIn(in_features, missing)
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
        self.self_attention = nn.ModuleList(Transformer(wide, heads, layers, dropout) for _ in in_features)
        self.dropout = nn.Dropout(dropout)

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
                self.crossmodal[f"{source}_to_{target}"](low_level[target], low_level[source], masks[source])
                for source in range(len(masks))
                if source != target
            ]
            joined = torch.cat(crossed, dim=-1) if crossed else low_level[target]
            parts.append(masked_mean(self.self_attention[target](joined, None, mask), mask))
        return Fused(torch.cat(parts, dim=-1))


@hookimpl
def register_fusions(register: Callable[[str, type[Fusion]], None]) -> None:
    """Offer `crossmodal`."""
    register("crossmodal", CrossModal)
