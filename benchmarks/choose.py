"""Compares candidates for a recipe by validation alone: no test fold is read, and the actors of one are in no split.

    python benchmarks/choose.py benchmarks/robust.toml DIR --out FOLDER

The TOML file has `base`, a list of settings (`training.epochs=40`, as after `emotiwave run --set`), and `[candidate]`:
more of them by name. Every candidate is trained on each split with each seed; what is finished is not repeated. The
table shows the mean over splits and seeds of the best epoch's validation macro-F1.
"""

import json
import multiprocessing
import tempfile
import tomllib
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import attrs
import click
import numpy as np
import torch

from emotiwave_core.compute.device import seed_everything
from emotiwave_core.compute.runtime import Runtime
from emotiwave_core.config.flags import override
from emotiwave_core.config.recipe import Recipe
from emotiwave_core.data.corpus import open_corpus
from emotiwave_core.io.atomic import write_json
from emotiwave_core.model.objective import make_objective
from emotiwave_core.monitor import SILENT
from emotiwave_core.parts.registry import load_registry
from emotiwave_core.runs.history import read_history
from emotiwave_core.runs.model_file import read_model_file
from emotiwave_core.runs.saved_model import describe
from emotiwave_core.train.loop import TrainingJob, train
from emotiwave_core.train.run import build

# Two ways to take validation actors: both leave the same actors (the test fold of folds.json, fold4 of cv.json) out.
SPLITS = {"folds.json": ["data.folds=folds.json"], "cv.json": ["data.folds=cv.json", "data.rotation=4"]}


def measure(settings: list[str], seed: int, data: Path) -> dict[str, Any]:
    """Train once; the validation scores of the best epoch."""
    torch.set_num_threads(1)
    table = override({"seed": seed}, tuple(settings))
    registry = load_registry()
    parts = registry.resolve(Recipe.from_table(table, "The candidate"))
    parts = attrs.evolve(parts, recipe=parts.completed())
    recipe = parts.recipe
    seed_everything(recipe.seed)
    corpus = open_corpus(data, recipe.data, SILENT)
    objective = make_objective(recipe.objective, corpus.store.targets)
    model = build(parts, corpus, objective)
    description = describe(parts, model, objective, corpus)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        train(TrainingJob(run, recipe, description), model, objective, corpus, Runtime(torch.device("cpu")))
        best, history = read_model_file(run).best.epoch, read_history(run)
    valid: dict[str, Any] = history[best - 1].to_dict()["valid"]
    return valid | {"epoch": best, "epochs": len(history)}


@click.command()
@click.argument("candidates", type=click.Path(path_type=Path, exists=True))
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the results.")
@click.option("--seeds", default=2, show_default=True, help="How many, from 0 on.")
@click.option("--jobs", default=2, show_default=True, help="Processes, each with one thread.")
@click.option("--only", multiple=True, help="Names of candidates; all by default.")
def main(candidates: Path, data: Path, out: Path, seeds: int, jobs: int, only: tuple[str, ...]) -> None:
    """Compare candidates by validation macro-F1."""
    table = tomllib.loads(candidates.read_text(encoding="utf-8"))
    out.mkdir(parents=True, exist_ok=True)
    waiting: dict[Any, tuple[Path, list[str]]] = {}
    if unknown := set(only) - set(table["candidate"]):
        raise click.UsageError(f"{candidates} has no candidate {', '.join(sorted(unknown))}.")
    names = [name for name in table["candidate"] if not only or name in only]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        for name in names:
            for split, where in SPLITS.items():
                for seed in range(seeds):
                    path = out / f"{name}.{split}.{seed}.json"
                    settings = [*table["base"], *table["candidate"][name], *where]
                    if not path.exists() or json.loads(path.read_text())["settings"] != settings:
                        waiting[pool.submit(measure, settings, seed, data)] = path, settings
        for done in as_completed(waiting):
            path, settings = waiting[done]
            write_json(path, {"settings": settings} | done.result())
            click.echo(f"{path.stem}: {done.result()['mean_macro_f1']:.3f}", err=True)
    click.echo(as_table(out, names))


def as_table(out: Path, names: list[str]) -> str:
    """A Markdown table of every run that the folder has of these candidates, the best candidate first."""
    rows, header = [], ["candidate"]
    for name in names:
        found = [json.loads(path.read_text()) for path in sorted(out.glob(f"{name}.*.json"))]
        if not found:
            continue
        means = [one["mean_macro_f1"] for one in found]
        each = {key: np.mean([one["configurations"][key] for one in found]) for key in found[0]["configurations"]}
        spread = np.std(means)
        cells = [name, f"{np.mean(means):.3f} ± {spread:.3f}", *(f"{value:.3f}" for value in each.values())]
        rows.append((np.mean(means), [*cells, f"{len(found)}"]))
        header = ["candidate", "mean", *each, "runs"]
    lines = [header, ["---"] * len(header), *(cells for _, cells in sorted(rows, key=lambda row: -row[0]))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


if __name__ == "__main__":
    main()
