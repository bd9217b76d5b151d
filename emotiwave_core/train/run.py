"""A run from start to end: data, model, training, scores, report. The test fold is read only after training."""

import contextlib
import os
import time
from pathlib import Path

import attrs
import torch

from emotiwave_core.compute.device import cost_of_determinism, deterministic, hardware_name, seed_everything
from emotiwave_core.compute.distributed import ProcessGroup
from emotiwave_core.compute.runtime import Runtime
from emotiwave_core.config.recipe import ALL, ModelSettings, Recipe
from emotiwave_core.data.corpus import Corpus, open_corpus
from emotiwave_core.data.dataset import load_dataset
from emotiwave_core.data.loading.plan import neighbour_notes
from emotiwave_core.data.loading.speakers import speaker_notes
from emotiwave_core.errors import (
    DataError,
    DivergedError,
    EmotiwaveError,
    PluginError,
    SettingsError,
    is_out_of_memory,
)
from emotiwave_core.evaluate.evaluation import score_run, write_report
from emotiwave_core.evaluate.plugin_metrics import PluginMetrics, find_metrics, load_metrics
from emotiwave_core.interfaces import AnsweringFusion
from emotiwave_core.modalities import streams_of
from emotiwave_core.model.assemble import assemble
from emotiwave_core.model.attribute_errors import attribute_errors
from emotiwave_core.model.fusion_model import FusionModel
from emotiwave_core.monitor import Monitor
from emotiwave_core.objectives import Objective
from emotiwave_core.objectives.settle import settle
from emotiwave_core.parts.kinds import METRIC
from emotiwave_core.parts.registry import Registry
from emotiwave_core.parts.resolved import ResolvedParts
from emotiwave_core.parts.watchers import Watchers, find_watchers, load_watchers
from emotiwave_core.predict.trained import check_unchanged, reopen_trained_run
from emotiwave_core.runs.data_file import data_file, read_data, write_data
from emotiwave_core.runs.folder import LOG, free, take, take_up
from emotiwave_core.runs.history import read_history
from emotiwave_core.runs.model_file import MODEL, InitialFile, read_model_file
from emotiwave_core.runs.provenance import provenance_of, write_end, write_start
from emotiwave_core.runs.saved_model import changed_parts, describe, resolve_parts_of
from emotiwave_core.runs.scores import Scores, check_size
from emotiwave_core.train.checkpoint import LAST
from emotiwave_core.train.fit_alarm import fit_alarm
from emotiwave_core.train.initialise import initialise
from emotiwave_core.train.loop import TrainingJob, train
from emotiwave_core.train.refit import is_begun, is_due, refit


def start(
    recipe: Recipe, data: Path, out: Path, registry: Registry, runtime: Runtime, job: str | None = None
) -> Scores | None:
    """Make a run folder, train, score and report. Returns the scores, None where the test fold is not to be read.

    SettingsError where `out` holds a run already.

    A run that the same `job` has begun in it, with the same recipe and data, is resumed: a launcher starts it again.
    Errors in the recipe come before any work.
    """
    parts = registry.resolve(recipe)
    watchers = load_watchers(recipe.watch, registry, runtime.monitor)
    metrics = load_metrics(recipe.metric, registry, runtime.monitor)
    load_dataset(data)  # so that a wrong folder leaves no run behind
    group = runtime.group
    with contextlib.ExitStack() as held:
        completed = attrs.evolve(parts.completed(), metric=[registry.complete(METRIC, part) for part in recipe.metric])
        recipe = group.first(lambda: take(completed, data, out, held, job))
        runtime.monitor.keep_unsaid(out / LOG)
        try:
            return _walk(attrs.evolve(parts, recipe=recipe), data, out, watchers, metrics, runtime)
        except (SettingsError, DataError, PluginError, DivergedError, MemoryError, RuntimeError) as error:
            mendable = isinstance(error, EmotiwaveError) or is_out_of_memory(error)
            if mendable and group.rank == 0 and not (out / LAST).exists():  # nothing was learned: free for another try
                free(out)
            raise


def resume(
    out: Path, registry: Registry, runtime: Runtime, auto_batch: bool = False, data: Path | None = None
) -> Scores | None:
    """Continue a run that was stopped at any point: it ends as if it had not been.

    `data` is the folder of its data, where they have moved; DataError where they are others.
    With `auto_batch` it goes on with that setting of its recipe, for a run that memory was too short for.
    """
    with contextlib.ExitStack() as held:
        recipe, folder = runtime.group.first(lambda: take_up(out, held, auto_batch, data))
        runtime.monitor.keep_unsaid(out / LOG)
        watchers = find_watchers(recipe.watch, registry, runtime.monitor)
        metrics = find_metrics(recipe.metric, registry, runtime.monitor)
        used = read_model_file(out).plugins if (out / MODEL).exists() else []
        return _walk(resolve_parts_of(out, used, recipe, registry), folder, out, watchers, metrics, runtime)


def _walk(
    parts: ResolvedParts, data: Path, out: Path, watchers: Watchers, metrics: PluginMetrics, runtime: Runtime
) -> Scores | None:
    recipe, monitor, group = parts.recipe, runtime.monitor, runtime.group
    seed_everything(recipe.seed)
    corpus = group.in_turn(lambda: open_corpus(data, recipe.data, monitor))
    group.first(lambda: check_unchanged(out, corpus))
    _check_same_data(corpus, group)
    for note in speaker_notes(corpus.store, corpus.dataset.base, recipe):
        monitor.say(f"Note: {note}")
    settled = settle(recipe.objective, corpus.store.targets, corpus.store.facts.label_kind)
    recipe = attrs.evolve(recipe, objective=settled)
    parts = attrs.evolve(parts, recipe=recipe)
    objective = parts.make_objective(corpus.store.targets)
    check_size(len(corpus.store.modalities), len(objective.classes))
    _check_mixtures(parts)
    metrics.check(objective.kind)
    corpus.check_not_empty("test")
    group.first(lambda: _write_opened(out, corpus, objective))
    group.first(lambda: _write_start(out, runtime))
    _say_facts(corpus, objective, parts, monitor)
    for note in group.first(lambda: _changes(out, parts)):
        monitor.say(f"Note: {note}")
    model = build(parts, corpus, objective)
    _check_neighbours(parts, model, group)
    for note in [*_unused_settings(parts), *neighbour_notes(corpus.store, model.neighbours)]:
        monitor.say(f"Note: {note}")
    augmentations = [(part.who, part.make()) for part in parts.augmentation]
    begun = os.path.lexists(out / LAST)  # then it has weights of its own
    read = group.first(lambda: [] if begun else _initialise(model, parts, monitor))
    description = describe(parts, model, objective, corpus, read)
    if recipe.computing.auto_batch and group.size > 1:
        raise SettingsError("computing.auto_batch is for one process: with several lower training.batch_size instead.")
    if recipe.computing.deterministic:
        monitor.say(cost_of_determinism(runtime.device))
    with attribute_errors(model), deterministic(recipe.computing.deterministic):
        job = TrainingJob(out, recipe, description, watchers, augmentations)
        stopped = train(job, model, objective, corpus, runtime)
        refit_seconds = 0.0
        if group.first(lambda: is_due(out, recipe.training.refit)):
            began = time.perf_counter()
            _refit(job, parts, corpus, runtime)
            refit_seconds = time.perf_counter() - began
    with deterministic(recipe.computing.deterministic):
        group.first(lambda: fit_alarm(out, parts, corpus, runtime))
    if not runtime.tests:
        return None

    def finish() -> Scores:
        began = time.perf_counter()
        with deterministic(recipe.computing.deterministic):
            trained = reopen_trained_run(out, parts, corpus)
            scores = score_run(trained, watchers, runtime, write=True, metrics=metrics)
        training_seconds = refit_seconds + sum(epoch.seconds or 0.0 for epoch in read_history(out))
        write_end(out, training_seconds, time.perf_counter() - began, stopped)
        write_report(out)
        watchers.run_end(out, scores.to_dict())
        return scores

    return group.first(finish)


def _refit(job: TrainingJob, parts: ResolvedParts, corpus: Corpus, runtime: Runtime) -> None:
    """Train the recipe's model once more, with the first weights of the first training, on both folds."""
    seed_everything(job.recipe.seed)
    objective = parts.make_objective(corpus.store.targets)
    model = build(parts, corpus, objective)
    read = runtime.group.first(lambda: [] if is_begun(job.run) else _initialise(model, parts, runtime.monitor))
    description = attrs.evolve(job.description, initialised_from=read)
    augmentations = [(part.who, part.make()) for part in parts.augmentation]
    with attribute_errors(model):
        again = attrs.evolve(job, description=description, augmentations=augmentations)
        refit(again, model, objective, corpus, runtime)


def _initialise(model: FusionModel, parts: ResolvedParts, monitor: Monitor) -> list[InitialFile]:
    """Initialise the parts of a training that begins; the files that they have read, which are said."""
    read = initialise(model, parts)
    for one in read:
        of = f" of {one.modality}" if one.modality else ""
        monitor.say(f"Note: the {one.kind} '{one.name}'{of} starts from {one.file} (SHA-256 {one.sha256[:12]}…).")
    return read


def _check_mixtures(parts: ResolvedParts) -> None:
    """SettingsError where samples would be mixed twice."""
    mixing = [part.name for part in parts.augmentation if part.part.mixes]  # type: ignore[attr-defined]
    if len(mixing) > 1:
        raise SettingsError(f"The augmentations {' and '.join(mixing)} both mix samples: leave all but one out.")


def _check_neighbours(parts: ResolvedParts, model: FusionModel, group: ProcessGroup) -> None:
    """SettingsError where something else would cut through, or mix, the videos of a fusion that sees neighbours."""
    mixing = [part.name for part in parts.augmentation if part.part.mixes]  # type: ignore[attr-defined]
    for is_set, what in (
        (group.size > 1, "A training in several processes"),
        (parts.recipe.computing.auto_batch, "computing.auto_batch"),
        (parts.recipe.training.buckets > 1, "training.buckets above 1"),
        (bool(mixing), f"The augmentation {' and '.join(mixing)}"),
    ):
        if is_set:
            model.refuse_neighbours(what)


def _unused_settings(parts: ResolvedParts) -> list[str]:
    """A sentence where the recipe sets the head of a model whose fusion answers itself."""
    settings, default = parts.recipe.model, ModelSettings()
    chosen = [name for name in ("head", "head_dropout") if getattr(settings, name) != getattr(default, name)]
    if not (issubclass(parts.fusion.part, AnsweringFusion) and chosen):
        return []
    named = " and ".join(f"model.{name}" for name in chosen)
    return [f"{parts.fusion.who[:1].lower()}{parts.fusion.who[1:]} answers itself, and has no use for {named}."]


def _say_facts(corpus: Corpus, objective: Objective, parts: ResolvedParts, monitor: Monitor) -> None:
    """Say before training what the data are: what the labels mean, what is there of each modality, what was lost."""
    facts = corpus.facts(objective)
    labels = f"{facts.label_kind} ({facts.label_kind_source})"
    monitor.say(f"Labels: {labels}, learned as {objective.kind}: {', '.join(objective.classes)}.")
    for name, modality in facts.modalities.items():
        monitor.say(modality.sentence(name, facts.samples))
    for warning in facts.warnings:
        monitor.say(f"WARNING: {warning}")
    for note in [*facts.notes, *third_party_parts(parts, corpus)]:
        monitor.say(f"Note: {note}")


def _write_opened(out: Path, corpus: Corpus, objective: Objective) -> None:
    """Write what is known of the data when a run opens them for the first time, or finds them in another folder."""
    before, facts = read_data(out), corpus.facts(objective)
    if before is None:
        write_data(out, data_file(facts))
    elif before.folder != facts.folder:
        write_data(out, attrs.evolve(before, folder=facts.folder))


def _changes(out: Path, parts: ResolvedParts) -> list[str]:
    """Sentences about the parts whose code is not what a run that goes on has begun with."""
    return changed_parts(read_model_file(out).plugins, parts) if (out / MODEL).exists() else []


def _write_start(out: Path, runtime: Runtime) -> None:
    """Write when, and with what hardware and versions, the training starts or goes on."""
    device, threads = runtime.device, torch.get_num_threads()
    write_start(out, provenance_of(device.type, hardware_name(device), runtime.group.size, threads, torch.__version__))


def _check_same_data(corpus: Corpus, group: ProcessGroup) -> None:
    """DataError where another process has found other files, or other folds, under the same name."""
    facts = group.everyone((corpus.store.facts.sources, corpus.store.facts.options, corpus.folds.sha256))
    others = [str(rank) for rank, those in enumerate(facts) if those != facts[0]]
    if others:
        raise DataError(
            f"{corpus.dataset.folder} is not the same data set for rank {', '.join(others)} as for rank 0: give all "
            "machines the same files and folds."
        )


def third_party_parts(parts: ResolvedParts, corpus: Corpus) -> list[str]:
    """Sentences about the parts that are not Emotiwave's own: a local file may take the name of a shipped part."""
    origins = {(part.kind, part.name): part.origin for part, _ in parts.used_by(corpus.store.streams)}
    return [
        f"the {kind} '{name}' is of {origin}."
        for (kind, name), origin in sorted(origins.items())
        if origin != "emotiwave"
    ]


def build(parts: ResolvedParts, corpus: Corpus, objective: Objective) -> FusionModel:
    """The recipe's model for this corpus, with fresh weights. SettingsError for an encoder of an unknown modality."""
    store = corpus.store
    for name in parts.encoders:
        if name != ALL and not streams_of(name, store.streams):
            known = ", ".join(dict.fromkeys([*store.modalities, *store.streams]))
            raise SettingsError(f"The recipe has an encoder for '{name}', but the data set has: {known}.")
    steps = {s: int(limit) for s, limit in store.facts.options.max_steps.items()}
    return assemble(parts, store.features, len(objective.classes), steps)
