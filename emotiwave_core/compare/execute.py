"""Runs of a comparison on this machine: each in a process of its own, so that a failed one costs no other."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import attrs
import tomli_w

from emotiwave_core.compare.plan import PlannedRun, run_folder
from emotiwave_core.config.recipe import Recipe, read_recipe
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


def default_jobs(device: str) -> int:
    """A process for each processor, each computing with one thread; on a GPU, whose memory they would share, one."""
    from emotiwave_core.compute.device import find_device

    if find_device(device).type != "cpu":
        return 1
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


class RunProcess:
    """`emotiwave run` in a process of its own, for a folder: it begins there, or goes on where it was cut."""

    def __init__(self, folder: Path, recipe: Recipe, executor: Executor, *more: str) -> None:
        """more: further words of the command."""
        self.folder = folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._scratch = Path(tempfile.mkdtemp(prefix="emotiwave-"))
        command = [sys.executable, "-P", "-m", "emotiwave_core.cli", "run", "--device", executor.device, *more]
        if (folder / RECIPE).exists():
            command += ["--resume", str(folder)]
        else:
            write_text(self._scratch / RECIPE, tomli_w.dumps(recipe.to_table()))
            command += [str(self._scratch / RECIPE), "--data", str(executor.data), "--out", str(folder)]
        if executor.registry_file is not None:
            command += ["--registry", str(executor.registry_file)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        with (self._scratch / "stderr").open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=environment,
                start_new_session=True,  # Ctrl-C is this process's to answer
            )

    def failure(self) -> str | None:
        """The sentence of a run that failed; None of one that ended well."""
        if (code := self._process.returncode) == 0:
            return None
        said = (self._scratch / "stderr").read_text("utf-8", "replace")
        lines = [line for line in said.splitlines() if line.strip()]
        sentence = next((line for line in reversed(lines) if line.startswith("Error: ")), lines[-1] if lines else "")
        return sentence.removeprefix("Error: ") or f"it ended with exit code {code}"

    def has_ended(self) -> bool:
        """True once the process is no more."""
        return self._process.poll() is not None

    def stop(self) -> None:
        """Ask the run to keep its step and to end."""
        self._process.terminate()

    def end(self) -> None:
        """Wait for a run that was stopped, kill it where that takes too long, and clear up."""
        try:
            self._process.wait(ENOUGH)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._scratch, ignore_errors=True)


def carry_out(runs: Sequence[PlannedRun], executor: Executor, monitor: Monitor) -> dict[str, str]:
    """Carry out all runs that are not done; those that were cut go on. {folder: the sentence of a run that failed}.

    KeyboardInterrupt, passed on, lets the processes keep the step that they are in.
    """
    waiting = [run for run in runs if not is_done(run, executor.out)]
    if len(waiting) < len(runs):
        monitor.say(f"{len(runs) - len(waiting)} of {len(runs)} runs are done already.")
    failed: dict[str, str] = {}
    running: dict[RunProcess, PlannedRun] = {}
    with monitor.progress("Runs", len(waiting)) as advance:
        try:
            while waiting or running:
                while waiting and len(running) < executor.jobs:
                    run = waiting.pop(0)
                    running[RunProcess(run_folder(executor.out, run), run.recipe(), executor)] = run
                for process in [process for process in running if process.has_ended()]:
                    run = running.pop(process)
                    if (why := process.failure()) is None:
                        monitor.say(f"{run.folder}: {read_scores(process.folder).mean:.3f}")
                    else:
                        failed[run.folder] = why
                        monitor.say(f"{run.folder} failed: {why}")
                    process.end()
                    advance()
                time.sleep(POLL)
        finally:
            for process in running:
                process.stop()
            for process in running:
                process.end()
    return failed
