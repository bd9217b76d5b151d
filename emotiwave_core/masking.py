"""Masks of a batch: which modalities are present, and clearing those that are not kept."""

import torch
from torch import Tensor

from emotiwave_core.interfaces import Tensors


def present_in(masks: Tensors) -> Tensor:
    """masks {modality: [B, T] bool} -> [B, M] bool, one column a modality in the order of the dict."""
    return torch.stack([mask.any(dim=1) for mask in masks.values()], dim=1)


def keep(masks: Tensors, kept: Tensor) -> Tensors:
    """Clear the masks of the modalities that are not kept: kept [B, M] or [M] bool. Returns new masks."""
    return {name: mask & kept[..., column, None] for column, (name, mask) in enumerate(masks.items())}


def draw_nonempty(present: Tensor, p: float, allow_empty: bool = False) -> Tensor:
    """Keep each present modality with probability 1 - p, given that one is kept. present [B, M] -> [B, M] bool.

    The conditional distribution is drawn exactly and without a retry, modality by modality: while none has been kept,
    the next is kept with probability (1 - p) / (1 - p^n), n being the present ones that are left. With p = 1/2 every
    non-empty configuration of the present modalities is equally likely.
    """
    left = present.flip(1).cumsum(1).flip(1)  # [B, M] present modalities from this column on
    chance = torch.rand(present.shape, device=present.device)
    kept = torch.zeros_like(present)
    for column in range(present.shape[1]):
        probability = torch.full_like(chance[:, column], 1.0 - p)
        if not allow_empty:
            certain = (1.0 - p) / (1.0 - p ** left[:, column].clamp(min=1))
            certain = torch.where(left[:, column] <= 1, 1.0, certain)  # the quotient may round to just below 1
            probability = torch.where(kept.any(dim=1), probability, certain)
        kept[:, column] = present[:, column] & (chance[:, column] < probability)
    return kept
