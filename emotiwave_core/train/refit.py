"""Refit: the second training of a run, on the training and the validation fold, for the epochs that the first found."""

import os
from pathlib import Path

import numpy as np
import torch

from emotiwave_core.compute.runtime import Runtime
from emotiwave_core.data.corpus import Corpus, Fold
from emotiwave_core.model.fusion_model import FusionModel
from emotiwave_core.objectives import Objective
from emotiwave_core.runs.model_file import ValidationFit, read_model_file
from emotiwave_core.runs.saved_model import save_model
from emotiwave_core.train.loop import TrainingJob, plan_epoch, prepare, train_epoch
from emotiwave_core.train.pause import Pause

REFIT = "refit.safetensors"


def is_due(run: Path, wanted: bool) -> bool:
    """True where a run whose epoch is chosen is still to be trained on both folds."""
    return wanted and read_model_file(run).refit is None


def is_begun(run: Path) -> bool:
    """True where there are weights of it: parts have read their files before."""
    return os.path.lexists(run / REFIT)


def both_folds(corpus: Corpus, objective: Objective) -> Fold:
    """The samples of the training and the validation fold, in the order of the store."""
    train, valid = (corpus.fold(name, objective) for name in ("train", "valid"))
    rows = np.concatenate([train.rows, valid.rows])
    order = np.argsort(rows)
    return Fold("train and valid", rows[order], torch.cat([train.targets, valid.targets])[torch.from_numpy(order)])


def refit(job: TrainingJob, model: FusionModel, objective: Objective, corpus: Corpus, runtime: Runtime) -> None:
    """Train a fresh model from the start, or from where it was stopped, on the training and the validation fold.

    As many epochs as the best one has by its number, each with the more steps of the larger fold; as scikit-learn's
    searches refit. Leaves it in `model.*` in the place of the best epoch, whose thresholds and calibration it keeps:
    no sample is left that could tell better ones. DivergedError when a loss is not finite.
    """
    monitor, group = runtime.monitor, runtime.group
    selected = read_model_file(job.run)
    best, fitted = selected.best, ValidationFit(selected.thresholds, selected.calibration, selected.agreement)
    both = both_folds(corpus, objective)
    monitor.say(f"Refit: {best.epoch} epochs on the {len(both.rows)} samples of the training and validation folds.")
    checkpoint = prepare(job, model, objective, corpus, runtime, both, both.rows, REFIT)
    setup, average = checkpoint.setup, checkpoint.average
    checkpoint.take_up()
    steps = len(plan_epoch(setup, both, 1))
    with Pause(checkpoint.keep_steps, active=group.size == 1, say=monitor.say) as pause:
        for epoch in range(checkpoint.epoch + 1, best.epoch + 1):
            begun = checkpoint.begin(epoch)
            total = train_epoch(setup, both, checkpoint.optimiser, begun, average, pause, last=best.epoch)
            with pause.open(steps, total):
                group.check_same([*model.parameters(), *model.policy.buffers()], f"After epoch {epoch} of the refit")
                group.take_over(model, average)  # for a part may keep statistics of what it saw
            checkpoint.keep_refitted(epoch)
            monitor.say(f"Refit {epoch:3d}/{best.epoch}  loss {total / steps:.4f}")
            pause.deliver()
    description, kept = checkpoint.description, checkpoint.scored
    group.first(lambda: save_model(job.run, kept, description, best, fitted, refit=len(both.rows)))
