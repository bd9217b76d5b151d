"""The fusion `bottleneck`: MBT, modalities exchange what they know through a few shared tokens."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from emotiwave_core.config.options import fraction, one_of, positive, whole_heads
from emotiwave_core.errors import SettingsError
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Encoded, Fused, Fusion, ParameterGroup
from emotiwave_core.layers.attention import Block, with_positions
from emotiwave_core.layers.missing import MissingKind, StandIn
from emotiwave_core.layers.sequence import masked_mean


class BottleneckLayer(nn.Module):
    """A block for each modality over its tokens and the bottleneck tokens, of which the mean is taken."""

    def __init__(self, modalities: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, dropout, nn.GELU) for _ in range(modalities))

    def forward(self, streams: list[Tensor], masks: list[Tensor], z: Tensor) -> tuple[list[Tensor], Tensor]:
        """streams [B, T_m, W] and masks [B, T_m] of each modality, z [B, N, W] -> the next streams and z."""
        every = torch.ones(z.shape[:2], dtype=torch.bool, device=z.device)
        after, total = [], torch.zeros_like(z)
        for block, tokens, mask in zip(self.blocks, streams, masks, strict=True):
            both = torch.cat([tokens, z], dim=1)
            both = block(both, both, torch.cat([mask, every], dim=1))
            after.append(both[:, : mask.shape[1]])
            here = mask.any(dim=1)[:, None, None]
            total = total + torch.where(here, both[:, mask.shape[1] :], 0.0)
        number = torch.stack([mask.any(dim=1) for mask in masks]).sum(dim=0)
        return after, total / number.clamp(min=1)[:, None, None]


class Bottleneck(Fusion):
    """Multimodal Bottleneck Transformer (Nagrani et al. 2021, NeurIPS, "Attention Bottlenecks").

    Each modality's states [B, T_m, D_m] are projected to a common width W and get sinusoidal positions. In each layer a
    transformer block of each modality's own runs over its tokens and the bottleneck tokens z, and the next z is the
    mean of what the modalities made of it:
        [x_m'; z_m'] = Block_m([x_m; z]),  z' = mean over m of z_m'.
    Blocks are pre-norm with GELU, as the paper's. vector [B, M W]: the mean over each modality's tokens after the last
    layer, normalised, side by side. No weights, no loss. Other than in the paper: the tokens are the encoders' states
    (there patches of pictures and spectrograms, and ViT's pretrained weights), positions are fixed (there learned), the
    tokens meet from the first layer on (there from a later one) and their mean is read (there a class token each).

    An absent modality has no say in z, and its part of the vector is zero. With `missing = "learned"` it is a sequence
    of one step, its learned vector, and takes part as any other.

    bottlenecks: how many tokens are shared; with 0 the modalities know nothing of each other. width: W, a multiple of
    heads. heads: of each attention. layers: blocks of each modality; what a modality wrote into z in one layer is read
    in the next, so that one layer alone exchanges nothing. dropout: on the inputs and in the blocks.
    missing: "zero" or "learned".
    """

    def __init__(
        self,
        in_features: dict[str, int],
        *,
        bottlenecks: int = 4,
        width: int = 64,
        heads: int = 4,
        layers: int = 2,
        dropout: float = 0.1,
        missing: MissingKind = "zero",
    ) -> None:
        super().__init__()
        if bottlenecks < 0:
            raise SettingsError(f"The option bottlenecks of bottleneck must be at least 0, not {bottlenecks}.")
        positive("bottleneck", width=width, heads=heads, layers=layers)
        whole_heads("bottleneck", width, heads)
        fraction("bottleneck", dropout=dropout)
        one_of("bottleneck", MissingKind, missing=missing)
        self.missing = StandIn(in_features, missing)
        self.out_features = width * len(in_features)
        self.project = nn.ModuleList(nn.Linear(features, width) for features in in_features.values())
        self.bottlenecks = nn.Parameter(0.02 * torch.randn(bottlenecks, width), requires_grad=bottlenecks > 0)
        self.layers = nn.ModuleList(BottleneckLayer(len(in_features), width, heads, dropout) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in in_features)
        self.dropout = nn.Dropout(dropout)

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        """encoded {modality: Encoded}, present [B, M] bool -> Fused."""
        sequences = self.missing.sequences(encoded, present)
        masks = [mask for _, mask in sequences]
        streams = [
            self.dropout(with_positions(project(states)))
            for project, (states, _) in zip(self.project, sequences, strict=True)
        ]
        z = self.bottlenecks.expand(present.shape[0], -1, -1)  # [B, N, W]
        for layer in self.layers:
            streams, z = layer(streams, masks, z)
        parts = [masked_mean(norm(x), mask) for norm, x, mask in zip(self.norms, streams, masks, strict=True)]
        return Fused(torch.cat(parts, dim=-1))

    def parameter_groups(self) -> list[ParameterGroup]:
        """No weight decay of the bottleneck tokens."""
        return [ParameterGroup([self.bottlenecks], weight_decay=False)]


@hookimpl
def register_fusions(register: Callable[[str, type[Fusion]], None]) -> None:
    """Offer `bottleneck`."""
    register("bottleneck", Bottleneck)
