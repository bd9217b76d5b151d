"""Jobs as arrays of Slurm, through submitit. Each is an entry of an array; its answers are files in the shared folder.

What runs longer than its time, or is preempted, is queued again by submitit, and goes on where it was.
"""

import contextlib
import logging
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from emotiwave_core.errors import PackageNotHere, ResourceError, SettingsError, choices, counted, short
from emotiwave_core.execute.executor import POLL, Execution, Executor, Witness, in_chunks, told_line, work
from emotiwave_core.execute.job import Job, JobAnswer
from emotiwave_core.io.atomic import write_json
from emotiwave_core.io.untrusted import read_json
from emotiwave_core.monitor import Monitor

PLACES = 256  # jobs of an array at a time
PIECES = 16  # in how many pieces lines of one program are given out
MINUTES = 60  # of a job, after which it is queued again and goes on
TIMES = 1000  # that it may be queued again
CLUSTERS = ("slurm", "local", "debug")


@attrs.frozen
class ArrayEntry:
    """The work of one entry of an array. Queued again it begins anew, and its programs go on where they were."""

    jobs: tuple[Job, ...]
    witness: Witness
    answers: Path

    def __call__(self) -> None:
        """Carry the jobs out and write their answers."""
        write_json(self.answers, work(self.jobs, self.witness))

    def checkpoint(self) -> Any:
        """The submission that takes its place when its time is over."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class SlurmExecutor(Executor):
    """Arrays of Slurm; with `cluster` local processes of this machine, and with debug this very process."""

    def __init__(self, execution: Execution, witness: Witness, scratch: Path, monitor: Monitor) -> None:
        options = dict(execution.slurm)
        cluster = options.pop("cluster", "slurm")
        if cluster not in CLUSTERS:
            raise SettingsError(f"--slurm cluster is one of {', '.join(CLUSTERS)}, not {short(cluster)}.")
        self._witness, self._scratch, self._monitor = witness, scratch, monitor
        self._submitit = _executor(cluster, options, execution, scratch)
        self._given: list[tuple[Any, ArrayEntry]] = []
        self._count = 0
        self._stopped: list[Any] = []

    def submit(self, jobs: Sequence[Job]) -> None:
        """Take these jobs up as soon as there is room. ResourceError where Slurm does not take them."""
        entries = []
        for chunk in in_chunks(jobs, PIECES):
            self._count += 1
            entries.append(ArrayEntry(tuple(chunk), self._witness, self._scratch / f"answers-{self._count}.json"))
        try:
            with self._submitit.batch():
                submitted = [self._submitit.submit(entry) for entry in entries]
        except Exception as error:
            raise ResourceError(f"Slurm does not take the jobs: {told_line(error)}.") from error
        self._given += zip(submitted, entries, strict=True)

    def stop(self, job: Job) -> None:
        """Ask a job that is being carried out to keep what it has and to end."""
        for submitted, entry in self._given:
            if job in entry.jobs:
                self._stopped.append(submitted)
                with contextlib.suppress(Exception):
                    submitted.cancel(check=False)

    def ended(self) -> list[tuple[Job, JobAnswer]]:
        """The jobs that have ended since."""
        found: list[tuple[Job, JobAnswer]] = []
        for one in list(self._given):
            submitted, entry = one
            if submitted.done():
                self._given.remove(one)
                found += zip(entry.jobs, _answers(submitted, entry), strict=True)
        if not found:
            time.sleep(POLL)
        return found

    @property
    def running(self) -> int:
        """The number of jobs that are being carried out, as Slurm has told last."""
        return sum(len(entry.jobs) for submitted, entry in self._given if submitted.state == "RUNNING")

    def close(self) -> None:
        """Cancel what is queued or runs. A training that is cancelled keeps its step."""
        going_on = [submitted for submitted, _ in self._given if submitted not in self._stopped]
        for submitted in going_on:
            with contextlib.suppress(Exception):
                submitted.cancel(check=False)
        if going_on:
            self._monitor.say(f"{counted(len(going_on), 'job')} cancelled.")
        self._given.clear()


def _answers(submitted: Any, entry: ArrayEntry) -> list[JobAnswer]:
    with contextlib.suppress(OSError, ValueError, TypeError):
        answers = [JobAnswer(**answer) for answer in read_json(entry.answers)]
        if len(answers) == len(entry.jobs):
            return answers
    why = f"its job has ended without an answer ({submitted.state.lower()})"
    with contextlib.suppress(Exception):
        said = [line for line in (submitted.stderr() or "").splitlines() if line.strip()]
        why += f": {said[-1]}" if said else ""
    return [JobAnswer(lost=why)] * len(entry.jobs)


def _executor(cluster: str, options: dict[str, str], execution: Execution, scratch: Path) -> Any:
    """The executor of submitit. SettingsError for an option that it does not know."""
    try:
        import submitit
    except ImportError as error:
        raise PackageNotHere(
            f'--executor slurm uses submitit, which does not load ({error}): pip install "emotiwave[slurm]"'
        ) from error
    logging.getLogger("submitit").setLevel(logging.ERROR)
    if execution.device == "cuda" and not {"gres", "gpus_per_node", "gpus_per_task"} & options.keys():
        options["gpus_per_node"] = "1"
    told = {f"slurm_{key}": int(value) if value.isdigit() else value for key, value in options.items()}
    own = {"slurm_array_parallelism": execution.jobs or PLACES, "slurm_time": MINUTES, "timeout_min": MINUTES * 24}
    try:
        executor = submitit.AutoExecutor(scratch, cluster=cluster, slurm_max_num_timeout=TIMES)
        executor.update_parameters(name="emotiwave", cpus_per_task=1, **own | told)
    except RuntimeError as error:
        raise ResourceError(
            f"There is no Slurm on this machine ({told_line(error)}): use --executor local, or try it by --slurm "
            "cluster=local."
        ) from error
    except NameError as error:
        wrong = next(key for key in told if key in str(error)).removeprefix("slurm_")
        known = re.findall(r"\w+", str(error).partition("Valid arguments:")[2].partition("\n")[0])
        raise SettingsError(f"--slurm {wrong} is no option of submitit.{choices(wrong, known)}") from error
    except (ValueError, TypeError, AssertionError) as error:
        raise SettingsError(f"--slurm: {told_line(error, 0)}.") from error
    return executor
