"""Under torchrun a run outlives its processes: one that is killed at any moment is started again."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from killed_runs import outcome

from emotiwave_core.runs.history import HISTORY

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc to find processes")
SETTINGS = {"encoder.hidden_size": 4, "training.batch_size": 8, "training.learning_rate": 0.01, "training.patience": 99}


@contextlib.contextmanager
def torchrun(
    folder: Path, data: Path, *arguments: str, restarts: int = 0, epochs: int = 8
) -> Iterator["subprocess.Popen[bytes]"]:
    """Two processes that train together; what they say goes to `said` in the folder, their scores to `scores`."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", f"--max-restarts={restarts}"]
    settings = [f"--set={key}={value}" for key, value in (SETTINGS | {"training.epochs": epochs}).items()]
    command = ["-m", "emotiwave_core.cli", "run", "--data", str(data), "--json", "--device=cpu", *settings, *arguments]
    own = {"OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "EMOTIWAVE_CACHE": str(folder / "cache")}
    with (folder / "scores").open("wb") as scores, (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, *launcher, *command], cwd=folder, env=os.environ | own, stdout=scores, stderr=said
        )
    try:
        yield process
    finally:
        for pid in [*ranks_of(process).values(), process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def ranks_of(process: "subprocess.Popen[bytes]") -> dict[int, int]:
    """{rank: pid} of the processes that torchrun has started and that are at work."""
    found = {}
    with contextlib.suppress(OSError, ValueError):
        for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            for name, _, value in (variable.partition(b"=") for variable in variables):
                if name == b"RANK":
                    found[int(value)] = int(pid)
    return found


def wait_for(run: Path, epochs: int, process: "subprocess.Popen[bytes]") -> None:
    """Wait until the run has this many epochs."""
    end = time.monotonic() + 600
    while not (run / HISTORY).exists() or (run / HISTORY).read_bytes().count(b"\n") < epochs:
        assert process.poll() is None, "the run ended before its time"
        assert time.monotonic() < end, "the run does not come on"
        time.sleep(0.01)


@pytest.mark.slow
def test_a_killed_process_is_started_again(tiny: Path, tmp_path: Path) -> None:
    """SIGKILL of a rank costs what came after the last whole epoch; torchrun ends well, and one process speaks."""
    epochs = 40
    with torchrun(tmp_path, tiny, "--out", "run", restarts=1, epochs=epochs) as process:
        wait_for(tmp_path / "run", 3, process)
        os.kill(ranks_of(process)[1], signal.SIGKILL)
        assert process.wait(600) == 0
    said = (tmp_path / "said").read_text()
    assert said.count("Resuming after epoch") == 1
    assert said.count("Report: ") == 1
    assert "Traceback" not in said
    assert json.loads((tmp_path / "scores").read_text()) == json.loads((tmp_path / "run" / "scores.json").read_text())
    lines = [json.loads(line)["epoch"] for line in (tmp_path / "run" / HISTORY).read_text().splitlines()]
    assert lines == list(range(1, epochs + 1))


@pytest.mark.slow
@pytest.mark.timeout(21 * 900)  # of 21 runs, each with the limit below
def test_twenty_kills(tiny: Path, tmp_path: Path) -> None:
    """Twenty kills of a random rank at a random moment, twenty recoveries: all ends with the bits of a run without."""
    ends: list[dict[str, Any]] = []
    random.seed(0)
    for number in range(21):
        folder = tmp_path / str(number)
        folder.mkdir()
        with torchrun(folder, tiny, "--out", "run", restarts=3, epochs=30) as process:
            if number:
                wait_for(folder / "run", random.randint(1, 20), process)
                time.sleep(random.uniform(0.0, 0.3))
                began, rank = time.monotonic(), random.randint(0, 1)
                os.kill(ranks_of(process)[rank], signal.SIGKILL)
                wait_for(folder / "run", (folder / "run" / HISTORY).read_bytes().count(b"\n") + 1, process)
                took = time.monotonic() - began
            assert process.wait(900) == 0, (folder / "said").read_text()
        if number:
            said = (folder / "said").read_text().splitlines()
            after = next((line for line in said if line.startswith("Resuming")), "from the start")
            print(f"kill {number}: rank {rank}, {took:.1f} s to the next epoch. {after}")
        ends.append({key: value for key, value in outcome(folder / "run").items() if key != "leftovers"})
        assert ends[-1] == ends[0]
