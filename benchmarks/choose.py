"""Compares candidates for a recipe by validation alone: no test fold is read, and the actors of one are in no split.

    python benchmarks/choose.py benchmarks/robust.toml DIR --out FOLDER

The TOML file has `base`, a list of settings (`training.epochs=40`, as after `emotiwave run --set`), and `[candidate]`:
more of them by name. Every candidate is trained on each split with each seed, as a row of `emotiwave compare` is and by
`emotiwave run --no-test`; what is finished is not repeated. The table shows the mean over splits and seeds of the best
epoch's validation macro-F1.
"""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from emotiwave_core.compare.jobs import MEMORY, Runs, failure, is_done, needs_of, program_of
from emotiwave_core.compare.plan import PlannedRun, planned_runs, row_of, run_folder
from emotiwave_core.config.flags import override
from emotiwave_core.errors import EmotiwaveError
from emotiwave_core.execute.executor import Execution, carry_out, opened
from emotiwave_core.execute.job import Job, JobAnswer
from emotiwave_core.monitor import TerminalMonitor
from emotiwave_core.parts.registry import load_registry
from emotiwave_core.runs.history import read_history
from emotiwave_core.runs.model_file import read_model_file

# Two ways to take validation actors: both leave the same actors (the test fold of folds.json, fold4 of cv.json) out.
SPLITS = {"folds.json": None, "cv.json": 4}  # a file of folds, and the one that is tested on where it has several


def runs_of(table: dict[str, Any], names: Sequence[str], seeds: int) -> list[PlannedRun]:
    """The runs of these candidates on each split with each seed."""
    registry = load_registry()
    return [
        run
        for split, rotation in SPLITS.items()
        for run in planned_runs(
            [
                row_of(name, override({}, (*table["base"], *table["candidate"][name])), registry, split)
                for name in names
            ],
            range(seeds),
            [rotation],
        )
    ]


def job_of(run: PlannedRun, setting: Runs) -> Job:
    """The run as a job that ends before its test. SettingsError where its folder holds one of another recipe."""
    is_done(run, setting.out)
    return Job(run.folder, program_of(run_folder(setting.out, run), run.recipe(), setting, "--no-test"), retries=1)


def train(runs: Sequence[PlannedRun], setting: Runs) -> None:
    """Train all runs that are not finished, and test none. ClickException with the sentences of those that failed."""
    monitor, failed = TerminalMonitor(), []

    def ended(job: Job, answer: JobAnswer) -> bool:
        if why := failure(answer):
            failed.append(f"{job.name}: {why}")
        return not why

    jobs = [job_of(run, setting) for run in runs]
    with opened(setting.execution, setting.out, needs_of(setting), MEMORY, len(jobs), monitor) as executor:
        carry_out(jobs, executor, monitor, "Runs", ended)
    if failed:
        raise click.ClickException("\n".join(failed))


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
@click.option("--jobs", type=int, help="Processes, each with one thread; as many as processors by default.")
@click.option("--only", multiple=True, help="Names of candidates; all by default.")
def main(candidates: Path, data: Path, out: Path, seeds: int, jobs: int | None, only: tuple[str, ...]) -> None:
    """Compare candidates by validation macro-F1."""
    table = tomllib.loads(candidates.read_text(encoding="utf-8"))
    if unknown := set(only) - set(table["candidate"]):
        raise click.UsageError(f"{candidates} has no candidate {', '.join(sorted(unknown))}.")
    names = [name for name in table["candidate"] if not only or name in only]
    try:
        runs = runs_of(table, names, seeds)
        train(runs, Runs(data.resolve(), out, execution=Execution(jobs=jobs, device="cpu")))
    except EmotiwaveError as error:
        raise click.ClickException(str(error)) from error
    found = {name: [validation(run_folder(out, run)) for run in runs if run.row.name == name] for name in names}
    click.echo(as_table(found))


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
