"""Ray: two nodes on this machine, of which one dies; the runs are those of local processes to the byte."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emotiwave_core.errors import ResourceError, SettingsError
from emotiwave_core.execute.executor import Execution, opened
from emotiwave_core.monitor import SILENT

pytest.importorskip("ray", reason="the extra [ray] is not installed")
LARGE = "default,encoder=mean:width=4,training.epochs=100,training.patience=100,training.batch_size=8,model.head=8"
RECIPES = ["--recipe", f"concat={LARGE}", "--recipe", f"mean={LARGE},fusion=mean", "--seeds", "2"]
PROGRAM = [sys.executable, "-m", "emotiwave_core.cli", "compare"]
LONG = 900.0  # seconds; Ray takes long to start where the machine is busy
KEPT = ("model.safetensors", "last.safetensors", "scores.json", "predictions.csv", "recipe.toml")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A Ray cluster of two nodes with a processor each."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # else it depends on a file in the user's home
    monkeypatch.setenv("RAY_health_check_failure_threshold", "3")
    monkeypatch.setenv("RAY_health_check_period_ms", "1000")
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=small)
    cluster.add_node(**small)
    yield cluster
    cluster.shutdown()


def workers() -> dict[int, int]:
    """The processes of Ray that carry out jobs of ours, and the raylet of each: {process: parent}."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::work"):
                found[int(path.parent.name)] = int((path.parent / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    return found


def awaited(condition: Any) -> None:
    """Wait until it is true."""
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(3 * LONG)
def test_a_comparison_survives_the_loss_of_a_worker_and_of_a_node(cluster: Any, tiny: Path, tmp_path: Path) -> None:
    """All runs end, with the bytes of runs in local processes, though a worker is killed, and then a node."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ray = ["--executor", "ray", "--address", cluster.address, "--out", str(tmp_path / "ray")]
    first = subprocess.Popen(
        [*PROGRAM, str(tiny), *RECIPES, *ray],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    awaited(lambda: len(list((tmp_path / "ray").glob("runs/*/*/history.jsonl"))) >= 2)
    victim = next(iter(workers()))
    os.kill(victim, signal.SIGKILL)
    awaited(lambda: len(workers().keys() - {victim}) >= 2)
    time.sleep(5)
    cluster.remove_node(cluster.list_all_nodes()[1], allow_graceful=False)
    _, said = first.communicate(timeout=LONG)
    assert first.returncode == 0, said
    assert said.count("it is taken up again") >= 2, said
    local = [*PROGRAM, str(tiny), *RECIPES, "--out", str(tmp_path / "local")]
    subprocess.run(local, check=True, capture_output=True, env=environment, timeout=LONG)
    for run in (tmp_path / "local/runs").glob("*/*"):
        for name in KEPT:
            other = tmp_path / "ray" / run.relative_to(tmp_path / "local") / name
            assert (run / name).read_bytes() == other.read_bytes(), other
    assert (tmp_path / "local/comparison.json").read_bytes() == (tmp_path / "ray/comparison.json").read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(3 * LONG)
def test_a_search_is_the_one_of_local_processes(tiny: Path, tmp_path: Path) -> None:
    """On a cluster of its own the same trials are tried, pruned and chosen from, and none is begun anew."""
    pytest.importorskip("optuna", reason="the extra [tune] is not installed")
    words = [*PROGRAM[:-1], "tune", str(tiny), "--trials", "8", "--jobs", "2", "--set", "training.epochs=6"]
    words += ["--set", 'encoder={name="mean"}', "--space", "training.learning_rate=log(1e-4,1e-1)"]
    said = ""
    for executor in ("local", "ray"):
        program = [*words, "--executor", executor, "--out", str(tmp_path / executor)]
        said += subprocess.run(
            program, check=True, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=LONG
        ).stderr
    for name in ("trials.csv", "winner.toml"):
        assert (tmp_path / "local" / name).read_bytes() == (tmp_path / "ray" / name).read_bytes()
    assert "pruned" in said
    assert "taken up again" not in said


@pytest.mark.slow
@pytest.mark.timeout(LONG)
def test_a_cluster_of_this_machine_listens_on_loopback_alone(tiny: Path, tmp_path: Path) -> None:
    """Stopped, a comparison on a cluster of its own ends with 130; no port of it was open to others."""
    program = [*PROGRAM, str(tiny), *RECIPES, "--executor", "ray", "--out", str(tmp_path / "ray")]
    before = listening()
    first = subprocess.Popen(program, stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})
    awaited(lambda: list((tmp_path / "ray").glob("runs/*/*/history.jsonl")))
    opened_since = listening() - before
    first.send_signal(signal.SIGINT)
    assert first.wait(LONG) == 130
    assert opened_since
    assert {address.split(":")[0] for address in opened_since} <= {"0100007F", "0000000000000000FFFF00000100007F"}
    assert not list((tmp_path / "ray").glob(".ray-*"))


def listening() -> set[str]:
    """The addresses at which anything listens, as Linux writes them."""
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    return {words[1] for words in lines if words[3] == "0A"}


def test_a_wrong_address_is_one_sentence(tmp_path: Path) -> None:
    """What is no address, and an address at which nothing listens, are told at once."""
    for address, error, sentence in (
        ("here", SettingsError, "--address takes auto or HOST:PORT"),
        ("127.0.0.1:9", ResourceError, "Nothing listens at 127.0.0.1:9"),
    ):
        with (
            pytest.raises(error, match=sentence),
            opened(Execution("ray", address=address), tmp_path, [], 1, 1, SILENT),
        ):
            pass
