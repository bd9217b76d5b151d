"""The fusion `concat`: the pooled vectors side by side."""

from collections.abc import Callable

import torch
from torch import Tensor

from emotiwave_core.config.options import one_of
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Encoded, Fused, Fusion
from emotiwave_core.layers.missing import MissingKind, StandIn


class Concat(Fusion):
    """Concatenation of the pooled vectors, the plain baseline of late feature fusion.

    pooled [B, D_m] of each modality -> vector [B, sum of D_m], in the order of `in_features`. No weights, no loss.

    missing: what stands in the place of an absent modality, "zero" or a "learned" vector.
    """

    def __init__(self, in_features: dict[str, int], *, missing: MissingKind = "zero") -> None:
        super().__init__()
        one_of("concat", MissingKind, missing=missing)
        self.missing = StandIn(in_features, missing)
        self.out_features = sum(in_features.values())

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        """encoded {modality: Encoded}, present [B, M] bool -> Fused."""
        return Fused(torch.cat(self.missing.pooled(encoded, present), dim=-1))


@hookimpl
def register_fusions(register: Callable[[str, type[Fusion]], None]) -> None:
    """Offer `concat`."""
    register("concat", Concat)
