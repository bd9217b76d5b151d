"""Answers about parts that load are kept, and never longer than they hold."""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import click
import click.testing
import pytest
from distributions import ENCODER, install
from distributions import site as site

from emotiwave_core import cli
from emotiwave_core.cli import commands_by_heading, emotiwave
from emotiwave_core.parts import survey as probe

pytestmark = pytest.mark.usefixtures("warm_children", "own_cache")  # they start many processes

HELPED = "import ew_helper\n"  # a watcher: torch need not be imported to look at it
TASKS = [("watch", "mine"), ("watch", "other")]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The parts that child processes are asked for, one list for each process."""
    calls: list[list[str]] = []
    plain = probe.subprocess.run

    def run(command: list[str], **options: object) -> object:
        calls.append([name for _, name in json.loads(command[-1])])
        return plain(command, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(probe.subprocess, "run", run)
    return calls


@pytest.fixture
def helped(site: Path) -> Path:
    """A part that imports another file, and one that does not."""
    (site / "ew_helper.py").write_text("import os\nif 'EW_SICK' in os.environ: raise RuntimeError('sick')\n")
    install(site, "emotiwave-mine", "watch.mine", "ew_helped", HELPED)
    install(site, "other", "watch.other", "ew_other", '"""It says nothing."""')
    return site


def state() -> str:
    """State of the part that imports another file."""
    return str(probe.ask(TASKS, None)["watch", "mine"][0].get("state", "installed"))


def test_what_is_unchanged_is_remembered_as_it_would_be_found(site: Path, asked: list[list[str]]) -> None:
    """A second survey starts no process, and says what a fresh one says."""
    install(site, "emotiwave-mine", "encoder.mine", "ew_mine", ENCODER)
    tasks = [("encoder", "mine"), ("dropout", "none")]
    first = probe.ask(tasks, None)
    assert probe.ask(tasks, None) == first
    assert len(asked) == 1
    assert probe.ask(tasks, None, again=True) == first
    assert asked == [["mine", "none"], ["mine", "none"]]
    assert first["encoder", "mine"][0]["options"] == {"width": 3, "rate": 0.5}


def _break_it(site: Path) -> None:
    (site / "ew_helped.py").write_text(HELPED + "raise RuntimeError('broken since')")


def _break_what_it_imports(site: Path) -> None:
    (site / "ew_helper.py").write_text("raise RuntimeError('broken since')")


def _remove_what_it_imports(site: Path) -> None:
    (site / "ew_helper.py").unlink()


def _shadow_what_it_imports(site: Path) -> None:
    (site.parent / "nearer" / "ew_unused.py").rename(site.parent / "nearer" / "ew_helper.py")


def _install_another(site: Path) -> None:
    """The same distribution again, whose entry point now leads elsewhere."""
    shutil.rmtree(site / "emotiwave_mine-1.0.dist-info")
    install(site, "emotiwave-mine", "watch.mine", "ew_elsewhere", "raise RuntimeError('broken elsewhere')")


def _same_size(site: Path) -> None:
    path = site / "ew_helper.py"
    before = path.stat()
    path.write_text("raise RuntimeError(1)".ljust(before.st_size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000_000))  # Python itself knows a file by seconds


@pytest.mark.short_rows(1)
@pytest.mark.parametrize(
    "change",
    [
        _break_it,
        _break_what_it_imports,
        _remove_what_it_imports,
        _shadow_what_it_imports,
        _install_another,
        _same_size,
    ],
)
def test_a_part_that_was_broken_since_is_found_broken(
    helped: Path, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever changes in the files that a part imports, or comes before them on the path, it is loaded anew."""
    (helped.parent / "nearer").mkdir()
    (helped.parent / "nearer" / "ew_unused.py").write_text("raise RuntimeError('another file of this name')")
    (helped / "ew_elsewhere.py").write_text("raise RuntimeError('broken elsewhere')")
    monkeypatch.syspath_prepend(str(helped.parent / "nearer"))
    assert state() == "installed"
    change(helped)
    assert state() == "broken"


@pytest.mark.full
def test_that_a_part_is_broken_is_not_remembered(
    helped: Path, asked: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken part is loaded each time, alone: what it lacks may have come without a trace."""
    monkeypatch.setenv("EW_SICK", "1")
    assert state() == "broken"
    assert state() == "broken"
    monkeypatch.delenv("EW_SICK")
    assert state() == "installed"
    assert asked == [["mine", "other"], ["mine"], ["mine"]]
    state()
    assert len(asked) == 3


@pytest.mark.full
def test_what_a_missing_package_answers_is_remembered_until_something_changes(
    helped: Path, asked: list[list[str]]
) -> None:
    """A part that names the package it lacks is not loaded again, but when its file changes or the package comes."""
    lacks = "try:\n    import ew_absent\nexcept ImportError as error:\n    {}\n"
    why = "raise ModuleNotFoundError('pip install absent') from error"
    (helped / "ew_helped.py").write_text(lacks.format(why))
    assert (state(), state(), len(asked)) == ("missing", "missing", 1)
    (helped / "ew_helped.py").write_text(lacks.format("pass"))
    assert (state(), state(), len(asked)) == ("installed", "installed", 2)
    (helped / "ew_helped.py").write_text(lacks.format(why))
    assert (state(), len(asked)) == ("missing", 3)
    (helped / "ew_absent.py").write_text("")
    assert (state(), len(asked)) == ("installed", 4)


@pytest.mark.full
def test_another_registry_is_another_memory(helped: Path, asked: list[list[str]]) -> None:
    """A registry.toml that comes, changes or goes is asked about anew: it says what the names mean."""
    assert state() == "installed"
    Path("registry.toml").write_text('[watch]\nmine = "emotiwave-mine"')
    assert state() == "installed"
    Path("registry.toml").write_text('[watch]\nmine = "somebody-else"')
    assert "pip install somebody-else" in probe.ask(TASKS, None)["watch", "mine"][0]["summary"]
    assert [len(some) for some in asked] == [2, 2, 2]


@pytest.mark.short_rows(1)
@pytest.mark.parametrize("text", ["", "{", "[]", '{"stamps": {}}', '{"stamps": 3, "answers": {}}'])
def test_a_damaged_memory_is_none(helped: Path, asked: list[list[str]], text: str) -> None:
    """A file that is torn is written anew, and no one hears of it."""
    first = probe.ask(TASKS, None)
    (path,) = Path(os.environ["EMOTIWAVE_CACHE"]).glob("parts/*.json")
    path.write_text(text)
    assert probe.ask(TASKS, None) == first
    assert len(asked) == 2
    assert probe.ask(TASKS, None) == first
    assert len(asked) == 2


@pytest.mark.full
def test_a_cache_that_cannot_be_written_costs_time_only(helped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the cache folder cannot be made the answers are the same."""
    first = probe.ask(TASKS, None)
    Path("file").write_text("")
    monkeypatch.setenv("EMOTIWAVE_CACHE", "file")
    assert probe.ask(TASKS, None) == first


def commands() -> dict[str, click.Command]:
    """Every command by name, imported."""
    context = click.Context(emotiwave)
    found = {name: emotiwave.get_command(context, name) for name in emotiwave.list_commands(context)}
    return {name: command for name, command in found.items() if command is not None}


def test_the_list_of_commands_is_of_their_own_words() -> None:
    """The sentence that `emotiwave --help` shows, without an import, is the first one of the command's own help."""
    listed = {name: sentence for under in commands_by_heading().values() for name, sentence in under.items()}
    assert {name: command.get_short_help_str(200) for name, command in commands().items()} == listed
    assert {command.name for command in commands().values()} == set(listed)


def test_a_new_command_is_one_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file with a first line of that form is listed under its heading and called by its name; others are not."""
    (tmp_path / "wave.py").write_text(
        '"""`emotiwave wave` (Parts): Wave a hand."""\n\nimport click\n\n\n'
        '@click.command()\ndef wave() -> None:\n    """Wave a hand."""\n    click.echo("hello")\n'
    )
    (tmp_path / "helper.py").write_text('"""Shared by commands."""\n')
    monkeypatch.setattr(cli, "__path__", [*cli.__path__, str(tmp_path)])
    runner = click.testing.CliRunner()
    assert runner.invoke(emotiwave, ["wave"]).output == "hello\n"
    assert re.search(r"wave +Wave a hand\.", runner.invoke(emotiwave, ["--help"]).output)
    assert runner.invoke(emotiwave, ["helper"]).exit_code == 2
    monkeypatch.delitem(sys.modules, "emotiwave_core.cli.wave")


def test_help_imports_click_and_little_else() -> None:
    """`emotiwave --help` imports no command, and nothing of a distribution other than click."""
    code = (
        "import sys; from emotiwave_core.cli import exit_code_of; exit_code_of(['--help']); "
        "ours = [name for name in sys.modules if name.startswith('emotiwave_core.')]; "
        "theirs = {'numpy', 'attr', 'attrs', 'cattrs', 'rich', 'pluggy', 'importlib.metadata'} & set(sys.modules); "
        "print(*ours, *theirs, file=sys.stderr)"
    )
    python = Path(sys.prefix, "bin", "python")  # it begins with nothing imported
    done = probe.subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stderr.split()) <= {
        f"emotiwave_core.{name}" for name in ("cli", "errors", "version", "monitor", "parts", "parts.guard")
    }
