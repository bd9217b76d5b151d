"""The encoder `attentive_stats`: the weighted mean and standard deviation of learned frames."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from emotiwave_core.config.options import fraction, positive
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Encoded, Encoder
from emotiwave_core.layers.sequence import masked_softmax, zero_masked

TINY = 1e-12  # a variance up to it is rounding


class AttentiveStats(Encoder):
    """Attentive statistics pooling (Okabe, Koshinaka and Shinoda 2018, section 3).

    x [B, T, F], mask [B, T] -> states [B, T, 2H], pooled [B, 2H] and the same mask. Convolutions over time with ReLU
    make a frame h_t of width H of each step. Each has the score e_t = v' tanh(W h_t + b), and its softmax over the
    steps that are set is the weight a_t:
    mean m = sum a_t h_t, deviation s = sqrt(sum a_t (h_t - m)^2), pooled = [m ; s].
    The states are [h_t ; |h_t - m|], whose weighted mean and root mean square are the halves of `pooled`. The deviation
    of a single step or of a constant is 0. An empty sequence pools to zero.

    hidden_size: H. layers: convolutions. kernel_size: steps that each of them reads; 1 reads its own step only.
    attention_size: rows of W. dropout: on the frames, after each convolution.
    """

    def __init__(
        self,
        in_features: int,
        *,
        hidden_size: int = 128,
        layers: int = 2,
        kernel_size: int = 3,
        attention_size: int = 64,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        positive(
            "attentive_stats",
            hidden_size=hidden_size,
            layers=layers,
            kernel_size=kernel_size,
            attention_size=attention_size,
        )
        fraction("attentive_stats", dropout=dropout)
        self.out_features = 2 * hidden_size
        widths = [in_features] + [hidden_size] * (layers - 1)
        self.frames = nn.ModuleList(
            nn.Conv1d(width, hidden_size, kernel_size, padding=kernel_size // 2) for width in widths
        )
        self.dropout = nn.Dropout(dropout)
        # The paper's scalar k after v is left out: it cancels in the softmax.
        self.score = nn.Sequential(
            nn.Linear(hidden_size, attention_size), nn.Tanh(), nn.Linear(attention_size, 1, bias=False)
        )

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        """x [B, T, F], mask [B, T] bool of any pattern -> Encoded."""
        frames = self._frames(x, mask)
        weights = self._weights(frames, mask)[..., None]  # [B, T, 1]
        mean = (weights * frames).sum(dim=1)  # [B, H]
        apart = frames - mean[:, None]
        # The same as the paper's mean of squares less the square of the mean, which rounding can make negative.
        variance = (weights * apart.square()).sum(dim=1)
        # Clamped before the root, whose slope is infinite at 0, and put to zero after it.
        deviation = torch.where(variance > TINY, variance.clamp(min=TINY).sqrt(), variance.new_zeros(()))
        states = zero_masked(torch.cat([frames, apart.abs()], dim=-1), mask)
        return Encoded(states, torch.cat([mean, deviation], dim=-1), mask)

    def attention_over_steps(self, x: Tensor, mask: Tensor) -> Tensor:
        """The weights a_t of mean and deviation, [B, T]."""
        return self._weights(self._frames(x, mask), mask)

    def _frames(self, x: Tensor, mask: Tensor) -> Tensor:
        """The frames h_t, [B, T, H]; zero where masked."""
        frames = zero_masked(x, mask)
        for convolution in self.frames:
            made = convolution(frames.transpose(1, 2))[..., : mask.shape[1]]  # an even kernel makes one step too many
            frames = self.dropout(torch.relu(made.transpose(1, 2)))
            frames = zero_masked(frames, mask)  # a masked step holds the bias, and its neighbours would read it
        return frames

    def _weights(self, frames: Tensor, mask: Tensor) -> Tensor:
        """The weights a_t, [B, T]."""
        return masked_softmax(self.score(frames).squeeze(-1), mask)


@hookimpl
def register_encoders(register: Callable[[str, type[Encoder]], None]) -> None:
    """Offer `attentive_stats`."""
    register("attentive_stats", AttentiveStats)
