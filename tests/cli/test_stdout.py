"""Where nothing more can be written: a full disk, a reader that has left, a folder that is read-only."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from short_suite import in_short

from emotiwave_core.cli.console import tables
from emotiwave_core.errors import ResourceError
from emotiwave_core.io.atomic import out_of_space

COMMANDS = {  # lines by click, TOML by click, a table by rich
    "recipes": "sys.exit(cli.exit_code_of(['recipes']))",
    "recipes show": "sys.exit(cli.exit_code_of(['recipes', 'show', 'notebook']))",
    "table": "from emotiwave_core.cli.console import tables; "
    "cli.emotiwave.callback = lambda debug: tables().print('x'); sys.exit(cli.exit_code_of(['recipes']))",
}


def ended(command: str, unbuffered: bool, stdout: int) -> tuple[int, str]:
    """Exit code and stderr of a command that writes into this file."""
    environment = os.environ | {"PYTHONUNBUFFERED": "1" if unbuffered else ""}
    code = f"import sys; from emotiwave_core import cli; {COMMANDS[command]}"
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, env=environment
    )
    return done.returncode, done.stderr


@pytest.mark.short_rows(1)
@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("command", in_short(COMMANDS, "recipes", "table"))
def test_a_reader_that_has_left_is_not_an_error(command: str, unbuffered: bool) -> None:
    """Whatever writes, a closed pipe ends it with 0 and without a word."""
    read, write = os.pipe()
    os.close(read)
    try:
        assert ended(command, unbuffered, write) == (0, "")
    finally:
        os.close(write)


@pytest.mark.short_rows(1)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("command", in_short(COMMANDS, "recipes", "table"))
def test_a_full_disk_behind_stdout_is_said(command: str, unbuffered: bool) -> None:
    """It is a fault of resources, told in one sentence."""
    with Path("/dev/full").open("w") as full:
        answer = ended(command, unbuffered, full.fileno())
    assert answer == (5, "Error: Cannot write to stdout: No space left on device.\n")


@pytest.mark.parametrize(
    ("number", "way", "other"),
    [
        (errno.ENOSPC, "free some space or choose another folder.", "writable"),
        (errno.EDQUOT, "free some space or choose another folder.", "writable"),
        (errno.EACCES, "make the folder writable, use a copy of it, or choose another folder.", "space"),
        (errno.EROFS, "make the folder writable, use a copy of it, or choose another folder.", "space"),
        (errno.ENOENT, "lost; choose another folder.", "space"),
    ],
)
def test_the_way_out_is_one_that_helps(number: int, way: str, other: str) -> None:
    """Space is asked for where there is none, permission where it is refused."""
    with pytest.raises(ResourceError) as caught, out_of_space(Path("there/x")):
        raise OSError(number, os.strerror(number))
    said = str(caught.value)
    assert said.startswith(f"Cannot write there/x: {os.strerror(number)}.")
    assert said.endswith(way)
    assert other not in said


def test_a_pipe_has_room_for_every_column(capsys: pytest.CaptureFixture[str]) -> None:
    """A line of a thousand characters stays one line where no terminal shows it."""
    tables().print("x" * 1000)
    assert capsys.readouterr().out == "x" * 1000 + "\n"
