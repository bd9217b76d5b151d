"""The documents are executed, and what is generated in them is up to date."""

import contextlib
import importlib.util
import json
import subprocess
import sys
import unittest
from pathlib import Path

import pytest
from documents import ROOT, block, text_of

from emotiwave_core.cli import _exit_code
from emotiwave_core.testing import Contract, DropoutPolicyContract, EncoderContract, FusionContract

GUIDE = text_of("docs/plugins.md")
FILES = ["convnet.py", "scored.py", "ramped.py", "watcher.py", "test_convnet.py"]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of the guide, in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    for name in FILES:
        Path(name).write_text(block(GUIDE, f"# {name}"))
    return tmp_path


@pytest.mark.parametrize(
    ("file", "name", "contract"),
    [
        ("convnet.py", "ConvNet", EncoderContract),
        ("scored.py", "Scored", FusionContract),
        ("ramped.py", "Ramped", DropoutPolicyContract),
    ],
)
def test_the_parts_of_the_guide_keep_every_law(written: Path, file: str, name: str, contract: type[Contract]) -> None:
    """The encoder, the fusion and the dropout policy of docs/plugins.md keep their contracts."""
    spec = importlib.util.spec_from_file_location(f"guide_{name}", written / file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where the annotations of its classes are looked up
    spec.loader.exec_module(module)
    checked = type("Checked", (contract,), {"make": lambda self, *arguments: getattr(module, name)(*arguments)})
    for law in checked.laws():
        with contextlib.suppress(unittest.SkipTest):  # what needs a GPU
            law.check()


def test_the_parts_of_the_guide_train_together(written: Path, tiny: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """With the guide's registry.toml lines, one run takes its encoder, fusion, policy and watcher."""
    lines = ("[plugins]", *(f'{name.removesuffix(".py")} = "{name}"' for name in FILES[:4]))
    Path("registry.toml").write_text("\n".join(lines))
    parts = ["--encoder", "convnet:width=8", "--fusion", "scored", "--dropout", "ramped:p=0.9", "--watch", "watcher"]
    assert _exit_code(["run", "--data", str(tiny), "--out", "run", "--set", "training.epochs=2", *parts]) == 0
    assert "epoch 2: loss" in capfd.readouterr().out
    scores = json.loads(Path("run/scores.json").read_text())
    assert all("watcher.confidence" in entry["extra"] for entry in scores["configurations"].values())


def test_the_test_of_the_guide_is_green(written: Path) -> None:
    """The contract test of the guide passes under pytest."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_convnet.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_reference_is_up_to_date() -> None:
    """docs/reference.md is what `make docs` writes."""
    command = [sys.executable, str(ROOT / "docs" / "reference.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == text_of("docs/reference.md"), "run `make docs`"
