"""Training by the Python face, and the recipe that a call of it means."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotiwave_core.api.arguments import (
    FilePath,
    dataset_folder,
    errors_of_ours,
    open_device,
    open_registry,
    optional_folder,
    part_table,
    part_tables,
)
from emotiwave_core.api.run import Run
from emotiwave_core.compute.torchrun import ALONE, Processes
from emotiwave_core.errors import SettingsError
from emotiwave_core.monitor import Monitor, monitor_for_here

if TYPE_CHECKING:
    import torch

    from emotiwave_core.config.recipe import Recipe
    from emotiwave_core.data.dataset import Dataset
    from emotiwave_core.parts.registry import Registry


def train(
    dataset: "Dataset | FilePath",
    /,
    recipe: "str | os.PathLike[str] | Mapping[str, Any] | Recipe" = "default",
    *,
    encoder: str | Mapping[str, Any] | None = None,
    fusion: str | Mapping[str, Any] | None = None,
    dropout: str | Mapping[str, Any] | None = None,
    augmentation: "str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]] | None" = None,
    objective: str | Mapping[str, Any] | None = None,
    metric: "str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]] | None" = None,
    watch: Sequence[str] = (),
    seed: int | None = None,
    out: FilePath | None = None,
    device: "str | torch.device" = "auto",
    registry: "Registry | FilePath | None" = None,
    monitor: Monitor | None = None,
    processes: Processes = ALONE,
    test: bool = True,
    **settings: Mapping[str, Any],
) -> "Run":
    """Train a model, score it on every configuration, write a report, and return the run.

    dataset: from `load_dataset`, or its folder.
    recipe: a name that `recipes()` lists, a `.toml` file, or a table; what follows is laid over it.
    encoder: `"NAME:option=value"` or a table with a `name`, for all modalities; or one of these for each modality,
    `{"text": "bilstm", "*": "mean"}`. fusion, dropout: likewise, one part.
    augmentation, metric: likewise, one or a list of them.
    objective: `"NAME:option=value"`, or settings of the recipe's table.
    watch: plugins that watch the run, besides those of the recipe. seed: of weights, order and dropout.
    settings: tables of the recipe, such as training={"epochs": 5} or data={"folds": "random"}; docs/reference.md
    lists them.
    out: the run's folder, new or empty; else `runs/RECIPE-N`. device: auto, cpu, cuda or cuda:N.
    registry: a registry.toml laid over the others. processes: those that torchrun has started. test: False ends when
    the training has, before the test fold is read; `resume(out)` reads it later.

    Stopped by Ctrl-C, or by the stop button of a cell, it keeps all steps that are done: `resume(out)` goes on.

    SettingsError for a name or value that is not valid, DataError for data that cannot be used, PluginError for a part
    that fails, ResourceError where memory, disk or device fall short, DivergedError for a loss that is not finite.
    """
    from emotiwave_core.compute.distributed import SINGLE
    from emotiwave_core.compute.runtime import Runtime
    from emotiwave_core.runs.folder import next_folder
    from emotiwave_core.train import run as engine

    registry, here = open_registry(registry), monitor or monitor_for_here()
    chosen = _recipe(recipe, registry, encoder, fusion, dropout, augmentation, objective, metric, watch, seed, settings)
    data = dataset_folder(dataset)
    target = Path(out) if out is not None else next_folder(chosen.name)
    try:
        with errors_of_ours(), _told_how_to_resume(target, here if monitor is None else None):
            runtime = Runtime(processes.device or open_device(device), here, processes.group or SINGLE, test)
            engine.start(chosen, data, target, registry, runtime, processes.job)
    finally:
        with contextlib.suppress(OSError):
            target.rmdir()  # only where nothing has been written
    return Run(target, device, registry, monitor)


def resume(
    folder: FilePath,
    /,
    *,
    dataset: "Dataset | FilePath | None" = None,
    device: "str | torch.device" = "auto",
    registry: "Registry | FilePath | None" = None,
    monitor: Monitor | None = None,
    processes: Processes = ALONE,
    test: bool = True,
) -> "Run":
    """Continue a run that was stopped at any point: it ends as if it had not been.

    dataset: its data, where they have moved; DataError where they are others. SettingsError where the folder holds no
    run, or its recipe was edited since; otherwise as `train`.
    """
    from emotiwave_core.compute.distributed import SINGLE
    from emotiwave_core.compute.runtime import Runtime
    from emotiwave_core.train import run as engine

    target, registry, here = Path(folder), open_registry(registry), monitor or monitor_for_here()
    with errors_of_ours(), _told_how_to_resume(target, here if monitor is None else None):
        runtime = Runtime(processes.device or open_device(device), here, processes.group or SINGLE, test)
        engine.resume(target, registry, runtime, data=optional_folder(dataset))
    return Run(target, device, registry, monitor)


def _recipe(
    recipe: "str | os.PathLike[str] | Mapping[str, Any] | Recipe",
    registry: "Registry",
    encoder: str | Mapping[str, Any] | None,
    fusion: str | Mapping[str, Any] | None,
    dropout: str | Mapping[str, Any] | None,
    augmentation: "str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]] | None",
    objective: str | Mapping[str, Any] | None,
    metric: "str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]] | None",
    watch: Sequence[str],
    seed: int | None,
    settings: Mapping[str, Mapping[str, Any]],
) -> "Recipe":
    """The recipe with what a call of `train` lays over it."""
    from emotiwave_core.config.flags import override
    from emotiwave_core.config.recipe import Recipe

    table: dict[str, Any]
    if isinstance(recipe, Recipe):
        table, source = recipe.to_table(), f"The recipe '{recipe.name}'"
    elif isinstance(recipe, Mapping):
        table, source = dict(recipe), "The recipe"
    else:
        table, source = registry.recipe_table(os.fspath(recipe))
    if isinstance(objective, str):
        override(table, objective=objective)
    elif objective is not None:
        settings = {**settings, "objective": objective}
    for name, values in settings.items():
        if not isinstance(values, Mapping):
            raise SettingsError(f"{name}= is a table of the recipe, such as training={{'epochs': 5}}, not {values!r}.")
        table[name] = {**table.get(name, {}), **values}
    if encoder is not None:
        table["encoder"] = _encoder_table(encoder)
    table |= {name: part_table(part) for name, part in (("fusion", fusion), ("dropout", dropout)) if part is not None}
    if augmentation is not None:
        table["augmentation"] = part_tables(augmentation)
    if metric is not None:
        table["metric"] = part_tables(metric)
    if watch:
        table["watch"] = [*table.get("watch", []), *watch]
    if seed is not None:
        table["seed"] = seed
    return Recipe.from_table(table, source)


def _encoder_table(encoder: str | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(encoder, str) or "name" in encoder:
        return part_table(encoder)
    return {modality: part_table(part) for modality, part in encoder.items()}


@contextlib.contextmanager
def _told_how_to_resume(folder: Path, monitor: Monitor | None) -> Iterator[None]:
    """Say how to go on where a training is stopped that can be resumed."""
    try:
        yield
    except KeyboardInterrupt:
        if monitor is not None and (folder / "recipe.toml").exists():
            monitor.say(f"Stopped. Continue with: emotiwave.resume({str(folder)!r})")
        raise
