"""Batches from the store against numpy copies: of the same bytes in memory, and of the steps alone, without padding."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from emotiwave_core.config.recipe import DataSettings
from emotiwave_core.data.corpus import open_corpus
from emotiwave_core.data.loading.batch import epoch_order
from emotiwave_core.data.loading.loader import Loader, open_loader
from speed.machine import waiter
from speed.table import Row, medians

SIZE = 16
SAMPLES = 4000  # at most
DATA = {
    "segments": DataSettings(),
    "videos": DataSettings(unit="video"),
    "segments by words": DataSettings(align="words"),
}


def measure(folder: Path, device: torch.device) -> list[Row]:
    """Each kind of sample, batch by batch, and on a GPU also from the samples that are kept there."""
    return [row for what, settings in DATA.items() for row in _measure(folder, settings, what, device)]


def _measure(folder: Path, settings: DataSettings, what: str, device: torch.device) -> list[Row]:
    """Passes over all samples (or some thousands) in a random order. On a GPU numpy's copies are sent there, too."""
    store = open_corpus(folder, settings).store
    rows, targets = np.arange(len(store)), torch.zeros(len(store))
    orders = [epoch_order(len(rows), 0, epoch) for epoch in range(1, 1 + max(1, 640 // len(rows)))]
    order = torch.cat(orders)[:SAMPLES]
    held = {m: store.values[m].numpy() for m in store.modalities}
    plain, loader = Loader(store, device), open_loader(store, device, rows)

    def ours(loader: Loader) -> int:
        found = loader.batches(rows, targets, SIZE, order)
        return sum(x.nbytes for batch in found for x in batch.inputs.values())

    def numpy() -> None:
        for chosen in torch.split(order, SIZE):
            batch = []  # the last one lives until this one is whole, as it does in ours
            for m, values in held.items():
                pieces = [values[slice(*store.offsets[m][row : row + 2])] for row in chosen.tolist()]
                batch.append(torch.from_numpy(np.concatenate(pieces)).to(device))

    sources = [np.ones(x.shape, np.float32) for x in next(plain.batches(rows, targets, SIZE, order)).inputs.values()]

    def copy() -> list[NDArray[np.float32]]:
        return [source.copy() for source in sources]

    works = {"plain": lambda: ours(plain), "numpy": numpy, "copy": copy}
    if loader.kept is not None:
        works["kept"] = lambda: ours(loader)
    found = medians(works, settle=waiter(device))
    count = -(-len(order) // SIZE)
    speed = {way: count / found[way] for way in found}
    size, limit = ours(plain) / found["plain"] / 1e9, sum(x.nbytes for x in sources) / found["copy"] / 1e9
    ways = {"plain": "from the store", "kept": "kept on the GPU"}
    rows_found = [
        Row("batches", f"{what}, from the store", size, "GB/s", "numpy copy of the same bytes", limit, ">= 0.7")
    ]
    for way in (way for way in ways if way in speed):
        name = f"{what}, {ways[way]}"
        rows_found.append(Row("batches", name, speed[way], "batches/s", "the steps alone, unpadded", speed["numpy"]))
    return rows_found
