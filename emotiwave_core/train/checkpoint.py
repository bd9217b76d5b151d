"""The checkpoint of a training: `last.safetensors`, beside the best model and a line of history for every epoch.

A training that was killed goes on from it, after whole epochs or in the middle of one, and ends as if it had not been.
"""

import hashlib
import json
import os
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import attrs
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from emotiwave_core.compute.device import random_state, seed_everything, set_random_state
from emotiwave_core.compute.distributed import SINGLE, ProcessGroup
from emotiwave_core.config.recipe import Recipe
from emotiwave_core.errors import DataError, SettingsError, short
from emotiwave_core.interfaces import Tensors
from emotiwave_core.io.tensors import on_cpu, read_tensors, write_tensors
from emotiwave_core.io.untrusted import parse_json
from emotiwave_core.model.fusion_model import FusionModel
from emotiwave_core.parts.watchers import NOBODY, Watchers
from emotiwave_core.runs.history import Epoch, append_history
from emotiwave_core.runs.model_file import BestEpoch, InitialFile, ModelDescription, ValidationFit
from emotiwave_core.runs.saved_model import restore, save_model, unfit
from emotiwave_core.runs.schema import exact_converter
from emotiwave_core.train.step import TrainingSetup

LAST = "last.safetensors"
INITIAL = "initialised_from"
STATE = {"epoch": int, "best_epoch": int, "best_score": float}


class BegunEpoch(NamedTuple):
    """An epoch to be trained: how many of its steps are done, and the sum of their losses."""

    epoch: int
    steps: int = 0
    loss: float = 0.0


@attrs.define(eq=False)
class TrainingCheckpoint:
    """The progress of a training, on disk. Of several processes rank 0 alone writes."""

    run: Path
    setup: TrainingSetup
    optimiser: torch.optim.Optimizer
    average: AveragedModel | None
    description: ModelDescription
    watchers: Watchers = NOBODY
    file: str = LAST
    epoch: int = 0  # the last whole one
    best_epoch: int = 0
    best_score: float = -2.0  # below every score
    stopped: str | None = None  # by which watchers the training was ended, and why
    middle: dict[str, Any] | None = None  # of the next epoch, where its steps were kept
    began: float = 0.0  # the clock at the start of the epoch, less what was spent on it before

    @property
    def scored(self) -> FusionModel:
        """The model that is scored and kept: the average of the weights, where there is one."""
        return self.setup.model if self.average is None else cast(FusionModel, self.average.module)

    def take_up(self) -> None:
        """Go back to where the run's folder says that the training was. DataError where that is damaged."""
        group = self.setup.group
        state = load_checkpoint(self.run / self.file, self.setup.model, self.optimiser, self.average, group)
        if state is not None:
            self._check_recipe(state)
            self.epoch, self.best_epoch, self.best_score = (state[key] for key in STATE)
            self.middle, self.stopped = state.get("middle"), state.get("stopped")
            self._recall_initial_files(state)
            steps = f" and {self.middle['step']} steps of the next one" if self.middle else ""
            self.setup.monitor.say(f"Resuming after epoch {self.epoch}{steps}.")

    def _check_recipe(self, state: dict[str, Any]) -> None:
        """SettingsError where the run's recipe was edited since.

        A setting that the version which began the run did not have is the default.
        """
        then, now = state.get("recipe"), flat(trained_recipe(self.setup.recipe))
        default = flat(trained_recipe(Recipe()))
        before = {key: value for key, value in default.items() if key in now} | (then if isinstance(then, dict) else {})
        if not isinstance(then, dict) or before != now:
            key = next(key for key in sorted({*before, *now}) if before.get(key) != now.get(key))
            raise SettingsError(
                f"{self.run / 'recipe.toml'} is not the recipe that this training began with: {key} was "
                f"{short(before.get(key))} and is {short(now.get(key))}. Put it back, or start a new run."
            )

    def _recall_initial_files(self, state: dict[str, Any]) -> None:
        """Let the description say what the training began with: a part reads it once, and not where a run goes on."""
        try:
            read = exact_converter.structure(state.get(INITIAL, []), list[InitialFile])
        except Exception as error:
            raise _damaged(self.run / self.file, error) from error
        self.description = attrs.evolve(self.description, initialised_from=read)

    def begin(self, epoch: int) -> BegunEpoch:
        """Seed an epoch, or take it up where it was stopped."""
        middle, self.middle = self.middle, None
        seed_everything(self.setup.recipe.seed, epoch)
        self.began = time.perf_counter()
        if middle is None:
            return BegunEpoch(epoch)
        try:
            set_random_state(middle["random"], self.setup.loader.device)
            self.began -= middle["seconds"]
            return BegunEpoch(epoch, int(middle["step"]), float(middle["loss"]))
        except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
            raise _damaged(self.run / self.file, error) from error

    def keep_steps(self, step: int, loss: float) -> None:
        """Keep the epoch that is being trained, after `step` steps with this sum of losses."""
        random = random_state(self.setup.loader.device)
        middle = {"step": step, "loss": loss, "seconds": time.perf_counter() - self.began, "random": random}
        self._save(self._state() | {"middle": middle})
        self.setup.monitor.say(f"Epoch {self.epoch + 1} is kept after {step} steps.")

    def keep_epoch(self, epoch: Epoch, best: BestEpoch | None, fitted: ValidationFit) -> Epoch:
        """Keep an epoch: the model where it is the best yet, its line of history, and what the next one needs.

        Returns the epoch with its seconds.
        """
        self.epoch = epoch.epoch
        if best is not None:
            self.best_epoch, self.best_score = best.epoch, best.score
        epoch = attrs.evolve(epoch, seconds=time.perf_counter() - self.began)
        self.stopped = self.setup.group.first(partial(self._write, epoch, best, fitted))
        return epoch

    def keep_refitted(self, epoch: int) -> None:
        """Keep an epoch of a refit, of which nothing is validated and no line written."""
        self.epoch = epoch
        self.setup.group.first(lambda: self._save(self._state()))

    def _save(self, state: dict[str, Any]) -> None:
        save_checkpoint(self.run / self.file, self.setup.model, self.optimiser, self.average, state)

    def _write(self, epoch: Epoch, best: BestEpoch | None, fitted: ValidationFit) -> str | None:
        """Write it all, and return why a watcher ends the training. Watchers come before the checkpoint.

        So a stop is in it, and a run that is killed meanwhile trains and tells the epoch again.
        """
        if best is not None:
            save_model(self.run, self.scored, self.description, best, fitted)
        append_history(self.run, epoch)
        self.stopped = self.watchers.epoch_end(self.run, epoch.to_dict())
        self._save(self._state())
        return self.stopped

    def _state(self) -> dict[str, Any]:
        stopped = {} if self.stopped is None else {"stopped": self.stopped}
        kept = {key: getattr(self, key) for key in STATE} | stopped
        read = self.description.initialised_from
        initial = {INITIAL: exact_converter.unstructure(read)} if read else {}
        return kept | {"recipe": flat(trained_recipe(self.setup.recipe))} | initial


def trained_recipe(recipe: Recipe) -> dict[str, Any]:
    """All of a recipe that its weights depend on: not who watches, what is scored, or how it is computed."""
    return {key: value for key, value in recipe.to_table().items() if key not in ("watch", "metric", "computing")}


def flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A table whose tables are flattened: {"training.epochs": 3}."""
    values: dict[str, Any] = {}
    for key, value in table.items():
        values |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return values


def save_checkpoint(
    path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, average: nn.Module | None, state: dict[str, Any]
) -> None:
    """Write what the next epoch depends on beside the seed: weights, moments, average, and `state` as JSON."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{name}": tensor for name, tensor in average.state_dict().items()}
    for number, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{name}": torch.as_tensor(value) for name, value in moments.items()}
    tensors = on_cpu(tensors)
    # One entry alone: of several, safetensors writes another first each time.
    signed = json.dumps(state | {"sha256": _sha256_of(tensors, json.dumps(state))})
    write_tensors(path, tensors, {"state": signed})


def load_checkpoint(
    path: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: nn.Module | None,
    group: ProcessGroup = SINGLE,
) -> dict[str, Any] | None:
    """Put model, optimiser and average back to where they were kept. Returns the `state`, None where there is none.

    Of several processes only rank 0 reads the file. DataError where it is damaged, PluginError where it is whole and
    does not fit the model.
    """
    content = group.first(lambda: read_tensors(path) if os.path.lexists(path) else None)
    if content is None:
        return None
    tensors, metadata = content
    try:
        state = parse_json(metadata["state"].encode())
        digest = state.pop("sha256", None) if isinstance(state, dict) else None
        if digest != _sha256_of(tensors, json.dumps(state)):
            raise ValueError("it is not what was written")
        _check_state(state)
    except (KeyError, ValueError) as error:
        raise _damaged(path, error) from error
    moments = _moments_in(tensors, optimiser, path)
    restore(model, _below("model.", tensors), path)
    if average is not None:
        restore(average, _below("average.", tensors), path)
    optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
    return dict(state)


def _check_state(state: Any) -> None:
    """ValueError where the state is not what was written."""
    if not isinstance(state, dict):
        raise ValueError("its state is no JSON object")
    for key, kind in STATE.items():
        value = state.get(key)
        number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
        if not (number if kind is float else type(value) is int and value >= 0):
            raise ValueError(f"'{key}' is {short(value)}")
    stopped = state.get("stopped")
    if not (stopped is None or isinstance(stopped, str)):
        raise ValueError(f"'stopped' is {short(stopped)}")
    middle = state.get("middle")
    steps = isinstance(middle, dict) and type(middle.get("step")) is int and middle["step"] >= 0
    if middle is not None and not steps:
        raise ValueError(f"'middle' is {short(middle)}")


def _moments_in(tensors: Tensors, optimiser: torch.optim.Optimizer, path: Path) -> dict[int, Tensors]:
    """The optimiser's moments, by the number of the parameter; PluginError where they fit no parameter."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    moments: dict[int, Tensors] = {}
    for name, tensor in _below("optimiser.", tensors).items():
        text, _, key = name.partition(".")
        number = int(text) if text.isdecimal() else len(parameters)
        known = number < len(parameters) and key != ""
        if not known or tensor.shape not in ((), parameters[number].shape) or not tensor.is_floating_point():
            raise unfit(path, f"{short(f'optimiser.{name}')} fits no parameter.")
        moments.setdefault(number, {})[key] = tensor
    if len({frozenset(own) for own in moments.values()}) > 1:
        raise unfit(path, "the optimiser has other moments of one parameter than of another.")
    return moments


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path} is damaged ({error}); put a copy of it in its place, or start a new run with another --out."
    )


def _sha256_of(tensors: Tensors, state: str) -> str:
    digest = hashlib.sha256(state.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _below(prefix: str, tensors: Tensors) -> Tensors:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
