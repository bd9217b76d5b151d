"""Runs of a comparison on this machine: each in a process of its own, so that a failed one costs no other."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import attrs
import tomli_w

from emotiwave_core.compare.plan import PlannedRun, run_folder
from emotiwave_core.config.recipe import read_recipe
from emotiwave_core.errors import SettingsError
from emotiwave_core.io.atomic import write_text
from emotiwave_core.monitor import Monitor
from emotiwave_core.runs.folder import RECIPE
from emotiwave_core.runs.scores import SCORES, read_scores

POLL = 0.2  # seconds between two looks at the processes
ENOUGH = 600.0  # seconds that a stopped run has to keep its step


@attrs.frozen
class Executor:
    """Processes of this machine: for which data, into which folder, on which device, how many."""

    data: Path
    out: Path
    device: str = "auto"
    registry_file: Path | None = None
    jobs: int = 1  # processes side by side


def default_jobs() -> int:
    """A process for each processor; each computes with one thread."""
    with contextlib.suppress(AttributeError):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def is_done(run: PlannedRun, out: Path) -> bool:
    """True where a run has ended before. SettingsError where its folder holds one of another recipe."""
    folder = run_folder(out, run)
    if not (folder / RECIPE).exists():
        return False
    if read_recipe(folder / RECIPE) != run.recipe().to_table():
        raise SettingsError(f"{folder} was made from another recipe; give another row name, or another --out.")
    return (folder / SCORES).exists()


def carry_out(runs: Sequence[PlannedRun], place: Executor, monitor: Monitor) -> dict[str, str]:
    """Carry out all runs that are not done; those that were cut go on. {folder: the sentence of a run that failed}.

    KeyboardInterrupt, passed on, lets the processes keep the step that they are in.
    """
    waiting = [run for run in runs if not is_done(run, place.out)]
    if len(waiting) < len(runs):
        monitor.say(f"{len(runs) - len(waiting)} of {len(runs)} runs are done already.")
    failed: dict[str, str] = {}
    running: dict[subprocess.Popen[bytes], PlannedRun] = {}
    with monitor.progress("Runs", len(waiting)) as advance, tempfile.TemporaryDirectory() as scratch:
        try:
            while waiting or running:
                while waiting and len(running) < place.jobs:
                    run = waiting.pop(0)
                    running[_started(run, place, Path(scratch))] = run
                for process in [process for process in running if process.poll() is not None]:
                    run = running.pop(process)
                    said = (Path(scratch) / f"{_flat(run)}.err").read_text("utf-8", "replace")
                    folder = run_folder(place.out, run)
                    if process.returncode == 0:
                        monitor.say(f"{run.folder}: {read_scores(folder).mean:.3f}")
                    else:
                        failed[run.folder] = _reason(said, process.returncode)
                        monitor.say(f"{run.folder} failed: {failed[run.folder]}")
                    advance()
                time.sleep(POLL)
        except BaseException:
            _stop(list(running))
            raise
    return failed


def _started(run: PlannedRun, place: Executor, scratch: Path) -> "subprocess.Popen[bytes]":
    folder = run_folder(place.out, run)
    folder.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-P", "-m", "emotiwave_core.cli", "run", "--device", place.device]
    if (folder / RECIPE).exists():
        command += ["--resume", str(folder)]
    else:
        recipe = scratch / f"{_flat(run)}.toml"
        write_text(recipe, tomli_w.dumps(run.recipe().to_table()))
        command += [str(recipe), "--data", str(place.data), "--out", str(folder)]
    if place.registry_file is not None:
        command += ["--registry", str(place.registry_file)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    with (scratch / f"{_flat(run)}.err").open("wb") as errors:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=environment,
            start_new_session=True,  # Ctrl-C is this process's to answer
        )


def _reason(said: str, code: int) -> str:
    """The sentence of a run that failed."""
    lines = [line for line in said.splitlines() if line.strip()]
    sentence = next((line for line in reversed(lines) if line.startswith("Error: ")), lines[-1] if lines else "")
    return sentence.removeprefix("Error: ") or f"it ended with exit code {code}"


def _stop(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    """Ask processes to keep their step and end; kill what does not."""
    for process in processes:
        process.terminate()
    end = time.monotonic() + ENOUGH
    for process in processes:
        try:
            process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()


def _flat(run: PlannedRun) -> str:
    return run.folder.replace("/", "-")
