"""The fusion `lowrank`: a linear map of the outer product of all modalities, without the outer product."""

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor, nn

from emotiwave_core.config.options import one_of, positive
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Encoded, Fused, Fusion
from emotiwave_core.layers.missing import MissingKind, StandIn


class LowRank(Fusion):
    """Low-rank Multimodal Fusion (Liu et al. 2018, ACL, eq. 5 to 8).

    With z_m = [x_m; 1] of the pooled vectors x_m [B, D_m], a linear map of their outer product whose weight tensor is
    the sum of R outer products of factors w_m^(i) [W, D_m + 1] is

        vector [B, W] = sum over i = 1 … R of the elementwise product over m of (w_m^(i) z_m).

    The cost grows with R and the sum of the D_m, where that of `tensor` grows with a product. An absent modality is
    z = [0; 1], so only the last column of its factors speaks. No weights, no loss.

    At the start the last column of a factor is a random sign and the rest is small, both scaled by R^(-1/2M). Each
    factor of a product then lies around 1 or -1, so that products of many modalities neither vanish nor explode, the
    sum over i is of size 1, and an absent modality leaves the size of its product as it is.

    width: W. rank: R. missing: what stands in the place of an absent modality, "zero" or a "learned" vector.
    """

    def __init__(
        self, in_features: dict[str, int], *, width: int = 64, rank: int = 4, missing: MissingKind = "zero"
    ) -> None:
        super().__init__()
        positive("lowrank", width=width, rank=rank)
        one_of("lowrank", MissingKind, missing=missing)
        self.missing = StandIn(in_features, missing)
        self.rank = rank
        self.out_features = width
        scale = rank ** (-0.5 / len(in_features))
        self.factors = nn.ModuleList(_factors(features, rank * width, scale) for features in in_features.values())

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        """encoded {modality: Encoded}, present [B, M] bool -> Fused."""
        pooled = self.missing.pooled(encoded, present)
        mapped = [factor(x).unflatten(-1, (self.rank, -1)) for factor, x in zip(self.factors, pooled, strict=True)]
        return Fused(reduce(torch.mul, mapped).sum(dim=1))  # a product of [B, R, W]


@torch.no_grad()
def _factors(features: int, numbers: int, scale: float) -> nn.Linear:
    """The factors of one modality. The bias is their last column, the one that meets the 1 in z."""
    factors = nn.Linear(features, numbers)
    factors.weight.mul_(scale)
    factors.bias.copy_(scale * (1.0 - 2.0 * torch.randint(2, (numbers,))))
    return factors


@hookimpl
def register_fusions(register: Callable[[str, type[Fusion]], None]) -> None:
    """Offer `lowrank`."""
    register("lowrank", LowRank)
