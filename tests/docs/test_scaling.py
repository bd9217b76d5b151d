"""The commands of docs/scaling.md: all of them are commands, and what needs no cluster is run."""

import shlex
from pathlib import Path

import click
import pytest
from documents import block, text_of

from emotiwave_core.cli import emotiwave, exit_code_of
from emotiwave_core.execute.executor import Execution, read_slurm

COMMANDS = [
    shlex.split(line)
    for line in block(text_of("docs/scaling.md"), "# Processes of this machine").splitlines()
    if line.startswith("emotiwave")
]


@pytest.mark.full
def test_the_commands_are_written_as_they_must_be(tmp_path: Path) -> None:
    """Every option of each is known, takes its value, and goes with the others."""
    assert {"compare", "extract", "tune"} == {words[1] for words in COMMANDS}
    with click.Context(emotiwave) as context:
        for words in COMMANDS:
            command = emotiwave.get_command(context, words[1])
            assert command is not None
            given = [str(tmp_path) if word in ("DIR", "/shared/data", "/shared/clips") else word for word in words[2:]]
            values = command.make_context(words[1], given, parent=context).params
            execution = Execution(values["executor"], address=values["address"], slurm=read_slurm(values["slurm"]))
            assert execution.checked() is execution


@pytest.mark.full
@pytest.mark.usefixtures("warm_children")
def test_what_needs_no_cluster_is_run(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The array of Slurm that is tried in this very process."""
    pytest.importorskip("submitit", reason="the extra [slurm] is not installed")
    monkeypatch.chdir(tmp_path)
    words = next(words for words in COMMANDS if "cluster=debug" in words)
    assert exit_code_of([str(tiny) if word == "DIR" else word for word in words[1:]]) == 0
    assert len(list(tmp_path.glob("runs/try/runs/a/*/scores.json"))) == 2
