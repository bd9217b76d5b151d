"""Small recipes and runs, for tests of the engine. Their reports have no pictures, which take longer than the rest."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch

from emotiwave_core.compute.runtime import Runtime
from emotiwave_core.config.recipe import Recipe
from emotiwave_core.parts.registry import load_registry
from emotiwave_core.runs.scores import Scores
from emotiwave_core.train import run

CPU = torch.device("cpu")
REGISTRY = load_registry()


def small(**tables: Any) -> Recipe:
    """A recipe that trains on the tiny data set in half a second, with other settings or parts where they are given."""
    table: dict[str, Any] = {
        "encoder": {"name": "bilstm", "hidden_size": 4},
        "model": {"head": 8},
        "training": {"epochs": 3, "batch_size": 8, "learning_rate": 1e-2},
    }
    for name, value in tables.items():
        table[name] = table[name] | value if name in ("model", "training") else value
    return Recipe.from_table(table, "The recipe of a test")


def start(recipe: Recipe, data: Path, out: Path) -> Scores:
    """A run on the CPU."""
    return _without_pictures(lambda: run.start(recipe, data, out, REGISTRY, Runtime(CPU)))


def resume(out: Path) -> Scores:
    """Continue a run on the CPU."""
    return _without_pictures(lambda: run.resume(out, REGISTRY, Runtime(CPU)))


def evaluate(out: Path, **options: Any) -> Scores:
    """Score a run on the CPU."""
    return _without_pictures(lambda: run.evaluate(out, REGISTRY, Runtime(CPU), **options))


def _without_pictures(work: Callable[[], Scores]) -> Scores:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emotiwave_core.report.page.write_pictures", lambda _: [])
        return work()


def edit_csd(path: Path, change: Any) -> None:
    """Put `change(video, features)` in the place of the features of every video of a file."""
    with h5py.File(path, "r+") as file:
        for video, group in next(iter(file.values()))["data"].items():
            features = change(video, group["features"][()])
            del group["features"]
            group.create_dataset("features", data=features)
