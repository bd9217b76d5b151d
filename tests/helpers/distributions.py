"""Pretended installed distributions, each with one entry point."""

import sys
from pathlib import Path

import pytest

ENCODER = """
from torch import Tensor
from emotiwave_core import Encoded, Encoder, hookimpl

class Mine(Encoder):
    \"\"\"The mean of the steps.\"\"\"
    def __init__(self, in_features: int, *, width: int = 3, rate: float = 0.5) -> None:
        super().__init__()
        if width > 100:
            raise RuntimeError("too wide")
        self.out_features = in_features
    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        return Encoded(x, x.mean(1), mask)

@hookimpl
def register_encoders(register):
    register("mine", Mine)
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path, to install pretended distributions into, and an empty working folder."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return folder


def install(site: Path, distribution: str, entry: str, module: str, code: str) -> None:
    """What pip leaves of a distribution with one entry point."""
    about = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
    about.mkdir(exist_ok=True)  # a second time: new code in its place
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[emotiwave]\n{entry} = {module}\n")
    (site / f"{module}.py").write_text(code)
    sys.modules.pop(module, None)
