"""The training loop: each epoch is scored on every configuration and kept, so that a kill loses nothing."""

import json
import math
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from emotiwave_core.configurations import configurations, name_of
from emotiwave_core.data.batch import Batch, batches, epoch_order, feature_statistics
from emotiwave_core.data.corpus import Corpus, Fold
from emotiwave_core.engine.checkpoint import load_last, save_last, save_model
from emotiwave_core.engine.device import autocast, seed_everything
from emotiwave_core.engine.evaluate import predict
from emotiwave_core.engine.optimise import learning_rate, moving_average
from emotiwave_core.errors import DivergedError, SettingsError, choices
from emotiwave_core.files import out_of_space, write_text
from emotiwave_core.interfaces import Output
from emotiwave_core.metrics import macro_f1, tune_thresholds
from emotiwave_core.model import FusionModel, Standardise
from emotiwave_core.monitor import Monitor
from emotiwave_core.objective import Objective, training_loss
from emotiwave_core.recipe import Recipe, TrainingSettings
from emotiwave_core.watchers import NOBODY, Watchers

HISTORY = "history.jsonl"
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
) -> None:
    """Train from the last whole epoch that the run folder holds, or from the start.

    Leaves the best epoch in `model.*`, chosen by validation macro-F1. Reads the training and the validation fold, and
    no other. DivergedError when a loss is not finite.
    """
    settings = recipe.training
    training, validation = corpus.fold("train", objective), corpus.fold("valid", objective)
    fit_statistics(model, corpus, training)
    objective.fit(training.targets, recipe.objective)
    selected = selection(settings.select, model.modalities)
    model.to(device)
    objective.to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    average = moving_average(model, settings.ema) if settings.ema else None
    scored = model if average is None else cast(FusionModel, average.module)
    state = load_last(run, model, optimiser, average) or dict(START)
    cut_history(run, state["epoch"])
    if state["epoch"]:
        monitor.say(f"Resuming after epoch {state['epoch']}.")

    for epoch in range(state["epoch"] + 1, settings.epochs + 1):
        if epoch - 1 - state["best_epoch"] >= settings.patience:
            monitor.say(f"Stopped early: no better epoch since {state['best_epoch']}.")
            break
        began = time.perf_counter()
        seed_everything(recipe.seed, epoch)
        loss = train_epoch(model, objective, corpus, training, optimiser, epoch, recipe, device, monitor, average)
        valid, thresholds = validate(scored, objective, corpus, validation, settings, device)
        chosen = valid["mean_macro_f1"] if selected is None else valid["configurations"][selected]
        state["epoch"] = epoch
        if better := chosen > state["best_score"]:
            state |= {"best_epoch": epoch, "best_score": chosen}
            best = {"epoch": epoch, "select": settings.select, "score": chosen, **_short(valid)}
            save_model(run, scored, about | {"thresholds": thresholds, "best": best})
        line = {"epoch": epoch, "train_loss": loss, "valid": valid, "seconds": time.perf_counter() - began}
        line["learning_rate"] = optimiser.param_groups[0]["lr"]
        append_history(run, line)
        save_last(run, model, optimiser, average, state)
        watchers.epoch_end(run, line)
        shown = f"mean {valid['mean_macro_f1']:.3f}, complete {valid['complete_macro_f1']:.3f}"
        star = "  *" if better else ""
        monitor.say(
            f"Epoch {epoch:3d}/{settings.epochs}  loss {loss:.4f}  "
            f"validation macro-F1: {shown}  {line['seconds']:.1f} s{star}"
        )


def train_epoch(
    model: FusionModel,
    objective: Objective,
    corpus: Corpus,
    training: Fold,
    optimiser: torch.optim.Optimizer,
    epoch: int,
    recipe: Recipe,
    device: torch.device,
    monitor: Monitor,
    average: AveragedModel | None = None,
) -> float:
    """One pass over the training fold; the mean loss of its batches. `average` follows the weights."""
    settings = recipe.training
    steps = math.ceil(len(training.rows) / settings.batch_size)
    order = epoch_order(len(training.rows), recipe.seed, epoch)
    total = torch.zeros((), device=device)
    twice = recipe.objective.complete > 0 or recipe.objective.distillation > 0
    model.train()
    with monitor.progress(f"Epoch {epoch}/{settings.epochs}", steps) as advance:
        for step, batch in enumerate(
            batches(corpus.store, training.rows, training.targets, settings.batch_size, device, order)
        ):
            done, whole = (epoch - 1) * steps + step, settings.epochs * steps
            model.progress.fill_(done / max(whole - 1, 1))
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(settings, done, whole)
            with autocast(device, settings.precision):
                output, complete = _forward(model, batch, twice)
            loss, each = training_loss(objective, recipe.objective, output, complete, batch.targets)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
            _check_finite(loss, norm, epoch, batch, corpus)
            optimiser.step()
            if average is not None:
                average.update_parameters(model)
            model.policy.observe(output.present, each.detach())
            total += loss.detach()
            advance()
    return float(total) / steps


def _forward(model: FusionModel, batch: Batch, twice: bool) -> tuple[Output, Output | None]:
    """What the model says of what the policy left, and, where a loss needs it, of all that there was."""
    return model.forward_both(batch.inputs, batch.masks) if twice else (model(batch.inputs, batch.masks), None)


def validate(
    model: FusionModel,
    objective: Objective,
    corpus: Corpus,
    validation: Fold,
    settings: TrainingSettings,
    device: torch.device,
) -> tuple[dict[str, Any], dict[str, float] | None]:
    """The macro-F1 of every configuration on the validation fold, and the thresholds that were tuned on it."""
    probabilities = predict(
        model,
        objective,
        corpus.store,
        validation,
        batch_size=settings.batch_size,
        device=device,
        precision=settings.precision,
    ).probabilities
    truth = validation.targets.numpy().astype(np.int64)
    tuned = tune_thresholds(truth, probabilities) if objective.multi else None
    names = [name_of(configuration) for configuration in configurations(model.modalities)]
    scores = {
        name: macro_f1(truth, objective.decide(probabilities[k], tuned), len(objective.classes))
        for k, name in enumerate(names)
    }
    valid = {
        "mean_macro_f1": float(np.mean(list(scores.values()))),
        "complete_macro_f1": scores[names[-1]],
        "worst_macro_f1": min(scores.values()),
        "configurations": scores,
    }
    return valid, None if tuned is None else dict(zip(objective.classes, tuned.tolist(), strict=True))


def selection(select: str, modalities: tuple[str, ...]) -> str | None:
    """The configuration whose macro-F1 chooses the best epoch; None for the mean. SettingsError for an unknown one."""
    names = [name_of(configuration) for configuration in configurations(modalities)]
    if select == "mean":
        return None
    if select == "complete":
        return names[-1]
    if select not in names:
        raise SettingsError(f"training.select cannot be '{select}'.{choices(select, ['mean', 'complete', *names])}")
    return select


def fit_statistics(model: FusionModel, corpus: Corpus, training: Fold) -> None:
    """Give the model the feature statistics of the training fold."""
    for modality, scaler in model.scalers.items():
        assert isinstance(scaler, Standardise)
        mean, scale = feature_statistics(corpus.store, modality, training.rows)
        scaler.mean.copy_(mean)
        scaler.scale.copy_(scale)


def read_history(run: Path) -> list[dict[str, Any]]:
    """The epochs of a run; a line that a kill tore off is left out."""
    path = run / HISTORY
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines


def cut_history(run: Path, epoch: int) -> None:
    """Keep the epochs that the run resumes after."""
    kept = [line for line in read_history(run) if line["epoch"] <= epoch]
    write_text(run / HISTORY, "".join(json.dumps(line) + "\n" for line in kept))


def append_history(run: Path, line: dict[str, Any]) -> None:
    """Add an epoch."""
    path = run / HISTORY
    with out_of_space(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _short(valid: dict[str, Any]) -> dict[str, float]:
    return {key: valid[key] for key in ("mean_macro_f1", "complete_macro_f1")}


def _check_finite(loss: Tensor, norm: Tensor, epoch: int, batch: Batch, corpus: Corpus) -> None:
    if bool(torch.isfinite(loss) & torch.isfinite(norm)):
        return
    ids = ", ".join(repr(corpus.store.ids[row]) for row in batch.rows)
    raise DivergedError(
        f"In epoch {epoch} the loss is {loss.item()} and its gradient's norm {norm.item()}, for the samples {ids}. "
        "Lower training.learning_rate, or look at these samples with `emotiwave data inspect`."
    )
