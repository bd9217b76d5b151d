"""The encoder `tcn`: dilated causal convolutions in residual blocks."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from emotiwave_core.config.options import fraction, one_of, positive
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Encoded, Encoder
from emotiwave_core.layers.pooling import Pool, Pooling
from emotiwave_core.layers.sequence import zero_masked


class TCN(Encoder):
    """Temporal convolutional network (Bai, Kolter and Koltun 2018, arXiv 1803.01271, section 3, figure 1).

    x [B, T, F], mask [B, T] -> states [B, T, C], pooled [B, C] and the same mask. Level i = 0, 1, … is a residual block
    of two causal convolutions with a step of 2^i between the taps of their kernel of k. A state sees its own step and
    those before it, 1 + 2 (k - 1) (2^levels - 1) in all: 61 by default.

    A masked step stands in its place as zero in every layer, just as the steps before the first do: it says nothing,
    and the kernel goes on reaching equally far back in time. (Cut out, steps from before and after a gap would look
    like neighbours.) So no state sees across a gap of (k - 1) 2^(levels - 1) steps or more, 16 by default; the pooling
    does. An empty sequence pools to zero.

    channels: C. levels: blocks, each doubling the dilation. kernel: k. dropout: on whole channels, after each
    convolution. pooling: "last" (the paper's; it sees no further back than one state does), "mean", "max" or
    "attention", over the states of the steps that are set.
    """

    def __init__(
        self,
        in_features: int,
        *,
        channels: int = 64,
        levels: int = 4,
        kernel: int = 3,
        dropout: float = 0.1,
        pooling: Pooling = "mean",
    ) -> None:
        super().__init__()
        positive("tcn", channels=channels, levels=levels, kernel=kernel)
        fraction("tcn", dropout=dropout)
        one_of("tcn", Pooling, pooling=pooling)
        self.out_features = channels
        widths = [in_features] + [channels] * (levels - 1)
        self.blocks = nn.ModuleList(
            TCNBlock(width, channels, kernel, 2**level, dropout) for level, width in enumerate(widths)
        )
        self.pool = Pool(pooling, channels)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        """x [B, T, F], mask [B, T] bool of any pattern -> Encoded."""
        z = zero_masked(x, mask).transpose(1, 2)  # [B, F, T], as convolutions want it
        for block in self.blocks:
            z = block(z, mask[:, None])
        states = z.transpose(1, 2)
        return Encoded(states, self.pool(states, mask), mask)

    def attention_over_steps(self, x: Tensor, mask: Tensor) -> Tensor | None:
        """The weights of the pooling "attention", [B, T]; None with another."""
        return self.pool.weights(self(x, mask).states, mask)


class TCNBlock(nn.Module):
    """o = relu(x + F(x)), F being twice convolution with weight norm, ReLU and dropout (eq. 3 and figure 1b)."""

    def __init__(self, in_channels: int, channels: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.reach = (kernel - 1) * dilation
        self.convolutions = nn.ModuleList(
            weight_norm(nn.Conv1d(width, channels, kernel, dilation=dilation)) for width in (in_channels, channels)
        )
        self.dropout = nn.Dropout1d(dropout)
        self.match = nn.Identity() if in_channels == channels else nn.Conv1d(in_channels, channels, 1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B, F, T], zero where masked, mask [B, 1, T] -> [B, C, T], zero where masked."""
        z = x
        for convolution in self.convolutions:
            # Padded in front only, so that no state sees the future.
            z = self.dropout(F.relu(convolution(F.pad(z, (self.reach, 0)))))
            z = torch.where(mask, z, z.new_zeros(()))  # a bias and the steps before have filled masked steps
        z = F.relu(z + self.match(x))
        return torch.where(mask, z, z.new_zeros(()))


@hookimpl
def register_encoders(register: Callable[[str, type[Encoder]], None]) -> None:
    """Offer `tcn`."""
    register("tcn", TCN)
