"""The training loop: each epoch is scored on every configuration and kept, so that a kill loses nothing."""

import math
import time
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel

from emotiwave_core.data.batch import bucketed, epoch_order, feature_statistics, numbers_in
from emotiwave_core.data.corpus import Corpus, Fold
from emotiwave_core.data.feed import open_feed
from emotiwave_core.engine.checkpoint import load_last, save_last, save_model
from emotiwave_core.engine.device import autocast, seed_everything
from emotiwave_core.engine.history import append_history, cut_history
from emotiwave_core.engine.optimise import learning_rate, moving_average
from emotiwave_core.engine.parallel import ALONE, World
from emotiwave_core.engine.step import LossWatch, Setup, observe, of_all, on
from emotiwave_core.engine.validate import selection, validate
from emotiwave_core.masking import whole_modalities
from emotiwave_core.model import FusionModel, Standardise
from emotiwave_core.monitor import Monitor
from emotiwave_core.objective import Objective, training_loss
from emotiwave_core.recipe import Recipe
from emotiwave_core.watchers import NOBODY, Watchers

START = {"epoch": 0, "best_epoch": 0, "best_score": -1.0}


def train(
    run: Path,
    model: FusionModel,
    objective: Objective,
    corpus: Corpus,
    recipe: Recipe,
    about: dict[str, Any],
    device: torch.device,
    monitor: Monitor,
    watchers: Watchers = NOBODY,
    world: World = ALONE,
) -> None:
    """Train from the last whole epoch that the run folder holds, or from the start.

    Leaves the best epoch in `model.*`, chosen by validation macro-F1. Reads the training and the validation fold, and
    no other. DivergedError when a loss is not finite. Of several processes rank 0 alone writes.
    """
    settings = recipe.training
    training, validation = corpus.fold("train", objective), corpus.fold("valid", objective)
    world.first(lambda: fit_statistics(model, corpus, training))
    world.take_over(model)
    objective.fit(training.targets, recipe.objective)
    selected = selection(settings.select, model.modalities)
    model.to(device)
    model.policy.cpu()  # it draws there, the same for every device, and nobody waits to know what it has drawn
    objective.to(device)
    optimiser = torch.optim.AdamW(
        model.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=all(weight.is_floating_point() for weight in model.parameters()),  # complex ones it does not take
    )
    average = moving_average(model, settings.ema) if settings.ema else None
    scored = model if average is None else cast(FusionModel, average.module)
    state = load_last(run, model, optimiser, average, world) or dict(START)
    world.first(lambda: cut_history(run, state["epoch"]))
    kept = np.concatenate([training.rows, validation.rows]) if recipe.computing.keep_on_device else None
    setup = Setup(model, objective, recipe, open_feed(corpus.store, device, kept), monitor, world)
    if state["epoch"]:
        monitor.say(f"Resuming after epoch {state['epoch']}.")

    for epoch in range(state["epoch"] + 1, settings.epochs + 1):
        if epoch - 1 - state["best_epoch"] >= settings.patience:
            monitor.say(f"Stopped early: no better epoch since {state['best_epoch']}.")
            break
        began = time.perf_counter()
        seed_everything(recipe.seed, epoch)
        loss = train_epoch(setup, training, optimiser, epoch, average)
        world.check_same([*model.parameters(), *model.policy.buffers()], f"After epoch {epoch}")
        world.take_over(model, average)  # for a part may keep statistics of what it saw
        valid, thresholds = validate(setup, scored, validation)
        chosen = valid["mean_macro_f1"] if selected is None else valid["configurations"][selected]
        state["epoch"] = epoch
        if better := chosen > state["best_score"]:
            state |= {"best_epoch": epoch, "best_score": chosen}
        line = {"epoch": epoch, "train_loss": loss, "valid": valid, "seconds": time.perf_counter() - began}
        line["learning_rate"] = optimiser.param_groups[0]["lr"]

        best = {"epoch": epoch, "select": settings.select, "score": chosen}
        best |= {key: valid[key] for key in ("mean_macro_f1", "complete_macro_f1")}
        described = about | {"thresholds": thresholds, "best": best} if better else None
        world.first(partial(_keep, run, scored, described, model, optimiser, average, state, line, watchers))
        shown = f"mean {valid['mean_macro_f1']:.3f}, complete {valid['complete_macro_f1']:.3f}"
        star = "  *" if better else ""
        monitor.say(
            f"Epoch {epoch:3d}/{settings.epochs}  loss {loss:.4f}  "
            f"validation macro-F1: {shown}  {line['seconds']:.1f} s{star}"
        )


def _keep(
    run: Path,
    scored: FusionModel,
    described: dict[str, Any] | None,
    model: FusionModel,
    optimiser: torch.optim.Optimizer,
    average: AveragedModel | None,
    state: dict[str, Any],
    line: dict[str, Any],
    watchers: Watchers,
) -> None:
    """Keep an epoch: the model where it is the best yet (`described`), its line of history, and what the next needs."""
    if described is not None:
        save_model(run, scored, described)
    append_history(run, line)
    save_last(run, model, optimiser, average, state)
    watchers.epoch_end(run, line)


def train_epoch(
    setup: Setup,
    training: Fold,
    optimiser: torch.optim.Optimizer,
    epoch: int,
    average: AveragedModel | None = None,
) -> float:
    """One pass over the training fold; the mean loss of its batches. `average` follows the weights.

    Of several processes each computes its share of every batch, and all the loss of the whole batch.
    """
    model, recipe, feed, world = setup.model, setup.recipe, setup.feed, setup.world
    settings, device = recipe.training, feed.device
    steps = math.ceil(len(training.rows) / settings.batch_size)
    order = epoch_order(len(training.rows), recipe.seed, epoch)
    if settings.buckets > 1:
        sizes = numbers_in(feed.store, training.rows)
        order = bucketed(order, sizes, settings.batch_size, settings.buckets, recipe.seed, epoch)
    found = feed.batches(training.rows, training.targets, settings.batch_size, order, world.computed)
    watch, noise = LossWatch(epoch, feed.store.ids), world.noise(recipe.seed, epoch, device)
    total = torch.zeros((), device=device)
    model.train()
    with setup.monitor.progress(f"Epoch {epoch}/{settings.epochs}", steps) as advance:
        for step, batch in enumerate(found):
            done, whole = (epoch - 1) * steps + step, settings.epochs * steps
            left = model.policy(batch.host_masks, torch.tensor(done / max(whole - 1, 1)))
            kept = on(device, left, world.computed(len(batch.rows)))
            modalities_whole = whole_modalities(batch.host_masks, left)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(settings, done, whole)
            with autocast(device, settings.precision), noise():
                output, complete = setup.learner(batch.inputs, batch.masks, kept, modalities_whole)
            output, complete = of_all(world, output, complete, batch.host_masks, left)
            loss, each = training_loss(setup.objective, recipe.objective, output, complete, batch.targets)
            optimiser.zero_grad(set_to_none=True)
            scaled = loss * world.size if world.size > 1 else loss  # for DDP takes the mean over the processes
            scaled.backward()  # type: ignore[no-untyped-call]
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
            watch.step(loss, norm, batch.rows)
            optimiser.step()
            if average is not None:
                average.update_parameters(model)
            observe(model.policy, output.present, each)
            total += loss.detach()
            advance()
    watch.check()
    return float(total) / steps


def fit_statistics(model: FusionModel, corpus: Corpus, training: Fold) -> None:
    """Give the model the feature statistics of the training fold."""
    for modality, scaler in model.scalers.items():
        assert isinstance(scaler, Standardise)
        mean, scale = feature_statistics(corpus.store, modality, training.rows)
        scaler.mean.copy_(mean)
        scaler.scale.copy_(scale)
