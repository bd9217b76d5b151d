"""The command line: what a person types and what answers."""

import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import pytest
from documents import ENTRIES
from typed_commands import Cli, typed_commands

from emotiwave_core.cli import Terminated, emotiwave, exit_code_of
from emotiwave_core.errors import printable

FAST = ["--set", "training.epochs=2", "--encoder", "bilstm:hidden_size=8"]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Type a command in an empty folder."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return typed_commands(capfd)


def test_run_evaluate_and_report_walk_from_data_to_scores(cli: Cli, tiny: Path) -> None:
    """One command leaves a scored run with a report, and evaluate finds the same scores again."""
    done = cli("run", "--data", tiny, "--fusion", "concat", *FAST)
    assert done.code == 0
    assert "text+audio+visual" in done.out
    assert "Epoch   2/2" in done.err
    run = Path("runs/default-1")
    left = {path.name for path in run.iterdir()}
    assert left >= {
        *("recipe.toml", "model.safetensors", "model.json", "last.safetensors", "history.jsonl", "data.json"),
        *(
            "scores.json",
            "predictions.csv",
            "report.html",
            "model-card.md",
        ),
    }
    before = json.loads((run / "scores.json").read_text())
    again = cli("evaluate", run, "--json")
    assert again.code == 0
    assert json.loads(again.out) == before
    (run / "report.html").unlink()
    assert cli("report", run).out.strip() == str(run / "report.html")
    assert "text+audio+visual" in (run / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.pictures
def test_a_run_leaves_its_pictures(cli: Cli, tiny: Path) -> None:
    """Beside the report lie its figures."""
    assert cli("run", "--data", tiny, "--out", "there", *FAST).code == 0
    names = ("configurations.png", "confusion.png", "learning_curves.png")
    assert {path.name for path in Path("there").iterdir()} >= {*names}


def test_stdout_holds_the_result_and_nothing_else(cli: Cli, tiny: Path) -> None:
    """With --json the whole of stdout is one JSON value; progress and notes are on stderr."""
    done = cli("run", "--data", tiny, "--json", "--out", "there", *FAST)
    assert json.loads(done.out) == json.loads(Path("there/scores.json").read_text())


def test_a_run_folder_is_not_written_over(cli: Cli, tiny: Path) -> None:
    """A second run into one folder is refused with the way to resume; without --out a new folder is taken."""
    assert cli("run", "--data", tiny, "--out", "there", *FAST).code == 0
    again = cli("run", "--data", tiny, "--out", "there", *FAST)
    assert (again.code, "--resume there" in again.err) == (2, True)
    cli("run", "--data", tiny, *FAST)
    cli("run", "--data", tiny, *FAST)
    assert sorted(path.name for path in Path("runs").iterdir()) == ["default-1", "default-2"]


def test_flags_override_the_recipe_and_are_kept(cli: Cli, tiny: Path) -> None:
    """What the flags said stands in recipe.toml, and that file is a recipe to run again with the same result."""
    first = cli(
        *("run", "--data", tiny, "--out", "a", *FAST, "--fusion", "crossmodal:width=8,heads=2,layers=1", "--dropout"),
        *("bernoulli:p=0.5", "--encoder", "text=bilstm:hidden_size=4", "--set", "model.standardise=false", "--json"),
    )
    assert first.code == 0
    text = Path("a/recipe.toml").read_text()
    assert all(line in text for line in ("width = 8", "p = 0.5", "hidden_size = 4", "standardise = false"))
    second = cli("run", "a/recipe.toml", "--data", tiny, "--out", "b", "--json")
    assert json.loads(first.out) == json.loads(second.out)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["run", "--encoder", "bilstn"], 2, "Did you mean 'bilstm'?"),
        (["run", "nootbook"], 2, "Did you mean 'notebook'?"),
        (["run", "--fusion", "concat:width=3"], 2, "no option 'width'"),
        (["run", "--set", "training.epochs=many"], 2, "'many' is not a whole number"),
        (["run", "--set", "training.epochs"], 2, "--set takes KEY=VALUE"),
        (["run", "--set", "name=x", "--set", "seed.x=1"], 2, "is not a whole number"),
        (["run", "--device", "tpu"], 2, "is not a device"),
        (["run", "--device", "cuda:7"], 5, "There is no device 'cuda:7'"),
        (["run", "--encoder", "smell=bilstm", "--encoder", "bilstm"], 2, "encoder for 'smell'"),
        (["run", "--set", "data.max_steps={smell=3}"], 2, "'smell' is not a modality"),
        (["run", "--set", "data.folds=none.json"], 2, "none.json is not there"),
        (["run", "--set", "data.rotation=1"], 2, "leave it out"),
        (["run", "missing.toml"], 2, "missing.toml"),
        (["run", "--out", "/proc/nowhere/run"], 5, "Cannot write"),
    ],
)
def test_wrong_settings_get_one_sentence_and_their_exit_code(
    cli: Cli, tiny: Path, arguments: list[str], code: int, sentence: str
) -> None:
    """A wrong name, option or value names itself and the way out, with no traceback."""
    answer = cli(*arguments, "--data", tiny)
    assert (answer.code, sentence in answer.err) == (code, True), answer.err
    assert "Traceback" not in answer.err


def test_data_errors_have_exit_code_3(cli: Cli, tmp_path: Path) -> None:
    """A folder without data, and a file that is a failed download, are named."""
    empty = tmp_path / "empty"
    empty.mkdir()
    assert cli("run", "--data", empty).code == 3
    (empty / "CMU_MOSEI_Labels.csd").write_bytes(b"")
    answer = cli("data", "inspect", empty)
    assert answer.code == 3
    assert "CMU_MOSEI_Labels.csd (0 bytes) is not an HDF5 file, probably a failed download" in answer.out
    answer = cli("evaluate", empty)
    assert (answer.code, "holds no trained model" in answer.err) == (3, True)
    assert cli("report", empty).code == 3
    assert cli("run", "--resume", empty).code == 2


def test_debug_shows_the_traceback(cli: Cli, tmp_path: Path) -> None:
    """The traceback is shown with --debug, wherever it stands, and only then."""
    assert "Traceback" in cli("run", "--data", tmp_path, "--debug").err
    assert "Traceback" not in cli("run", "--data", tmp_path).err


def test_inspect_gives_the_same_facts_to_people_and_programs(cli: Cli, tiny: Path) -> None:
    """The text of the data doctor tells the numbers of its JSON."""
    facts = json.loads(cli("data", "inspect", tiny, "--json").out)
    text = cli("data", "inspect", tiny).out
    assert facts["dataset"] == "Tiny"
    for name, file in facts["files"].items():
        assert f"{name}  {file['role']}" in text
        assert f"{file['ids']} ids of {file['videos']} videos, {file['width']} columns" in text
    assert f"{facts['files']['labels.csd']['labels']['rows']} rows" in text


def test_prepare_builds_the_store_that_run_takes(cli: Cli, tiny: Path) -> None:
    """`data prepare` prints the store's folder, and it is built once."""
    first = json.loads(cli("data", "prepare", tiny, "--json").out)
    assert (Path(first["store"]) / "arrays.safetensors").exists()
    assert json.loads(cli("data", "prepare", tiny, "--json").out) == first
    assert json.loads(cli("data", "prepare", tiny, "--set", "data.unit=video", "--json").out)["samples"] == 24


def test_sample_is_not_written_over_other_files(cli: Cli, tmp_path: Path) -> None:
    """A folder that holds something is refused."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    assert cli("data", "sample", tmp_path / "full").code == 2
    assert sorted(path.name for path in (tmp_path / "full").iterdir()) == ["mine.txt"]


@pytest.mark.usefixtures("warm_children")
def test_plugins_and_recipes_are_listed(cli: Cli) -> None:
    """Every shipped part is listed as installed, and every recipe is shown as TOML that can be run."""
    rows = json.loads(cli("plugins", "--json").out)
    assert {f"{row['kind']}.{row['name']}" for row in rows if row["state"] == "installed"} == set(ENTRIES)
    assert all(row["summary"] for row in rows)
    listed = cli("recipes").out
    assert "notebook" in listed
    assert "model.members=3" in next(line for line in listed.splitlines() if line.startswith("ensemble"))
    shown = cli("recipes", "show", "notebook").out
    Path("mine.toml").write_text(shown)
    assert cli("recipes", "show", "mine.toml").out == shown


@pytest.mark.short_rows(3)
@pytest.mark.parametrize("command", ["", "run", "evaluate", "report", "data", "data inspect", "plugins", "recipes"])
def test_help_answers_without_torch(command: str) -> None:
    """Each --help leaves with 0 and imports neither torch nor scikit-learn nor h5py."""
    code = (
        "import sys; from emotiwave_core.cli import exit_code_of; "
        f"code = exit_code_of({[*command.split(), '--help']!r}); "
        "slow = {'torch', 'sklearn', 'h5py', 'matplotlib'} & set(sys.modules); sys.exit(repr(slow) if slow else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage:" in done.stdout


def every_command(command: click.Command) -> Iterator[click.Command]:
    """A command and all below it."""
    yield command
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            yield from every_command(inner)


@pytest.mark.parametrize("command", list(every_command(emotiwave))[1:], ids=lambda command: command.name)
def test_the_line_about_a_command_is_not_cut(command: click.Command) -> None:
    """The first sentence of every command fits beside its name in a list of commands, 80 characters wide."""
    assert not command.get_short_help_str(80 - 14).endswith("...")


@pytest.mark.usefixtures("warm_children")
def test_a_closed_pipe_is_not_an_error(tiny: Path) -> None:
    """`emotiwave data inspect | head` ends quietly."""
    command = f"{sys.executable} -m emotiwave_core.cli data inspect {tiny} | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False, env=os.environ)
    assert (done.stdout.startswith("Tiny"), done.stderr) == (True, "")


def test_control_characters_do_not_reach_the_terminal() -> None:
    """An id that holds terminal codes is shown as text."""
    assert printable("a\x1b[31m\rb") == "a\\x1b[31m\\rb"


def test_a_run_that_cannot_start_leaves_no_folder(cli: Cli, tmp_path: Path) -> None:
    """Wrong data or settings leave neither a numbered folder nor one that a second try would be refused in."""
    (tmp_path / "no_data").mkdir()
    assert cli("run", "--data", tmp_path / "no_data").code == 3
    assert cli("run", "--data", tmp_path / "no_data", "--out", "there").code == 3
    assert cli("run", "--encoder", "nothing", "--data", tmp_path / "no_data").code == 2
    assert list(Path("runs").iterdir()) == []
    assert not Path("there").exists()


@pytest.mark.full
def test_folds_that_change_under_a_run_are_noticed(cli: Cli, tiny: Path, tmp_path: Path) -> None:
    """Scoring refuses a run whose folds file was edited since: its test videos may have been trained on."""
    data = tmp_path / "data"
    shutil.copytree(tiny, data)
    assert cli("run", "--data", data, "--out", "there", *FAST).code == 0
    folds = json.loads((data / "folds.json").read_text())
    (data / "folds.json").write_text(json.dumps(folds | {"train": folds["test"], "test": folds["train"]}))
    for command in (("evaluate", "there"), ("run", "--resume", "there")):
        answer = cli(*command)
        assert (answer.code, "The folds of" in answer.err) == (3, True), answer.err


@pytest.mark.short_rows(1)
@pytest.mark.parametrize(("stop", "code"), [(KeyboardInterrupt, 130), (Terminated, 143)])
def test_a_stopped_run_says_how_to_go_on(
    cli: Cli, tiny: Path, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException], code: int
) -> None:
    """Ctrl-C and SIGTERM after an epoch leave with 130 and 143 and the command that continues, which does."""
    from emotiwave_core.train import checkpoint

    def stopped(*_: object) -> None:
        raise stop

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "append_history", stopped)
        answer = cli("run", "--data", tiny, "--out", "over there", *FAST)
    assert (answer.code, "emotiwave run --resume 'over there'" in answer.err) == (code, True)
    assert "Traceback" not in answer.err
    assert cli("run", "--resume", "over there").code == 0


def test_sigterm_is_heard() -> None:
    """The signal itself ends a command with 143, and no traceback."""
    code = (
        "import os, signal, sys; from emotiwave_core import cli; sys.argv = ['emotiwave', 'recipes']; "
        "cli.emotiwave.callback = lambda debug: os.kill(os.getpid(), signal.SIGTERM); cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (143, "Terminated.\n")


def test_a_command_inside_a_program_leaves_its_handlers(cli: Cli) -> None:
    """While it is at work SIGTERM is the program's, and afterwards warnings are shown as before."""
    before, meanwhile = (signal.getsignal(signal.SIGTERM), warnings.showwarning), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(emotiwave, "callback", lambda debug: meanwhile.append(signal.getsignal(signal.SIGTERM)))
        assert cli("recipes").code == 0
    assert cli("recipes", "show", "nothing").code == 2
    assert meanwhile == [before[0]]
    assert (signal.getsignal(signal.SIGTERM), warnings.showwarning) == before


def test_a_command_may_be_called_from_a_thread(cli: Cli) -> None:
    """Beside the main thread, where no handler can be set, a command does its work."""
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(exit_code_of, ["recipes"]).result() == 0


def test_a_folder_that_holds_other_files_is_not_a_run_folder(cli: Cli, tiny: Path) -> None:
    """`--out` at a folder of the user's own changes nothing in it."""
    Path("mine").mkdir()
    Path("mine/data.json").write_text("mine")
    answer = cli("run", "--data", tiny, "--out", "mine", *FAST)
    assert (answer.code, "is not empty and holds no run" in answer.err) == (2, True)
    assert [path.name for path in Path("mine").iterdir()] == ["data.json"]
    assert Path("mine/data.json").read_text() == "mine"
