"""Standardisation by statistics that are known before the first step."""

import torch
from torch import Tensor, nn

CLIP = 5.0  # deviations; what lies further out is a fault of the extractor more often than an expression


class Standardise(nn.Module):
    """Features to zero mean and unit deviation, clipped to ±5 deviations. Holds the statistics of the training fold."""

    mean: Tensor  # [F]
    scale: Tensor  # [F], 1 / deviation; 0 for a constant feature

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(in_features))
        self.register_buffer("scale", torch.ones(in_features))

    def fit(self, mean: Tensor, scale: Tensor) -> None:
        """Take the statistics [F]. A constant feature has no mean: x - mean may be infinite, and NaN times its 0."""
        self.mean.copy_(torch.where(scale > 0, mean, 0.0))
        self.scale.copy_(scale)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., F] -> [..., F]."""
        return ((x - self.mean) * self.scale).clamp(-CLIP, CLIP)
