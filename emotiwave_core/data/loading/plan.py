"""Batches of samples as a model needs them: any samples, or whole videos where its fusion sees neighbours."""

import re
from collections.abc import Callable, Iterator

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emotiwave_core.data.loading.batch import Batch, batch_sizes, everything
from emotiwave_core.data.loading.loader import Loader
from emotiwave_core.data.store.store import Store
from emotiwave_core.interfaces import Neighbours

NUMBER = re.compile(r"[0-9]{1,18}")


@attrs.frozen(eq=False)
class BatchPlan:
    """The batches that N samples are read in."""

    order: Tensor  # [N], in which they are read
    sizes: list[int]  # of the batches
    videos: NDArray[np.int64] | None = None  # of each sample of the store, the number of its video; None: no neighbours

    def __len__(self) -> int:
        return len(self.sizes)

    def after(self, done: int) -> "BatchPlan":
        """The rest of the plan, when so many batches are done."""
        return attrs.evolve(self, order=self.order[sum(self.sizes[:done]) :], sizes=self.sizes[done:])

    def batches(
        self,
        loader: Loader,
        rows: NDArray[np.int64],
        targets: Tensor,
        share: Callable[[int], slice] = everything,
    ) -> Iterator[Batch]:
        """The samples `rows` with their targets, as `batch.batches` has them."""
        for batch in loader.batches(rows, targets, self.sizes, self.order, share):
            yield batch if self.videos is None else batch._replace(videos=torch.from_numpy(self.videos[batch.rows]))

    def restored(self, x: Tensor, dim: int = 0) -> Tensor:
        """The results of the batches, one after another along `dim`, in the order of the samples."""
        if self.videos is None:  # of which the order was that of the samples
            return x
        return x.index_select(dim, self.order.argsort().to(x.device))


def plan_batches(
    store: Store, rows: NDArray[np.int64], size: int, order: Tensor | None = None, *, neighbours: Neighbours | None
) -> BatchPlan:
    """The batches of the samples `rows`, `size` at a time, in the order given (else as they stand).

    neighbours: every batch holds so many whole videos (or groups) that it has `size` samples on average, at least one.
    They come in the order of the first sample of each, and the samples of a video in that of their starts; of a group
    those of one video after another, by their names, numbers in them by size: `dia0_utt10` comes after `dia0_utt9`.
    """
    order = torch.arange(len(rows)) if order is None else order
    if neighbours is None:
        return BatchPlan(order, batch_sizes(len(order), size))
    numbers = np.unique(np.array(videos_of(store, neighbours)), return_inverse=True)[1].astype(np.int64)
    members = _members(numbers[rows], _places(store)[rows])
    ordered = list(dict.fromkeys(numbers[rows][order.numpy()].tolist()))  # videos, by their first sample
    count = max(1, size * len(ordered) // max(len(rows), 1))
    groups = [ordered[start : start + count] for start in range(0, len(ordered), count)]
    together = [np.concatenate([members[video] for video in group]) for group in groups]
    whole = np.concatenate([np.empty(0, np.int64), *together])
    return BatchPlan(torch.from_numpy(whole), [len(batch) for batch in together], numbers)


def videos_of(store: Store, neighbours: Neighbours | None) -> tuple[str, ...]:
    """The video, or group, of each sample of a store within which a fusion sees neighbours."""
    return store.groups if neighbours == "group" else store.videos


def neighbour_notes(store: Store, neighbours: Neighbours | None) -> list[str]:
    """A sentence where a fusion sees neighbours and no sample has any, or none of the kind that it asks for."""
    if neighbours is None:
        return []
    if len(set(videos_of(store, neighbours))) < len(store):
        if neighbours == "video" or store.facts.groups is not None:
            return []
        return [
            f"{store.facts.dataset} does not tell groups ([groups] in dataset.toml): the run's fusion sees the samples "
            "of a video in their place."
        ]
    return [f"each {neighbours} of {store.facts.dataset} is one sample: the run's fusion sees no neighbours."]


def _places(store: Store) -> NDArray[np.int64]:
    """The place of each sample among all, [N]: by the name of its video, and in it by its start."""
    names = np.array([NUMBER.sub(lambda number: number[0].zfill(18), video) for video in store.videos])
    order = np.lexsort((store.intervals.numpy()[:, 0], np.unique(names, return_inverse=True)[1]))
    return np.asarray(order.argsort(kind="stable"))


def _members(videos: NDArray[np.int64], places: NDArray[np.int64]) -> dict[int, NDArray[np.int64]]:
    """The samples of each video, in the order of their places."""
    order = np.lexsort((places, videos))
    cuts = np.flatnonzero(np.diff(videos[order])) + 1
    return {int(videos[own[0]]): own for own in np.split(order, cuts) if len(own)}
