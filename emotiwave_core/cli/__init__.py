"""The command line: thin commands that parse, call and print. Each is imported when it is asked for."""

import contextlib
import errno
import faulthandler
import importlib
import io
import os
import re
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import click

from emotiwave_core.errors import (
    EmotiwaveError,
    PluginError,
    ResourceError,
    is_out_of_memory,
    out_of_memory,
    printable,
    show_warning,
)
from emotiwave_core.monitor import LossyFile, lossy_stream
from emotiwave_core.parts.guard import STOPPING, asked_to_end, exits_of_plugins, in_words
from emotiwave_core.version import __version__

# A command is a file of this folder: its first line names it, the heading that it stands under and the first sentence
# of its help. So `--help` reads first lines and imports no command, and a new command is one new file.
HEADINGS = ("Train and score", "Recordings", "Look at data", "Parts")  # others follow
COMMANDS = ("run", "compare", "tune", "evaluate", "explain", "report", "extract", "predict", "recipes")
ORDER = {name: place for place, name in enumerate(COMMANDS)}  # others follow
PATIENCE = 5.0  # seconds that the program waits at its end for threads of plugins
_leave = os._exit  # which a plugin's own one is not, see `exits_of_plugins`
_NAME = re.compile(r"[a-z][a-z0-9_-]*")
_FIRST_LINE = re.compile(r'"""`emotiwave (\w+)` \(([^)]+)\): (.+?)"""')


def commands_by_heading() -> dict[str, dict[str, str]]:
    """The commands with the first sentence of their help, by heading: {heading: {name: sentence}}."""
    listed: dict[str, dict[str, str]] = {heading: {} for heading in HEADINGS}
    files = [path for folder in __path__ for path in Path(folder).glob("*.py")]
    for path in sorted(files, key=lambda path: (ORDER.get(path.stem, len(ORDER)), path.stem)):
        with path.open(encoding="utf-8") as file:
            if match := _FIRST_LINE.match(file.readline()):
                name, heading, sentence = match.groups()
                listed.setdefault(heading, {})[name] = sentence
    return listed


def _is_own(name: str) -> bool:
    """True for a command of this folder."""
    return any(name in commands for commands in commands_by_heading().values())


def commands_of_plugins() -> dict[str, str]:
    """The commands of installed plugins, and who brings each: {name: sentence}. None of them is imported.

    They stand behind our own: one of the same name is not reached.
    """
    from emotiwave_core.parts.kinds import COMMAND
    from emotiwave_core.parts.loading import installed

    own = {name for commands in commands_by_heading().values() for name in commands}
    brought: dict[str, list[str]] = {}
    for provider in installed():
        if provider.kind == COMMAND and _NAME.fullmatch(provider.name) and provider.name not in own:
            brought.setdefault(provider.name, []).append(f"{provider.origin} {provider.version}".strip())
    return {name: f"Of {' and of '.join(sorted(origins))}." for name, origins in sorted(brought.items())}


def _may_bring_commands() -> bool:
    """True where an installed distribution may bring a command, as far as the bytes of its metadata tell.

    To read them as `importlib.metadata` does takes as long as all of `--help`, and as a rule there is none.
    """
    for folder in sys.path:
        with contextlib.suppress(OSError):
            for points in Path(folder).glob("*.*-info/entry_points.txt"):
                text = points.read_bytes()
                if b"[emotiwave]" in text and b"command." in text:
                    return True
    return False


class Terminated(BaseException):
    """SIGTERM has come, or SIGHUP."""

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__(number)
        self.number = number


class ReaderLeft(BaseException):
    """The reader of stdout has enough, as `head` has: no error. (click and rich alone would leave with exit code 1.)"""


class AnswerFile(io.FileIO):
    """The file behind stdout. It tells a reader that has left from every other pipe that breaks, and says it once."""

    def __init__(self, number: int) -> None:
        super().__init__(number, "w", closefd=False)
        self._left = {errno.EPIPE, *([errno.EIO] if self.isatty() else [])}  # EIO: the terminal was closed
        self._failed = False

    def write(self, data: Any) -> int:
        """Write some of the bytes. ReaderLeft where nobody reads them, ResourceError where they have no room."""
        if self._failed:
            return memoryview(data).nbytes  # what Python still holds when it ends
        try:
            return super().write(data)
        except OSError as error:
            self._failed = True
            if error.errno in self._left:
                raise ReaderLeft from error
            raise ResourceError(f"Cannot write to stdout: {error.strerror}.") from error


def _is_usual(error: BaseException) -> bool:
    """True for what ends a plugin's command as it ends ours: a signal, memory, or an error of click's own kinds."""
    if isinstance(error, click.ClickException):
        return type(error).__module__.partition(".")[0] == "click" and isinstance(error.message, str)
    return asked_to_end(error) or is_out_of_memory(error)


class CommandFiles(click.Group):
    """A group whose commands are the files of this folder, and those of plugins.

    One is imported when it is asked for.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, sorted."""
        own = [name for commands in commands_by_heading().values() for name in commands]
        return sorted([*own, *commands_of_plugins()])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, or None. PluginError where it is a plugin's, and does not load."""
        if _is_own(cmd_name):
            command: click.Command = getattr(importlib.import_module(f"{__name__}.{cmd_name}"), cmd_name)
            return command
        if cmd_name not in commands_of_plugins():
            return None
        from emotiwave_core.parts.registry import load_registry

        return load_registry().command(cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for. PluginError where it is a plugin's, and fails by no error of ours."""
        try:
            with contextlib.redirect_stdout(sys.stdout), contextlib.redirect_stderr(sys.stderr):  # back to these
                answer = super().invoke(ctx)
        except BrokenPipeError as error:  # not that of stdout (`AnswerFile`), and click would leave without a word
            raise EmotiwaveError(f"A pipe to another process broke: {error}.") from error
        except (EmotiwaveError, click.exceptions.Exit, click.Abort):
            raise
        except BaseException as error:
            name = ctx.invoked_subcommand or ""
            if _is_own(name) or _is_usual(error):
                raise
            if isinstance(error, SystemExit) and isinstance(error.code, int | None):
                raise click.exceptions.Exit(error.code or 0) from error
            raise PluginError(
                f"The command '{name}' fails: {in_words(error)} (--debug shows where). {commands_of_plugins()[name]}"
            ) from error
        return answer if _is_own(ctx.invoked_subcommand or "") else None  # an exit code is what `context.exit` gets

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, heading by heading."""
        listed = commands_by_heading()
        if _may_bring_commands() and (others := commands_of_plugins()):
            listed["Of plugins"] = others
        for heading, commands in listed.items():
            with formatter.section(heading):
                formatter.write_dl(list(commands.items()))


@click.group(
    cls=CommandFiles,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nExamples:\n  emotiwave run                              train on the embedded synthetic sample\n"
    "  emotiwave run notebook --data DIR          a named recipe on your data\n"
    "  emotiwave data inspect DIR                 what is in a folder of .csd files",
)
@click.version_option(__version__, prog_name="emotiwave")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def emotiwave(debug: bool) -> None:
    """Multimodal emotion recognition that keeps working when a modality is missing."""


def main() -> None:
    """The program `emotiwave`: exit codes 0 ok, 1 internal, 2 usage, 3 data, 4 plugin, 5 resources, 6 diverged."""
    _open_streams()
    faulthandler.enable()  # should a library or a plugin crash the process, stderr says where
    with stopped_by_signals():
        code = exit_code_of(sys.argv[1:])
        _wait_for_no_thread(code)
    for number in _stopping_signals():  # while Python ends, where an exception would be a traceback
        signal.signal(number, lambda _number, _frame: _leave(code))
    sys.exit(code)


def _wait_for_no_thread(code: int) -> None:
    """End the process some seconds later with this code, should a plugin have left a thread that Python waits for."""

    def end() -> None:
        names = ", ".join(thread.name for thread in threads if thread.is_alive())
        _failed(f"A thread of a plugin is still at work, and is not waited for: {names}.", code, debug=False)
        _leave(code)

    main_thread = threading.main_thread()
    threads = [thread for thread in threading.enumerate() if not thread.daemon and thread is not main_thread]
    if threads:
        timer = threading.Timer(PATIENCE, end)
        timer.daemon = True
        timer.start()


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt or `Terminated` at the first Ctrl-C, SIGTERM or SIGHUP within it.

    So a command ends with a sentence and 130, 143 or 129. One more ends the process at once and without a word: it may
    come wherever the first one is being dealt with. A signal that is ignored, as under nohup, stays so. The first one
    waits for the end of the import of torch, whose C++ imports in its turn and aborts the process at an exception.
    """
    stopped = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        if stopped:
            _leave(128 + number)
        stopped = True
        if _imports_torch(frame):
            threading.Thread(target=stop_later, args=(number,), daemon=True).start()
            return
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated(number)

    def stop_later(number: int) -> None:
        nonlocal stopped
        main_thread = threading.main_thread().ident or 0
        while _imports_torch(sys._current_frames().get(main_thread)):
            time.sleep(0.01)
        stopped = False
        os.kill(os.getpid(), number)

    before = {number: signal.signal(number, stop) for number in _stopping_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _imports_torch(frame: FrameType | None) -> bool:
    """True where a module of torch is being imported in this frame, or in one that has called it."""
    while frame is not None:
        name = str(frame.f_globals.get("__name__"))
        if frame.f_code.co_name == "<module>" and name.partition(".")[0] == "torch":
            return True
        frame = frame.f_back
    return False


def _stopping_signals() -> list[int]:
    """The signals that stop a command and are not ignored."""
    return [number for number in STOPPING if signal.getsignal(number) not in (signal.SIG_IGN, None)]


def _open_streams() -> None:
    """Open the standard streams that are closed.

    Where one is closed, the next file that is opened would get its number, and what a library prints with it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w")
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w")


@contextlib.contextmanager
def _own_streams() -> Iterator[None]:
    """Answers go through an `AnswerFile` and all else through a `LossyFile`, where the streams are those of a process.

    Both take any text, for a terminal may know ASCII alone.
    """
    stdout, stderr = sys.stdout, sys.stderr
    if _number_of(stdout) == 1:
        stdout.flush()
        file = io.BufferedWriter(AnswerFile(1))
        sys.stdout = io.TextIOWrapper(file, stdout.encoding, "backslashreplace", line_buffering=stdout.isatty())
    if _number_of(stderr) == 2:
        sys.stderr = lossy_stream(LossyFile(2, "w", closefd=False))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = stdout, stderr


def _number_of(stream: TextIO | None) -> int | None:
    """The number of a stream's file; None for a stream without one, as another program or a notebook has it."""
    try:
        return stream.fileno() if isinstance(stream, io.TextIOWrapper) else None
    except (OSError, ValueError):
        return None


def exit_code_of(arguments: list[str]) -> int:
    """Run a command as the program does: answers on stdout, one sentence on stderr for an error. Returns the exit code.

    May be called inside another program: its signal handlers stay as they are, its `warnings.showwarning` is put back.
    """
    before = warnings.showwarning
    warnings.showwarning = show_warning
    try:
        with _own_streams(), exits_of_plugins():
            return _outcome([argument for argument in arguments if argument != "--debug"], "--debug" in arguments)
    finally:
        warnings.showwarning = before


def _outcome(arguments: list[str], debug: bool) -> int:
    """Run a command, print its error if it has one, and return the exit code."""
    try:
        os.getcwd()  # noqa: PTH109
    except FileNotFoundError:
        return _failed("Error: The working folder has been removed: change to one that is there.", 2, debug)
    try:
        code = emotiwave(args=arguments, standalone_mode=False)
        if not sys.stdout.closed:  # by a plugin's command
            sys.stdout.flush()
        return code if isinstance(code, int) else 0  # what a command gave to `context.exit`
    except (click.Abort, KeyboardInterrupt):
        return _failed("Stopped.", 130, debug)
    except Terminated as stop:
        return _failed("Terminated." if stop.number == signal.SIGTERM else "Hung up.", 128 + stop.number, debug)
    except click.ClickException as error:
        error.message = printable(error.message)  # type: ignore[misc]
        error.show()
        return 2
    except EmotiwaveError as error:
        return _failed(f"Error: {error}", error.exit_code, debug)
    except ReaderLeft:
        return 0
    except Exception as error:
        if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
            return _failed("Error: No more threads or processes may be started here (ulimit -u).", 5, debug)
        if is_out_of_memory(error):
            return _failed(f"Error: {out_of_memory(error)}", 5, debug)
        return _failed(f"Internal error: {type(error).__name__}: {error} (--debug shows where).", 1, debug)


def _failed(sentence: str, code: int, debug: bool) -> int:
    if debug:
        import traceback

        click.echo(printable(traceback.format_exc()), err=True, nl=False)
    click.echo(printable(sentence), err=True)
    return code
