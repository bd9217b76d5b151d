"""From states to one vector: the pooling that encoders offer as the option `pooling`."""

from typing import Literal

import torch
from torch import Tensor, nn

from emotiwave_core.layers.sequence import last_step, masked_max, masked_mean, masked_softmax, zero_masked

Pooling = Literal["last", "mean", "max", "attention"]


class AttentionPool(nn.Module):
    """Self-attentive pooling of one hop (Lin et al. 2017, eq. 5, 6): the states' mean, weighed by v' tanh(W h)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # No bias after v: it would cancel in the softmax.
        self.score = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1, bias=False))

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """states [B, T, D], mask [B, T] -> [B, D]; zero where no step is set."""
        states = zero_masked(states, mask)
        return torch.einsum("bt,btd->bd", self.weights(states, mask).to(states.dtype), states)

    def weights(self, states: Tensor, mask: Tensor) -> Tensor:
        """The weight of every state, [B, T]; states [B, T, D] must be numbers where they are masked."""
        return masked_softmax(self.score(states).squeeze(-1), mask)


class Pool(nn.Module):
    """One of the four: "last" step that is set, "mean", "max", or learned "attention" over the steps that are set."""

    def __init__(self, pooling: Pooling, width: int) -> None:
        super().__init__()
        self.pooling = pooling
        self.attention = AttentionPool(width) if pooling == "attention" else None

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """states [B, T, D], mask [B, T] -> [B, D]; zero where no step is set."""
        if self.attention is not None:
            pooled: Tensor = self.attention(states, mask)
            return pooled
        return {"last": last_step, "mean": masked_mean, "max": masked_max}[self.pooling](states, mask)

    def weights(self, states: Tensor, mask: Tensor) -> Tensor | None:
        """The weight [B, T] of every state in "attention"; None for the others, which have learned none."""
        return None if self.attention is None else self.attention.weights(zero_masked(states, mask), mask)
