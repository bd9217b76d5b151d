"""The fusion `mean`: the average of what is present."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from emotiwave_core.config.options import one_of, positive
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Encoded, Fused, Fusion
from emotiwave_core.layers.missing import MissingKind, StandIn


class MeanFusion(Fusion):
    """Late fusion by the mean (the sum rule of Kittler et al. 1998, "On Combining Classifiers", applied to vectors).

    Each pooled vector [B, D_m] is mapped linearly to a common width W and the results are averaged over the n
    modalities that are present: vector [B, W], weights [B, M] of 1/n each. With `missing = "learned"` the map of an
    absent modality's learned vector is added whole. A sample without any modality has a vector, or mean, of zero.

    width: W. missing: what stands in the place of an absent modality, "zero" or a "learned" vector.
    """

    def __init__(self, in_features: dict[str, int], *, width: int = 64, missing: MissingKind = "zero") -> None:
        super().__init__()
        positive("mean", width=width)
        one_of("mean", MissingKind, missing=missing)
        self.missing = StandIn(in_features, missing)
        self.project = nn.ModuleList(nn.Linear(features, width) for features in in_features.values())
        self.out_features = width

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        """encoded {modality: Encoded}, present [B, M] bool -> Fused."""
        pooled = self.missing.pooled(encoded, present)
        projected = torch.stack([project(x) for project, x in zip(self.project, pooled, strict=True)], dim=1)
        here = present.to(projected.dtype)
        weights = here / here.sum(dim=1, keepdim=True).clamp(min=1.0)  # [B, M]
        vector = torch.einsum("bm,bmw->bw", self.missing.with_learned(weights, present), projected)
        return Fused(vector, weights)


@hookimpl
def register_fusions(register: Callable[[str, type[Fusion]], None]) -> None:
    """Offer `mean`."""
    register("mean", MeanFusion)
