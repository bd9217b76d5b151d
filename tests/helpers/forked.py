"""The command line in a process of its own that may be killed, starved and limited.

The processes are forked from one that has imported the libraries already, so that one costs milliseconds, not seconds.
"""

import contextlib
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from warm_python import LIBRARIES, QUIET

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(LIBRARIES)

Work = Callable[[], int]


class Ended(NamedTuple):
    """How a process ended."""

    code: int | None  # its exit code, minus the signal that killed it, or None where it had to be stopped: it hung
    out: str
    err: str
    seconds: float
    memory: int  # the most bytes it held at a time; 0 where it was killed

    @property
    def said(self) -> str:
        """Its last line on stderr: the error, where there is one."""
        return (self.err.strip().splitlines() or [""])[-1]


def forked(
    work: Work,
    *,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    seconds: float = 600.0,
    memory: int | None = None,
    kill_after: float | None = None,
    meanwhile: Callable[[int], None] | None = None,
    pictures: bool = False,
) -> Ended:
    """Do `work` (of a module, or a partial of such) in a process whose working folder is `folder`.

    `memory` bytes are all that it may take beside what it begins with. After `seconds` it is given up. `kill_after` is
    when SIGKILL comes. `meanwhile` is called with the process's number while it is at work. Reports have no pictures
    unless they are asked for, because they take longer than a small training.
    """
    with tempfile.TemporaryDirectory() as spoken:
        process = SERVER.Process(
            target=_child, args=(work, str(folder), _settings() | dict(environment or {}), memory, spoken, pictures)
        )
        began = time.monotonic()
        process.start()
        assert process.pid is not None
        if meanwhile is not None:
            meanwhile(process.pid)
        process.join(seconds if kill_after is None else kill_after)
        took, hung = time.monotonic() - began, process.is_alive() and kill_after is None
        if process.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        process.join()
        pieces = {name: (Path(spoken) / name) for name in ("out", "err", "memory")}
        out, err, held = (path.read_text(errors="replace") if path.exists() else "" for path in pieces.values())
        code = None if hung else process.exitcode
        process.close()
        return Ended(code, out, err, took, int(held or 0))


def emotiwave(*arguments: object) -> int:
    """The program with these arguments, as `work`."""
    from emotiwave_core.cli import exit_code_of, stopped_by_signals

    with stopped_by_signals():
        return exit_code_of([str(argument) for argument in arguments])


def _settings() -> dict[str, str]:
    """What the user of this process has decided."""
    return {name: value for name, value in os.environ.items() if name == "EMOTIWAVE_CONFIG"}


def _child(
    work: Work, folder: str, environment: dict[str, str], memory: int | None, spoken: str, pictures: bool
) -> None:
    os.environ |= QUIET | environment
    os.chdir(folder)
    os.setsid()
    for name, number in (("out", 1), ("err", 2)):
        handle = os.open(f"{spoken}/{name}", os.O_WRONLY | os.O_CREAT, 0o666)
        os.dup2(handle, number)
        os.close(handle)
    # multiprocessing has given this process a stdin, and nothing to stdout and stderr.
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
    import torch

    from emotiwave_core.report import page

    torch.set_num_threads(1)
    if not pictures:
        page.write_pictures = lambda run: []
    if memory is not None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    code = work()
    sys.stdout.flush()
    sys.stderr.flush()
    Path(f"{spoken}/memory").write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))
    os._exit(code)  # as `sys.exit` does it, without what multiprocessing would say
