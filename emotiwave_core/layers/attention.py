"""Masked attention for encoders and fusions: finite, forward and backward, where there is nothing to attend to."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def positions(steps: int, width: int, like: Tensor) -> Tensor:
    """The sinusoidal embedding of steps 0, 1, … [T, width] (Vaswani et al. 2017, section 3.5)."""
    step = torch.arange(steps, device=like.device, dtype=torch.float32)[:, None]
    pair = torch.arange(0, width, 2, device=like.device, dtype=torch.float32)
    angle = step * torch.exp(pair * (-math.log(10000.0) / width))  # [T, ceil(width / 2)]
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :width].to(like.dtype)


def with_positions(x: Tensor) -> Tensor:
    """x [B, T, W] scaled by sqrt(W), so that the positions that are added do not drown the content."""
    return math.sqrt(x.shape[-1]) * x + positions(x.shape[1], x.shape[-1], x)


class Attention(nn.Module):
    """Multi-head attention from a target to a source: softmax(Q K' / sqrt(d)) V per head, then a linear map.

    Vaswani et al. 2017, eq. 1.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        # No biases: a key's cancels in the softmax, and a value's is the same as that of the output. A query's is
        # neither: it would prefer some keys whatever is asked, and behind a norm that norm's own bias does so.
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, width)

    def forward(self, target: Tensor, source: Tensor, mask: Tensor) -> Tensor:
        """target [B, T, D], source [B, S, D], mask of the source -> [B, T, D]; zero where no step is set.

        mask: [B, S], or [B, T, S] where each step of the target has its own.
        """
        mask = mask if mask.dim() == 3 else mask[:, None]
        has_steps = mask.any(dim=-1, keepdim=True)  # [B, 1 or T, 1]
        # Some kernels make NaN of a softmax over nothing, and hiding that leaves NaN in the gradient: an absent source,
        # which holds finite numbers here, is opened to the softmax, and the result is put aside.
        allowed = (mask | ~has_steps)[:, None]  # [B, 1, 1 or T, S]
        query, key, value = (
            linear(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, heads, steps, D / heads]
            for linear, x in ((self.query, target), (self.key, source), (self.value, source))
        )
        read = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
        attended: Tensor = self.output(read.transpose(1, 2).flatten(2))
        return torch.where(has_steps, attended, attended.new_zeros(()))


class Block(nn.Module):
    """Pre-norm attention and feed-forward, each with a residual connection (Xiong et al. 2020).

    dropout: inside the feed-forward and after both. None is on the weights of the attention: drawing a number for each
    pair of steps takes several times as long, on a CPU, as the attention itself. activation: of the feed-forward.
    """

    def __init__(self, width: int, heads: int, dropout: float, activation: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            activation(),
            nn.Dropout(dropout),
            nn.Linear(4 * width, width),
            nn.Dropout(dropout),
        )
        self.attention_dropout = nn.Dropout(dropout)

    def forward(self, target: Tensor, source: Tensor, mask: Tensor) -> Tensor:
        """target [B, T, D], source [B, S, D], mask [B, S] or [B, T, S] of the source -> [B, T, D]."""
        attended = self.attention(self.attention_norm(target), self.attention_norm(source), mask)
        target = target + self.attention_dropout(attended)
        fed: Tensor = self.feed_forward(target)
        return target + fed


class Transformer(nn.Module):
    """A stack of blocks. With a source it is crossmodal: each block attends to the source as it came in."""

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
