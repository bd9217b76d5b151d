"""A run from start to end: data, model, training, scores, report. The test fold is read only after training."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import tomli_w
import torch
from filelock import FileLock, Timeout

from emotiwave_core.data.corpus import Corpus, open_corpus
from emotiwave_core.data.dataset import load_dataset
from emotiwave_core.data.folds import FOLDS
from emotiwave_core.engine.blame import blamed
from emotiwave_core.engine.checkpoint import LAST, describe
from emotiwave_core.engine.device import cost_of_determinism, deterministic, seed_everything
from emotiwave_core.engine.evaluate import score_all, write_predictions
from emotiwave_core.engine.explained import write_explanation
from emotiwave_core.engine.history import HISTORY
from emotiwave_core.engine.parallel import ALONE, World
from emotiwave_core.engine.train import train
from emotiwave_core.engine.trained import DATA, check_unchanged, open_trained, read_data
from emotiwave_core.errors import DataError, DivergedError, EmotiwaveError, PluginError, SettingsError
from emotiwave_core.files import out_of_space, write_json, write_text
from emotiwave_core.model import FusionModel, assemble
from emotiwave_core.monitor import Monitor
from emotiwave_core.objective import Objective, make_objective
from emotiwave_core.recipe import Recipe, read_recipe
from emotiwave_core.registry import Registry
from emotiwave_core.watchers import NOBODY, Watchers

RECIPE, SCORES, PREDICTIONS = "recipe.toml", "scores.json", "predictions.csv"
JOB = ".job"  # which job of a launcher has begun the run


def start(
    recipe: Recipe,
    data: Path,
    out: Path,
    registry: Registry,
    device: torch.device,
    monitor: Monitor,
    world: World = ALONE,
    job: str | None = None,
) -> dict[str, Any]:
    """Make a run folder, train, score and report. Returns the scores. SettingsError where `out` holds a run already.

    A run that the same `job` has begun in it, with the same recipe and data, is resumed: a launcher starts it again.
    """
    recipe = complete(recipe, registry)
    load_dataset(data)  # so that a wrong folder leaves no run behind
    with contextlib.ExitStack() as held:
        recipe = world.first(lambda: _take(recipe, data, out, held, job))
        try:
            return _walk(recipe, data, out, registry, device, monitor, world)
        except (SettingsError, DataError, PluginError, DivergedError):
            if world.rank == 0 and not (out / LAST).exists():  # nothing was learned: it is free for a corrected try
                for name in (RECIPE, DATA, HISTORY, JOB, ".lock"):
                    (out / name).unlink(missing_ok=True)
            raise


def _take(recipe: Recipe, data: Path, out: Path, held: contextlib.ExitStack, job: str | None) -> Recipe:
    """Make the run's folder, as long as `held` is. The recipe as `resume` will read it."""
    text, folder = tomli_w.dumps(recipe.to_table()), str(data.resolve())
    with out_of_space(out):
        out.mkdir(parents=True, exist_ok=True)
    held.enter_context(alone_in(out))
    if job is not None and (out / JOB).exists() and (out / JOB).read_text(encoding="utf-8") == job:
        _sweep(out)
        same = not (out / RECIPE).exists() or (out / RECIPE).read_text(encoding="utf-8") == text
        if same and (out / DATA).exists() and read_data(out)["folder"] == folder:
            write_text(out / RECIPE, text)  # a kill may have come between the two
            return Recipe.from_table(read_recipe(out / RECIPE), str(out / RECIPE))
    if (out / RECIPE).exists():
        raise SettingsError(f"{out} holds a run already: continue it with --resume {out}, or choose another --out.")
    if any(path.name not in (".lock", JOB) for path in out.iterdir()):
        (out / ".lock").unlink()
        raise SettingsError(f"{out} is not empty and holds no run: choose another --out, so that no file is lost.")
    if job is not None:
        write_text(out / JOB, job)
    write_json(out / DATA, {"folder": folder})
    write_text(out / RECIPE, text)
    return Recipe.from_table(read_recipe(out / RECIPE), str(out / RECIPE))


def resume(
    out: Path, registry: Registry, device: torch.device, monitor: Monitor, world: World = ALONE
) -> dict[str, Any]:
    """Continue a run that was stopped at any point: it ends as if it had not been."""
    with contextlib.ExitStack() as held:
        recipe, data = world.first(lambda: _take_up(out, held))
        return _walk(recipe, data, out, registry, device, monitor, world)


def _take_up(out: Path, held: contextlib.ExitStack) -> tuple[Recipe, Path]:
    """The recipe and the data of a run, whose folder is kept as long as `held` is."""
    if not (out / RECIPE).exists() or not (out / DATA).exists():
        raise SettingsError(f"{out} holds no run to resume; start one without --resume.")
    recipe = Recipe.from_table(read_recipe(out / RECIPE), str(out / RECIPE))
    held.enter_context(alone_in(out))
    _sweep(out)
    return recipe, Path(read_data(out)["folder"])


def _sweep(out: Path) -> None:
    """Take away what a kill has left of a file that it cut short."""
    for torn in out.glob(".*.part"):
        torn.unlink()


def complete(recipe: Recipe, registry: Registry) -> Recipe:
    """The recipe with every option of every part written out; errors in them come before any work."""
    Watchers({name: registry.watcher(name) for name in recipe.watch})
    return attrs.evolve(
        recipe,
        encoder={m: registry.complete("encoder", part) for m, part in recipe.encoder.items()},
        fusion=registry.complete("fusion", recipe.fusion),
        dropout=registry.complete("dropout", recipe.dropout),
    )


def find_watchers(recipe: Recipe, registry: Registry, monitor: Monitor) -> Watchers:
    """The plugins that watch a run of this recipe. One that does not load is reported: it costs nothing but itself."""
    modules = {}
    for name in recipe.watch:
        try:
            modules[name] = registry.watcher(name)
        except EmotiwaveError as error:
            monitor.say(f"Without the watcher '{name}': {error}")
    return Watchers(modules, monitor)


def _walk(
    recipe: Recipe, data: Path, out: Path, registry: Registry, device: torch.device, monitor: Monitor, world: World
) -> dict[str, Any]:
    seed_everything(recipe.seed)
    corpus = world.in_turn(lambda: open_corpus(data, recipe.data, monitor))
    world.first(lambda: check_unchanged(out, corpus))
    _check_same_data(corpus, world)
    world.first(lambda: _write_data(out, corpus, {"trained": read_data(out).get("trained", False)}))
    for note in [*corpus.notes(), *strangers(recipe, registry, corpus)]:
        monitor.say(f"Note: {note}")
    objective = make_objective(recipe.objective, corpus.store.targets)
    model = build(recipe, registry, corpus, objective)
    about = describe(recipe, registry, model, objective) | {
        "targets": list(corpus.store.targets),
        "data": {"fingerprint": corpus.store.facts["fingerprint"], "sources": corpus.store.facts["sources"]},
    }
    watchers = find_watchers(recipe, registry, monitor) if world.rank == 0 else NOBODY
    if recipe.computing.deterministic:
        monitor.say(cost_of_determinism(device))
    with blamed(recipe, registry), deterministic(recipe.computing.deterministic):
        train(out, model, objective, corpus, recipe, about, device, monitor, watchers, world)

    def finish() -> dict[str, Any]:
        _write_data(out, corpus, {"trained": True})
        with deterministic(recipe.computing.deterministic):
            scores = evaluate(out, registry, device, monitor, corpus=corpus, write=True)
        watchers.run_end(out, scores)
        return scores

    return world.first(finish)


def _write_data(out: Path, corpus: Corpus, more: dict[str, Any]) -> None:
    write_json(out / DATA, corpus.facts() | more)


def _check_same_data(corpus: Corpus, world: World) -> None:
    """DataError where another process has found other files, or other folds, under the same name."""
    found = world.everyone((corpus.store.facts["sources"], corpus.store.facts["options"], corpus.folds.sha256))
    others = [str(rank) for rank, one in enumerate(found) if one != found[0]]
    if others:
        raise DataError(
            f"{corpus.dataset.folder} is not the same data set for rank {', '.join(others)} as for rank 0: give all "
            "machines the same files and folds."
        )


def strangers(recipe: Recipe, registry: Registry, corpus: Corpus) -> list[str]:
    """Which parts are not Emotiwave's own, and whose they are: a local file may take the name of a shipped part."""
    asked = {("encoder", recipe.encoder_of(m).name) for m in corpus.store.modalities}
    asked |= {("fusion", recipe.fusion.name), *registry.names_in("dropout", recipe.dropout)}
    origins = {(kind, name): registry.find(kind, name)[1] for kind, name in sorted(asked)}
    return [f"the {kind} '{name}' is of {origin}." for (kind, name), origin in origins.items() if origin != "emotiwave"]


def build(recipe: Recipe, registry: Registry, corpus: Corpus, objective: Objective) -> FusionModel:
    """The recipe's model for this corpus, with fresh weights. SettingsError for an encoder of an unknown modality."""
    for modality in recipe.encoder:
        if modality not in ("*", *corpus.store.modalities):
            known = ", ".join(corpus.store.modalities)
            raise SettingsError(f"The recipe has an encoder for '{modality}', but the data set has: {known}.")
    steps = {m: int(limit) for m, limit in corpus.store.facts["options"]["max_steps"].items()}
    return assemble(recipe, registry, corpus.store.features, len(objective.classes), steps)


def evaluate(
    run: Path,
    registry: Registry,
    device: torch.device,
    monitor: Monitor,
    *,
    corpus: Corpus | None = None,
    data: Path | None = None,
    fold: str = "test",
    write: bool = False,
) -> dict[str, Any]:
    """Score a run on every configuration, on its own data set or on the one in `data`. `write` keeps it in the run."""
    trained = open_trained(run, registry, monitor, corpus=corpus, data=data, fold=fold)
    objective, modalities, chosen = trained.objective, trained.model.modalities, trained.fold
    predictions = trained.predict(device, monitor)
    watchers = find_watchers(trained.recipe, registry, monitor)
    videos = [trained.corpus.store.videos[row] for row in chosen.rows]
    scores: dict[str, Any] = {
        "dataset": trained.corpus.dataset.name,
        "synthetic": trained.corpus.dataset.synthetic,
        "fold": fold,
        "no_emotion": trained.recipe.objective.no_emotion,
    } | score_all(
        objective, modalities, chosen.targets, predictions.probabilities, trained.thresholds, videos, watchers
    )
    scores["notes"] = [*trained.notes, *scores["notes"]]
    if write:
        from emotiwave_core.report.page import write_report

        own = trained.corpus
        folds = {name: own.fold_facts(name, objective) for name in FOLDS}
        write_json(run / DATA, own.facts() | {"trained": True, "folds": folds})
        write_predictions(
            run / PREDICTIONS, own, objective, modalities, chosen, predictions.probabilities, trained.thresholds
        )
        write_json(run / SCORES, scores)
        write_explanation(trained, predictions, device, monitor)
        write_report(run)
    return scores


@contextlib.contextmanager
def alone_in(run: Path) -> Iterator[None]:
    """Hold the run folder: a second run into it is refused, and a killed one leaves no hold behind."""
    try:
        with FileLock(run / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise SettingsError(f"Another run is at work in {run}; wait for it or choose another --out.") from error
