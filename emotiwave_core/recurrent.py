"""A recurrence in both directions over masked sequences: what the encoders `bilstm` and `bigru` share."""

import torch
from torch import Tensor, nn

from emotiwave_core.interfaces import Encoded, Encoder
from emotiwave_core.options import fraction, one_of, positive
from emotiwave_core.pooling import Pool, Pooling
from emotiwave_core.sequence import (
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
        order = front_order(mask)
        tight = self._run(take_steps(zero_masked(x, mask), order), mask.sum(dim=1))
        states = zero_masked(take_steps(tight, inverse_order(order)), mask)
        pooled = self._last(states, mask, first=tight[:, 0]) if self.pool is None else self.pool(states, mask)
        return Encoded(states, pooled, mask)

    def attention_over_steps(self, x: Tensor, mask: Tensor) -> Tensor | None:
        """The weights of the pooling "attention", [B, T]; None with another."""
        return None if self.pool is None else self.pool.weights(self(x, mask).states, mask)

    def _run(self, steps: Tensor, lengths: Tensor) -> Tensor:
        """steps [B, T, F], of which the first lengths[b] count -> states [B, T, 2H]; the rest means nothing."""
        # In both directions the padding comes after the sequence, so it cannot touch the states before it.
        backward_order = reverse_order(lengths, steps.shape[1])
        for layer, (ahead, back) in enumerate(zip(self.forward_layers, self.backward_layers, strict=True)):
            if layer > 0:
                steps = self.dropout(steps)
            forward_states, _ = ahead(steps)
            backward_states, _ = back(take_steps(steps, backward_order))
            steps = torch.cat([forward_states, take_steps(backward_states, backward_order)], dim=-1)
        return steps

    def _last(self, states: Tensor, mask: Tensor, first: Tensor) -> Tensor:
        """The last state of each direction: states [B, T, 2H], `first` [B, 2H] of the first step -> [B, 2H]."""
        H = self.hidden_size
        backward_state = torch.where(mask.any(dim=1, keepdim=True), first[:, H:], first.new_zeros(()))
        return torch.cat([last_step(states[..., :H], mask), backward_state], dim=-1)
