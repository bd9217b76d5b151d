"""The encoder `bilstm`: a bidirectional LSTM that survives lost steps and empty sequences."""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from emotiwave_core.errors import SettingsError, choices
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Encoded, Encoder
from emotiwave_core.sequence import (
    front_order,
    inverse_order,
    last_step,
    masked_max,
    masked_mean,
    reverse_order,
    take_steps,
    zero_masked,
)

Pooling = Literal["last", "mean", "max"]


class BiLSTM(Encoder):
    """Bidirectional LSTM (Hochreiter and Schmidhuber 1997; Graves and Schmidhuber 2005).

    x [B, T, F], mask [B, T] -> states [B, T, 2H], pooled [B, 2H] and the same mask. It reads the steps that are set, as
    if the others had been cut out, and puts the states back where the steps stood. An empty sequence pools to zero.

    hidden_size: H, the width of each direction. layers: how many are stacked. dropout: on the states between layers.
    pooling: "last" is the forward state after the last step beside the backward state after the first; "mean" and "max"
    are taken over the states of the steps that are set.
    """

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
        if hidden_size < 1:
            raise SettingsError(f"The option hidden_size of bilstm must be at least 1, not {hidden_size}.")
        if layers < 1:
            raise SettingsError(f"The option layers of bilstm must be at least 1, not {layers}.")
        if not 0.0 <= dropout < 1.0:
            raise SettingsError(f"The option dropout of bilstm must be at least 0 and below 1, not {dropout}.")
        if pooling not in get_args(Pooling):
            known = choices(str(pooling), get_args(Pooling))
            raise SettingsError(f"The option pooling of bilstm cannot be '{pooling}'.{known}")
        self.hidden_size = hidden_size
        self.pooling = pooling
        self.out_features = 2 * hidden_size
        # Two one-way LSTMs over padded input equal one packed bidirectional LSTM. Packed input would lose cuDNN's fast
        # persistent kernel, and refuses a sequence of length 0.
        widths = [in_features] + [self.out_features] * (layers - 1)
        self.forward_layers = nn.ModuleList(nn.LSTM(width, hidden_size, batch_first=True) for width in widths)
        self.backward_layers = nn.ModuleList(nn.LSTM(width, hidden_size, batch_first=True) for width in widths)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        """x [B, T, F], mask [B, T] bool of any pattern -> Encoded."""
        order = front_order(mask)
        tight = self._run(take_steps(zero_masked(x, mask), order), mask.sum(dim=1))
        states = zero_masked(take_steps(tight, inverse_order(order)), mask)
        return Encoded(states, self._pool(states, mask, first=tight[:, 0]), mask)

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

    def _pool(self, states: Tensor, mask: Tensor, first: Tensor) -> Tensor:
        """states [B, T, 2H] and first [B, 2H], those of the first step that is set -> [B, 2H]."""
        if self.pooling == "mean":
            return masked_mean(states, mask)
        if self.pooling == "max":
            return masked_max(states, mask)
        H = self.hidden_size
        backward_state = torch.where(mask.any(dim=1, keepdim=True), first[:, H:], first.new_zeros(()))
        return torch.cat([last_step(states[..., :H], mask), backward_state], dim=-1)


@hookimpl
def register_encoders(register: Callable[[str, type[Encoder]], None]) -> None:
    """Offer `bilstm`."""
    register("bilstm", BiLSTM)
