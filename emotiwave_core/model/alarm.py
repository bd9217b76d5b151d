"""Alarm of a modality: its encoding is unlike those of the training fold, so that it may lie."""

from collections.abc import Mapping
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from emotiwave_core.interfaces import Encoded

QUANTILE = 0.995  # of the validation samples, beyond whose distance there is an alarm
FARTHEST = 1e6  # thresholds: all that is farther, or no number, counts as this far


class Density(NamedTuple):
    """The normal distribution of a modality's pooled vectors over the training fold, and the largest usual distance."""

    mean: Tensor  # [D]
    whitening: Tensor  # [D, D]
    threshold: Tensor  # [], above 0


class StateAlarm(nn.Module):
    """Mahalanobis distance of each modality's pooled vector to those of the training fold (Lee et al. 2018).

    |W (pooled - mean)| / threshold, with W'W the inverse of the covariance: beyond 1 it is an alarm. The encoder's
    states are asked, not the features: what an encoder lets pass does no harm. A modality without a density has none.
    """

    def __init__(self, densities: Mapping[str, Density]) -> None:
        super().__init__()
        self.densities = nn.ModuleDict()
        for modality, density in densities.items():
            one = nn.Module()
            for name, tensor in density._asdict().items():
                one.register_buffer(name, tensor.float(), persistent=False)
            self.densities[modality] = one

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Tensor:
        """encoded {m: Encoded}, present [B, M] bool -> the share of the threshold [B, M]; 0 of what is absent."""
        shares = [self._share(modality, one.pooled.float()) for modality, one in encoded.items()]
        return torch.where(present, torch.stack(shares, dim=1), 0.0)

    def _share(self, modality: str, pooled: Tensor) -> Tensor:
        if modality not in self.densities:
            return pooled.new_zeros(len(pooled))
        one = self.densities[modality]
        mean, whitening, threshold = (cast(Tensor, getattr(one, name)) for name in Density._fields)
        distance: Tensor = torch.linalg.vector_norm((pooled - mean) @ whitening.T, dim=1)
        return (distance / threshold).nan_to_num(FARTHEST).clamp(max=FARTHEST)


def trusted_in(present: Tensor, shares: Tensor) -> Tensor:
    """present [B, M] without the modalities whose share of the threshold [B, M] is beyond 1, if any is left."""
    trusted = present & (shares <= 1.0)
    return torch.where(trusted.any(dim=1, keepdim=True), trusted, present)
