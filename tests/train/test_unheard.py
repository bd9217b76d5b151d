"""Progress is never worth a run: where nobody hears it any more, the run goes on to its end."""

import os
import pty
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from forked import emotiwave, forked
from killed_runs import Whole, all_of, command

from emotiwave_core.cli import AnswerFile, ReaderLeft
from emotiwave_core.errors import ResourceError
from emotiwave_core.monitor import LossyFile, TerminalMonitor, lossy_stream
from emotiwave_core.runs.folder import LOG
from emotiwave_core.train.checkpoint import LAST


def reader_left() -> int:
    """A pipe that nobody reads, as `| head -3` leaves one."""
    read, write = os.pipe()
    os.close(read)
    return write


def terminal_gone() -> int:
    """A terminal that was closed, as after a lost connection."""
    outer, inner = pty.openpty()
    os.close(outer)
    return inner


def disk_full() -> int:
    """A log on a full disk."""
    return os.open("/dev/full", os.O_WRONLY)


GONE = [reader_left, terminal_gone, disk_full]


@pytest.mark.parametrize("gone", GONE)
def test_what_cannot_be_said_is_dropped_and_logged(
    gone: Callable[[], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that stderr does not take costs nothing, and stands in the log, also one from before there was a log."""
    number = gone()
    with os.fdopen(number, "w", closefd=False) as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        monitor = TerminalMonitor()
        monitor.say("Before\x1b the folder")
        monitor.keep_unsaid(tmp_path / LOG)
        with monitor.progress("Epoch", 2) as advance:
            advance()
            monitor.say("Epoch 1")
    assert (tmp_path / LOG).read_text() == "Before\\x1b the folder\nEpoch 1\n"
    os.close(number)


def test_what_is_said_is_not_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that is heard to its end leaves no log."""
    monitor = TerminalMonitor()
    monitor.keep_unsaid(tmp_path / LOG)
    monitor.say("Epoch 1")
    assert (capsys.readouterr().err, list(tmp_path.iterdir())) == ("Epoch 1\n", [])


def test_a_log_is_never_written_through_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that is a link, in a run that a stranger has sent, leads nowhere."""
    (tmp_path / "other").write_text("mine")
    (tmp_path / LOG).symlink_to(tmp_path / "other")
    number = reader_left()
    with os.fdopen(number, "w", closefd=False) as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        monitor = TerminalMonitor()
        monitor.keep_unsaid(tmp_path / LOG)
        monitor.say("Epoch 1")
    assert (tmp_path / "other").read_text() == "mine"
    os.close(number)


@pytest.mark.parametrize("gone", GONE)
def test_stderr_of_the_program_drops_what_it_cannot_take(gone: Callable[[], int]) -> None:
    """Whoever prints to it, a library or a plugin, by text or by bytes, goes on."""
    number = gone()
    stream = lossy_stream(LossyFile(number, "w", closefd=False))
    for _ in range(10_000):
        stream.write("words\n")
    stream.buffer.write(b"bytes")
    stream.flush()
    os.close(number)


def test_only_the_reader_of_stdout_may_leave() -> None:
    """It is told from a disk that is full, and from any other pipe that breaks."""
    for gone, due in ((reader_left, ReaderLeft), (terminal_gone, ResourceError), (disk_full, ResourceError)):
        number = gone()
        with pytest.raises(due):
            AnswerFile(number).write(b"x")
        os.close(number)
    outer, inner = pty.openpty()
    answers = AnswerFile(inner)
    os.close(outer)
    with pytest.raises(ReaderLeft):
        answers.write(b"x")
    assert answers.write(b"what waited") == len(b"what waited")
    os.close(inner)


def unheard(gone: Callable[[], int], *arguments: object) -> int:
    """The program with stdout and stderr that nobody is behind."""
    number = gone()
    os.dup2(number, 1)
    os.dup2(number, 2)
    return emotiwave(*arguments)


@pytest.mark.full
@pytest.mark.parametrize("gone", [reader_left, *(pytest.param(gone, marks=pytest.mark.stress) for gone in GONE[1:])])
def test_a_run_that_nobody_hears_ends_as_one_that_was_heard(
    gone: Callable[[], int], whole: Whole, tmp_path: Path
) -> None:
    """The same bytes; exit code 0 where only the answer is not read, and 5 where it finds no room."""
    run = tmp_path / "run"
    ended = forked(partial(unheard, gone, *command(whole.data, run)), folder=tmp_path)
    assert ended.code == (0 if gone is reader_left else 5), ended
    assert all_of(run) == whole.outcome
    assert (run / LOG).read_text().count("Epoch ") == len((run / "history.jsonl").read_text().splitlines())


TWICE = """
import os, signal, sys
from emotiwave_core import cli
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
sys.argv = ["emotiwave", "recipes"]
def twice(debug):
    try:
        os.kill(os.getpid(), signal.{first})
    finally:
        os.kill(os.getpid(), signal.{second})
cli.emotiwave.callback = twice
cli.main()
"""


@pytest.mark.parametrize(("first", "second", "code"), [("SIGINT", "SIGINT", 130), ("SIGTERM", "SIGHUP", 129)])
def test_a_second_signal_ends_the_program_without_a_traceback(first: str, second: str, code: int) -> None:
    """It may come wherever the first one is dealt with."""
    program = [sys.executable, "-c", TWICE.format(first=first, second=second)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, "")


def test_another_pipe_that_breaks_is_no_success() -> None:
    """Exit code 0 is never said of work that did not end: a part's own broken pipe is an error."""
    program = (
        "import sys; from emotiwave_core import cli; sys.argv = ['emotiwave', 'recipes']\n"
        "def broken(debug): raise BrokenPipeError(32, 'Broken pipe')\n"
        "cli.emotiwave.callback = broken; cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, "Broken pipe" in done.stderr) == (1, True)


def started(arguments: list[object], folder: Path, **options: object) -> "subprocess.Popen[bytes]":
    """The real program in a process group of its own."""
    program = [sys.executable, "-m", "emotiwave_core.cli", *map(str, arguments)]
    environment = os.environ | {"EMOTIWAVE_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(program, env=environment, start_new_session=True, **options)  # type: ignore[call-overload,no-any-return]


def wait_for_an_epoch(run: Path) -> None:
    """Wait until the run has kept something."""
    end = time.monotonic() + 600
    while not (run / LAST).exists() and time.monotonic() < end:
        time.sleep(0.005)


def long(whole: Whole, run: Path) -> list[object]:
    """A run that does not end by itself."""
    return [*command(whole.data, run), "--set=training.epochs=4000", "--set=training.patience=4000"]


@pytest.mark.stress
@pytest.mark.parametrize("attempt", range(6))
def test_a_stop_that_ends_tee_too_keeps_the_steps(whole: Whole, tmp_path: Path, attempt: int) -> None:
    """Ctrl-C under `2>&1 | tee log` reaches both: the steps are kept, the exit code is 130."""
    run = tmp_path / "run"
    tee = subprocess.Popen(["tee", tmp_path / "log"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    process = started(long(whole, run), tmp_path, stdout=tee.stdin, stderr=subprocess.STDOUT)
    assert tee.stdin is not None
    tee.stdin.close()
    wait_for_an_epoch(run)
    time.sleep(random.Random(attempt).uniform(0, 0.2))
    tee.kill()
    tee.wait()
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(600) == 130
    log = (run / LOG).read_text()
    assert "is kept after" in log or "validation" in log
    assert "Continue with" in log


@pytest.mark.stress
@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_two_signals_milliseconds_apart(whole: Whole, tmp_path: Path, first: int) -> None:
    """Whatever the first one was at: 130 or 143, no traceback, and the run goes on."""
    run = tmp_path / "run"
    for attempt in range(30):
        resumed: list[object] = ["run", "--resume", run]
        process = started(resumed if attempt else long(whole, run), tmp_path, stderr=subprocess.PIPE)
        wait_for_an_epoch(run)
        time.sleep(random.Random(attempt).uniform(0, 6) if attempt else 0)
        os.kill(process.pid, first)
        time.sleep(random.Random(attempt).uniform(0, 0.02))
        os.kill(process.pid, signal.SIGINT)
        stderr = process.communicate(timeout=600)[1].decode()
        assert process.returncode in (130, 128 + first, -first, -signal.SIGINT), stderr
        assert "Traceback" not in stderr, stderr[stderr.index("Traceback") :]
