"""The encoder `stats`: statistics of every feature over time, alone or beside another encoder."""

from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from emotiwave_core.config.options import fraction, one_of, positive
from emotiwave_core.errors import SettingsError
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Encoded, Encoder
from emotiwave_core.layers.sequence import masked_max, masked_mean, zero_masked
from emotiwave_core.layers.standardise import Standardise

Statistic = Literal["mean", "deviation", "quantiles", "range", "change"]
ALL: list[Statistic] = ["mean", "deviation", "quantiles", "range", "change"]
QUARTILES = [0.25, 0.5, 0.75]
TINY = 1e-12  # a variance up to it is rounding


class StatisticsPooling(Encoder):
    """Statistics of each feature over time, as the functionals of GeMAPS (Eyben et al. 2016) are.

    x [B, T, F], mask [B, T]. Over the n steps that are set, for each feature:
    mean m = sum x_t / n; deviation sqrt(sum (x_t - m)^2 / n); quantiles, linear between the sorted steps at q (n - 1);
    range max - min; change, the mean of |x_t - x_(t-1)| over neighbours that are both set, or 0 where there are none.
    Side by side they are s [B, K F], each to mean 0 and deviation 1 of the training fold's samples and clipped to 5
    deviations (`fit`; before it they are clipped alone): samples differ far less in their means than a range is large.
    f(s) = W2 relu(W1 s + b1) + b2. The order of the steps shows in the change alone. An empty sequence pools to zero.

    Alone: pooled [B, W] = f(s), and that is the only state of the sequence: states [B, 1, W], mask [B, 1].
    Beside an `encoder` of D features: pooled [B, D] = its pooled vector + f(s), states and mask are its own. Wherever a
    linear map reads the pooled vector, that is the same as both side by side.

    width: of the hidden layer, and W. statistics: which. quantiles: q of each, from 0 to 1. dropout: on the hidden
    layer. encoder: another one, which sees the same x, as in `stats:encoder=bilstm`.
    """

    def __init__(
        self,
        in_features: int,
        *,
        width: int = 64,
        statistics: list[Statistic] = ALL,
        quantiles: list[float] = QUARTILES,
        dropout: float = 0.1,
        encoder: Encoder | None = None,
    ) -> None:
        super().__init__()
        positive("stats", width=width)
        fraction("stats", dropout=dropout)
        for name in statistics:
            one_of("stats", Statistic, statistics=name)
        if not statistics or len(set(statistics)) < len(statistics):
            raise SettingsError(f"The option statistics of stats must name each statistic once, not {statistics}.")
        if "quantiles" in statistics and not (quantiles and all(0.0 <= q <= 1.0 for q in quantiles)):
            raise SettingsError(f"The option quantiles of stats must be numbers from 0 to 1, not {quantiles}.")
        self.statistics, self.quantiles = list(statistics), list(quantiles)
        self.encoder = encoder
        self.out_features = width if encoder is None else encoder.out_features
        numbers = sum(len(quantiles) if name == "quantiles" else 1 for name in statistics)
        self.scaler = Standardise(numbers * in_features)
        self.network = nn.Sequential(
            nn.Linear(numbers * in_features, width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, self.out_features),
        )

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        """x [B, T, F], mask [B, T] bool of any pattern -> Encoded."""
        here = mask.any(dim=1, keepdim=True)
        vector = self.network(self.scaler(self._statistics(zero_masked(x, mask), mask)))
        vector = torch.where(here, vector, vector.new_zeros(()))
        if self.encoder is None:
            return Encoded(vector[:, None], vector, here)
        encoded: Encoded = self.encoder(x, mask)
        return encoded._replace(pooled=encoded.pooled + vector)

    def fit(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Take the mean and the deviation of each statistic over the samples that have a step."""
        total = squares = torch.zeros(())
        count = 0
        for first in (True, False):  # the mean, then the squares around it, which do not cancel
            for x, mask in batches:
                rows = self._statistics(zero_masked(x, mask), mask)[mask.any(dim=1)].double()
                if first:
                    total, count = total + rows.sum(dim=0), count + len(rows)
                else:
                    squares = squares + (rows - total / count).square().sum(dim=0)
            if not count:
                return
        deviation = (squares / count).sqrt()
        constant = deviation <= TINY
        scale = torch.where(constant, 0.0, 1.0 / deviation.clamp(min=TINY))
        self.scaler.fit((total / count).float(), scale.float())
        if self.encoder is not None:
            self.encoder.fit(batches)

    def attention_over_steps(self, x: Tensor, mask: Tensor) -> Tensor | None:
        """The weights of the encoder beside it, [B, T]; None where there is none, or it has none."""
        return None if self.encoder is None else self.encoder.attention_over_steps(x, mask)

    def _statistics(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B, T, F], zero where masked, mask [B, T] -> [B, K F]."""
        made: list[Tensor] = []
        for name in self.statistics:
            if name == "mean":
                made.append(_mean(x, mask))
            elif name == "deviation":
                made.append(deviation(x, mask))
            elif name == "quantiles":
                made += masked_quantiles(x, mask, self.quantiles)
            elif name == "range":
                made.append(masked_max(x, mask) + masked_max(-x, mask))
            else:
                both = mask[:, 1:] & mask[:, :-1]
                made.append(masked_mean((x[:, 1:] - x[:, :-1]).abs(), both))
        return torch.cat(made, dim=-1)


def _mean(x: Tensor, mask: Tensor) -> Tensor:
    """The mean over the steps that are set, [B, F], of x that is zero elsewhere."""
    return x.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1).to(x.dtype)


def deviation(x: Tensor, mask: Tensor) -> Tensor:
    """The standard deviation of the steps that are set, [B, F], of x that is zero elsewhere.

    0 for a constant, with a slope of 0.
    """
    variance = _mean((x - _mean(x, mask)[:, None]).square() * mask.unsqueeze(-1), mask)
    # Clamped before the root, whose slope is infinite at 0, and put to zero after it.
    return torch.where(variance > TINY, variance.clamp(min=TINY).sqrt(), variance.new_zeros(()))


def masked_quantiles(x: Tensor, mask: Tensor, quantiles: list[float]) -> list[Tensor]:
    """The quantiles of the steps that are set, [B, F] each, linear between them as NumPy's; 0 where none is set."""
    ordered = sort_steps(torch.where(mask[..., None], x, torch.finfo(x.dtype).max))  # masked steps come last
    last = mask.sum(dim=1).sub(1).clamp(min=0)  # [B]
    found = []
    for q in quantiles:
        place = q * last.to(torch.float32)
        below = place.floor().long()
        share = (place - below).to(x.dtype)[:, None]
        low, high = (_step(ordered, at) for at in (below, torch.minimum(below + 1, last)))
        found.append(torch.where(mask.any(dim=1, keepdim=True), low + share * (high - low), 0.0))
    return found


def sort_steps(x: Tensor) -> Tensor:
    """The steps of x [B, T, F] in order, feature by feature.

    On a CPU by NumPy, whose sort of float32 is vectorised, where no gradient and no tracer follows.
    """
    traced = torch.compiler.is_compiling() or type(x) is not Tensor
    if traced or x.requires_grad or x.dtype != torch.float32 or x.device.type != "cpu":
        return x.sort(dim=1).values
    return torch.from_numpy(np.sort(x.numpy(), axis=1))


def _step(x: Tensor, at: Tensor) -> Tensor:
    """The step at [B] of x [B, T, F], [B, F]."""
    return x.gather(1, at[:, None, None].expand(-1, 1, x.shape[-1])).squeeze(1)


@hookimpl
def register_encoders(register: Callable[[str, type[Encoder]], None]) -> None:
    """Offer `stats`."""
    register("stats", StatisticsPooling)
