"""The encoder `conformer`: convolution and self-attention over a shortened sequence, for long audio."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emotiwave_core.config.options import fraction, one_of, positive, whole_heads
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Encoded, Encoder
from emotiwave_core.layers.attention import Attention, with_positions
from emotiwave_core.layers.pooling import Pool, Pooling
from emotiwave_core.layers.sequence import zero_masked


class Convolution(nn.Module):
    """The convolution module (Gulati et al. 2020, section 2.2), with a LayerNorm in the place of its BatchNorm.

    The statistics of a batch would mix samples, count padding, and fail for a single step.
    """

    def __init__(self, width: int, kernel_size: int, dropout: float) -> None:
        super().__init__()
        self.gated = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GLU())
        self.depthwise = nn.Conv1d(width, width, kernel_size, padding=kernel_size // 2, groups=width)
        self.output = nn.Sequential(nn.LayerNorm(width), nn.SiLU(), nn.Linear(width, width), nn.Dropout(dropout))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B, T, W], mask [B, T] -> [B, T, W]."""
        # A masked step holds the biases of the layers before, and its neighbours would read them.
        gated = zero_masked(self.gated(x), mask)
        mixed = self.depthwise(gated.transpose(1, 2))[..., : mask.shape[1]]  # an even kernel makes one step too many
        convolved: Tensor = self.output(mixed.transpose(1, 2))
        return convolved


class ConformerBlock(nn.Module):
    """Half a feed-forward, self-attention, convolution, half a feed-forward, norm (Gulati et al. 2020, eq. 1)."""

    def __init__(self, width: int, heads: int, kernel_size: int, dropout: float) -> None:
        super().__init__()
        self.feed_in = _feed_forward(width, dropout)
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.attention_dropout = nn.Dropout(dropout)
        self.convolution = Convolution(width, kernel_size, dropout)
        self.feed_out = _feed_forward(width, dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B, T, W], mask [B, T] -> [B, T, W]."""
        x = x + 0.5 * self.feed_in(x)
        normed = self.attention_norm(x)
        x = x + self.attention_dropout(self.attention(normed, normed, mask))
        x = x + self.convolution(x, mask)
        x = self.norm(x + 0.5 * self.feed_out(x))
        return x


class Conformer(Encoder):
    """Conformer (Gulati et al. 2020, "Convolution-augmented Transformer for Speech Recognition").

    x [B, T, F], mask [B, T] -> states [B, T', W], pooled [B, W] and mask [B, T'] with T' = ceil(T / stride). A strided
    convolution, ReLU and a linear map shorten the sequence. State t' reads the steps less than `stride` away from step
    stride * t', as many as the paper's two layers do for a stride of 4; it is set if one of the `stride` steps from
    there on is. Lost steps count as zeros in the convolutions. An empty sequence pools to zero.

    Positions are sinusoidal and added once, before the first block, where the paper has relative ones in every
    attention: the convolutions already tell a step's neighbours apart. BatchNorm is LayerNorm, see `Convolution`.

    width: W, a multiple of heads. heads: of each attention. layers: blocks. kernel_size: of the depthwise convolutions,
    in states. stride: steps to a state; 1 keeps them all. dropout: on the input of the first block, inside the
    feed-forwards and after each module. pooling: "last" state that is set, "mean", "max" or learned "attention".
    """

    def __init__(
        self,
        in_features: int,
        *,
        width: int = 64,
        heads: int = 4,
        layers: int = 2,
        kernel_size: int = 15,
        stride: int = 4,
        dropout: float = 0.1,
        pooling: Pooling = "mean",
    ) -> None:
        super().__init__()
        positive("conformer", width=width, heads=heads, layers=layers, kernel_size=kernel_size, stride=stride)
        whole_heads("conformer", width, heads)
        fraction("conformer", dropout=dropout)
        one_of("conformer", Pooling, pooling=pooling)
        self.out_features, self.stride = width, stride
        self.front = nn.Conv1d(in_features, width, 2 * stride - 1, stride=stride, padding=stride - 1)
        self.project = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(ConformerBlock(width, heads, kernel_size, dropout) for _ in range(layers))
        self.pool = Pool(pooling, width)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        """x [B, T, F], mask [B, T] bool of any pattern -> Encoded."""
        x, mask = self._shorten(zero_masked(x, mask), mask)
        x = self.dropout(with_positions(x))
        for block in self.blocks:
            x = block(x, mask)
        states = zero_masked(x, mask)
        return Encoded(states, self.pool(states, mask), mask)

    def attention_over_steps(self, x: Tensor, mask: Tensor) -> Tensor | None:
        """The weights of the pooling "attention", [B, T]; None with another.

        The weight of a state is spread evenly over those of its `stride` steps that are set.
        """
        states, _, state_mask = self(x, mask)
        weights = self.pool.weights(states, state_mask)
        if weights is None:
            return None
        groups = F.pad(mask, (0, -mask.shape[1] % self.stride)).view(len(mask), -1, self.stride)  # [B, T', stride]
        each = weights.unsqueeze(-1) / groups.sum(dim=2, keepdim=True).clamp(min=1)
        return torch.where(groups, each, 0.0).flatten(1)[:, : mask.shape[1]]

    def _shorten(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, T, F], zero where masked, and mask [B, T] -> [B, T', W] and [B, T']."""
        short = self.project(torch.relu(self.front(x.transpose(1, 2))).transpose(1, 2))
        first = self.stride * torch.arange(short.shape[1], device=mask.device)  # step of each state
        groups = first[:, None] + torch.arange(self.stride, device=mask.device)  # [T', stride], the last may reach out
        return short, F.pad(mask, (0, self.stride - 1))[:, groups].any(dim=2)


def _feed_forward(width: int, dropout: float) -> nn.Sequential:
    """The feed-forward module (Gulati et al. 2020, section 2.3), 4W wide. SiLU is Swish."""
    return nn.Sequential(
        nn.LayerNorm(width),
        nn.Linear(width, 4 * width),
        nn.SiLU(),
        nn.Dropout(dropout),
        nn.Linear(4 * width, width),
        nn.Dropout(dropout),
    )


@hookimpl
def register_encoders(register: Callable[[str, type[Encoder]], None]) -> None:
    """Offer `conformer`."""
    register("conformer", Conformer)
