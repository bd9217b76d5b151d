"""The built wheel in a fresh environment: what `pip install` gives is all there."""

import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from datasets import write_dataset
from documents import ENTRIES, ROOT


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_wheel_runs_in_a_fresh_environment(tmp_path: Path) -> None:
    """From the wheel alone: plugins are found, recipes are there, and a run ends with a report."""
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    wheel = next(tmp_path.glob("*.whl"))
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--constraint", str(ROOT / "constraints.txt")]
    subprocess.run([*install, "torch"], check=True)
    subprocess.run([*install, str(wheel)], check=True)
    command = tmp_path / "env" / "bin" / "emotiwave"
    rows = json.loads(_output(command, "plugins", "--json", at=tmp_path))
    assert {row["state"] for row in rows if row["kind"] != "watch"} == {"installed"}
    assert len(rows) == len(ENTRIES)
    assert "notebook" in _output(command, "recipes", at=tmp_path)
    data = tmp_path / "data"
    data.mkdir()
    write_dataset(data)
    small = ["--set", "training.epochs=1", "--fusion", "crossmodal:width=8", "--out", "run"]
    _output(command, "run", "--data", str(data), *small, at=tmp_path)
    assert "<html" in (tmp_path / "run" / "report.html").read_text()
    predict = "import emotiwave as ew; print(ew.open_run('run').predict(text=[[1.0] * 5] * 3).present)"
    assert _output(python, "-c", predict, at=tmp_path) == "('text',)\n"


def _output(command: Path, *arguments: str, at: Path) -> str:
    return subprocess.run([command, *arguments], cwd=at, check=True, capture_output=True, text=True).stdout
