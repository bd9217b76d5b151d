"""Jobs on a Ray cluster (Moritz et al. 2018, "Ray: A Distributed Framework for Emerging AI Applications").

Without an address a cluster of this machine's processors is started, which listens on loopback alone, asks for a token
that nobody else has, and is ended at the end. Ray's own retries are off: a job whose worker or node is lost comes back
as lost, as it does from any executor.
"""

import contextlib
import logging
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Any

from emotiwave_core.errors import PackageNotHere, ResourceError, SettingsError, short
from emotiwave_core.execute.executor import POLL, Execution, Executor, Witness, in_chunks, told_line, work
from emotiwave_core.execute.job import Job, JobAnswer
from emotiwave_core.execute.local import processors, visible_gpus
from emotiwave_core.execute.process import ENOUGH
from emotiwave_core.monitor import Monitor

OBJECTS = 80 * 2**20  # bytes of Ray's own store, of which nothing is needed: the least that it takes
PIECES = 4  # in how many pieces for each place lines of one program are given out
DEVICES = ("auto", "cpu", "cuda")
LOOPBACK = "127.0.0.1"
TOKEN = secrets.token_hex(32)  # of all clusters of this process: Ray reads it once
ON_LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # with 0, on every system, a node has the address of the loopback
ANSWERS = 10.0  # seconds in which a port must; Ray itself waits for minutes
ADDRESS = re.compile(r"auto|[^:/\s]+:\d{1,5}")


class RayExecutor(Executor):
    """Tasks of Ray, as many at a time as the cluster has processors, or GPUs where the jobs compute on them."""

    def __init__(self, execution: Execution, witness: Witness, monitor: Monitor) -> None:
        if execution.device not in DEVICES:
            raise SettingsError(f"--device {execution.device}: Ray gives each job a GPU of its own: auto, cpu or cuda.")
        self._ray, self._is_own = _joined(execution, monitor)
        self._witness, self._most, self._monitor = witness, execution.jobs, monitor
        self._resource = "GPU" if self._on_gpus(execution.device) else "CPU"
        self._has_waited = False  # for a worker, and said so
        self._task = self._ray.remote(num_cpus=1, num_gpus=int(self._resource == "GPU"), max_retries=0)(work)
        self._waiting: list[list[Job]] = []
        self._given: dict[Any, list[Job]] = {}  # by reference to what will come of it

    def _on_gpus(self, device: str) -> bool:
        has_some = self._ray.cluster_resources().get("GPU", 0) >= 1
        if device == "cuda" and not has_some:
            self.close_cluster()
            raise ResourceError("The Ray cluster has no GPU: use --device cpu.")
        return bool(device != "cpu" and has_some)

    @property
    def _room(self) -> int:
        """The number of jobs at a time; nodes may have come or gone."""
        there = int(self._ray.cluster_resources().get(self._resource, 0))
        return there if self._most is None else min(there, self._most)

    def submit(self, jobs: Sequence[Job]) -> None:
        """Take these jobs up as soon as there is room."""
        self._waiting += in_chunks(jobs, PIECES * max(1, self._room))

    def stop(self, job: Job) -> None:
        """Ask a job that is being carried out to keep what it has and to end."""
        for reference, chunk in self._given.items():
            if job in chunk:
                self._ray.cancel(reference)

    def ended(self) -> list[tuple[Job, JobAnswer]]:
        """The jobs that have ended since. ResourceError where no worker can do them."""
        while self._waiting and len(self._given) < self._room:
            chunk = self._waiting.pop(0)
            self._given[self._task.remote(chunk, self._witness)] = chunk
        if not self._given:
            if self._waiting and not self._has_waited:
                self._has_waited = True
                self._monitor.say(f"The Ray cluster has no {self._resource} now: waiting for a node that has one.")
            time.sleep(POLL)
            return []
        found: list[tuple[Job, JobAnswer]] = []
        ready, _ = self._ray.wait(list(self._given), num_returns=len(self._given), timeout=POLL)
        for reference in ready:
            chunk = self._given.pop(reference)
            found += zip(chunk, self._answers(reference, len(chunk)), strict=True)
        return found

    def _answers(self, reference: Any, count: int) -> list[JobAnswer]:
        try:
            return [JobAnswer(**answer) for answer in self._ray.get(reference)]
        except self._ray.exceptions.TaskCancelledError:  # before the next one, which it is too
            return [JobAnswer(lost="it was stopped")] * count
        except self._ray.exceptions.RayTaskError as error:
            raise ResourceError(
                f"A worker of the Ray cluster cannot work ({told_line(error)}): install the same Emotiwave on all of "
                "its machines."
            ) from error
        except self._ray.exceptions.RayError as error:
            return [JobAnswer(lost=f"its worker is lost ({told_line(error, 0)})")] * count

    @property
    def running(self) -> int:
        """The number of jobs that were given out, and have not ended."""
        return sum(map(len, self._given.values()))

    def close(self) -> None:
        """Stop what runs, and wait until it has kept what it is at; end a cluster that was started here."""
        for reference in self._given:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.cancel(reference)
        if self._given:
            self._ray.wait(list(self._given), num_returns=len(self._given), timeout=ENOUGH)
        self._given.clear()
        self.close_cluster()

    def close_cluster(self) -> None:
        """End a cluster that was started here, or leave the one that was joined."""
        if self._is_own:
            self._ray.shutdown()


def _joined(execution: Execution, monitor: Monitor) -> tuple[Any, bool]:
    """Ray, connected to its cluster, and False where the program that calls us was connected before."""
    if execution.address is not None and not ADDRESS.fullmatch(execution.address):
        raise SettingsError(f"--address takes auto or HOST:PORT, not {short(execution.address)}.")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing is sent to anybody
    if execution.address is None:
        os.environ |= {ON_LOOPBACK: "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    try:
        import ray
    except ImportError as error:
        raise PackageNotHere(
            f'--executor ray uses Ray, which does not load ({error}): pip install "emotiwave[ray]"'
        ) from error
    if ray.is_initialized():
        return ray, False
    if execution.address not in (None, "auto"):
        _check_port(execution.address or "")
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    if execution.address is not None:
        try:
            with _unheard():
                ray.init(address=execution.address, **quiet)
        except Exception as error:
            raise ResourceError(
                f"No Ray cluster answers at {execution.address} ({told_line(error, 0)}): ray start --head begins "
                "one; to one that asks for a token it is given by RAY_AUTH_MODE=token and RAY_AUTH_TOKEN."
            ) from error
        return ray, True
    monitor.say("Starting Ray on this machine …")
    try:
        ray.init(
            address="local",
            num_cpus=execution.jobs or processors(),
            num_gpus=len(visible_gpus(execution.device)),
            include_dashboard=False,
            object_store_memory=OBJECTS,
            _node_ip_address=LOOPBACK,
            **quiet,
        )
    except Exception as error:
        ray.shutdown()
        raise ResourceError(f"Ray cannot be started here ({told_line(error)}): use --executor local.") from error
    if (listens := ray.util.get_node_ip_address()) != LOOPBACK:
        ray.shutdown()
        raise ResourceError(f"Ray would listen on {listens}: set {ON_LOOPBACK}=0 before this program imports Ray.")
    return ray, True


def _check_port(address: str) -> None:
    """ResourceError where nothing listens."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), ANSWERS).close()
    except (OSError, OverflowError) as error:
        raise ResourceError(f"Nothing listens at {address} ({error}): ray start --head begins a cluster.") from error


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Drop what Ray's C++ writes to stderr: a line a second while it waits. The reason comes as an exception."""
    stderr, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nothing)
