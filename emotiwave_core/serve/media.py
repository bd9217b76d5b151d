"""Processes for media: what a stranger sends as sound or pictures is met in one of them, never in the server.

Each is a `media_worker`, asked one thing at a time. One that crashes, or takes too long, is killed and replaced.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

from emotiwave_core.errors import EmotiwaveError
from emotiwave_core.serve.limits import Limits, Refusal, busy, wrong
from emotiwave_core.serve.metrics import Metrics

MODULE = "emotiwave_core.serve.media_worker"
MOST_HEADER = 64 << 20  # bytes of an answer: predictions of many windows
PATIENCE = 2.0  # seconds between asking a process to end and ending it
CRASHED = "This cannot be read: its decoder or an extractor has crashed, so the media are damaged."


class MediaWorker:
    """One process. It is asked and answers in turn, each a line of JSON and as many bytes as its `bytes` says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.is_broken = False  # its answers no longer belong to what it is asked

    @classmethod
    async def start(cls, task: dict[str, Any]) -> "MediaWorker":
        """Start a process, and wait until its models are loaded. EmotiwaveError for what it then says is wrong."""
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", MODULE,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            env=environment, limit=MOST_HEADER, start_new_session=True,  # Ctrl-C is the server's to answer
        )  # fmt: skip
        worker = cls(process)
        try:
            answer = await worker.ask({"task": task})
        except BaseException:
            await worker.end()
            raise
        if "failed" in answer:
            await worker.end()
            raise EmotiwaveError(answer["failed"])
        return worker

    async def ask(self, request: dict[str, Any], content: bytes = b"") -> dict[str, Any]:
        """The answer to a request. Refusal where the process says that it cannot be answered, or dies of it."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        self.is_broken = True  # until the answer is here
        try:
            stdin.write(json.dumps({**request, "bytes": len(content)}).encode() + b"\n" + content)
            await stdin.drain()
            line = await stdout.readline()
        except (OSError, ValueError) as error:
            raise wrong(CRASHED) from error
        if not line.endswith(b"\n"):
            raise wrong(CRASHED)
        self.is_broken = False
        answer: dict[str, Any] = json.loads(line)
        if "refused" in answer:
            raise wrong(answer["refused"])
        if "internal" in answer:
            raise RuntimeError(answer["internal"])
        return answer

    async def end(self) -> None:
        """End the process: first asked, so that its own children end, then killed."""
        self.is_broken = True
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), PATIENCE)
                return


class MediaPool:
    """So many processes as may work at a time. They are started with the server, and anew where one has ended."""

    def __init__(self, task: dict[str, Any], limits: Limits, metrics: Metrics, say: Callable[[str], None]) -> None:
        self._task, self._metrics, self._say = task, metrics, say
        self._free: set[asyncio.Task[MediaWorker]] = set()  # processes that are ready, or soon so
        self._ending: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self._count, self._busy = limits.workers, 0

    def start(self) -> None:
        """Start all processes now, so that the first that is asked is ready."""
        for _ in range(self._count):
            self._start_one()

    @contextlib.asynccontextmanager
    async def worker(self) -> AsyncIterator[MediaWorker]:
        """A process for one's own. Refusal where all are at work, or none can be started."""
        if self._busy >= self._count:
            raise busy(f"{self._count} recordings or streams are being worked on already")
        if not self._free:
            self._start_one()
        chosen = next((task for task in self._free if task.done()), next(iter(self._free)))
        self._free.discard(chosen)
        self._busy += 1
        self._metrics.media.set(self._busy)
        try:
            yield await self._ready(chosen)
        finally:
            self._busy -= 1
            self._metrics.media.set(self._busy)
            self._put_back(chosen)

    async def _ready(self, task: "asyncio.Task[MediaWorker]") -> MediaWorker:
        try:
            return await asyncio.shield(task)
        except (EmotiwaveError, Refusal) as error:
            raise Refusal(503, "media", "Recordings cannot be read: the server's log says why.") from error

    def _put_back(self, task: "asyncio.Task[MediaWorker]") -> None:
        """Keep a process for the next one, or replace it where it has failed."""
        if not task.done():  # whoever waited for it has left
            self._free.add(task)
        elif task.cancelled() or task.exception():
            return  # the next one that asks tries again
        elif not task.result().is_broken:
            self._free.add(task)
        elif not self._is_closed:
            self._ending.add(ending := asyncio.ensure_future(task.result().end()))
            ending.add_done_callback(self._ending.discard)
            self._start_one()

    def _start_one(self) -> None:
        task = asyncio.ensure_future(MediaWorker.start(self._task))
        task.add_done_callback(self._tell)
        self._free.add(task)

    def _tell(self, task: "asyncio.Task[MediaWorker]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._free.discard(task)
            self._say(f"Recordings cannot be read: {error}")

    async def close(self) -> None:
        """End all processes."""
        self._is_closed = True
        tasks, self._free = self._free, set()
        for task in tasks:
            if not task.done():
                task.cancel()
        workers = await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(one.end() for one in workers if isinstance(one, MediaWorker)), *self._ending)
