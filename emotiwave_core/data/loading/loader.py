"""Loading samples to a device: kept there where it has the room, else fetched ahead, else batch by batch."""

from collections.abc import Callable, Iterator

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emotiwave_core.data.loading.batch import (
    Batch,
    batch_sizes,
    batches,
    everything,
    host_batches,
    moved,
    numbers_in,
    runs,
    step_mask,
)
from emotiwave_core.data.store.store import Store
from emotiwave_core.io.prefetch import prefetch


@attrs.frozen(eq=False)
class Resident:
    """Samples of a store in the memory of a device: nothing but the rows of a batch is sent there."""

    store: Store
    values: dict[str, Tensor]  # {stream: [steps + 1, F] float32}, the last step of zeros: all padding is read there
    present: dict[str, Tensor] | None  # {stream: [steps + 1] bool}, of an aligned store
    starts: dict[str, Tensor]  # {stream: [N] int64}, where a sample begins in `values`
    lengths: dict[str, Tensor]  # {stream: [N] int64}
    held: NDArray[np.bool_]  # [N], which samples are here

    def gather(self, stream: str, rows: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """The padded sequences of some samples [B]: [B, T, F] and mask [B, T]."""
        values, present = self.values[stream], self.present
        step = torch.arange(steps, device=values.device)
        is_step = step < self.lengths[stream][rows][:, None]
        places = torch.where(is_step, self.starts[stream][rows][:, None] + step, len(values) - 1)
        x = values.index_select(0, places.flatten()).view(*places.shape, values.shape[1])
        return x, is_step if present is None else present[stream][places]

    def batches(
        self,
        rows: NDArray[np.int64],
        targets: Tensor,
        size: int | list[int],
        order: Tensor | None = None,
        share: Callable[[int], slice] = everything,
    ) -> Iterator[Batch]:
        """As `batch.batches` has them."""
        device = next(iter(self.values.values())).device
        taken = rows if order is None else rows[order.numpy()]
        sent, targets = torch.from_numpy(taken).to(device), (targets if order is None else targets[order]).to(device)
        start = 0
        for count in batch_sizes(len(taken), size):
            span = slice(start, start + count)
            start += count
            masks = {m: step_mask(self.store, m, taken[span]) for m in self.store.streams}
            own = sent[span][share(len(taken[span]))]
            gathered = {m: self.gather(m, own, mask.shape[1]) for m, mask in masks.items()}
            yield Batch(
                inputs={m: x for m, (x, _) in gathered.items()},
                masks={m: mask for m, (_, mask) in gathered.items()},
                host_masks=masks,
                targets=targets[span],
                rows=taken[span],
            )


def resident(store: Store, rows: NDArray[np.int64], device: torch.device) -> Resident:
    """These samples of a store, copied to a device."""
    held = np.zeros(len(store), dtype=bool)
    held[rows] = True
    samples = np.flatnonzero(held)
    lengths = {m: np.where(held, store.lengths(m), 0) for m in store.streams}
    starts = {m: np.cumsum(counts) - counts for m, counts in lengths.items()}

    def copied(flat: dict[str, Tensor]) -> dict[str, Tensor]:
        return {m: _copied(flat[m], store.offsets[m], samples, device) for m in store.streams}

    values = copied(store.values)
    if store.speakers is not None:
        for m, flat in values.items():
            for row in samples.tolist():
                steps = slice(starts[m][row], starts[m][row] + lengths[m][row])
                flat[steps] = store.speakers.apply(m, row, flat[steps])
    return Resident(
        store=store,
        values=values,
        present=None if store.step_present is None else copied(store.step_present),
        starts={m: torch.from_numpy(start).to(device) for m, start in starts.items()},
        lengths={m: torch.from_numpy(counts).to(device) for m, counts in lengths.items()},
        held=held,
    )


def _copied(flat: Tensor, offsets: NDArray[np.int64], rows: NDArray[np.int64], device: torch.device) -> Tensor:
    """The steps of some samples, one after the other, and one of zeros."""
    pieces = [flat[offsets[first] : offsets[end]] for first, end in runs(rows)]
    out = torch.empty(sum(map(len, pieces)) + 1, *flat.shape[1:], dtype=flat.dtype, device=device)
    out[-1] = 0
    at = 0
    for piece in pieces:
        out[at : at + len(piece)] = piece
        at += len(piece)
    return out


def room(store: Store, rows: NDArray[np.int64], device: torch.device) -> bool:
    """True where half of a GPU's free memory holds the features of these samples."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return bool(2 * 4 * numbers_in(store, np.unique(rows)).sum() <= free)


@attrs.frozen(eq=False)
class Loader:
    """Source of the batches of a store for one device: made once, asked in every epoch."""

    store: Store
    device: torch.device
    kept: Resident | None = None  # samples that are on the device
    fetch_ahead: bool = False  # the others are made ready in a thread

    def batches(
        self,
        rows: NDArray[np.int64],
        targets: Tensor,
        size: int | list[int],
        order: Tensor | None = None,
        share: Callable[[int], slice] = everything,
    ) -> Iterator[Batch]:
        """As `batch.batches` has them, in the fastest way there is."""
        if self.kept is not None and self.kept.held[rows].all():
            return self.kept.batches(rows, targets, size, order, share)
        if not self.fetch_ahead:
            return batches(self.store, rows, targets, size, self.device, order, share)
        on_host = host_batches(self.store, rows, targets, size, order, share, pinned=self.device.type == "cuda")
        return (moved(batch, self.device) for batch in prefetch(on_host))  # not in a thread, which has no device


def open_loader(store: Store, device: torch.device, keep: NDArray[np.int64] | None = None) -> Loader:
    """A loader for a device. The samples `keep` stay on a GPU if it has the room; others are fetched ahead.

    On a CPU it is the plain way: there a thread of its own saves nothing.
    """
    resident_samples = resident(store, keep, device) if keep is not None and room(store, keep, device) else None
    return Loader(store, device, resident_samples, fetch_ahead=device.type == "cuda")
