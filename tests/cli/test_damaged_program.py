"""The whole program on damaged runs, registries and data: exit codes as documented, and nothing else changed."""

import shutil
from functools import partial
from pathlib import Path

import pytest
from file_damage import stand_ins
from forked import Ended, emotiwave, forked
from training import small, start

SECONDS = 300.0  # of a process, ten times what it takes: it only ends a hang
MEMORY = 3 << 30  # the address space that a command may take beside its libraries

RUN_FILES = ("model.json", "model.safetensors", "last.safetensors", "history.jsonl", "data.json", "scores.json")
RUN_FILES = (*RUN_FILES, "explanation.json", "predictions.csv", "recipe.toml", "protocols/random.json")
COMMANDS = {
    "evaluate": ("evaluate", "RUN", "--fold", "valid"),
    "report": ("report", "RUN"),
    "explain": ("explain", "RUN", "--fold", "valid"),
    "resume": ("run", "--resume", "RUN"),
}


@pytest.fixture(scope="module")
def trained(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with scores under a protocol."""
    folder = tmp_path_factory.mktemp("program")
    start(small(training={"epochs": 1}), tiny, folder / "run")
    assert ask(folder, "evaluate", folder / "run", "--protocol", "random").code == 0
    return folder / "run"


def ask(folder: Path, *words: object) -> Ended:
    """The program, in a process of its own with bounds."""
    return forked(partial(emotiwave, *map(str, words)), folder=folder, seconds=SECONDS, memory=MEMORY)


def contents(run: Path) -> dict[Path, bytes]:
    """The files of a folder."""
    return {path.relative_to(run): path.read_bytes() for path in run.rglob("*") if path.is_file()}


def check(ended: Ended, allowed: set[int], what: object) -> None:
    """An exit code that is documented, and one sentence where it is not 0."""
    assert ended.code in allowed, (what, ended)
    assert "Traceback" not in ended.err, (what, ended.err)
    assert "Internal error" not in ended.err, (what, ended.err)
    if ended.code:
        assert len(ended.said) < 2200, (what, ended.said)


@pytest.mark.stress
@pytest.mark.parametrize("name", RUN_FILES)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_run_with_a_damaged_file(trained: Path, tmp_path: Path, command: str, name: str) -> None:
    """Each command on a run of which one file is no file, cut or hostile ends with 0, 2, 3, 4 or 5, and changes none
    of the others where it does not end well.
    """
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    words = [str(run) if word == "RUN" else word for word in COMMANDS[command]]
    for what in stand_ins(run / name, 1 << 26, ("folder", "pipe", "device", "zeros", "open")):
        before = contents(trained)
        ended = ask(tmp_path, *words)
        check(ended, {0, 2, 3, 4, 5}, (what, name))
        if ended.code:
            after = contents(run)
            changed = {path for path, data in before.items() if path != Path(name) and after.get(path) != data}
            again = {Path("data.json")} if command == "resume" else set()  # what is known of the data is written anew
            assert not changed - {Path(".lock")} - again, (what, changed)
        else:
            shutil.rmtree(run)
            shutil.copytree(trained, run)
    assert {path.name for path in tmp_path.iterdir()} <= {"run", "cache"}


@pytest.mark.stress
@pytest.mark.parametrize(
    ("name", "words", "code"),
    [
        ("registry.toml", ("plugins",), 2),
        ("registry.toml", ("recipes",), 2),
        ("mine.toml", ("plugins", "--registry", "mine.toml"), 2),
        ("mine.toml", ("recipes", "show", "mine.toml"), 2),
        ("mine.toml", ("run", "mine.toml", "--data", "DATA", "--out", "out"), 2),
        ("dataset.toml", ("data", "inspect", "."), 3),
        ("dataset.toml", ("data", "prepare", "."), 3),
        ("dataset.toml", ("run", "--data", ".", "--out", "out"), 3),
    ],
)
def test_settings_that_are_damaged(tiny: Path, tmp_path: Path, name: str, words: tuple[str, ...], code: int) -> None:
    """Each command that reads a file of settings refuses what is none with the exit code of its kind, and leaves no
    run behind. What is no file at all may count as not being there.
    """
    given = [str(tiny) if word == "DATA" else word for word in words]
    for what in stand_ins(tmp_path / name):
        may_be_read = what in ("nothing", "mark")
        may_be_absent = what in ("folder", "pipe", "loop", "device")
        absent = {0} if name == "registry.toml" else {2, 3}
        allowed = {code} | ({0, 3} if may_be_read else absent if may_be_absent else set())
        check(ask(tmp_path, *given), allowed, what)
        assert may_be_read or not (tmp_path / "out").exists()
        shutil.rmtree(tmp_path / "out", ignore_errors=True)


TYPED = [
    ("--set", "training.batch_size=18446744073709551615"),
    ("--set", "data.max_steps=1000000000000000"),
    ("--set", "data.align=1e300"),
    ("--set", "data.align=1e-300"),
    ("--set", "training.learning_rate=1e300"),
    ("--set", "data.downsample=18446744073709551615"),
    ("--set", "training.buckets=18446744073709551615"),
    ("--set", "model.head=1048576"),
    ("--set", "data.ratios=[1e-300, 1e-300, 1.0]", "--set", "data.folds=random"),
    ("--set", "data.folds=\0"),
    ("--set", "data.folds=" + "a" * 5000),
    ("--set", "name=\0\n\x1b[31m"),
    ("--encoder", "bilstm:hidden_size=1048576"),
    ("--encoder", "tcn:kernel=1048576"),
    ("--fusion", "tensor:width=1048576"),
    ("--fusion", "lowrank:rank=1048576"),
    ("--set", "objective.complete=1e308"),
    ("--set", "training.weight_decay=1e308"),
]


@pytest.mark.stress
@pytest.mark.parametrize("typed", TYPED, ids=[" ".join(words)[:60] for words in TYPED])
def test_values_from_the_command_line(tiny: Path, tmp_path: Path, typed: tuple[str, ...]) -> None:
    """Values at the ends of what can be typed train, are refused, or do not fit; none is an internal error."""
    ended = ask(tmp_path, "run", "--data", tiny, "--out", "out", "--set", "training.epochs=1", *typed)
    check(ended, {0, 2, 3, 4, 5, 6}, typed)
