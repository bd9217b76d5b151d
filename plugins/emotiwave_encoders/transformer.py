"""The encoder `transformer`: self-attention over the steps that are set."""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from emotiwave_core.config.options import fraction, one_of, positive, whole_heads
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Encoded, Encoder, ParameterGroup
from emotiwave_core.layers.attention import Transformer
from emotiwave_core.layers.attention import positions as sinusoids
from emotiwave_core.layers.pooling import Pool, Pooling
from emotiwave_core.layers.sequence import zero_masked

Positions = Literal["sinusoidal", "learned"]
TABLE = 512  # steps that a learned position is kept for


class SelfAttention(Encoder):
    """Transformer encoder (Vaswani et al. 2017) with the norm first (Xiong et al. 2020).

    x [B, T, F], mask [B, T] -> states [B, T, W], pooled [B, W] and the same mask. x is projected to the width W, scaled
    by sqrt(W) and gets positions (Vaswani et al. 2017, sections 3.4, 3.5); a norm follows the last block. A step keeps
    the position where it stands, whatever is lost before it. An empty sequence pools to zero.

    width: W, a multiple of heads. heads: of each attention. layers: blocks of attention and feed-forward (4W).
    dropout: on the input with its positions and after each part of a block, as in the paper (section 5.4), and inside
    the feed-forward; not on the attention's weights. positions: "sinusoidal", or "learned": a table of 512 steps that
    starts as the sinusoids; every later step has the position of the last. pooling: "last" step that is set, "mean",
    "max" or learned "attention" over the states of the steps that are set.
    """

    def __init__(
        self,
        in_features: int,
        *,
        width: int = 64,
        heads: int = 4,
        layers: int = 2,
        dropout: float = 0.1,
        positions: Positions = "sinusoidal",
        pooling: Pooling = "mean",
    ) -> None:
        super().__init__()
        positive("transformer", width=width, heads=heads, layers=layers)
        whole_heads("transformer", width, heads)
        fraction("transformer", dropout=dropout)
        one_of("transformer", Positions, positions=positions)
        one_of("transformer", Pooling, pooling=pooling)
        self.out_features = width
        self.project = nn.Linear(in_features, width)
        # The table starts as the sinusoids: a step beyond the longest sequence of training has a position that means
        # something. Its length is fixed and its end repeats, as stretching it to T would make padding count.
        table = nn.Parameter(sinusoids(TABLE, width, self.project.weight)) if positions == "learned" else None
        self.table = table
        self.dropout = nn.Dropout(dropout)
        self.transformer = Transformer(width, heads, layers, dropout)
        self.pool = Pool(pooling, width)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        """x [B, T, F], mask [B, T] bool of any pattern -> Encoded."""
        projected = self.project(zero_masked(x, mask))
        placed = self.dropout(math.sqrt(self.out_features) * projected + self._positions(projected))
        states = zero_masked(self.transformer(placed, None, mask), mask)
        return Encoded(states, self.pool(states, mask), mask)

    def parameter_groups(self) -> list[ParameterGroup]:
        """No weight decay of the positions that are learned."""
        return [] if self.table is None else [ParameterGroup([self.table], weight_decay=False)]

    def attention_over_steps(self, x: Tensor, mask: Tensor) -> Tensor | None:
        """The weights of the pooling "attention", [B, T]; None with another."""
        return self.pool.weights(self(x, mask).states, mask)

    def _positions(self, projected: Tensor) -> Tensor:
        """The position of every step of projected [B, T, W] -> [T, W]."""
        T = projected.shape[1]
        if self.table is None:
            return sinusoids(T, self.out_features, projected)
        return self.table[torch.arange(T, device=projected.device).clamp(max=TABLE - 1)]


@hookimpl
def register_encoders(register: Callable[[str, type[Encoder]], None]) -> None:
    """Offer `transformer`."""
    register("transformer", SelfAttention)
