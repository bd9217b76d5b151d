"""The training loop: each epoch is scored on every configuration and kept, so that a kill loses nothing."""

from collections.abc import Iterator
from pathlib import Path

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim.swa_utils import AveragedModel

from emotiwave_core.compute.device import seeded
from emotiwave_core.compute.runtime import Runtime
from emotiwave_core.config.recipe import Recipe
from emotiwave_core.data.corpus import Corpus, Fold
from emotiwave_core.data.loading.batch import bucketed, epoch_order, feature_statistics, numbers_in
from emotiwave_core.data.loading.loader import Loader, open_loader
from emotiwave_core.data.loading.plan import BatchPlan, plan_batches
from emotiwave_core.data.loading.speakers import relative_to_speakers
from emotiwave_core.interfaces import AnsweringFusion, Augmentation, Encoder
from emotiwave_core.layers.standardise import Standardise
from emotiwave_core.model.fusion_model import FusionModel
from emotiwave_core.objectives import ClassObjective, Objective
from emotiwave_core.objectives.regression import Regression
from emotiwave_core.parts.watchers import NOBODY, Watchers
from emotiwave_core.runs.history import Epoch, Validation, cut_history
from emotiwave_core.runs.model_file import BestEpoch, ModelDescription
from emotiwave_core.train.augment import augmenter_of
from emotiwave_core.train.checkpoint import LAST, BegunEpoch, TrainingCheckpoint
from emotiwave_core.train.optimise import learning_rate, make_optimiser, moving_average, set_learning_rate
from emotiwave_core.train.pause import NEVER, Pause
from emotiwave_core.train.step import Left, LossWatch, TrainingSetup, compute_gradients, observe
from emotiwave_core.train.validate import selection, validate


@attrs.frozen(eq=False)
class TrainingJob:
    """A training to be done: the folder of the run, its recipe, and the plugins that watch it."""

    run: Path
    recipe: Recipe
    description: ModelDescription
    watchers: Watchers = NOBODY
    augmentations: list[tuple[str, Augmentation]] = attrs.Factory(list)  # each with what errors call it


def train(job: TrainingJob, model: FusionModel, objective: Objective, corpus: Corpus, runtime: Runtime) -> str | None:
    """Train from where the run's folder says that it was stopped, or from the start.

    Leaves the best epoch in `model.*`, chosen by the headline score of validation. Reads the training and the
    validation fold, and no other. DivergedError when a loss is not finite. Of several processes rank 0 alone writes.
    Returns why a watcher has ended it, None where none has.
    """
    settings, monitor, group = job.recipe.training, runtime.monitor, runtime.group
    training, validation = corpus.fold("train", objective), corpus.fold("valid", objective)
    selected = selection(settings.select, model.modalities)
    resident = np.concatenate([training.rows, validation.rows])
    checkpoint = prepare(job, model, objective, corpus, runtime, training, resident)
    setup, optimiser, average = checkpoint.setup, checkpoint.optimiser, checkpoint.average
    checkpoint.take_up()
    group.first(lambda: cut_history(job.run, checkpoint.epoch))
    steps = len(plan_epoch(setup, training, 1))

    def score_of(valid: Validation) -> float:
        return valid.mean if selected is None else valid.configurations[selected]

    def is_best(valid: Validation) -> bool:
        return score_of(valid) > checkpoint.best_score

    with Pause(checkpoint.keep_steps, active=group.size == 1, say=monitor.say) as pause:
        for epoch in range(checkpoint.epoch + 1, settings.epochs + 1):
            if checkpoint.stopped is not None:
                monitor.say(f"Stopped after epoch {checkpoint.epoch} by {checkpoint.stopped}.")
                break
            if epoch - 1 - checkpoint.best_epoch >= settings.patience:
                monitor.say(f"Stopped early: no better epoch since {checkpoint.best_epoch}.")
                break
            total = train_epoch(setup, training, optimiser, checkpoint.begin(epoch), average, pause)
            with pause.open(steps, total):
                group.check_same([*model.parameters(), *model.policy.buffers()], f"After epoch {epoch}")
                group.take_over(model, average)  # for a part may keep statistics of what it saw
                valid, fitted = validate(setup, checkpoint.scored, validation, is_best)
            rate = learning_rate(settings, epoch * steps - 1, settings.epochs * steps)
            best = None
            if is_best(valid):
                best = BestEpoch(epoch, settings.select, score_of(valid), valid.mean, valid.complete, valid.headline)
            line = checkpoint.keep_epoch(Epoch(epoch, total / steps, valid, rate), best, fitted)
            monitor.say(
                f"Epoch {epoch:3d}/{settings.epochs}  loss {line.train_loss:.4f}  validation "
                f"{objective.headline.name}: mean {valid.mean:.3f}, complete {valid.complete:.3f}  {line.seconds:.1f} s"
                f"{'' if best is None else '  *'}"
            )
            pause.deliver()
    return checkpoint.stopped


def prepare(
    job: TrainingJob,
    model: FusionModel,
    objective: Objective,
    corpus: Corpus,
    runtime: Runtime,
    training: Fold,
    resident: NDArray[np.int64],
    file: str = LAST,
) -> TrainingCheckpoint:
    """The start of a training on a fold: model and objective know its statistics, and nothing is taken up yet.

    resident: the rows that may stay in a GPU's memory. file: of the checkpoint.
    """
    recipe, settings, group = job.recipe, job.recipe.training, runtime.group
    group.first(lambda: fit_statistics(model, corpus, training))
    group.take_over(model)
    store = corpus.store.with_tokens(model.tokens)
    store = relative_to_speakers(store, corpus.dataset.base, recipe, model.statistics)
    objective.fit(training.targets, recipe.objective)
    if isinstance(model.fusion, AnsweringFusion) and isinstance(objective, ClassObjective):
        model.fusion.take_prior(objective.prior(training.targets))
    scale = objective.scale if isinstance(objective, Regression) else None
    model.to(runtime.device)
    model.policy.cpu()  # it draws there, the same for every device, and nobody waits to know what it has drawn
    objective.to(runtime.device)
    loader = open_loader(store, runtime.device, resident if recipe.computing.keep_on_device else None)
    fit_encoders(model, loader, training, settings.batch_size)
    group.take_over(model)
    optimiser = make_optimiser(model, settings)
    average = moving_average(model, settings.ema) if settings.ema else None
    augmenter = augmenter_of(job.augmentations, model, loader, training)
    setup = TrainingSetup(model, objective, recipe, loader, runtime.monitor, group, augmenter)
    description = attrs.evolve(job.description, scale=scale)
    return TrainingCheckpoint(job.run, setup, optimiser, average, description, job.watchers, file)


def train_epoch(
    setup: TrainingSetup,
    training: Fold,
    optimiser: torch.optim.Optimizer,
    begun: BegunEpoch,
    average: AveragedModel | None = None,
    pause: Pause = NEVER,
    last: int | None = None,
) -> float:
    """One pass over the training fold, or what is left of it; the sum of the losses of all its batches.

    `average` follows the weights. last: the epoch that progress counts to, else that of the settings. Of several
    processes each computes its share of every batch, and all the loss of the whole batch.
    """
    epoch, done = begun.epoch, begun.steps
    model, recipe, loader, group = setup.model, setup.recipe, setup.loader, setup.group
    settings, device = recipe.training, loader.device
    plan = plan_epoch(setup, training, epoch)
    steps = len(plan)
    if done >= steps:  # it was stopped while it was validated
        return begun.loss
    batches = plan.after(done).batches(loader, training.rows, training.targets, group.computed)
    watch, noise = LossWatch(epoch, loader.store.ids), group.noise(recipe.seed, epoch, device)
    total = torch.tensor(begun.loss, device=device)
    model.train()
    with setup.monitor.progress(f"Epoch {epoch}/{last or settings.epochs}", steps) as advance:
        for _ in range(done):
            advance()
        for step, batch in enumerate(batches, done):
            number, whole = (epoch - 1) * steps + step, settings.epochs * steps
            mixture = None
            if setup.augmenter is not None:
                with seeded(device, recipe.seed, epoch, 4, group.rank, step):  # [seed, epoch, 3] is the noise's
                    batch, mixture = setup.augmenter.augment(batch, group)
            left = Left(*model.drop(batch.host_masks, torch.tensor(number / max(whole - 1, 1)), batch.videos))
            set_learning_rate(optimiser, learning_rate(settings, number, whole))
            loss, losses, logits, present = compute_gradients(setup, batch, left, noise, mixture)
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
            watch.step(loss, norm, batch.rows, logits)
            optimiser.step()
            if average is not None:
                average.update_parameters(model)
            observe(model.policy, present, losses)
            total += loss
            advance()
            if pause.due():
                watch.check()
                pause.keep(step + 1, float(total))
    watch.check()
    return float(total)


def plan_epoch(setup: TrainingSetup, training: Fold, epoch: int) -> BatchPlan:
    """The batches of an epoch, as many in each."""
    recipe, settings, store = setup.recipe, setup.recipe.training, setup.loader.store
    order = epoch_order(len(training.rows), recipe.seed, epoch)
    if settings.buckets > 1:
        sizes = numbers_in(store, training.rows)
        order = bucketed(order, sizes, settings.batch_size, settings.buckets, recipe.seed, epoch)
    return plan_batches(store, training.rows, settings.batch_size, order, neighbours=setup.model.neighbours)


def fit_statistics(model: FusionModel, corpus: Corpus, training: Fold) -> None:
    """Give the model the feature statistics of the training fold."""
    for stream, scaler in model.scalers.items():
        assert isinstance(scaler, Standardise)
        scaler.fit(*feature_statistics(corpus.store, stream, training.rows))


@attrs.frozen(eq=False)
class EncoderInput:
    """The training fold as the encoder of a stream sees it: batches of x [B, T, F] and mask [B, T]."""

    model: FusionModel
    loader: Loader
    training: Fold
    stream: str
    batch_size: int

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for batch in self.loader.batches(self.training.rows, self.training.targets, self.batch_size):
            yield self.model.prepare(self.stream, batch.inputs[self.stream], batch.masks[self.stream])


@torch.no_grad()
def fit_encoders(model: FusionModel, loader: Loader, training: Fold, batch_size: int) -> None:
    """Let the encoders that want to see the training fold before the first step see it."""
    model.eval()
    for stream, encoder in model.encoders.items():
        assert isinstance(encoder, Encoder)
        if type(encoder).fit is not Encoder.fit:
            encoder.fit(EncoderInput(model, loader, training, stream, batch_size))
