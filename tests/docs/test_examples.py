"""The examples that users paste run as they stand: the notebook in a Jupyter kernel, the batch job as a script."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from documents import ROOT

import emotiwave as ew

NOTEBOOK = ROOT / "docs" / "first.ipynb"


def test_the_notebook_is_kept_without_outputs() -> None:
    """No picture and no number of somebody's machine is in it; each cell of code has a cell of text before it."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert [cell["cell_type"] for cell in cells] == ["markdown", "code"] * (len(cells) // 2)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From its first cell to its last: scores, Shapley values, answers with a modality missing, and a picture."""
    from nbclient import NotebookClient
    from nbformat import read

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    said = "".join(output.get("text", "") for output in outputs if output.get("name") == "stdout")
    assert "text+audio+visual  macro-F1 0." in said
    assert "('text',)" in said
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert (tmp_path / "runs" / "default-1" / "model-card.md").exists()


@pytest.mark.full
@pytest.mark.usefixtures("warm_children")
def test_the_batch_job_writes_a_table(tiny: Path, tmp_path: Path) -> None:
    """Every sample of every data set is a row; one that cannot be used is said, and costs itself."""
    ew.train(tiny, encoder="mean", out=tmp_path / "run", training={"epochs": 1}, device="cpu")
    out = tmp_path / "out.csv"
    command = [sys.executable, str(ROOT / "docs" / "batch.py"), str(tmp_path / "run"), str(out), str(tiny)]
    done = subprocess.run([*command, str(tmp_path / "none")], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert f"{tmp_path / 'none'}: " in done.stderr
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    expected = ew.open_run(tmp_path / "run").predict(tiny)
    assert [(row["id"], row["decided"], row["present"]) for row in rows] == [
        (one.id, "+".join(one.decided), "+".join(one.present)) for one in expected
    ]
    assert done.stderr.count("Traceback") == 0
