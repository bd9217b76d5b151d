"""Stopping between steps: Ctrl-C, SIGTERM and SIGHUP wait for the end of a step, whose result is kept first."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType
from typing import Any

NOTED = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
EVERY = 600.0  # seconds of steps that a kill or a power cut may cost
PATIENCE = "Stopping as soon as this step is done and kept; once more stops at once."


class Pause:
    """Within it a first signal of `NOTED` is noted, and is delivered once `keep(step, loss)` has kept the steps.

    A second one comes through at once. A signal that is ignored (as under nohup) stays so, and outside the main thread,
    where Python delivers none, nothing is noted. One that is not `active` changes nothing. That a signal was heard is
    told to `say` by a thread: where the signal came, anything may be at work, and it must not wait for a terminal.
    """

    def __init__(
        self, keep: Callable[[int, float], None], active: bool = True, say: Callable[[str], None] = lambda text: None
    ) -> None:
        self._keep, self._active, self._say = keep, active, say
        self._noted: int | None = None
        self._before: dict[int, Any] = {}
        self._last = time.monotonic()
        self._heard: SimpleQueue[bool] = SimpleQueue()  # its `put` may be interrupted by itself

    def __enter__(self) -> "Pause":
        self._take_over()
        if self._before:
            # It holds neither this object nor the model that `keep` knows: torch aborts the process where a thread lets
            # go of a tensor while Python ends.
            threading.Thread(target=_tell, args=(self._heard, self._say), daemon=True, name="pause").start()
        return self

    def __exit__(self, *_: object) -> None:
        self._give_back()
        self._heard.put(False)

    def due(self) -> bool:
        """True where the steps are to be kept now: a signal came, or it is long since they were."""
        return self._active and (self._noted is not None or time.monotonic() - self._last >= EVERY)

    def keep(self, step: int, loss: float) -> None:
        """Keep an epoch after so many of its steps, whose losses sum to `loss`; then stop, if someone wants to."""
        self._keep(step, loss)
        self.deliver()

    def deliver(self) -> None:
        """Raise the signal that was noted, now that the steps are kept."""
        self._last = time.monotonic()
        if self._noted is not None:
            self._give_back()
            signal.raise_signal(self._noted)

    @contextmanager
    def open(self, step: int, loss: float) -> Iterator[None]:
        """Within it all steps of an epoch are done, and a signal need not wait: they are kept when one comes."""
        if self.due():
            self.keep(step, loss)
        try:
            self._give_back()
            yield
            self._take_over()
        except BaseException as error:
            if self._active and not isinstance(error, Exception):
                self._keep(step, loss)
            raise

    def _take_over(self) -> None:
        if self._active and threading.current_thread() is threading.main_thread():
            for number in NOTED:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._note)

    def _give_back(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._noted is not None:
            self._give_back()
            signal.raise_signal(number)
        self._noted = number
        self._heard.put(True)


def _tell(heard: "SimpleQueue[bool]", say: Callable[[str], None]) -> None:
    while heard.get():
        say(PATIENCE)


NEVER = Pause(lambda step, loss: None, active=False)
