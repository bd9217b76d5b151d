"""Laws of the signals that stop the program."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

TORCH = """
import os, signal, time
os.kill(os.getpid(), signal.{signal})
time.sleep(0.2)
{more}
WHOLE = True
"""
PROGRAM = """
import time
from emotiwave_core.cli import Terminated, stopped_by_signals
with stopped_by_signals():
    try:
        import torch
        time.sleep(60)
    except (KeyboardInterrupt, Terminated) as error:
        print(type(error).__name__, torch.WHOLE)
"""


def ended(folder: Path, name: str, more: str = "") -> subprocess.CompletedProcess[str]:
    """A process that gets a signal in the midst of the import of torch, or what has its name there."""
    (folder / "torch.py").write_text(TORCH.format(signal=name, more=more))
    return subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=folder, capture_output=True, text=True, timeout=600, check=False
    )


@pytest.mark.full
@pytest.mark.parametrize(("name", "error"), [("SIGINT", "KeyboardInterrupt"), ("SIGTERM", "Terminated")])
def test_a_signal_waits_for_the_end_of_the_import_of_torch(name: str, error: str, tmp_path: Path) -> None:
    """A signal in the midst of the import of torch is heard when the module is whole: its C++ would abort."""
    process = ended(tmp_path, name)
    assert (process.stdout.split(), process.returncode) == ([error, "True"], 0), process.stderr


@pytest.mark.full
def test_a_second_signal_in_that_import_ends_the_process(tmp_path: Path) -> None:
    """A second one in it ends the process at once, without a word."""
    process = ended(tmp_path, "SIGINT", more="os.kill(os.getpid(), signal.SIGINT)")
    assert (process.stdout, process.stderr, process.returncode) == ("", "", 128 + signal.SIGINT)
