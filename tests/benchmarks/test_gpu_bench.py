"""`make gpu`: without a GPU it says so; with one every law and every group has its row, whatever becomes of it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from documents import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

from speed import __main__ as bench
from speed import gpu
from speed.table import Row

XML = """<testsuites><testsuite>
<testcase name="test_it_holds" time="1.5"/>
<testcase name="test_they_hold[a]" time="1"/>
<testcase name="test_they_hold[b]" time="2"/>
<testcase name="test_it_fails[a]" time="2"><failure message="not&#10;so">long</failure></testcase>
<testcase name="test_it_skips" time="0"><skipped message="no second card"/></testcase>
</testsuite></testsuites>"""


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so_and_does_nothing(tmp_path: Path) -> None:
    """One sentence, exit code 5, and no file."""
    done = CliRunner().invoke(gpu.main, ["--data", str(tmp_path / "data")])
    assert (done.exit_code, done.output.count("\n")) == (5, 1)
    assert "There is no GPU here" in done.output
    assert not (tmp_path / "data").exists()


def test_every_law_is_a_row() -> None:
    """Those that hold have their seconds; one that is broken or was not tried has none, and says why."""
    assert list(gpu.rows_of(XML)) == [
        Row("law", "it fails[a]", None, "s", note="failure: not so"),
        Row("law", "it skips", None, "s", note="skipped: no second card"),
        Row("law", "it holds", 1.5, "s", note="holds"),
        Row("law", "they hold", 3.0, "s", note="2 examples hold"),
    ]


def test_what_does_not_end_costs_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group or a pytest that takes too long, or dies, is a row with the reason; another one's rows are read."""
    answers: list[Any] = []

    def run(command: list[str], **options: Any) -> Any:
        answer = answers.pop(0)
        if answer is None:
            raise subprocess.TimeoutExpired(command, options["timeout"])
        if isinstance(answer, list):
            Path(command[command.index("--json") + 1]).write_text(json.dumps({"rows": answer}))
        return subprocess.CompletedProcess(command, 1, "", "x\nout of luck\n")

    monkeypatch.setattr(gpu.subprocess, "run", run)
    row = Row("epoch", "same", 2.0, "samples/s", "plain loop", 1.0, ">= 100")
    answers += [[row.table()], None, 1, None, 1]
    assert gpu.group("epoch", tmp_path, 9.0) == [row]
    assert gpu.group("epoch", tmp_path, -3.0)[0].note == "it took more than the 1 s that were left"
    assert gpu.group("epoch", tmp_path, 9.0)[0].note == "exit code 1: out of luck"
    assert gpu.laws(9.0)[0].note == "they took more than 9 s"
    assert gpu.laws(9.0)[0].note == "pytest ended with 1: out of luck"


def test_the_laws_that_are_asked_for_are_there() -> None:
    """Every file that is named has tests whose names are asked for."""
    named = gpu.NAMED.split(" or ")
    for name in gpu.LAWS:
        text = (ROOT / name).read_text()
        assert "cuda" in text or any(word in text for word in named), name
    assert set(gpu.GROUPS) <= set(bench.GROUPS)
