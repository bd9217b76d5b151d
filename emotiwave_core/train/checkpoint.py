"""What a training leaves in its folder as it goes on: every epoch, and the steps of one that was stopped."""

import time
from functools import partial
from pathlib import Path
from typing import Any, cast

import attrs
import torch
from torch.optim.swa_utils import AveragedModel

from emotiwave_core.compute.device import random_state, seed_everything, set_random_state
from emotiwave_core.errors import DataError
from emotiwave_core.model.fusion_model import FusionModel
from emotiwave_core.parts.watchers import NOBODY, Watchers
from emotiwave_core.runs.history import Epoch, append_history, cut_history
from emotiwave_core.runs.rebuild import KEPT
from emotiwave_core.runs.trained_model import LAST, load_last, save_last, save_model
from emotiwave_core.train.step import TrainingSetup


@attrs.define(eq=False)
class TrainingCheckpoint:
    """How far a training has come, on disk. Of several processes rank 0 alone writes."""

    run: Path
    setup: TrainingSetup
    optimiser: torch.optim.Optimizer
    average: AveragedModel | None
    watchers: Watchers = NOBODY
    epoch: int = 0  # the last whole one
    best_epoch: int = 0
    best_score: float = -1.0
    middle: dict[str, Any] | None = None  # of the next epoch, where its steps were kept
    began: float = 0.0  # the clock at the start of the epoch, less what was spent on it before

    @property
    def scored(self) -> FusionModel:
        """The model that is scored and kept: the average of the weights, where there is one."""
        return self.setup.model if self.average is None else cast(FusionModel, self.average.module)

    def take_up(self) -> None:
        """Go back to where the run's folder says that the training was. DataError where that is damaged."""
        group = self.setup.group
        state = load_last(self.run, self.setup.model, self.optimiser, self.average, group)
        if state is not None:
            self.epoch, self.best_epoch, self.best_score = (state[key] for key in KEPT)
            self.middle = state.get("middle")
            steps = f" and {self.middle['step']} steps of the next one" if self.middle else ""
            self.setup.monitor.say(f"Resuming after epoch {self.epoch}{steps}.")
        group.first(lambda: cut_history(self.run, self.epoch))

    def begin(self, epoch: int) -> tuple[int, float]:
        """Seed an epoch. How many of its steps are done, and the sum of their losses."""
        middle, self.middle = self.middle, None
        seed_everything(self.setup.recipe.seed, epoch)
        self.began = time.perf_counter()
        if middle is None:
            return 0, 0.0
        try:
            set_random_state(middle["random"], self.setup.loader.device)
            self.began -= middle["seconds"]
            return int(middle["step"]), float(middle["loss"])
        except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
            raise DataError(f"{self.run / LAST} is damaged ({error}); remove it to train from the start.") from error

    def keep_steps(self, step: int, loss: float) -> None:
        """Keep the epoch that is being trained, after so many steps."""
        random = random_state(self.setup.loader.device)
        middle = {"step": step, "loss": loss, "seconds": time.perf_counter() - self.began, "random": random}
        save_last(self.run, self.setup.model, self.optimiser, self.average, self._state() | {"middle": middle})
        self.setup.monitor.say(f"Epoch {self.epoch + 1} is kept after {step} steps.")

    def keep_epoch(self, epoch: Epoch, described: dict[str, Any] | None) -> Epoch:
        """Keep an epoch: the model where it is the best yet (`described`), its line of history, what the next needs.

        Returns the epoch with its seconds.
        """
        self.epoch = epoch.epoch
        if described is not None:
            self.best_epoch, self.best_score = self.epoch, described["best"]["score"]
        epoch = attrs.evolve(epoch, seconds=time.perf_counter() - self.began)
        self.setup.group.first(partial(self._write, epoch, described))
        return epoch

    def _write(self, epoch: Epoch, described: dict[str, Any] | None) -> None:
        if described is not None:
            save_model(self.run, self.scored, described)
        append_history(self.run, epoch)
        save_last(self.run, self.setup.model, self.optimiser, self.average, self._state())
        self.watchers.epoch_end(self.run, attrs.asdict(epoch))

    def _state(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in KEPT}
