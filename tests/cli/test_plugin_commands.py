"""Commands of plugins: listed without being imported, and a broken one costs only itself."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from distributions import install
from distributions import site as site
from documents import block, text_of

from emotiwave_core.cli import commands_by_heading, exit_code_of
from emotiwave_core.errors import PluginError, SettingsError

NOISY = """
import click
print("imported")

@click.command()
@click.option("--how", default="well", type=click.Choice(["well", "badly", "exit", "code", "ours", "wrongly"]))
@click.pass_context
def noisy(context, how):
    \"\"\"Does what it is told.\"\"\"
    if how == "badly":
        raise ValueError("no such thing")
    if how == "exit":
        context.exit(7)
    if how == "ours":
        from emotiwave_core.errors import DataError
        raise DataError("This file is odd.")
    if how == "wrongly":
        raise click.UsageError("Not so.")
    click.echo(how)
    return 5
"""


def said(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    code = exit_code_of(arguments)
    return code, *capfd.readouterr()


def test_help_lists_it_and_imports_nothing(site: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`emotiwave --help` names the command and who brings it; its module is not touched, nor is torch."""
    install(site, "emotiwave-noisy", "command.noisy", "noisy_command", NOISY)
    install(site, "emotiwave-thief", "command.run", "thief", "raise SystemExit(1)")
    install(site, "emotiwave-odd", "command.Odd Name", "odd", "raise SystemExit(1)")
    code, out, _ = said(["--help"], capfd)
    assert code == 0
    assert "Of plugins:\n  noisy  Of emotiwave-noisy 1.0.\n" in out
    assert "thief" not in out
    assert "Odd" not in out
    assert "imported" not in out
    program = (
        "import sys; from emotiwave_core.cli import exit_code_of as run; run(['--help']); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")


def test_without_one_there_is_no_heading(capfd: pytest.CaptureFixture[str]) -> None:
    """Where no plugin brings a command, the help is as it was."""
    assert "Of plugins" not in said(["--help"], capfd)[1]


@pytest.mark.parametrize(
    ("how", "code", "out", "err"),
    [
        ("well", 0, "imported\nwell\n", ""),
        ("exit", 7, "", ""),
        ("badly", PluginError.exit_code, "", "Error: The command 'noisy' fails: ValueError: no such thing (--debug"),
        ("ours", 3, "", "Error: This file is odd.\n"),
        ("wrongly", 2, "", "Error: Not so."),
    ],
)
def test_it_runs_as_ours_do(
    how: str, code: int, out: str, err: str, site: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its answers go to stdout; what it raises is a sentence and an exit code, and what it returns is none."""
    install(site, "emotiwave-noisy", "command.noisy", "noisy_command", NOISY)
    answer, stdout, stderr = said(["noisy", "--how", how], capfd)
    assert (answer, stdout if out else "", err in stderr, "Traceback" in stderr) == (code, out, True, False), stderr


@pytest.mark.full
@pytest.mark.parametrize(
    ("body", "code", "sentence"),
    [
        ("raise BaseException('x')", 4, "The command 'odd' fails: BaseException: x"),
        ("raise GeneratorExit", 4, "The command 'odd' fails: GeneratorExit"),
        ("sys.exit('\\x1b]0;x\\x07')", 4, "The command 'odd' fails: SystemExit: \\x1b]0;x\\x07 (--debug"),
        ("sys.exit(7)", 7, ""),
        ("sys.exit()", 0, ""),
        ("os._exit(0)", 4, "The command 'odd' fails: SystemExit: os._exit(0)"),
        ("raise Hidden('x')", 4, "The command 'odd' fails: Hidden: x"),
        ("raise textless", 4, "The command 'odd' fails: ClickException: (it has no message)"),
        ("sys.stdout = sys.stderr = None", 0, ""),
        ("raise KeyboardInterrupt", 130, "Stopped."),
    ],
)
def test_however_it_ends_it_is_a_sentence(
    body: str, code: int, sentence: str, site: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """No way in which a plugin's command leaves is a traceback, an error of ours, or success where it has failed."""
    module = (
        "import click, os, sys\n\nclass Hidden(click.ClickException):\n    def show(self, file=None): raise OSError\n\n"
        "textless = click.ClickException('x')\ntextless.message = None\n\n"
        f"@click.command()\ndef odd():\n    {body}\n"
    )
    install(site, "emotiwave-odd", "command.odd", "odd_command", module)
    answer, _, stderr = said(["odd"], capfd)
    assert (answer, sentence in stderr, "Traceback" in stderr) == (code, True, False), stderr


@pytest.mark.full
def test_a_command_that_closes_stdout_has_ended_well(site: Path) -> None:
    """As a program: what it has said is there, and the exit code is 0."""
    code = "import click, sys\n\n@click.command()\ndef shut():\n    click.echo('said')\n    sys.stdout.close()\n"
    install(site, "emotiwave-shut", "command.shut", "shut_command", code)
    program = "from emotiwave_core.cli import main; main()"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), *sys.path])}
    done = subprocess.run([sys.executable, "-c", program, "shut"], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "said\n", "")


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        ("import nothing_of_that_name", "The command 'lost' of emotiwave-lost does not load: ModuleNotFoundError"),
        ("raise SystemExit(3)", "The command 'lost' of emotiwave-lost does not load: SystemExit: 3"),
        ("x = 1", "lost_command has nothing of the name lost, where a command of click is due"),
        ("def lost(): pass", "lost_command has a function of the name lost, where a command of click is due"),
    ],
)
def test_a_broken_one_costs_itself(module: str, sentence: str, site: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It is one sentence and exit code 4 where it is called; the help and every other command work."""
    install(site, "emotiwave-lost", "command.lost", "lost_command", module)
    code, _, err = said(["lost"], capfd)
    assert (code, sentence in err, "Traceback" in err) == (PluginError.exit_code, True, False), err
    assert said(["--help"], capfd)[0] == 0
    assert said(["recipes"], capfd)[0] == 0


def test_two_that_claim_a_name_are_told_apart(site: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Both are listed; called, the error says how to choose, and a line in registry.toml does; so does `disabled`."""
    for who in ("one", "other"):
        code = f"import click\n\n@click.command()\ndef rank():\n    click.echo({who!r})\n"
        install(site, f"emotiwave-{who}", "command.rank", f"rank_{who}", code)
    assert "rank  Of emotiwave-one 1.0 and of emotiwave-other 1.0." in said(["--help"], capfd)[1]
    answer, _, err = said(["rank"], capfd)
    assert (answer, "is offered by emotiwave-one and emotiwave-other" in err) == (PluginError.exit_code, True)
    Path("registry.toml").write_text('[command]\nrank = "emotiwave-other"\n')
    assert said(["rank"], capfd)[:2] == (0, "other\n")
    Path("registry.toml").write_text('disabled = ["command.rank"]\n')
    answer, _, err = said(["rank"], capfd)
    assert (answer, "is disabled by" in err) == (PluginError.exit_code, True)
    assert said(["rank", "--help"], capfd)[0] != SettingsError.exit_code


@pytest.mark.full
@pytest.mark.usefixtures("warm_children")
def test_the_command_of_the_guide(site: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The guide's command sorts runs by score, and `emotiwave plugins` says what it is for."""
    code = block(text_of("docs/plugins.md"), "# leaderboard.py")
    install(site, "emotiwave-leaderboard", "command.leaderboard", "leaderboard", code)
    for name, score in (("a", 0.25), ("b", 0.75)):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "scores.json").write_text(json.dumps({"mean_macro_f1": score}))
    answer, out, _ = said(["leaderboard", str(tmp_path / "runs")], capfd)
    assert (answer, [line[:5] for line in out.splitlines()]) == (0, ["0.750", "0.250"])
    assert "List the runs below FOLDER, the best first." in said(["leaderboard", "--help"], capfd)[1]
    listed: list[dict[str, Any]] = json.loads(said(["plugins", "--json"], capfd)[1])
    rows = [row for row in listed if row["kind"] == "command"]
    assert [(row["name"], row["state"], row["summary"]) for row in rows] == [
        ("leaderboard", "installed", "List the runs below FOLDER, the best first.")
    ]


def test_no_command_of_ours_is_replaced(site: Path) -> None:
    """A plugin's command of a name that we have is not reached."""
    from emotiwave_core.cli import commands_of_plugins

    install(site, "emotiwave-thief", "command.run", "thief", "raise SystemExit(1)")
    assert "run" in commands_by_heading()["Train and score"]
    assert commands_of_plugins() == {}
