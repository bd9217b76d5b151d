"""The fusion `perceiver`: a few latent vectors read the tokens of all modalities."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from emotiwave_core.config.options import fraction, one_of, positive, whole_heads
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Encoded, Fused, Fusion, ParameterGroup
from emotiwave_core.layers.attention import Block, with_positions
from emotiwave_core.layers.missing import MissingKind, StandIn


class PerceiverLayer(nn.Module):
    """Latents read the tokens, then attend to each other."""

    def __init__(self, width: int, heads: int, blocks: int, dropout: float) -> None:
        super().__init__()
        self.read = Block(width, heads, dropout, nn.GELU)
        self.blocks = nn.ModuleList(Block(width, heads, dropout, nn.GELU) for _ in range(blocks))

    def forward(self, latents: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """latents [B, N, W], tokens [B, S, W], mask [B, S] -> latents [B, N, W]."""
        every = torch.ones(latents.shape[:2], dtype=torch.bool, device=latents.device)
        latents = self.read(latents, tokens, mask)
        for block in self.blocks:
            latents = block(latents, latents, every)
        return latents


class Perceiver(Fusion):
    """Perceiver (Jaegle et al. 2021, ICML, "Perceiver: General Perception with Iterative Attention", section 3).

    Each modality's states [B, T_m, D_m] are projected to a common width W and get sinusoidal positions and a learned
    vector of their modality (both are added; the paper puts Fourier features and modality codes beside). The tokens of
    all modalities make one array [B, sum of T_m, W]. A learned array of latents [N, W] reads it by cross-attention and
    goes through self-attention blocks of its own, `layers` times, each time with other weights. vector [B, W]: the mean
    of the latents, normalised. No weights, no loss. Time and memory are linear in the number of tokens. Blocks are
    pre-norm with GELU, as the paper's (a widespread second implementation has GEGLU). Readings share no weights, which
    there they may from the second one on.

    An absent modality has no token; where nothing is present the latents alone speak. With `missing = "learned"` an
    absent modality is a sequence of one step, its learned vector.

    latents: N. width: W, a multiple of heads. heads: of each attention. layers: how often the tokens are read. blocks:
    of self-attention after each reading. dropout: on the tokens and in the blocks.
    missing: "zero" or "learned".
    """

    def __init__(
        self,
        in_features: dict[str, int],
        *,
        latents: int = 16,
        width: int = 64,
        heads: int = 4,
        layers: int = 2,
        blocks: int = 2,
        dropout: float = 0.1,
        missing: MissingKind = "zero",
    ) -> None:
        super().__init__()
        positive("perceiver", latents=latents, width=width, heads=heads, layers=layers, blocks=blocks)
        whole_heads("perceiver", width, heads)
        fraction("perceiver", dropout=dropout)
        one_of("perceiver", MissingKind, missing=missing)
        self.missing = StandIn(in_features, missing)
        self.out_features = width
        # No biases: a modality's learned vector is one.
        self.project = nn.ModuleList(nn.Linear(features, width, bias=False) for features in in_features.values())
        self.modality = nn.Parameter(0.02 * torch.randn(len(in_features), width))
        self.latents = nn.Parameter(0.02 * torch.randn(latents, width))
        self.layers = nn.ModuleList(PerceiverLayer(width, heads, blocks, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        """encoded {modality: Encoded}, present [B, M] bool -> Fused."""
        sequences = self.missing.sequences(encoded, present)
        tokens = torch.cat(
            [
                self.dropout(with_positions(project(states)) + modality)
                for project, modality, (states, _) in zip(self.project, self.modality, sequences, strict=True)
            ],
            dim=1,
        )
        mask = torch.cat([mask for _, mask in sequences], dim=1)  # [B, S]
        latents = self.latents.expand(present.shape[0], -1, -1)  # [B, N, W]
        for layer in self.layers:
            latents = layer(latents, tokens, mask)
        return Fused(self.norm(latents).mean(dim=1))

    def parameter_groups(self) -> list[ParameterGroup]:
        """No weight decay of the latents and the vectors of the modalities."""
        return [ParameterGroup([self.latents, self.modality], weight_decay=False)]


@hookimpl
def register_fusions(register: Callable[[str, type[Fusion]], None]) -> None:
    """Offer `perceiver`."""
    register("perceiver", Perceiver)
