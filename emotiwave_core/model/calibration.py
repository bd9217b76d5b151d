"""Calibration of a model's logits, for each configuration by itself."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from emotiwave_core.modalities import Configuration

COLDEST, HOTTEST = 0.01, 100.0  # temperatures: beyond them a float32 may not hold what is scaled


class LogitCalibration(nn.Module):
    """Temperature scaling (Guo et al. 2017): logits [B, C] of samples that have present [B, M] -> z / T_p.

    p is the pattern of the modalities that a sample has. A configuration that is not named, and a sample that has
    nothing, keep their logits. No decision of a single-label model is moved. The buffers are no part of the weights of
    a run: its model.json holds them.
    """

    scale: Tensor  # [2^M], 1 / T
    places: Tensor  # [M], of each modality in the number of a pattern

    def __init__(self, temperatures: Mapping[Configuration, float], modalities: Sequence[str]) -> None:
        super().__init__()
        scale = torch.ones(2 ** len(modalities))
        for configuration, temperature in temperatures.items():
            scale[sum(2 ** list(modalities).index(modality) for modality in configuration)] = 1.0 / temperature
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("places", 2 ** torch.arange(len(modalities)), persistent=False)

    def forward(self, logits: Tensor, present: Tensor) -> Tensor:
        """logits [B, C], present [B, M] bool -> [B, C] float32."""
        pattern = (present.long() * self.places).sum(dim=1)
        return self.scale[pattern].unsqueeze(-1) * logits.float()
