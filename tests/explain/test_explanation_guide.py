"""docs/explanation.md says what is so: its commands run, and its formulas' names are the ones of the program."""

import re
import shlex
from pathlib import Path

import pytest
from documents import block, text_of

from emotiwave_core.cli import exit_code_of

GUIDE = text_of("docs/explanation.md")


@pytest.mark.full
def test_the_commands_of_the_guide_run(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command of docs/explanation.md works as it stands, with a folder for DIR and an id for ID."""
    monkeypatch.chdir(tmp_path)
    first, *others = [shlex.split(line, comments=True) for line in block(GUIDE, "emotiwave run").splitlines()]
    fast = ["--set", "training.epochs=1", "--encoder", "bilstm:hidden_size=4"]
    assert exit_code_of([str(tiny) if word == "DIR" else word for word in first[1:]] + fast) == 0
    for command in others:
        assert exit_code_of([{"ID": "v18[1]"}.get(word, word) for word in command[1:]]) == 0, command
    assert {"explanation.json", "explanations.csv"} <= {path.name for path in Path("runs/first").iterdir()}
    assert Path("moments.png").is_file()


def test_every_option_of_the_guide_is_one(capfd: pytest.CaptureFixture[str]) -> None:
    """The options and values that the guide names are those in the help of the command."""
    assert exit_code_of(["explain", "--help"]) == 0
    told = capfd.readouterr().out
    assert set(re.findall(r"--(?:value|empty) \w+", GUIDE)) == {
        f"--{name} {value}"
        for name in ("value", "empty")
        for value in re.findall(rf"--{name} \[([\w|]+)\]", told)[0].split("|")
    }
    for name in re.findall(r"`?--(\w+)", GUIDE):
        assert f"--{name}" in told or name in ("data", "out")
