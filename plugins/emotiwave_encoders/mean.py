"""The encoder `mean`: the mean of the steps through a small network, the baseline without any sense of time."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from emotiwave_core.config.options import fraction, positive
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Encoded, Encoder
from emotiwave_core.layers.sequence import masked_mean, zero_masked


class MeanEncoder(Encoder):
    """A multilayer perceptron f of the mean of the steps that are set: pooled = f(mean of x_t), states f(x_t).

    x [B, T, F], mask [B, T] -> states [B, T, W], pooled [B, W] and the same mask, with f(x) = W2 relu(W1 x + b1) + b2,
    or more such layers.
    One f for both, so that a fusion that reads only one of them leaves no parameter idle. The order of the steps does
    not count, and an empty sequence pools to zero. What a better encoder gains over this one is what time tells.

    width: W, of the hidden layers and of the output. layers: linear maps, with a ReLU between two. dropout: on the
    hidden layers.
    """

    def __init__(self, in_features: int, *, width: int = 256, layers: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        positive("mean", width=width, layers=layers)
        fraction("mean", dropout=dropout)
        self.out_features = width
        maps: list[nn.Module] = [nn.Linear(in_features, width)]
        for _ in range(layers - 1):
            maps += [nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, width)]
        self.perceptron = nn.Sequential(*maps)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        """x [B, T, F], mask [B, T] bool of any pattern -> Encoded."""
        states = zero_masked(self.perceptron(zero_masked(x, mask)), mask)
        pooled = self.perceptron(masked_mean(x, mask))
        return Encoded(states, torch.where(mask.any(dim=1, keepdim=True), pooled, pooled.new_zeros(())), mask)


@hookimpl
def register_encoders(register: Callable[[str, type[Encoder]], None]) -> None:
    """Offer `mean`."""
    register("mean", MeanEncoder)
