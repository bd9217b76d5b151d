"""Names from files reach no terminal as commands: every command, with escapes in every name."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from datasets import EMOTIONS, WIDTHS, write_dataset
from trusted import trust_here

from emotiwave_core.cli import exit_code_of

ESCAPE = "\x1b]0;owned\x07\x9b31m\u202e"  # sets a title, turns red, reverses what follows
FAST = ["--encoder=mean", "--fusion=mean", "--set=training.epochs=1", "--device=cpu"]
PART = f"""
from emotiwave_core import Encoder, Encoded, hookimpl
class Mine(Encoder):
    __doc__ = "A title: " + {ESCAPE!r}
    def __init__(self, in_features: int, *, named: str = {ESCAPE!r}) -> None:
        super().__init__()
        self.out_features = in_features
    def forward(self, x, mask):
        raise ValueError({ESCAPE!r})
@hookimpl
def register_encoders(register):
    register("mine" + {ESCAPE!r}, Mine)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a data set, a recipe and a part, of which every name holds escapes."""
    (tmp_path / "data").mkdir()
    data = write_dataset(tmp_path / "data", missing=False)
    named = {name: json.dumps(name + ESCAPE) for name in [*WIDTHS, *EMOTIONS, "sentiment", "Tiny"]}  # as TOML has it
    for name in WIDTHS:
        (data / f"{name}.csd").rename(data / f"{name}{ESCAPE}.csd")
    columns = json.dumps([name + ESCAPE for name in ["sentiment", *EMOTIONS]]).encode()
    with h5py.File(data / "labels.csd", "a") as file:
        file["anything/metadata/dimension names"][...] = np.array([columns], dtype=object)
    targets = ", ".join(named[name] for name in EMOTIONS)
    files = "".join(f"{named[name]} = {json.dumps(f'{name}{ESCAPE}.csd')}\n" for name in WIDTHS)
    (data / "dataset.toml").write_text(
        f'name = {named["Tiny"]}\n[modalities]\n{files}[labels]\nfile = "labels.csd"\n'
        f'targets = [{targets}]\n[folds]\nfile = "folds.json"\n'
    )
    (tmp_path / "mine.py").write_text(PART)
    (tmp_path / "registry.toml").write_text(
        f'[plugins]\n{json.dumps("label" + ESCAPE)} = "mine.py"\n[recipe.{json.dumps("theirs" + ESCAPE)}]\nseed = 3\n'
    )
    monkeypatch.chdir(tmp_path)
    trust_here()
    return tmp_path


def said(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """The exit code of a command, and its output, which must be plain text."""
    capfd.readouterr()
    code = exit_code_of(list(arguments))
    out, err = capfd.readouterr()
    for text in (out, err):
        bad = [line for line in text.splitlines() if not line.isprintable()]
        assert not bad, (arguments, bad[:3])
        assert ESCAPE not in text
    assert "Internal error" not in err, (arguments, err)
    return code, out + err


@pytest.mark.full
def test_no_command_says_an_escape(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Plain or as JSON, in answers, notes and errors: what a terminal would obey is written out."""
    title = "]0;owned"
    for command, due in (
        (["data", "inspect", "data"], 0),
        (["data", "inspect", "data", "--json"], 0),
        (["data", "prepare", "data"], 0),
        (["data", "prepare", "data", "--json"], 0),
        (["run", "--data", "data", "--out", "there", *FAST], 0),
        (["evaluate", "there"], 0),
        (["evaluate", "there", "--json"], 0),
        (["evaluate", "there", "--protocol", "noise"], 0),
        (["explain", "there"], 0),
        (["explain", "there", "--sample", f"v18[1]{ESCAPE}"], 2),
        (["recipes"], 0),
        (["recipes", "show", f"theirs{ESCAPE}"], 0),
        (["recipes", "show", f"nothing{ESCAPE}"], 2),
        (["run", f"--set=training.{ESCAPE}=1"], 2),
        (["run", "--data", "data", "--encoder", f"mine{ESCAPE}", "--out", "other", "--device=cpu"], 4),
    ):
        code, text = said(capfd, *command)
        assert code == due, (command, text)
        assert title in text, command


@pytest.mark.slow
def test_no_name_of_a_part_is_an_escape(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Lists, descriptions and checks of parts, which child processes load."""
    for command, due in (
        (["plugins"], 0),
        (["plugins", "show", f"mine{ESCAPE}"], 0),
        (["plugins", "check", "mine.py"], 1),
    ):
        code, text = said(capfd, *command)
        assert code == due, (command, text)
        assert "\\x1b]0;owned" in text, command
