"""Calibration of a model's logits, for each configuration by itself."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from emotiwave_core.modalities import Configuration


class LogitMap(NamedTuple):
    """A map of logits z [C] of one configuration: scale * z + shift, each a number for all classes or for each [C]."""

    scale: float | list[float] = 1.0
    shift: float | list[float] = 0.0


class LogitCalibration(nn.Module):
    """Logits [B, C] of samples that have the modalities present [B, M] -> scale_p z + shift_p, p the pattern of each.

    Temperature scaling (Guo et al. 2017) is scale = 1 / T for all classes and no shift, which moves no decision of a
    single-label model; Platt scaling (Platt 1999) has a scale and a shift for each emotion. A configuration that is
    not named, and a sample that has nothing, keep their logits. The buffers are no part of the weights of a run: its
    model.json holds them.
    """

    scale: Tensor  # [2^M, C]
    shift: Tensor  # [2^M, C]
    places: Tensor  # [M], of each modality in the number of a pattern

    def __init__(self, maps: Mapping[Configuration, LogitMap], modalities: Sequence[str], classes: int) -> None:
        super().__init__()
        scale, shift = torch.ones(2 ** len(modalities), classes), torch.zeros(2 ** len(modalities), classes)
        for configuration, one in maps.items():
            pattern = sum(2 ** list(modalities).index(modality) for modality in configuration)
            scale[pattern], shift[pattern] = torch.tensor(one.scale), torch.tensor(one.shift)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)
        self.register_buffer("places", 2 ** torch.arange(len(modalities)), persistent=False)

    def forward(self, logits: Tensor, present: Tensor) -> Tensor:
        """logits [B, C], present [B, M] bool -> [B, C] float32."""
        pattern = (present.long() * self.places).sum(dim=1)
        return self.scale[pattern] * logits.float() + self.shift[pattern]
