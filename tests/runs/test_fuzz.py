"""The fuzzer of tests/helpers/fuzz.py finds nothing in a short while."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz_targets import TARGETS

pytest.importorskip("atheris", reason="atheris has wheels for CPython 3.11 to 3.13 on Linux x86_64 alone: .[stress]")

FUZZ = Path(__file__).parents[1] / "helpers" / "fuzz.py"
SECONDS = 20


@pytest.mark.stress
@pytest.mark.skipif(platform.system() != "Linux", reason="the limits of the fuzzer are those of Linux")
@pytest.mark.parametrize("target", TARGETS)
def test_a_short_fuzz_finds_nothing(tmp_path: Path, target: str) -> None:
    """From whole documents, whatever bytes are led along new ways through a reader, each is read or refused."""
    if target == "media":
        pytest.importorskip("av")
    command = [sys.executable, str(FUZZ), target, "--seconds", str(SECONDS)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "stat::number_of_executed_units:" in done.stderr
    assert not list(tmp_path.iterdir())
