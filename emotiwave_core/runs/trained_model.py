"""What a run keeps: `model.*` can be rebuilt with nothing else, `last.safetensors` continues training.

Only safetensors and JSON are read: a checkpoint cannot run code. Every file is written beside and renamed.
"""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from emotiwave_core.compute.distributed import SINGLE, ProcessGroup
from emotiwave_core.config.recipe import Recipe
from emotiwave_core.errors import DataError, PluginError, short
from emotiwave_core.interfaces import Tensors
from emotiwave_core.io.atomic import sha256_of, write_bytes, write_json
from emotiwave_core.io.untrusted import open_file, parse_json, read_json, why
from emotiwave_core.model.fusion_model import FusionModel
from emotiwave_core.model.objective import Objective, make_objective
from emotiwave_core.parts.registry import Registry
from emotiwave_core.parts.resolved import ResolvedParts
from emotiwave_core.runs.rebuild import check_classes, checked, checked_moments, checked_state, in_words, rebuild

FORMAT = 1
WEIGHTS, ABOUT, LAST = "model.safetensors", "model.json", "last.safetensors"


def save_model(run: Path, model: FusionModel, about: dict[str, Any]) -> None:
    """Write the weights, then the description that names their SHA-256."""
    from safetensors.torch import save

    write_bytes(run / WEIGHTS, save(_plain(model.state_dict())))
    write_json(run / ABOUT, {"format": FORMAT, **about, "weights_sha256": sha256_of(run / WEIGHTS)})


def describe(parts: ResolvedParts, model: FusionModel, objective: Objective) -> dict[str, Any]:
    """What `model.json` holds beyond weights and scores: enough to assemble the model again."""
    from emotiwave_core import __version__

    plugins = [
        {
            "kind": part.kind,
            "name": part.name,
            "modality": modality,
            "distribution": part.origin,
            "version": part.version,
        }
        for part, modality in parts.used_by(model.modalities)
    ]
    return {
        "emotiwave": __version__,
        "recipe": parts.recipe.to_table(),
        "plugins": plugins,
        "features": {m: model.features[m] for m in model.modalities},
        "steps": model.steps,
        "classes": list(objective.classes),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def read_about(run: Path) -> dict[str, Any]:
    """`model.json` of a run; DataError where it is missing or damaged."""
    try:
        about: Any = read_json(run / ABOUT)
        if isinstance(about, dict) and about.get("format", FORMAT) != FORMAT:
            raise DataError(f"{run / ABOUT} has format {short(about['format'])}, and this version reads {FORMAT}.")
        return checked(about)
    except FileNotFoundError as error:
        raise DataError(f"{run} holds no trained model ({ABOUT}); give the folder of a run that has ended.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{run / ABOUT} is damaged ({why(error)}); train again.") from error


LoadedModel = tuple[FusionModel, Objective, Recipe, dict[str, Any]]  # the last is what `model.json` holds


def load_model(run: Path, registry: Registry) -> LoadedModel:
    """The model of a run with its objective, recipe and description, on the CPU and in eval()."""
    return _load(run, registry.resolve)


def reload_model(run: Path, parts: ResolvedParts) -> LoadedModel:
    """The model of a run that was trained with these parts, as `load_model`: none is looked up again."""
    return _load(run, lambda recipe: parts)


def _load(run: Path, resolve: Callable[[Recipe], ResolvedParts]) -> LoadedModel:
    about = read_about(run)
    recipe = Recipe.from_table(about["recipe"], str(run / ABOUT))
    if not (run / WEIGHTS).is_file() or sha256_of(run / WEIGHTS) != about.get("weights_sha256"):
        raise DataError(f"{run / WEIGHTS} is missing or damaged, or does not belong to {ABOUT}; train again.")
    objective = make_objective(recipe.objective, tuple(about["targets"]))
    try:
        check_classes(about, objective)
    except ValueError as error:
        raise DataError(f"{run / ABOUT} is damaged ({error}); train again.") from error
    model = rebuild(resolve(recipe), about, len(objective.classes), run / WEIGHTS)
    _restore(model, read_tensors(run / WEIGHTS)[0], run / WEIGHTS)
    if not all(tensor.isfinite().all() for tensor in model.parameters()):
        raise DataError(f"{run / WEIGHTS} holds weights that are no finite numbers; train again.")
    return model.eval(), objective, recipe, about


def save_last(
    run: Path, model: nn.Module, optimiser: torch.optim.Optimizer, average: nn.Module | None, state: dict[str, Any]
) -> None:
    """What the next epoch depends on beside the seed, in one file: weights, moments, average, and `state` as JSON."""
    from safetensors.torch import save

    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{name}": tensor for name, tensor in average.state_dict().items()}
    for number, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{name}": torch.as_tensor(value) for name, value in moments.items()}
    tensors = _plain(tensors)
    # One entry alone: of several, safetensors writes another first each time.
    about = json.dumps(state | {"sha256": _sha256_of(tensors, json.dumps(state))})
    write_bytes(run / LAST, save(tensors, metadata={"state": about}))


def load_last(
    run: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: nn.Module | None,
    group: ProcessGroup = SINGLE,
) -> dict[str, Any] | None:
    """Put model, optimiser and average back to the last whole epoch; its `state`, or None where there is none.

    Of several processes only rank 0 reads the file.
    """
    path = run / LAST
    found = group.first(lambda: read_tensors(path) if os.path.lexists(path) else None)
    if found is None:
        return None
    tensors, metadata = found
    try:
        about = parse_json(metadata["state"].encode())
        digest = about.pop("sha256", None) if isinstance(about, dict) else None
        if digest != _sha256_of(tensors, json.dumps(about)):
            raise ValueError("it is not what was written")
        state = checked_state(about)
        moments = checked_moments(tensors, optimiser)
    except (KeyError, ValueError) as error:
        raise DataError(f"{path} is damaged ({error}); remove it to train from the start.") from error
    _restore(model, _of("model.", tensors), path)
    if average is not None:
        _restore(average, _of("average.", tensors), path)
    optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
    return state


def read_tensors(path: Path) -> tuple[Tensors, dict[str, str]]:
    """The tensors and metadata of a safetensors file; DataError where it is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with open_file(path):  # so that it is a file
            pass
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{path} is missing or damaged ({in_words(error)}).") from error


def _restore(model: nn.Module, tensors: Tensors, path: Path) -> None:
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise PluginError(
            f"The weights in {path} do not fit the model that its recipe assembles now (was a plugin changed?): "
            f"{' '.join(str(error).split())}"
        ) from error


def _sha256_of(tensors: Tensors, state: str) -> str:
    digest = hashlib.sha256(state.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _of(prefix: str, tensors: Tensors) -> Tensors:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _plain(tensors: Tensors) -> Tensors:
    """Contiguous copies on the CPU: safetensors takes no views that share memory."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
