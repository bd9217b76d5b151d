"""A recurrence in both directions over masked sequences: what the encoders `bilstm` and `bigru` share."""

from typing import cast

import torch
from torch import Tensor, nn

from emotiwave_core.config.options import fraction, one_of, positive
from emotiwave_core.interfaces import Encoded, Encoder
from emotiwave_core.layers.pooling import Pool, Pooling
from emotiwave_core.layers.sequence import (
    front_order,
    inverse_order,
    last_step,
    reverse_order,
    take_steps,
    zero_masked,
)


class Bidirectional(Encoder):
    """x [B, T, F], mask [B, T] -> states [B, T, 2H], pooled [B, 2H] and the same mask.

    It reads the steps that are set, as if the others had been cut out, and puts the states back where the steps stood.
    An empty sequence pools to zero. A subclass says which `cell` runs, nn.LSTM or nn.GRU, and its `name`.
    """

    name: str
    cell: type[nn.LSTM] | type[nn.GRU]

    def __init__(
        self,
        in_features: int,
        *,
        hidden_size: int = 128,
        layers: int = 1,
        dropout: float = 0.0,
        pooling: Pooling = "mean",
    ) -> None:
        super().__init__()
        positive(self.name, hidden_size=hidden_size, layers=layers)
        fraction(self.name, dropout=dropout)
        one_of(self.name, Pooling, pooling=pooling)
        self.hidden_size = hidden_size
        self.out_features = 2 * hidden_size
        # Two one-way layers over padded input equal one packed bidirectional layer. Packed input would lose cuDNN's
        # fast persistent kernel, and refuses a sequence of length 0.
        widths = [in_features] + [self.out_features] * (layers - 1)
        self.forward_layers = nn.ModuleList(self.cell(width, hidden_size, batch_first=True) for width in widths)
        self.backward_layers = nn.ModuleList(self.cell(width, hidden_size, batch_first=True) for width in widths)
        self.dropout = nn.Dropout(dropout)
        self.pool = None if pooling == "last" else Pool(pooling, self.out_features)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        """x [B, T, F], mask [B, T] bool of any pattern -> Encoded."""
        # In both directions the padding comes after the sequence, so it cannot touch the states before it.
        front, reverse = front_order(mask), reverse_order(mask.sum(dim=1), mask.shape[1])
        back = front.gather(1, reverse)
        x = zero_masked(x, mask)
        ahead, behind = self._run(take_steps(x, front), take_steps(x, back), reverse)
        pairs = ((ahead, front), (behind, back))
        states = torch.cat([take_steps(tight, inverse_order(order)) for tight, order in pairs], dim=-1)
        states = zero_masked(states, mask)
        if self.pool is not None:
            return Encoded(states, self.pool(states, mask), mask)
        set_first = mask.gather(1, front)
        return Encoded(states, torch.cat([last_step(ahead, set_first), last_step(behind, set_first)], dim=-1), mask)

    def attention_over_steps(self, x: Tensor, mask: Tensor) -> Tensor | None:
        """The weights of the pooling "attention", [B, T]; None with another."""
        return None if self.pool is None else self.pool.weights(self(x, mask).states, mask)

    def _run(self, ahead: Tensor, behind: Tensor, reverse: Tensor) -> tuple[Tensor, Tensor]:
        """The steps in sequence and in reverse, each [B, T, F] -> the states [B, T, H] of each, in the same orders."""
        for layer, (forward_cell, backward_cell) in enumerate(
            zip(self.forward_layers, self.backward_layers, strict=True)
        ):
            if layer > 0:
                steps = self.dropout(torch.cat([ahead, take_steps(behind, reverse)], dim=-1))
                ahead, behind = steps, take_steps(steps, reverse)
            ahead, behind = _states(forward_cell, ahead), _states(backward_cell, behind)
        return ahead, behind


def _states(cell: nn.Module, steps: Tensor) -> Tensor:
    """The states of one direction; on a GPU in float32, for there autocast gives cuDNN float16 whatever it is asked."""
    if not steps.is_cuda:
        return cast(Tensor, cell(steps)[0])
    with torch.autocast("cuda", enabled=False):
        return cast(Tensor, cell(steps.float())[0])
