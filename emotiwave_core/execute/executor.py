"""Executors: where jobs are carried out, and the loop that gives them out and counts what comes back."""

import abc
import contextlib
import math
import platform
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs

from emotiwave_core.errors import ResourceError, SettingsError, choices, short
from emotiwave_core.execute.job import Job, JobAnswer
from emotiwave_core.execute.process import Slot
from emotiwave_core.io.atomic import out_of_space
from emotiwave_core.monitor import Monitor
from emotiwave_core.version import __version__

EXECUTORS = ("local", "ray", "slurm")
POLL = 0.2  # seconds between two looks at the jobs
LEAST = 8  # lines in a piece, which is worth to open a program for
LOST = 3  # times that a job is given out anew where its worker is lost
GIGABYTE = 1e9


class Executor(abc.ABC):
    """Carries out jobs, in no order that can be relied on. Left, it stops those that run, which keep what they have."""

    @abc.abstractmethod
    def submit(self, jobs: Sequence[Job]) -> None:
        """Take these jobs up as soon as there is room."""

    @abc.abstractmethod
    def stop(self, job: Job) -> None:
        """Ask a job that is being carried out to keep what it has and to end; it is answered for as any other."""

    @abc.abstractmethod
    def ended(self) -> list[tuple[Job, JobAnswer]]:
        """The jobs that have ended since; none after `POLL` seconds."""

    @property
    @abc.abstractmethod
    def running(self) -> int:
        """The number of jobs that are being carried out."""

    @abc.abstractmethod
    def close(self) -> None:
        """Stop what runs, and wait until it has kept what it is at."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


@attrs.frozen
class Execution:
    """The choice of an executor."""

    executor: str = "local"
    jobs: int | None = None  # side by side; None: as many as there is room for
    device: str = "auto"
    address: str | None = None  # of a Ray cluster that is joined; None: a local one is started
    slurm: dict[str, str] = attrs.field(factory=dict)  # options of sbatch; `cluster`: local or debug, without Slurm

    def checked(self) -> "Execution":
        """The same. SettingsError for what does not go together."""
        if self.executor not in EXECUTORS:
            raise SettingsError(f"There is no executor {short(self.executor)}.{choices(self.executor, EXECUTORS)}")
        if self.address is not None and self.executor != "ray":
            raise SettingsError("--address is that of a Ray cluster: add --executor ray.")
        if self.slurm and self.executor != "slurm":
            raise SettingsError("--slurm are options of Slurm: add --executor slurm.")
        return self


@attrs.frozen
class Witness:
    """The files that a worker on another machine must see as this one does, and the version that it must have."""

    token: Path  # a folder in that of the results, of a name that no other machine has
    paths: tuple[Path, ...]
    version: str = __version__

    def problem(self) -> str:
        """The reason why a worker is unfit; empty where it is not."""
        worker = f"The worker on {platform.node()}"
        if self.version != __version__:
            return f"{worker} has Emotiwave {__version__}, not {self.version}: install the same on all machines."
        unseen = [path for path in self.paths if not path.exists()]
        if not self.token.exists():
            unseen.insert(0, self.token.parent)
        return f"{worker} cannot see {unseen[0]}: put it on a disk that all machines share." if unseen else ""


def work(jobs: Sequence[Job], witness: Witness) -> list[dict[str, Any]]:
    """The answers of jobs that are carried out one after another in a worker, on whatever machine that is."""
    if problem := witness.problem():
        return [JobAnswer(unfit=problem).to_dict() for _ in jobs]
    with ThreadPoolExecutor(1) as thread, Slot() as slot:
        answers = thread.submit(lambda: [slot.do(job).to_dict() for job in jobs])
        while not answers.done():  # so that this thread hears when it is to stop
            wait([answers], POLL)
        return answers.result()


def in_chunks(jobs: Sequence[Job], count: int) -> list[list[Job]]:
    """Jobs as workers are given them: programs alone, and lines in at most `count` pieces of no less than `LEAST`."""
    chunks = [[job] for job in jobs if job.program.opening is None]
    open_to = [job for job in jobs if job.program.opening is not None]
    size = max(LEAST, math.ceil(len(open_to) / max(1, count)))
    return chunks + [open_to[start : start + size] for start in range(0, len(open_to), size)]


@contextlib.contextmanager
def opened(
    execution: Execution, shared: Path, needs: Sequence[Path], memory: float, most: int, monitor: Monitor
) -> Iterator[Executor]:
    """An executor, to be closed by leaving. shared: the folder of the results. needs: what else a worker must see.

    memory: bytes that one job takes. most: jobs that there are. SettingsError, PackageNotHere or ResourceError where it
    cannot be had.
    """
    execution.checked()
    if execution.executor == "local":
        from emotiwave_core.execute.local import LocalExecutor

        with LocalExecutor(execution, memory, most, monitor) as local:
            yield local
        return
    with out_of_space(shared):
        shared.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{execution.executor}-", dir=shared.resolve()))
    try:
        witness = Witness(scratch, tuple(path.resolve() for path in needs))
        with _remote(execution, witness, scratch, monitor) as remote:
            yield remote
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _remote(execution: Execution, witness: Witness, scratch: Path, monitor: Monitor) -> Executor:
    if execution.executor == "ray":
        from emotiwave_core.execute.ray_cluster import RayExecutor

        return RayExecutor(execution, witness, monitor)
    from emotiwave_core.execute.slurm_array import SlurmExecutor

    return SlurmExecutor(execution, witness, scratch, monitor)


class JobRunner:
    """Gives jobs to an executor. One whose worker is lost, or whose process was killed, is begun anew."""

    def __init__(self, executor: Executor, monitor: Monitor) -> None:
        self.executor, self._monitor = executor, monitor
        self._begun_anew: Counter[str] = Counter()
        self._stopped: set[str] = set()

    def stop(self, job: Job) -> None:
        """Ask a job to keep what it has and to end; it is not begun anew."""
        self._stopped.add(job.name)
        self.executor.stop(job)

    def settled(self) -> Iterator[tuple[Job, JobAnswer]]:
        """The jobs that have ended since and are not begun anew. ResourceError for a worker that cannot do any job."""
        for job, answer in self.executor.ended():
            if answer.unfit:
                raise ResourceError(answer.unfit)
            why = answer.lost or (answer.killed and f"its process was killed ({answer.killed})")
            most = 0 if job.name in self._stopped else LOST if answer.lost else job.retries
            if why and self._begun_anew[job.name] < most:
                self._begun_anew[job.name] += 1
                self._monitor.say(f"{job.name}: {why}; it is taken up again.")
                self.executor.submit([job])
            else:
                yield job, answer


def carry_out(
    jobs: Sequence[Job], executor: Executor, monitor: Monitor, title: str, ended: Callable[[Job, JobAnswer], bool]
) -> None:
    """Carry out all jobs. `ended` is called with each as it ends, and says whether it has done well.

    ResourceError for a worker that cannot do any job.
    """
    runner = JobRunner(executor, monitor)
    done = failed = 0
    executor.submit(jobs)
    with monitor.jobs(title, len(jobs)) as show:
        while done + failed < len(jobs):
            for job, answer in runner.settled():
                if ended(job, answer):
                    done += 1
                else:
                    failed += 1
            show(done, executor.running, failed)


def told_line(error: Exception, number: int = -1) -> str:
    """One line of the message of a library's error, for a sentence of ours: the last one, or the one of this number."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[number].rstrip(".")


def read_slurm(flags: Sequence[str]) -> dict[str, str]:
    """The options of Slurm from KEY=VALUE. SettingsError where one is not written so."""
    options: dict[str, str] = {}
    for flag in flags:
        key, equals, value = flag.partition("=")
        if not equals or not key.strip() or not value.strip():
            raise SettingsError(f"--slurm takes KEY=VALUE, such as partition=gpu: {short(flag)}.")
        options[key.strip().removeprefix("--").replace("-", "_")] = value.strip()
    return options


def free_memory() -> float | None:
    """Bytes of memory that are free on this machine, or in this container; None where the system does not tell."""
    free: list[float] = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free.append(next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")))
    with contextlib.suppress(OSError, ValueError):
        groups = Path("/sys/fs/cgroup")
        most = (groups / "memory.max").read_text(encoding="ascii").strip()
        inactive = _inactive_files((groups / "memory.stat").read_text(encoding="ascii"))
        used = float((groups / "memory.current").read_text(encoding="ascii")) - inactive
        free += [] if most == "max" else [float(most) - used]
    return max(0.0, min(free)) if free else None


def _inactive_files(statistics: str) -> float:
    """The bytes of files that are kept in memory and could be dropped."""
    table: Mapping[str, str] = dict(line.split() for line in statistics.splitlines())
    return float(table.get("inactive_file", 0))
