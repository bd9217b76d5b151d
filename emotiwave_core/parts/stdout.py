"""Keeps stdout for the answer: what a plugin, or a program that it starts, writes to it meanwhile goes to stderr."""

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator

from emotiwave_core.monitor import LossyFile, lossy_stream


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Lead stdout to stderr, that of Python and that of the process, and back: then `--json` stays valid JSON."""
    stdout = sys.stdout
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError, ValueError):  # a stream that is closed
            stdout.flush()
        held.callback(setattr, sys, "stdout", stdout)  # whatever a plugin has put there
        stderr = held.enter_context(_stderr())
        with contextlib.suppress(OSError):  # a process without a stdout
            held.enter_context(_led(1, to=stderr))
        # A stream of its own: a plugin that closes it closes nothing of ours, and one that prints does not fail.
        stream = lossy_stream(LossyFile(os.dup(stderr), "w"))
        sys.stdout = held.enter_context(contextlib.closing(stream))
        yield


@contextlib.contextmanager
def _stderr() -> Iterator[int]:
    """A descriptor that leads to stderr, or nowhere in a process that has none."""
    try:
        descriptor = os.dup(2)
    except OSError:
        descriptor = os.open(os.devnull, os.O_WRONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _led(number: int, to: int) -> Iterator[None]:
    """The descriptor `number` as another one, for C libraries and child processes write past Python."""
    saved = os.dup(number)
    try:
        os.dup2(to, number)
        yield
    finally:
        _flush_c()
        os.dup2(saved, number)
        os.close(saved)


def _flush_c() -> None:
    """Write what waits in the buffers of C's own streams, which else follow the answer when the program ends."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # there is no such library, as on Windows
        ctypes.CDLL(None).fflush(None)
