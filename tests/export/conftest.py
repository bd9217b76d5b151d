"""A run with its export to ONNX, which tests share."""

import shutil
from pathlib import Path

import pytest
from exported_run import ExportedRun

import emotiwave as ew

# One recurrence: tracing a second takes two seconds more, and `make slow` exports every part.
ENCODERS = {"text": "bilstm:hidden_size=4", "audio": "mean:width=4"}
SMALL = {"encoder": ENCODERS, "model": {"head": 8}, "device": "cpu"}
FAST = {"epochs": 2, "batch_size": 8, "learning_rate": 1e-2}


@pytest.fixture(scope="session")
def exported(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportedRun:
    """A recurrence and a mean, several labels, on two of the three modalities of the tiny data set."""
    data = tmp_path_factory.mktemp("export") / "data"
    shutil.copytree(tiny, data)
    text = (data / "dataset.toml").read_text()
    (data / "dataset.toml").write_text(text.replace('visual = "visual.csd"\n', ""))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emotiwave_core.report.page.write_pictures", lambda _: [])
        run = ew.train(data, out=data.parent / "run", training=FAST, objective={"kind": "multi"}, **SMALL)
    made = run.export("onnx", out=data.parent / "onnx")
    return ExportedRun(run, data, made.folder, made.manifest)
