"""Runs of a comparison or a search as jobs: each is an `emotiwave run`, so that a failed one costs no other."""

from collections.abc import Sequence
from pathlib import Path

import attrs
import tomli_w

from emotiwave_core.compare.plan import PlannedRun, run_folder
from emotiwave_core.compare.protocol_tables import is_scored
from emotiwave_core.config.recipe import Recipe, read_recipe
from emotiwave_core.errors import SettingsError
from emotiwave_core.execute.executor import Execution, carry_out, opened
from emotiwave_core.execute.job import Job, JobAnswer, Program, Resumed, TextFile
from emotiwave_core.monitor import Monitor
from emotiwave_core.runs.folder import RECIPE, REPORT
from emotiwave_core.runs.scores import SCORES, read_scores

MEMORY = 1.3e9  # bytes that a run is taken to need; 1.2e9 were measured of the default recipe


@attrs.frozen
class Runs:
    """The setting of many runs: on which data, into which folder, and where they are carried out."""

    data: Path
    out: Path
    registry_file: Path | None = None
    execution: Execution = attrs.field(factory=Execution)


def is_done(run: PlannedRun, out: Path) -> bool:
    """True where a run has ended before. SettingsError where its folder holds one of another recipe."""
    folder = run_folder(out, run)
    if not holds_run_of(folder, run.recipe()):
        return False
    return (folder / SCORES).exists() and (folder / REPORT).exists()


def holds_run_of(folder: Path, recipe: Recipe) -> bool:
    """True where a folder holds a run of this recipe. SettingsError where it holds one of another recipe.

    A setting that there was not yet when the run was made has its default.
    """
    if not (folder / RECIPE).exists():
        return False
    if Recipe.from_table(read_recipe(folder / RECIPE), str(folder / RECIPE)).to_table() != recipe.to_table():
        raise SettingsError(f"{folder} was made from another recipe; give another --out, or move that folder away.")
    return True


def program_of(folder: Path, recipe: Recipe, runs: Runs, *more: str) -> Program:
    """`emotiwave run` for a folder: it begins there, or goes on where it was cut. more: further words."""
    folder = folder.absolute()
    words: tuple[str, ...] = ("run", "--device", runs.execution.device, *more)
    if runs.registry_file is not None:
        words += ("--registry", str(runs.registry_file))
    file = TextFile(RECIPE, tomli_w.dumps(recipe.to_table()))
    return Program(
        module="emotiwave_core.cli",
        words=(*words, "--data", str(runs.data), "--out", str(folder), file),
        resumed=Resumed(folder / RECIPE, (*words, "--resume", str(folder))),
    )


def scoring_of(folder: Path, protocols: Sequence[str], runs: Runs) -> Program:
    """`emotiwave evaluate` for the folder of a run that has ended."""
    words: tuple[str, ...] = ("evaluate", str(folder.absolute()), "--device", runs.execution.device)
    if runs.registry_file is not None:
        words += ("--registry", str(runs.registry_file))
    return Program("emotiwave_core.cli", (*words, *(word for name in protocols for word in ("--protocol", name))))


def needs_of(runs: Runs) -> list[Path]:
    """The files that a worker must see."""
    return [runs.data, *([] if runs.registry_file is None else [runs.registry_file])]


def failure(answer: JobAnswer) -> str | None:
    """The sentence of a run that failed; None of one that ended well."""
    if answer.code == 0:
        return None
    if answer.lost:
        return answer.lost
    if answer.killed:
        return f"its process was killed ({answer.killed}), as happens where memory is short: give fewer --jobs"
    return answer.sentence


def carry_out_runs(planned: Sequence[PlannedRun], runs: Runs, monitor: Monitor) -> dict[str, str]:
    """Carry out all runs that are not done; those that were cut go on. {folder: the sentence of a run that failed}.

    KeyboardInterrupt, passed on, lets the processes keep the step that they are in.
    """
    waiting = [run for run in planned if not is_done(run, runs.out)]
    if len(waiting) < len(planned):
        monitor.say(f"{len(planned) - len(waiting)} of {len(planned)} runs are done already.")
    if not waiting:
        return {}
    failed: dict[str, str] = {}

    def ended(job: Job, answer: JobAnswer) -> bool:
        if (why := failure(answer)) is None:
            monitor.say(f"{job.name}: {read_scores(runs.out / job.name).mean:.3f}")
            return True
        failed[job.name] = why
        monitor.say(f"{job.name} failed: {why}")
        return False

    jobs = [Job(run.folder, program_of(run_folder(runs.out, run), run.recipe(), runs), retries=1) for run in waiting]
    with opened(runs.execution, runs.out, needs_of(runs), MEMORY, len(jobs), monitor) as executor:
        carry_out(jobs, executor, monitor, "Runs", ended)
    return failed


def score_under_protocols(
    planned: Sequence[PlannedRun], protocols: Sequence[str], runs: Runs, monitor: Monitor
) -> dict[str, str]:
    """Score all runs that have ended under the protocols that they were not scored under: {folder: why one failed}."""
    lacking = {
        run.folder: [name for name in protocols if not is_scored(run_folder(runs.out, run), name)]
        for run in planned
        if (run_folder(runs.out, run) / SCORES).exists()
    }
    jobs = [Job(name, scoring_of(runs.out / name, own, runs), retries=1) for name, own in lacking.items() if own]
    if not jobs:
        return {}
    failed: dict[str, str] = {}

    def ended(job: Job, answer: JobAnswer) -> bool:
        if (why := failure(answer)) is not None:
            failed[job.name] = why
            monitor.say(f"{job.name} was not scored under its protocols: {why}")
        return why is None

    with opened(runs.execution, runs.out, needs_of(runs), MEMORY, len(jobs), monitor) as executor:
        carry_out(jobs, executor, monitor, "Protocols", ended)
    return failed
