"""Compares candidates for a recipe by validation alone: no test fold is read, and the actors of one are in no split.

    python benchmarks/choose.py benchmarks/robust.toml DIR --out FOLDER

The TOML file has `base`, a list of settings (`training.epochs=40`, as after `emotiwave run --set`), and `[candidate]`:
more of them by name. Every candidate is trained on each split with each seed, as `emotiwave run --no-test` does; what
is finished is not repeated. The table shows the mean over splits and seeds of the best epoch's validation macro-F1.
"""

import multiprocessing
import tomllib
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import torch

import emotiwave as ew
from emotiwave_core.config.flags import override
from emotiwave_core.config.recipe import Recipe, read_recipe
from emotiwave_core.parts.registry import load_registry
from emotiwave_core.runs.history import read_history
from emotiwave_core.runs.model_file import read_model_file

# Two ways to take validation actors: both leave the same actors (the test fold of folds.json, fold4 of cv.json) out.
SPLITS = {"folds.json": ["data.folds=folds.json"], "cv.json": ["data.folds=cv.json", "data.rotation=4"]}


class Job(NamedTuple):
    """One training."""

    name: str  # of its folder
    settings: tuple[str, ...]  # over the recipe `default`, as after `emotiwave run --set`
    seed: int = 0
    test: bool = True  # False: its test fold is not read


def carry_out(job: Job, data: Path, out: Path) -> Path:
    """The folder of the run, which has ended."""
    torch.set_num_threads(1)
    run, table = out / job.name, override({"seed": job.seed}, job.settings)
    if not (run / "recipe.toml").exists():
        ew.train(data, table, out=run, device="cpu", test=job.test)
        return run
    asked = load_registry().resolve(Recipe.from_table(table, job.name)).completed()
    if read_recipe(run / "recipe.toml") != asked.to_table():
        raise click.ClickException(f"{run} was made from other settings; remove it, or choose another --out.")
    if not job.test or not (run / "scores.json").exists():
        ew.resume(run, device="cpu", test=job.test)
    return run


def validation(run: Path) -> dict[str, Any]:
    """The validation scores of the best epoch, its number, and how many there were."""
    best, history = read_model_file(run).best.epoch, read_history(run)
    valid: dict[str, Any] = history[best - 1].to_dict()["valid"]
    return valid | {"epoch": best, "epochs": len(history)}


@click.command()
@click.argument("candidates", type=click.Path(path_type=Path, exists=True))
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the runs.")
@click.option("--seeds", default=2, show_default=True, help="How many, from 0 on.")
@click.option("--jobs", default=2, show_default=True, help="Processes, each with one thread.")
@click.option("--only", multiple=True, help="Names of candidates; all by default.")
def main(candidates: Path, data: Path, out: Path, seeds: int, jobs: int, only: tuple[str, ...]) -> None:
    """Compare candidates by validation macro-F1."""
    table = tomllib.loads(candidates.read_text(encoding="utf-8"))
    if unknown := set(only) - set(table["candidate"]):
        raise click.UsageError(f"{candidates} has no candidate {', '.join(sorted(unknown))}.")
    names = [name for name in table["candidate"] if not only or name in only]
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        runs = {
            name: [
                pool.submit(carry_out, Job(f"{name}.{split}.{seed}", settings, seed, test=False), data, out)
                for split, where in SPLITS.items()
                for settings in [(*table["base"], *table["candidate"][name], *where)]
                for seed in range(seeds)
            ]
            for name in names
        }
        click.echo(as_table({name: [validation(run.result()) for run in own] for name, own in runs.items()}))


def as_table(candidates: dict[str, list[dict[str, Any]]]) -> str:
    """A Markdown table of the validation scores of each candidate's runs, the best candidate first."""
    rows = []
    for name, runs in candidates.items():
        means = [run["mean_macro_f1"] for run in runs]
        each = {key: np.mean([run["configurations"][key] for run in runs]) for key in runs[0]["configurations"]}
        spread = f"{np.mean(means):.3f} ± {np.std(means):.3f}"
        rows.append((np.mean(means), [name, spread, *(f"{value:.3f}" for value in each.values()), f"{len(runs)}"]))
        header = ["candidate", "mean", *each, "runs"]
    lines = [header, ["---"] * len(header), *(cells for _, cells in sorted(rows, key=lambda row: -row[0]))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


if __name__ == "__main__":
    main()
