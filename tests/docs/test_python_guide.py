"""docs/python.md: its blocks run as they stand, one after the other, as a script."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from documents import text_of

import emotiwave as ew

GUIDE = text_of("docs/python.md")
BLOCKS = re.findall(r"^```python\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


@pytest.mark.full
@pytest.mark.usefixtures("warm_children")
@pytest.mark.parametrize("pictures", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_guide_runs_as_a_script(tiny: Path, tmp_path: Path, pictures: bool) -> None:
    """All blocks are one script without a `__main__` guard; what it prints is there, and nothing is on stderr."""
    shutil.copytree(tiny, tmp_path / "ravdess")
    ew.train(tiny, encoder="mean", out=tmp_path / "runs" / "y", training={"epochs": 1}, device="cpu")
    script = tmp_path / "guide.py"
    first = "" if pictures else "import emotiwave_core.report.page as page\npage.write_pictures = lambda run: []\n"
    script.write_text(first + "\n".join(BLOCKS).replace('"ID"', '"v18[1]"'), encoding="utf-8")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "There is no encoder 'bilstn'. Did you mean 'bilstm'?" in done.stdout
    assert "encoder MyEncoder: no law is broken" in done.stdout
    assert "('text', 'audio')\n" in done.stdout
    assert (tmp_path / "runs" / "x" / "report.html").exists()


def test_the_guide_shows_all_of_the_face() -> None:
    """Every function and every method of a run is used or named in the guide."""
    names = [f"ew.{name}" for name in ew.__all__ if name[0].islower()]
    names += [f"run.{name}" for name, method in vars(ew.Run).items() if name[0] != "_" and callable(method)]
    missing = [name for name in names if name not in GUIDE]
    assert missing == ["run.resume"]  # it is ew.resume
    errors = [name for name in ew.__all__ if name.endswith("Error")]
    assert len(errors) == 6
    assert all(name in GUIDE for name in errors)
