"""Batches of what comes together: a bounded queue, and one thread that owns the model."""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import attrs

from emotiwave_core.serve.arrays import Sample
from emotiwave_core.serve.limits import Limits, busy
from emotiwave_core.serve.metrics import Metrics

PATIENCE = 2.0  # seconds


@attrs.frozen(eq=False)
class Waiting:
    """A sample that waits for its answer."""

    sample: Sample
    answer: "Future[Any]"


class Batcher:
    """One thread that takes what waits, up to a batch, and asks the model about it at once.

    A batch that fails is asked about again sample by sample, so that a bad one costs itself alone.
    """

    def __init__(
        self, predict: Callable[[list[dict[str, Any]]], Sequence[Any]], limits: Limits, metrics: Metrics
    ) -> None:
        self._predict, self._limits, self._metrics = predict, limits, metrics
        self._queue: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._count = 0  # of samples that wait or are computed
        self._held: Waiting | None = None  # taken, and too long for the last batch
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """True while the thread works."""
        return self._thread.is_alive()

    def submit(self, samples: Sequence[Sample]) -> "list[asyncio.Future[Any]]":
        """Put samples into the queue, all or none of them. Refusal where it is full."""
        with self._lock:
            if self._count + len(samples) > self._limits.waiting:
                raise busy(f"{self._count} samples are waiting already")
            self._count += len(samples)
        items = [Waiting(sample, Future()) for sample in samples]
        for item in items:
            item.answer.add_done_callback(self._done)
            self._queue.put(item)
        self._metrics.waiting.set(self._count)
        return [asyncio.wrap_future(item.answer) for item in items]

    def close(self) -> None:
        """Answer what waits, and end the thread; a part that does not come back is left behind."""
        self._queue.put(None)
        self._thread.join(PATIENCE)

    def _done(self, _: "Future[Any]") -> None:
        with self._lock:
            self._count -= 1
        self._metrics.waiting.set(self._count)

    def _work(self) -> None:
        while True:
            batch, is_last = self._take()
            batch = [item for item in batch if item.answer.set_running_or_notify_cancel()]  # others have left
            if batch:
                self._metrics.batch.observe(len(batch))
                self._answer(batch)
            if is_last:
                return

    def _take(self) -> tuple[list[Waiting], bool]:
        """The next batch, and whether the queue has come to its end."""
        first = self._held or self._queue.get()
        self._held = None
        if first is None:
            return [], True
        batch, longest = [first], first.sample.floats
        until = time.monotonic() + self._limits.gather
        while len(batch) < self._limits.batch:
            try:
                item = self._queue.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            if item is None:
                return batch, True
            longest = max(longest, item.sample.floats)
            if longest * (len(batch) + 1) > self._limits.floats:
                self._held = item
                break
            batch.append(item)
        return batch, False

    def _answer(self, batch: list[Waiting]) -> None:
        try:
            answers = self._predict([item.sample.arrays for item in batch])
        except BaseException as error:  # whatever a part does: the thread goes on
            if len(batch) == 1:
                batch[0].answer.set_exception(error)
                return
            for item in batch:
                self._answer([item])
            return
        for item, answer in zip(batch, answers, strict=True):
            item.answer.set_result(answer)
