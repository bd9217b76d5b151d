"""Python processes that begin with the libraries imported: an interpreter for tests that start many of them.

A process that imports torch anew takes seconds; one that is forked from a server which has imported it takes
milliseconds. The server is itself forked from that of `forked`, which imports no plugin: what a plugin does at its
import is looked at in these processes. A launcher stands for the interpreter: it hands its arguments, environment,
working folder and standard streams to the server, waits for the process that the server forks, and ends as that one
ends. A process that outlives its launcher is killed, with all that it has started.
"""

import atexit
import contextlib
import importlib
import os
import runpy
import selectors
import shutil
import signal
import site
import socket
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from forked import QUIET, SERVER

LAUNCHER = """\
#!{python} -IS
import os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
words = [os.fsencode(word) for word in (os.getcwd(), str(len(sys.argv) - 1), *sys.argv[1:])]
said = b"\\0".join([*words, *(name + b"=" + value for name, value in os.environb.items())])
socket.send_fds(server, [b"%20d" % len(said)], [0, 1, 2])
server.sendall(said)
code = int(server.recv(16) or 1)
if code < 0:
    import signal
    if code != -signal.SIGKILL:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


@contextlib.contextmanager
def warm_python() -> Iterator[str]:
    """The path of a launcher that takes `-c`, `-m` or a script as the interpreter does, with its server."""
    folder = Path(tempfile.mkdtemp(prefix="warm"))  # the address of a socket must be short
    address, launcher = str(folder / "server"), folder / "python"
    launcher.write_text(LAUNCHER.format(python=sys.executable, address=address))
    launcher.chmod(0o755)
    ours, theirs = SERVER.Pipe()
    server = SERVER.Process(target=serve, args=(address, str(launcher), theirs), daemon=True)
    server.start()
    theirs.close()
    try:
        ours.recv()
        yield str(launcher)
    finally:
        server.kill()
        server.join()
        shutil.rmtree(folder, ignore_errors=True)


class Running(NamedTuple):
    """A forked process and the connection of the launcher that waits for it."""

    pid: int
    handle: int  # readable when the process has ended
    launcher: socket.socket


def serve(address: str, executable: str, owner: Connection) -> None:
    """Fork a process for each launcher that connects, until the owner has ended."""
    os.environ |= QUIET
    sys.modules["torch"].set_num_threads(1)
    sys.executable = executable  # what a process starts in its turn begins warm too
    tests = str(Path(__file__).parents[1])
    sys.path[:] = [entry for entry in sys.path if not entry.startswith(tests)]  # pytest has added them
    listening, waiting = socket.socket(socket.AF_UNIX), selectors.DefaultSelector()
    listening.bind(address)
    listening.listen(64)
    waiting.register(listening, selectors.EVENT_READ)
    waiting.register(owner, selectors.EVENT_READ)
    owner.send("ready")
    while True:
        for key, _ in waiting.select():
            if key.fileobj is owner:
                os._exit(0)
            elif key.fileobj is listening:
                _fork(listening.accept()[0], waiting)
            elif key.fileobj in waiting.get_map():
                _end(key.data, waiting)


def _fork(launcher: socket.socket, waiting: selectors.BaseSelector) -> None:
    """Start what a launcher asks for."""
    length, streams, _, _ = socket.recv_fds(launcher, 20, 3)
    said = bytearray()
    while len(said) < int(length):
        said += launcher.recv(1 << 20)
    pid = os.fork()
    if pid == 0:
        for stream, number in zip(streams, range(3), strict=True):
            os.dup2(stream, number)
        os.closerange(3, 1024)
        _become(bytes(said))
    for stream in streams:
        os.close(stream)
    running = Running(pid, os.pidfd_open(pid), launcher)
    waiting.register(launcher, selectors.EVENT_READ, running)
    waiting.register(running.handle, selectors.EVENT_READ, running)


def _end(running: Running, waiting: selectors.BaseSelector) -> None:
    """A process has ended, which its launcher is told; or its launcher has ended, and the process is killed."""
    waiting.unregister(running.launcher)
    waiting.unregister(running.handle)
    os.close(running.handle)
    ended, status = os.waitpid(running.pid, os.WNOHANG)
    if not ended:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        _, status = os.waitpid(running.pid, 0)
    with contextlib.suppress(OSError):
        running.launcher.sendall(b"%d" % os.waitstatus_to_exitcode(status))
    running.launcher.close()


def _become(said: bytes) -> None:
    """The process that a launcher asked for, to its end."""
    os.setsid()
    folder, count, *words = map(os.fsdecode, said.split(b"\0"))
    arguments, pairs = words[: int(count)], words[int(count) :]
    mine = os.environ.get("PYTHONPATH", "")
    os.environ.clear()
    os.environ.update(pair.split("=", 1) for pair in pairs)
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, "w", closefd=False)  # type: ignore[misc]  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # type: ignore[misc]  # noqa: SIM115
    sys.modules["numpy"].random.seed()
    known = mine.split(os.pathsep)
    given = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    sys.path = [*dict.fromkeys(given), *(entry for entry in sys.path if entry not in known and entry not in given)]
    for entry in [entry for entry in sys.path if entry.endswith("site-packages")]:
        site.addsitedir(entry, set(sys.path))
    importlib.invalidate_caches()
    _leave(arguments)


def _leave(arguments: list[str]) -> None:
    """Run what the arguments of an interpreter say, and end with its exit code."""
    code = 1
    try:
        _run(arguments)
        code = 0
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    with contextlib.suppress(Exception):
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        code = 120  # as the interpreter has it
    os._exit(code & 0xFF)


def _run(arguments: list[str]) -> None:
    safe = arguments[0] == "-P"
    how, *rest = arguments[safe:]
    main = sys.modules["__main__"] = ModuleType("__main__")
    if how in ("-c", "-m") and not safe:
        sys.path.insert(0, "" if how == "-c" else str(Path.cwd()))
    if how == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), main.__dict__)
    elif how == "-m":
        sys.argv = rest
        sys.modules.pop(rest[0], None)  # it runs anew, as `__main__`
        runpy._run_module_as_main(rest[0])  # type: ignore[attr-defined]
    else:
        sys.argv = [how, *rest]
        sys.path.insert(0, str(Path(how).parent))
        runpy.run_path(how, run_name="__main__")
