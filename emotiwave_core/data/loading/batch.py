"""Batches from a store: padded tensors with masks, in an order that a seed and an epoch decide."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emotiwave_core.data.store.store import Store
from emotiwave_core.interfaces import Tensors

BLOCK = 1 << 17  # numbers: 1 MiB in float64, which the processor's cache holds


class Batch(NamedTuple):
    """B samples, or, of a batch that several processes share, the b of them that are this one's."""

    inputs: Tensors  # {stream: [b, T, F] float32}
    masks: Tensors  # {stream: [b, T] bool}
    host_masks: Tensors  # {stream: [B, T] bool} on the CPU, for what is decided without waiting for the device
    targets: Tensor  # [B] or [B, C], as the objective has them
    rows: NDArray[np.int64]  # [B], which samples of the store
    videos: Tensor | None = None  # [B] int64 on the CPU, the number of each one's video, where a fusion is to know it


def everything(count: int) -> slice:
    """The whole batch, as the share of a process that is alone."""
    return slice(count)


def batch_sizes(count: int, size: int | list[int]) -> list[int]:
    """The sizes of the batches of `count` samples: `size` each, but of the last; or as they are given."""
    return size if isinstance(size, list) else [min(size, count - start) for start in range(0, count, size)]


def batches(
    store: Store,
    rows: NDArray[np.int64],
    targets: Tensor,
    size: int | list[int],
    device: torch.device,
    order: Tensor | None = None,
    share: Callable[[int], slice] = everything,
) -> Iterator[Batch]:
    """The samples `rows` with their targets, `size` at a time, in the order given (else as they stand).

    `size` is that of all batches but the last, or the size of each. `share` says which of the B samples of a batch have
    their features read; T is the longest of all of them.
    """
    return (moved(batch, device) for batch in host_batches(store, rows, targets, size, order, share))


def host_batches(
    store: Store,
    rows: NDArray[np.int64],
    targets: Tensor,
    size: int | list[int],
    order: Tensor | None = None,
    share: Callable[[int], slice] = everything,
    pinned: bool = False,
) -> Iterator[Batch]:
    """`batches` on the CPU, the features in `pinned` memory where a GPU is to fetch them."""
    order = torch.arange(len(rows)) if order is None else order
    for chosen in torch.split(order, batch_sizes(len(order), size)):
        taken = rows[chosen.numpy()]
        own = share(len(taken))
        masks = {stream: step_mask(store, stream, taken) for stream in store.streams}
        yield Batch(
            inputs={m: padded(store, m, taken[own], mask.shape[1], pinned) for m, mask in masks.items()},
            masks={stream: mask[own] for stream, mask in masks.items()},
            host_masks=masks,
            targets=targets[chosen],
            rows=taken,
        )


def moved(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device, but for what is kept on the CPU."""
    return batch._replace(
        inputs={stream: x.to(device, non_blocking=True) for stream, x in batch.inputs.items()},
        masks={stream: mask.to(device, non_blocking=True) for stream, mask in batch.masks.items()},
        targets=batch.targets.to(device, non_blocking=True),
    )


def gather(store: Store, stream: str, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """The padded sequences of samples: [B, T, F] float32 and mask [B, T] bool, T >= 1 the longest of them."""
    mask = step_mask(store, stream, rows)
    return padded(store, stream, rows, mask.shape[1]), mask


def padded(store: Store, stream: str, rows: NDArray[np.int64], steps: int, pinned: bool = False) -> Tensor:
    """The sequences of samples, zero behind their ends: [B, T, F] float32."""
    x = _stacked(store.values[stream], store.offsets[stream], rows, steps, pinned)
    if store.speakers is not None:
        store.speakers.apply_batch_(stream, rows, x, store.offsets[stream][rows + 1] - store.offsets[stream][rows])
    return x


def step_mask(store: Store, stream: str, rows: NDArray[np.int64]) -> Tensor:
    """Mask of the steps that samples have: [B, T] bool, T >= 1 the longest of them."""
    offsets = store.offsets[stream]
    lengths = offsets[rows + 1] - offsets[rows]
    steps = int(lengths.max(initial=1))
    if store.step_present is not None:
        return _stacked(store.step_present[stream], offsets, rows, steps)
    return torch.arange(steps) < torch.from_numpy(lengths)[:, None]


def _stacked(
    flat: Tensor, offsets: NDArray[np.int64], rows: NDArray[np.int64], steps: int, pinned: bool = False
) -> Tensor:
    """Samples out of a flat array [all steps, ...], zero behind their ends: [B, T, ...].

    One call writes every byte once.
    """
    source = flat.numpy()
    lengths = offsets[rows + 1] - offsets[rows]
    nothing = np.zeros((steps - int(lengths.min(initial=steps)), *source.shape[1:]), source.dtype)
    pieces = [nothing[:0]]  # there is one also where there is no sample
    for start, length in zip(offsets[rows].tolist(), lengths.tolist(), strict=True):
        pieces += [source[start : start + length], nothing[: steps - length]]
    shape = (len(rows), steps, *flat.shape[1:])
    if pinned:
        x = torch.empty(*shape, dtype=flat.dtype, pin_memory=True)
    else:  # NumPy asks for huge pages, which the system hands out several times faster
        x = torch.from_numpy(np.empty(shape, source.dtype))
    np.concatenate(pieces, out=x.flatten(0, 1).numpy())
    return x


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """The order of an epoch, [count]: the same for the same seed and epoch, whatever was drawn before."""
    return torch.randperm(count, generator=_generator(seed, epoch))


def numbers_in(store: Store, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of feature values of each sample, [N]."""
    each = [store.lengths(stream)[rows] * width for stream, width in store.features.items()]
    return np.asarray(np.sum(each, axis=0))


def bucketed(order: Tensor, sizes: NDArray[np.int64], size: int, buckets: int, seed: int, epoch: int) -> Tensor:
    """An order [N] in which the samples of a batch are of like sizes [N], so that little of it is padding.

    The samples of every `buckets` batches are sorted by size; then the whole batches are shuffled.
    """
    numbers = torch.from_numpy(sizes)
    pools = [pool[numbers[pool].argsort(stable=True)] for pool in torch.split(order, size * buckets)]
    pieces = [piece for pool in pools for piece in torch.split(pool, size)]
    whole = [piece for piece in pieces if len(piece) == size]
    shuffled = torch.randperm(len(whole), generator=_generator(seed, epoch, 2)).tolist()  # [seed, epoch, 1] is taken
    return torch.cat([*(whole[index] for index in shuffled), *(piece for piece in pieces if len(piece) < size)])


def _generator(*key: int) -> torch.Generator:
    return torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))


def feature_statistics(store: Store, stream: str, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Mean [F] and 1 / deviation [F] of a stream over all steps that some samples have of it, as they were packed.

    A constant feature gets 0, so that it says nothing (its deviation is rounding error).
    """
    own = Moments(store.features[stream])
    own.add(store, stream, rows)
    mean, variance = own.mean, own.variance
    deviation = variance.sqrt()
    constant = deviation <= 1e-6 * mean.abs().clamp(min=1e-6)
    return mean.float(), torch.where(constant, 0.0, 1.0 / deviation.clamp(min=1e-30)).float()


class Moments:
    """Mean and variance of steps as they come, in float64, merged pairwise (Chan, Golub and LeVeque 1983)."""

    def __init__(self, width: int) -> None:
        self.count, self.mean = 0, torch.zeros(width, dtype=torch.float64)
        self._squares = torch.zeros_like(self.mean)  # of the differences from the mean, summed

    def add(self, store: Store, stream: str, rows: NDArray[np.int64]) -> None:
        """Take in all steps that some samples have of a stream, as packed, in one pass over blocks of them."""
        for x in _blocks(store, stream, rows):
            whole, own = self.count + len(x), x.mean(dim=0)
            difference = own - self.mean
            self._squares += x.sub_(own).square_().sum(dim=0) + difference.square() * (self.count * len(x) / whole)
            self.mean += difference * (len(x) / whole)
            self.count = whole

    @property
    def variance(self) -> Tensor:
        """The variance [F]; 0 where there is nothing."""
        return self._squares / max(self.count, 1)


def _blocks(store: Store, stream: str, rows: NDArray[np.int64]) -> Iterator[Tensor]:
    """The steps in which some samples have a stream, [T, F] float64: copies, at least a step and at most BLOCK."""
    most = max(BLOCK // store.features[stream], 1)
    for first, end in runs(rows):
        begin, stop = store.offsets[stream][[first, end]].tolist()
        for start in range(begin, stop, most):
            steps = slice(start, min(start + most, stop))
            x = store.values[stream][steps]
            if store.step_present is not None:
                x = x[store.step_present[stream][steps]]
            if len(x):
                yield x.double()


def runs(rows: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Samples as runs of neighbours, each from its first to before its end; one that is there twice is in two."""
    rows = np.sort(rows)
    pieces = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
    return [(int(piece[0]), int(piece[-1]) + 1) for piece in pieces if len(piece)]
