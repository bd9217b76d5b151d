"""Jobs in processes of this machine: as many side by side as cores and memory allow, or one on each GPU."""

import contextlib
import os
import queue
import threading
import time
from collections.abc import Sequence

from emotiwave_core.execute.executor import GIGABYTE, POLL, Execution, Executor, free_memory
from emotiwave_core.execute.job import Job, JobAnswer
from emotiwave_core.execute.process import ENOUGH, Slot
from emotiwave_core.monitor import Monitor

VISIBLE = "CUDA_VISIBLE_DEVICES"


class LocalExecutor(Executor):
    """Threads that each have a slot, and share the jobs."""

    def __init__(self, execution: Execution, memory: float, most: int, monitor: Monitor) -> None:
        gpus = visible_gpus(execution.device)
        count = min(execution.jobs or default_jobs(len(gpus), memory, monitor), max(1, most))
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._ended: queue.SimpleQueue[tuple[Job, JobAnswer | BaseException]] = queue.SimpleQueue()
        self._at: dict[str, Slot] = {}  # by the name of the job that is at work there
        self._lock = threading.Lock()
        self._slots = [Slot({VISIBLE: gpus[n % len(gpus)]} if len(gpus) > 1 else None) for n in range(count)]
        self._threads = [threading.Thread(target=self._serve, args=(slot,), daemon=True) for slot in self._slots]
        for thread in self._threads:
            thread.start()

    def _serve(self, slot: Slot) -> None:
        while (job := self._jobs.get()) is not None:
            with self._lock:
                self._at[job.name] = slot
            try:
                answer: JobAnswer | BaseException = slot.do(job)
            except BaseException as error:  # of starting a process; it is raised where the jobs are waited for
                answer = error
            with self._lock:
                del self._at[job.name]
            self._ended.put((job, answer))

    def submit(self, jobs: Sequence[Job]) -> None:
        """Take these jobs up as soon as there is room."""
        for job in jobs:
            self._jobs.put(job)

    def stop(self, job: Job) -> None:
        """Ask a job that is being carried out to keep what it has and to end."""
        with self._lock:  # so that its slot has taken up no other
            if (slot := self._at.get(job.name)) is not None:
                slot.interrupt()

    def ended(self) -> list[tuple[Job, JobAnswer]]:
        """The jobs that have ended since. Errors of starting a process."""
        found: list[tuple[Job, JobAnswer]] = []
        with contextlib.suppress(queue.Empty):
            while True:
                job, answer = self._ended.get(timeout=0 if found else POLL)
                if isinstance(answer, BaseException):
                    raise answer
                found.append((job, answer))
        return found

    @property
    def running(self) -> int:
        """The number of jobs that are being carried out."""
        return len(self._at)

    def close(self) -> None:
        """Stop what runs, and wait until it has kept what it is at."""
        for slot in self._slots:
            slot.stop()
        for _ in self._threads:
            self._jobs.put(None)
        end = time.monotonic() + ENOUGH
        for slot, thread in zip(self._slots, self._threads, strict=True):
            thread.join(max(0.0, end - time.monotonic()))
            slot.end(0.0)


def visible_gpus(device: str) -> list[str]:
    """The GPUs that jobs on this device may have, as `CUDA_VISIBLE_DEVICES` names them."""
    from emotiwave_core.compute.device import find_device

    if find_device(device).type != "cuda":
        return []
    if device not in ("auto", "cuda"):
        return [device]
    import torch

    told = [name for name in os.environ.get(VISIBLE, "").split(",") if name]
    return told or [str(number) for number in range(torch.cuda.device_count())]


def default_jobs(gpus: int, memory: float, monitor: Monitor) -> int:
    """A process for each GPU, whose memory they would share, else for each processor that there is memory for."""
    if gpus:
        return gpus
    count = processors()
    free = free_memory()
    if free is None or (room := max(1, int(free / memory))) >= count:
        return count
    monitor.say(
        f"{room} of {count} processors are used: {free / GIGABYTE:.1f} GB of memory are free, and a process is taken "
        f"to need {memory / GIGABYTE:.1f}."
    )
    return room


def processors() -> int:
    """The number of processors that this process may use."""
    with contextlib.suppress(AttributeError):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1
