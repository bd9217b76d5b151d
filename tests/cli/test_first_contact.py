"""Where the world around the program is not as it should be: terminals, closed streams, folders that are gone."""

import io
import json
import os
import sys
from functools import partial
from pathlib import Path

import pytest
from forked import Ended, emotiwave, forked


def in_ascii(*arguments: object) -> int:
    """The program on a terminal that knows ASCII alone."""
    from emotiwave_core.cli import _open_streams

    sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False), encoding="ascii", line_buffering=True)
    _open_streams()
    return emotiwave(*arguments)


def without_streams(*arguments: object) -> int:
    """The program as a job that was started with stdin, stdout and stderr closed."""
    from emotiwave_core.cli import _open_streams

    for number in range(3):
        os.close(number)
    sys.stdout = sys.stderr = None
    _open_streams()
    return emotiwave(*arguments)


def in_no_folder(*arguments: object) -> int:
    """The program in a working folder that somebody has removed."""
    Path("gone").mkdir()
    os.chdir("gone")
    Path("../gone").rmdir()
    return emotiwave(*arguments)


@pytest.fixture
def command(tiny: Path, tmp_path: Path) -> list[object]:
    """A small run."""
    return ["run", "--data", tiny, "--out", tmp_path / "run", "--device", "cpu", "--set=training.epochs=1"]


def call(work: "partial[int]", folder: Path) -> Ended:
    """In a process of its own."""
    return forked(work, folder=folder, environment={"EMOTIWAVE_CACHE": str(folder / "cache")})


@pytest.mark.full
def test_a_terminal_that_knows_ascii_alone_gets_all_of_it(command: list[object], tmp_path: Path) -> None:
    """A dash that it cannot show does not cost the run its end; JSON is JSON all the same."""
    ended = call(partial(in_ascii, *command), tmp_path)
    assert (ended.code, "\\u2013" in ended.out, "constant guess" in ended.out) == (0, True, True), ended
    again = call(partial(in_ascii, "evaluate", tmp_path / "run", "--json"), tmp_path)
    assert json.loads(again.out) == json.loads((tmp_path / "run" / "scores.json").read_text())


@pytest.mark.full
def test_closed_streams_cost_nothing(command: list[object], tmp_path: Path) -> None:
    """No file of the run is opened in the place of stdout, and the exit code is that of the run."""
    ended = call(partial(without_streams, *command), tmp_path)
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert (tmp_path / "run" / "report.html").read_text().rstrip().endswith("</html>")


def test_a_working_folder_that_is_gone_is_one_sentence(command: list[object], tmp_path: Path) -> None:
    """Exit code 2 and what to do."""
    ended = call(partial(in_no_folder, *command), tmp_path)
    assert (ended.code, ended.said) == (2, "Error: The working folder has been removed: change to one that is there.")


def test_a_home_that_cannot_be_written_is_one_sentence(command: list[object], tmp_path: Path) -> None:
    """Exit code 5 and the variable that leads elsewhere."""
    ended = forked(partial(emotiwave, *command), folder=tmp_path, environment={"EMOTIWAVE_CACHE": "/proc/none/cache"})
    assert ended.code == 5, ended
    assert "Cannot write /proc/none/cache" in ended.said
    assert "set EMOTIWAVE_CACHE to another folder" in ended.said


@pytest.mark.short_rows(1)
@pytest.mark.parametrize("name", ["ü – '; x/a\nb", "-x"])
def test_a_folder_may_have_any_name(command: list[object], tmp_path: Path, name: str) -> None:
    """Spaces, quotes, dashes and line ends in --out are taken as they are, and shown so that a shell can read them."""
    ended = call(partial(emotiwave, *command[:3], f"--out={name}", *command[5:]), tmp_path)
    assert ended.code == 0, ended
    assert (tmp_path / name / "report.html").is_file()
