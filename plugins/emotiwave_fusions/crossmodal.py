"""The fusion `crossmodal`: MulT, each modality attends to the steps of every other one."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emotiwave_core.errors import SettingsError
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Encoded, Fused, Fusion
from emotiwave_core.sequence import masked_mean, zero_masked


def positions(steps: int, width: int, like: Tensor) -> Tensor:
    """The sinusoidal embedding of steps 0, 1, … [T, width] (Vaswani et al. 2017, section 3.5)."""
    step = torch.arange(steps, device=like.device, dtype=torch.float32)[:, None]
    pair = torch.arange(0, width, 2, device=like.device, dtype=torch.float32)
    angle = step * torch.exp(pair * (-math.log(10000.0) / width))  # [T, ceil(width / 2)]
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :width].to(like.dtype)


class Attention(nn.Module):
    """Multi-head attention from a target to a source: softmax(Q K' / sqrt(d)) V per head, then a linear map (eq. 1)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        # No biases: a key's cancels in the softmax, and a value's is the same as that of the output.
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, width)

    def forward(self, target: Tensor, source: Tensor, mask: Tensor) -> Tensor:
        """target [B, T, D], source [B, S, D], mask [B, S] of the source -> [B, T, D]; zero where no step is set."""
        some = mask.any(dim=1)[:, None, None]
        # Some kernels make NaN of a softmax over nothing, and hiding that leaves NaN in the gradient: an absent source,
        # which holds finite numbers here, is opened to the softmax, and the result is put aside.
        allowed = (mask[:, None] | ~some)[:, None]  # [B, 1, 1, S]
        query, key, value = (
            linear(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, heads, steps, D / heads]
            for linear, x in ((self.query, target), (self.key, source), (self.value, source))
        )
        dropout = self.dropout if self.training else 0.0
        read = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed, dropout_p=dropout)
        attended: Tensor = self.output(read.transpose(1, 2).flatten(2))
        return torch.where(some, attended, attended.new_zeros(()))


class Block(nn.Module):
    """Pre-norm attention and feed-forward, each with a residual connection, as in the authors' implementation."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(4 * width, width),
            nn.Dropout(dropout),
        )
        self.attention_dropout = nn.Dropout(dropout)

    def forward(self, target: Tensor, source: Tensor, mask: Tensor) -> Tensor:
        """target [B, T, D], source [B, S, D], mask [B, S] of the source -> [B, T, D]."""
        attended = self.attention(self.attention_norm(target), self.attention_norm(source), mask)
        target = target + self.attention_dropout(attended)
        fed: Tensor = self.feed_forward(target)
        return target + fed


class Transformer(nn.Module):
    """A stack of blocks. With a source it is crossmodal: each block attends to the source as it came in (low-level)."""

    def __init__(self, width: int, heads: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, target: Tensor, source: Tensor | None, mask: Tensor) -> Tensor:
        """target [B, T, D], source [B, S, D] or None for the target itself, mask of what is attended -> [B, T, D]."""
        for block in self.blocks:
            target = block(target, target if source is None else source, mask)
        normed: Tensor = self.norm(target)
        return normed


class CrossModal(Fusion):
    """MulT (Tsai et al. 2019, ACL, "Multimodal Transformer for Unaligned Multimodal Language Sequences", section 3).

    Each modality's states [B, T_m, D_m] are projected to a common width W and get sinusoidal positions. A target meets
    every other modality in a crossmodal transformer of its own; the M - 1 results stand side by side, go through a
    self-attention transformer and are pooled. vector [B, M (M - 1) W], or [B, W] for one modality; no weights, no loss.

    The projection is linear (the paper's temporal convolution with a kernel of 1). Pooling is the mean over the steps
    that are set: the paper takes the last step, which may be any moment when steps are lost or cut. An absent source
    adds nothing to its targets; an absent target's part of the vector is zero.

    width: W, a multiple of heads. heads: of each attention. layers: blocks of each transformer. dropout: on the inputs,
    the attention and after each part of a block.
    """

    def __init__(
        self, in_features: dict[str, int], *, width: int = 40, heads: int = 4, layers: int = 2, dropout: float = 0.1
    ) -> None:
        super().__init__()
        for name, value in (("heads", heads), ("layers", layers), ("width", width)):
            if value < 1:
                raise SettingsError(f"The option {name} of crossmodal must be at least 1, not {value}.")
        if width % heads:
            raise SettingsError(f"The option width of crossmodal must be a multiple of heads ({heads}), not {width}.")
        if not 0.0 <= dropout < 1.0:
            raise SettingsError(f"The option dropout of crossmodal must be at least 0 and below 1, not {dropout}.")
        self.width = width
        self.modalities = tuple(in_features)
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
        masks = [encoded[name].mask & present[:, column, None] for column, name in enumerate(self.modalities)]
        low_level = [
            self._low_level(column, encoded[name].states, masks[column]) for column, name in enumerate(self.modalities)
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

    def _low_level(self, column: int, states: Tensor, mask: Tensor) -> Tensor:
        """states [B, T, D] of one modality -> [B, T, W] with positions."""
        projected = self.project[column](zero_masked(states, mask))
        # Scaled as in the authors' implementation, so that the positions do not drown the content.
        low_level: Tensor = self.dropout(
            math.sqrt(self.width) * projected + positions(states.shape[1], self.width, projected)
        )
        return low_level


@hookimpl
def register_fusions(register: Callable[[str, type[Fusion]], None]) -> None:
    """Offer `crossmodal`."""
    register("crossmodal", CrossModal)
