"""Batches from a store: padded tensors with masks, in an order that a seed and an epoch decide."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emotiwave_core.data.store import Store
from emotiwave_core.interfaces import Tensors


class Batch(NamedTuple):
    """B samples."""

    inputs: Tensors  # {modality: [B, T, F] float32}
    masks: Tensors  # {modality: [B, T] bool}
    targets: Tensor  # [B] or [B, C], as the objective has them
    rows: NDArray[np.int64]  # [B], which samples of the store


def batches(
    store: Store, rows: NDArray[np.int64], targets: Tensor, size: int, device: torch.device, order: Tensor | None = None
) -> Iterator[Batch]:
    """The samples `rows` with their targets, `size` at a time, in the order given (else as they stand)."""
    order = torch.arange(len(rows)) if order is None else order
    for chosen in torch.split(order, size):
        taken = rows[chosen.numpy()]
        pairs = {modality: gather(store, modality, taken) for modality in store.modalities}
        yield Batch(
            inputs={modality: x.to(device, non_blocking=True) for modality, (x, _) in pairs.items()},
            masks={modality: mask.to(device, non_blocking=True) for modality, (_, mask) in pairs.items()},
            targets=targets[chosen].to(device, non_blocking=True),
            rows=taken,
        )


def gather(store: Store, modality: str, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """The padded sequences of some samples: [B, T, F] float32 and mask [B, T] bool, T >= 1 the longest of them."""
    lengths = store.lengths(modality)[rows]
    steps = max(int(lengths.max(initial=1)), 1)
    x = torch.zeros(len(rows), steps, store.features[modality])
    mask = torch.arange(steps) < torch.from_numpy(lengths)[:, None]
    for place, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        x[place, :length] = store.sequence(modality, int(row))
        if store.step_present is not None:
            mask[place, :length] = store.present(modality, int(row))
    return x, mask


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """The order of an epoch, [count]: the same for the same seed and epoch, whatever was drawn before."""
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0]))
    return torch.randperm(count, generator=generator)


def feature_statistics(store: Store, modality: str, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Mean [F] and 1 / deviation [F] of a modality over all steps that some samples have of it, in float64.

    Two passes, sample by sample. A constant feature gets 0, so that it says nothing (its deviation is rounding error).
    """
    width = store.features[modality]
    count, total = 0, torch.zeros(width, dtype=torch.float64)
    for row in rows:
        x = _there(store, modality, int(row))
        count, total = count + len(x), total + x.sum(dim=0)
    mean = total / max(count, 1)
    squares = torch.zeros(width, dtype=torch.float64)
    for row in rows:
        squares += (_there(store, modality, int(row)) - mean).square().sum(dim=0)
    deviation = (squares / max(count, 1)).sqrt()
    constant = deviation <= 1e-6 * mean.abs().clamp(min=1e-6)
    return mean.float(), torch.where(constant, 0.0, 1.0 / deviation.clamp(min=1e-30)).float()


def _there(store: Store, modality: str, row: int) -> Tensor:
    """The steps in which a sample has a modality, [T, F] float64."""
    x = store.sequence(modality, row)
    return (x if store.step_present is None else x[store.present(modality, row)]).double()
