"""A model from what `model.json` says, which may be anyone's: checked, and held against the weights beside it.

A stranger's file may ask for a layer of a billion units, or for a billion layers. So the model is assembled on torch's
meta device first, where it takes no memory, and no more parts of it than the weights can fill.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks

from emotiwave_core.data.dataset import MOST_MODALITIES
from emotiwave_core.errors import DataError, PluginError, short
from emotiwave_core.interfaces import Tensors
from emotiwave_core.io.untrusted import why
from emotiwave_core.model.fusion_model import FusionModel, assemble
from emotiwave_core.model.objective import Objective
from emotiwave_core.parts.resolved import ResolvedParts

MOST_FEATURES, MOST_STEPS = 1 << 24, 1 << 62
KEPT = {"epoch": int, "best_epoch": int, "best_score": float}


class Size(NamedTuple):
    """What a file of weights holds."""

    shapes: dict[str, tuple[int, ...]]

    @property
    def values(self) -> int:
        """How many numbers."""
        return sum(math.prod(shape) for shape in self.shapes.values())


def checked(about: Any) -> dict[str, Any]:
    """What `model.json` holds; ValueError for the first thing that is not what it should be."""
    _must(isinstance(about, dict), "it is no JSON object")
    for key, kind in {"format": int, "recipe": dict, "features": dict, "steps": dict, "targets": list}.items():
        _must(key in about, f"'{key}' is missing")
        _must(isinstance(about[key], kind), f"'{key}' is {short(about[key])}")
    features, targets = about["features"], about["targets"]
    _must(0 < len(features) <= MOST_MODALITIES, f"'features' has {len(features)} modalities")
    for modality, width in features.items():
        _must(modality != "" and "+" not in modality, f"a modality is named {short(modality)}")
        _must(_whole(width, MOST_FEATURES), f"'features' of {short(modality)} is {short(width)}")
    for modality, steps in about["steps"].items():
        _must(modality in features and _whole(steps, MOST_STEPS), f"'steps' of {short(modality)} is {short(steps)}")
    texts = all(isinstance(name, str) and name for name in targets)
    _must(texts and 0 < len(targets) == len(set(targets)), f"'targets' is {short(targets)}")
    _must("thresholds" in about, "'thresholds' is missing")
    return dict(about)


def check_classes(about: Mapping[str, Any], objective: Objective) -> None:
    """ValueError where `model.json` has not a threshold for each class of several labels, or has some for others."""
    thresholds = about["thresholds"]
    if not objective.multi:
        _must(thresholds is None, f"'thresholds' is {short(thresholds)} for an objective that decides for one class")
        return
    right = isinstance(thresholds, dict) and set(thresholds) == set(objective.classes)
    right = right and all(_number(value) and 0.0 <= value <= 1.0 for value in thresholds.values())
    _must(right, f"'thresholds' is {short(thresholds)}, not one from 0 to 1 for each class")


def rebuild(parts: ResolvedParts, about: Mapping[str, Any], classes: int, weights: Path) -> FusionModel:
    """The model that `model.json` describes. PluginError where it is not of the size of its weights."""
    size = size_of(weights)
    with _no_more_than(size, weights):
        try:
            with torch.device("meta"):
                sketch = assemble(parts, about["features"], classes, about["steps"])
        except PluginError as error:
            if "meta" not in str(error.__cause__).lower():
                raise
            sketch = None  # a part needs the values of its tensors when it is made, and there they have none
        if sketch is not None:
            _check_fit(sketch, size, weights)
        return assemble(parts, about["features"], classes, about["steps"])


def size_of(path: Path) -> Size:
    """What is in a safetensors file, by its head alone."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return Size({name: tuple(file.get_slice(name).get_shape()) for name in file.keys()})  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} is missing or damaged ({in_words(error)}).") from error


def in_words(error: Exception) -> str:
    """Why a safetensors file cannot be read."""
    return why(error).removeprefix("Error while deserializing header: ")


def _check_fit(sketch: nn.Module, size: Size, path: Path) -> None:
    due = {name: tuple(tensor.shape) for name, tensor in sketch.state_dict().items()}
    for name in sorted({*due, *size.shapes}):
        if due.get(name) != size.shapes.get(name):
            has, needs = size.shapes.get(name, "nothing"), due.get(name, "nothing")
            raise _unfit(path, f"of {short(name)} it has {has}, and {needs} is needed.")


def _unfit(path: Path, reason: str) -> PluginError:
    return PluginError(
        f"The weights in {path} do not fit the model that its recipe assembles now (was a plugin changed?): {reason}"
    )


@contextlib.contextmanager
def _no_more_than(size: Size, path: Path) -> Iterator[None]:
    """DataError as soon as a model is made of far more parts or numbers than a file of weights can fill."""
    left = {"parts": 20 * len(size.shapes) + 2_000, "values": 8 * size.values + (1 << 26)}

    def count(module: nn.Module, name: str, made: nn.Module | Tensor | None) -> None:
        left["parts"] -= 1
        if isinstance(made, Tensor) and not nn.parameter.is_lazy(made):
            left["values"] -= 0 if made.is_meta else made.numel()
        if min(left.values()) < 0:
            # No PluginError, which would be passed over on the meta device.
            raise DataError(str(_unfit(path, f"it is far larger than {size.values} numbers.")))

    with contextlib.ExitStack() as held:
        for register in (
            hooks.register_module_parameter_registration_hook,
            hooks.register_module_buffer_registration_hook,
            hooks.register_module_module_registration_hook,
        ):
            held.callback(register(count).remove)
        yield


def checked_state(state: Any) -> dict[str, Any]:
    """What `last.safetensors` says of the training; ValueError where it is not what was written."""
    _must(isinstance(state, dict), "its state is no JSON object")
    for key, kind in KEPT.items():
        value = state.get(key)
        right = _number(value) if kind is float else type(value) is int and value >= 0
        _must(right, f"'{key}' is {short(value)}")
    middle = state.get("middle")
    right = middle is None or (isinstance(middle, dict) and type(middle.get("step")) is int and middle["step"] >= 0)
    _must(right, f"'middle' is {short(middle)}")
    return dict(state)


def checked_moments(tensors: Tensors, optimiser: torch.optim.Optimizer) -> dict[int, Tensors]:
    """The optimiser's moments among the tensors of `last.safetensors`; ValueError where they fit no parameter."""
    parameters = [one for group in optimiser.param_groups for one in group["params"]]
    moments: dict[int, Tensors] = {}
    for name, tensor in tensors.items():
        if not name.startswith("optimiser."):
            continue
        number, _, key = name.removeprefix("optimiser.").partition(".")
        of = int(number) if number.isdecimal() else len(parameters)
        fits = of < len(parameters) and tensor.shape in ((), parameters[of].shape) and tensor.is_floating_point()
        _must(fits and key != "", f"{short(name)} fits no parameter")
        moments.setdefault(of, {})[key] = tensor
    keys = {frozenset(some) for some in moments.values()}
    _must(len(keys) <= 1, "the optimiser has other moments of one parameter than of another")
    return moments


def _whole(value: object, most: int) -> bool:
    return type(value) is int and 1 <= value <= most


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _must(right: bool, otherwise: str) -> None:
    if not right:
        raise ValueError(otherwise)
