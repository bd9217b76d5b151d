"""Python processes that begin with the libraries imported: an interpreter for tests and for what they start.

A process that imports torch anew takes seconds; one that is forked from a server which has imported it takes
milliseconds. The server imports no plugin: what a plugin does at its import is looked at in these processes. A launcher
stands for the interpreter: it hands its arguments, environment, working folder and open files to the server, waits for
the process that the server forks, and ends as that one ends; where a seed of hashes is asked for, it becomes the
interpreter. A process that outlives its launcher is killed, with all
that it has started. The workers of pytest-xdist begin in this way too, so that a suite imports the libraries once.
"""

import atexit
import contextlib
import fcntl
import gc
import importlib
import os
import runpy
import selectors
import shutil
import signal
import site
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

QUIET = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
LIBRARIES = [f"emotiwave_core.{name}" for name in ("cli.run", "cli.explain", "cli.data", "parts.survey", "train.run")]
LIBRARIES += [
    "emotiwave_core.testing",
    "emotiwave_core.parts.check.laws_in_child",
    "emotiwave_core.evaluate.protocol",
    "emotiwave_core.report.page",
]
LIBRARIES += [
    "torch._dynamo",
    "sklearn.metrics",
    "scipy.signal",
    "scipy.stats",
    "matplotlib.pyplot",
    "safetensors.torch",
    "tensorboard",
]

LAUNCHER = """\
#!{python} -IS
import os, signal, socket, sys
if "PYTHONHASHSEED" in os.environ:  # a fork has the server's
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
signal.signal(signal.SIGINT, signal.SIG_DFL)
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
files = []
for name in os.listdir("/proc/self/fd"):
    try:
        if int(name) != server.fileno() and os.stat(int(name)):
            files.append(int(name))
    except OSError:
        pass
words = [os.getcwd(), " ".join(map(str, files)), str(len(sys.argv) - 1), *sys.argv[1:]]
said = b"\\0".join([*map(os.fsencode, words), *(name + b"=" + value for name, value in os.environb.items())])
socket.send_fds(server, [b"%20d" % len(said)], files)
server.sendall(said)
code = int(server.recv(16) or 1)
if code < 0:
    if code != -signal.SIGKILL:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


@contextlib.contextmanager
def warm_python() -> Iterator[str]:
    """The path of a launcher that takes `-c`, `-m` or a script as the interpreter does, with its server."""
    folder = Path(tempfile.mkdtemp(prefix="warm"))  # the address of a socket must be short
    launcher = folder / "python"
    launcher.write_text(LAUNCHER.format(python=sys.executable, address=str(folder / "server")))
    launcher.chmod(0o755)
    command = [sys.executable, __file__, str(folder / "server"), str(launcher)]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | QUIET)
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        assert server.stdout.readline() == b"ready\n"
        yield str(launcher)
    finally:
        server.kill()
        server.wait()
        server.stdin.close()
        server.stdout.close()
        shutil.rmtree(folder, ignore_errors=True)


class Running(NamedTuple):
    """A forked process and the connection of the launcher that waits for it."""

    pid: int
    handle: int  # readable when the process has ended
    launcher: socket.socket


def serve(address: str, executable: str) -> None:
    """Fork a process for each launcher that connects, until stdin ends: the owner has."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the owner's
    tests = str(Path(__file__).parents[1])
    sys.path[:] = [entry for entry in sys.path if not entry.startswith(tests)]
    for name in LIBRARIES:
        importlib.import_module(name)
    sys.modules["torch"].set_num_threads(1)
    gc.collect()
    gc.freeze()  # no process that is forked need look for garbage in what it begins with
    sys.executable = executable  # what a process starts in its turn begins warm too
    listening, waiting = socket.socket(socket.AF_UNIX), selectors.DefaultSelector()
    listening.bind(address)
    listening.listen(64)
    waiting.register(listening, selectors.EVENT_READ)
    waiting.register(0, selectors.EVENT_READ)
    os.write(1, b"ready\n")
    while True:
        for key, _ in waiting.select():
            if key.fileobj == 0:
                shutil.rmtree(Path(address).parent, ignore_errors=True)  # the owner may have been killed
                os._exit(0)
            elif key.fileobj is listening:
                _fork(listening.accept()[0], waiting)
            elif key.fileobj in waiting.get_map():
                _end(key.data, waiting)


def _fork(launcher: socket.socket, waiting: selectors.BaseSelector) -> None:
    """Start what a launcher asks for."""
    length, files, _, _ = socket.recv_fds(launcher, 20, 64)
    said = bytearray()
    while len(said) < int(length):
        said += launcher.recv(1 << 20)
    pid = os.fork()
    if pid == 0:
        _become(bytes(said), files)
    for file in files:
        os.close(file)
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


def _become(said: bytes, files: list[int]) -> None:
    """The process that a launcher asked for, to its end, with the launcher's files under their numbers."""
    os.setsid()
    folder, numbers, count, *words = map(os.fsdecode, said.split(b"\0"))
    asked = [int(number) for number in numbers.split()]
    high = [fcntl.fcntl(file, fcntl.F_DUPFD, 1024) for file in files]
    os.closerange(0, 1024)
    for file, number in zip(high, asked, strict=True):
        os.dup2(file, number)
        os.close(file)
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
    site.execsitecustomize()
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
    safe = "-P" in arguments[:1]
    while arguments[0] in ("-P", "-u", "-B"):
        arguments = arguments[1:]
    how, *rest = arguments
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


if __name__ == "__main__":
    serve(*sys.argv[1:])
