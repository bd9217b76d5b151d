"""Stopping between steps: Ctrl-C and SIGTERM wait for the end of a step, whose result is kept first."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

NOTED = (signal.SIGINT, signal.SIGTERM)
EVERY = 600.0  # seconds of steps that a kill or a power cut may cost
PATIENCE = b"\nStopping as soon as this step is done and kept; once more stops at once.\n"


class Pause:
    """Within it a first Ctrl-C or SIGTERM is noted, and is delivered once `keep(step, loss)` has kept the steps.

    A second one comes through at once. A signal that is ignored (as under nohup) stays so, and outside the main thread,
    where Python delivers none, nothing is noted. One that is not `active` changes nothing.
    """

    def __init__(self, keep: Callable[[int, float], None], active: bool = True) -> None:
        self._keep, self._active = keep, active
        self._noted: int | None = None
        self._before: dict[int, Any] = {}
        self._last = time.monotonic()

    def __enter__(self) -> "Pause":
        if self._active and threading.current_thread() is threading.main_thread():
            for number in NOTED:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

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
            self.__exit__()
            signal.raise_signal(self._noted)

    @contextmanager
    def open(self, step: int, loss: float) -> Iterator[None]:
        """Within it all steps of an epoch are done, and a signal need not wait: they are kept when one comes."""
        if self.due():
            self.keep(step, loss)
        try:
            self.__exit__()
            yield
            self.__enter__()
        except BaseException as error:
            if self._active and not isinstance(error, Exception):
                self._keep(step, loss)
            raise

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._noted is not None:
            self.__exit__()
            signal.raise_signal(number)
        self._noted = number
        os.write(2, PATIENCE)  # `print` may be at work where the signal came


NEVER = Pause(lambda step, loss: None, active=False)
