"""The fusion `concat`: the pooled vectors side by side."""

from collections.abc import Callable

import torch
from torch import Tensor

from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Encoded, Fused, Fusion


class Concat(Fusion):
    """Concatenation of the pooled vectors, the plain baseline of late feature fusion.

    pooled [B, D_m] of each modality -> vector [B, sum of D_m], in the order of `in_features`; zero where a modality is
    absent. It has no parameters, no weights and no loss.
    """

    def __init__(self, in_features: dict[str, int]) -> None:
        super().__init__()
        self.modalities = tuple(in_features)
        self.out_features = sum(in_features.values())

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        """encoded {modality: Encoded}, present [B, M] bool -> Fused."""
        parts = []
        for column, modality in enumerate(self.modalities):
            pooled = encoded[modality].pooled
            parts.append(torch.where(present[:, column, None], pooled, pooled.new_zeros(())))
        return Fused(torch.cat(parts, dim=-1))


@hookimpl
def register_fusions(register: Callable[[str, type[Fusion]], None]) -> None:
    """Offer `concat`."""
    register("concat", Concat)
