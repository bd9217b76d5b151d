"""Latency of one clip, from its features to its prediction."""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import emotiwave as ew
from emotiwave_core.data.loading.batch import batches
from emotiwave_core.predict.trained import TrainedRun
from speed.opened import untrained
from speed.table import Row

WARM = 20
STAGES = ("reading", "encoders", "fusion and head")


def measure(folder: Path, device: torch.device, clips: int = 300) -> list[Row]:
    """One sample at a time: the median and the 99th percentile, and which share of the median each stage has."""
    rows = []
    recipes: dict[str, dict[str, Any]] = {"default": {}, "notebook": ew.recipes()["notebook"]}
    with tempfile.TemporaryDirectory() as run:
        for name, table in recipes.items():
            seconds = one_by_one(untrained(table, folder, Path(run), device, "all"), device, clips)
            whole = seconds.sum(axis=1) * 1e3
            shares = np.median(seconds, axis=0) / np.median(seconds, axis=0).sum()
            note = ", ".join(f"{stage} {share:.0%}" for stage, share in zip(STAGES, shares, strict=True))
            p50, p99 = np.percentile(whole, [50, 99])
            rows.append(Row("prediction", f"one clip, {name}, p50", float(p50), "ms", note=note))
            rows.append(Row("prediction", f"one clip, {name}, p99", float(p99), "ms"))
    return rows


@torch.inference_mode()
def one_by_one(trained: TrainedRun, device: torch.device, clips: int) -> NDArray[np.float64]:
    """Seconds of every stage of so many predictions, [clips, stages]."""
    seconds = np.zeros((WARM + clips, len(STAGES)))
    model, fold = trained.model, trained.fold
    for number, row in enumerate(seconds):
        one = slice(number % len(fold.rows), number % len(fold.rows) + 1)
        began = time.perf_counter()
        (batch,) = batches(trained.corpus.store, fold.rows[one], fold.targets[one], 1, device)
        _wait(device)
        read = time.perf_counter()
        encoded = model.encode(batch.inputs, batch.masks)
        _wait(device)
        done = time.perf_counter()
        present = torch.stack([batch.masks[m].any(dim=1) for m in model.modalities], dim=1)
        trained.objective.answers(model.fuse(encoded, present).logits).cpu()
        row[:] = read - began, done - read, time.perf_counter() - done
    return seconds[WARM:]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
