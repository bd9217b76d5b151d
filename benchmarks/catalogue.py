"""Trains every recipe on RAVDESS and writes the table of docs/results.md: one command, resumed where it was stopped.

    OMP_NUM_THREADS=1 python benchmarks/catalogue.py DIR --out FOLDER          # DIR holds RAVDESS and its cv.json

Each recipe, and each specialist, is trained on the five actor-disjoint rotations of `cv.json`: test on one
fold, choose the epoch on the next, train on the other three. A specialist has the parts of `robust`, but is trained,
chosen and tested on one configuration alone. The logistic regression reads the mean and deviation over time of each
feature.
"""

import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import torch

import emotiwave as ew
from emotiwave_core.config.flags import override
from emotiwave_core.config.recipe import Recipe, read_recipe
from emotiwave_core.data.corpus import Corpus, open_corpus
from emotiwave_core.io.atomic import write_json, write_text
from emotiwave_core.metrics.macro_f1 import macro_f1
from emotiwave_core.modalities import configurations, name_of
from emotiwave_core.model.objective import make_objective
from emotiwave_core.monitor import SILENT
from emotiwave_core.parts.registry import load_registry
from emotiwave_core.runs.history import read_history

ROTATIONS = range(5)
NOTHING = {"parameters": None, "seconds": None}  # where one row stands for several models


class Job(NamedTuple):
    """One training."""

    row: str  # of the table
    recipe: str
    settings: tuple[str, ...]  # as after `emotiwave run --set`
    rotation: int


def jobs(recipes: list[str], modalities: tuple[str, ...]) -> Iterator[Job]:
    """Every recipe, and every specialist, on each rotation."""
    rows: dict[str, tuple[str, tuple[str, ...]]] = {name: (name, ()) for name in recipes}
    if "robust" in recipes:
        rows |= {f"only {name_of(kept)}": ("robust", specialist(name_of(kept))) for kept in configurations(modalities)}
    for row, (recipe, settings) in rows.items():
        for rotation in ROTATIONS:
            yield Job(row, recipe, (*settings, "data.folds=cv.json", f"data.rotation={rotation}"), rotation)


def specialist(configuration: str) -> tuple[str, ...]:
    """`robust`, trained and chosen on one configuration: nothing that it learns from has seen another modality."""
    return (
        f'dropout={{name="weighted", weights={{"{configuration}" = 1.0}}, other=0.0}}',
        f"training.select={configuration}",
        "objective.complete=0.0",
        "objective.distillation=0.0",
    )


def table_of(job: Job) -> dict[str, Any]:
    """The recipe of a job with its settings laid over it."""
    return override(ew.recipes()[job.recipe], job.settings)


def asked(job: Job) -> dict[str, Any]:
    """The recipe of a job in full, as its run folder keeps it."""
    return load_registry().resolve(Recipe.from_table(table_of(job), job.row)).completed().to_table()


def carry_out(job: Job, data: Path, out: Path) -> Path:
    """The run's folder, with its scores in it."""
    run = out / f"{job.row}-rotation-{job.rotation}".replace(" ", "-")
    begun = (run / "recipe.toml").exists()
    if begun and read_recipe(run / "recipe.toml") != asked(job):
        raise click.ClickException(f"{run} was made from another recipe; remove it, or choose another --out.")
    if not (run / "scores.json").exists():
        torch.set_num_threads(1)
        try:
            if begun:
                ew.resume(run, device="cpu")
            else:
                ew.train(data, table_of(job), out=run, device="cpu")
        except ew.EmotiwaveError as error:
            raise click.ClickException(f"{run.name}: {error}") from error
    click.echo(f"{run.name}: {ew.open_run(run).scores().mean:.3f}", err=True)
    return run


def read(run: Path) -> dict[str, Any]:
    """A row of the table: one run."""
    scores = ew.open_run(run).scores()
    return {
        "samples": scores.samples,
        "parameters": json.loads((run / "model.json").read_text())["parameters"],
        "seconds": min(epoch.seconds for epoch in read_history(run)),  # others may have had to share the machine
        **{name: entry.macro_f1 for name, entry in scores.configurations.items()},
        "mean": scores.mean,
        "worst": scores.worst.score,
    }


def logistic_regression(data: Path) -> list[dict[str, Any]]:
    """One for each configuration and rotation, on standardised pooled features; it needs no validation fold."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    found = []
    for rotation in ROTATIONS:
        table = {"data": {"folds": "cv.json", "rotation": rotation}}
        recipe = Recipe.from_table(table, "The rotation")
        corpus = open_corpus(data, recipe.data, SILENT)
        objective = make_objective(recipe.objective, corpus.store.targets)
        train, valid, test = (corpus.fold(name, objective) for name in ("train", "valid", "test"))
        y, truth = np.concatenate([train.targets.numpy(), valid.targets.numpy()]), test.targets.numpy()
        each = {}
        for kept in configurations(corpus.store.modalities):
            model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
            model.fit(np.concatenate([pooled(corpus, kept, fold.rows) for fold in (train, valid)]), y)
            each[name_of(kept)] = macro_f1(
                truth, model.predict(pooled(corpus, kept, test.rows)), len(objective.classes)
            )
        scores = list(each.values())
        found.append({"samples": len(truth), **NOTHING, **each, "mean": np.mean(scores), "worst": min(scores)})
    return found


def pooled(corpus: Corpus, kept: tuple[str, ...], rows: Any) -> Any:
    """The means and deviations over time of every feature side by side, [N, 2F]; zeros where a modality is missing."""
    parts = []
    for m in kept:
        sequences = [corpus.store.sequence(m, int(row)).numpy() for row in rows]
        sequences = [x if len(x) else np.zeros((1, x.shape[1]), x.dtype) for x in sequences]
        parts.append(np.stack([np.concatenate([x.mean(axis=0), x.std(axis=0)]) for x in sequences]))
    return np.concatenate(parts, axis=1)


def table(rows: dict[str, list[dict[str, Any]]], names: list[str]) -> str:
    """Means over the rotations as Markdown; ± is the deviation of the mean between rotations, s/epoch the fastest."""
    header = ["recipe", "samples", "parameters", "s/epoch", *names, "mean", "worst"]
    lines = [header, ["---", *["---:"] * (len(header) - 1)]]
    for row, runs in rows.items():
        average = {key: np.mean([run[key] for run in runs]) for key in (*names, "mean", "worst")}
        size = "" if runs[0]["parameters"] is None else f"{runs[0]['parameters']:,}"
        time = "" if runs[0]["seconds"] is None else f"{np.mean([run['seconds'] for run in runs]):.1f}"
        scores = [f"{average[name]:.3f}" for name in names]
        spread = np.std([run["mean"] for run in runs])
        samples = f"{sum(run['samples'] for run in runs):,}"
        lines.append(
            [row, samples, size, time, *scores, f"{average['mean']:.3f} ± {spread:.3f}", f"{average['worst']:.3f}"]
        )
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def gather_specialists(rows: dict[str, list[dict[str, Any]]], names: list[str]) -> list[dict[str, Any]]:
    """Seven specialists as one row: each scored on its own configuration."""
    found = []
    for rotation in ROTATIONS:
        runs = {name: rows[f"only {name}"][rotation] for name in names}
        each = {name: run[name] for name, run in runs.items()}
        samples, scores = runs[names[0]]["samples"], list(each.values())
        found.append({"samples": samples, **NOTHING, **each, "mean": np.mean(scores), "worst": min(scores)})
    return found


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the runs and the table.")
@click.option("--jobs", "workers", default=2, show_default=True, help="Runs side by side, each with one thread.")
@click.option("--recipe", "chosen", multiple=True, help="Only these; all of registry.toml by default.")
def main(data: Path, out: Path, workers: int, chosen: tuple[str, ...]) -> None:
    """Train every recipe on every rotation and write the table."""
    recipes = list(chosen or ew.recipes())
    out.mkdir(parents=True, exist_ok=True)
    modalities = open_corpus(data, Recipe.from_table({}, "The default").data, SILENT).store.modalities
    names = [name_of(kept) for kept in configurations(modalities)]
    todo = list(jobs(recipes, modalities))
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        runs = list(pool.map(partial(carry_out, data=data, out=out), todo))
    rows: dict[str, list[dict[str, Any]]] = {}
    for job, run in zip(todo, runs, strict=True):
        rows.setdefault(job.row, []).append(read(run))
    shown = {row: found for row, found in rows.items() if not row.startswith("only ")}
    if "robust" in recipes:
        shown["7 specialists"] = gather_specialists(rows, names)
    shown["7 logistic regressions"] = logistic_regression(data)
    write_json(out / "catalogue.json", rows | shown)
    write_text(out / "catalogue.md", table(shown, names) + "\n")
    click.echo(table(shown, names))


if __name__ == "__main__":
    main()
