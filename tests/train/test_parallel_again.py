"""What torchrun's environment changes for one process: a run is taken up again, and its folder must be named."""

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from killed_runs import killed_at, outcome
from training import CPU, REGISTRY, small

from emotiwave_core.cli import emotiwave
from emotiwave_core.compute import distributed as parallel
from emotiwave_core.compute import torchrun as launcher
from emotiwave_core.compute.runtime import Runtime
from emotiwave_core.compute.torchrun import advice
from emotiwave_core.errors import SettingsError
from emotiwave_core.runs.folder import RECIPE
from emotiwave_core.runs.history import read_history
from emotiwave_core.runs.scores import Scores
from emotiwave_core.train import run


@pytest.fixture(autouse=True)
def _no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    for costly in ("emotiwave_core.report.page.write_report", "emotiwave_core.evaluate.evaluation.write_explanations"):
        monkeypatch.setattr(costly, lambda *_: None)


def start_again(tiny: Path, out: Path, **tables: Any) -> Scores:
    """What torchrun does, and does again after it has lost a process."""
    return run.start(small(**tables), tiny, out, REGISTRY, Runtime(CPU), job="one")


@pytest.mark.short_rows(1)
@pytest.mark.parametrize(
    "point",
    [
        ("emotiwave_core.runs.folder.write_text", 2, False),
        ("emotiwave_core.train.checkpoint.save_checkpoint", 2, True),
        ("emotiwave_core.evaluate.evaluation.write_predictions", 1, False),
    ],
    ids=["before the recipe", "after an epoch", "while scoring"],
)
def test_the_same_command_takes_a_run_up_again(tiny: Path, tmp_path: Path, point: tuple[str, int, bool]) -> None:
    """Wherever it was killed it ends as one that was not; a first start goes through as well."""
    start_again(tiny, tmp_path / "whole")
    with killed_at(*point):
        start_again(tiny, tmp_path / "killed")
    (tmp_path / "killed" / ".recipe.toml.x1y2z3_4.part").write_text("torn")
    start_again(tiny, tmp_path / "killed")
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")


def test_another_run_is_not_taken_up(tiny: Path, tmp_path: Path) -> None:
    """A run of another recipe, other data or another job, and other files, are refused and left as they are."""
    with killed_at("emotiwave_core.train.checkpoint.save_checkpoint", 1, after=True):
        start_again(tiny, tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(SettingsError, match="holds a run already"):
        start_again(tiny, tmp_path / "run", seed=1)
    (tmp_path / "copy").mkdir()
    for path in tiny.iterdir():
        (tmp_path / "copy" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(SettingsError, match="holds a run already"):
        start_again(tmp_path / "copy", tmp_path / "run")
    for job in (None, "another"):
        with pytest.raises(SettingsError, match="holds a run already"):
            run.start(small(), tiny, tmp_path / "run", REGISTRY, Runtime(CPU), job=job)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(SettingsError, match="not empty"):
        start_again(tiny, tmp_path / "mine")


@pytest.fixture
def torchrun(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment of the only process of a torchrun."""
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        port = str(taken.getsockname()[1])
    meeting = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    for name, value in (meeting | {"TORCHELASTIC_RUN_ID": "first"}).items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_one_process_of_torchrun(tiny: Path, tmp_path: Path, torchrun: pytest.MonkeyPatch) -> None:
    """It must name its folder, for a restart must find it; the restart takes the run up, and a new start does not."""
    command = ["run", "--data", str(tiny), "--device", "cpu", "--set", "encoder.hidden_size=4", "--deterministic"]
    command += ["--set", "training.epochs=1", "--json"]
    refused = CliRunner().invoke(emotiwave, command)
    assert refused.exit_code == 2
    assert "give the run's folder by --out" in refused.output
    command += ["--out", str(tmp_path / "run")]
    assert CliRunner().invoke(emotiwave, command).exit_code == 0
    assert "deterministic = true" in (tmp_path / "run" / RECIPE).read_text()
    torchrun.setenv("TORCHELASTIC_RUN_ID", "second")
    assert isinstance(CliRunner().invoke(emotiwave, command).exception, SettingsError)
    torchrun.setenv("TORCHELASTIC_RUN_ID", "first")
    again = CliRunner().invoke(emotiwave, command)
    assert json.loads(again.stdout)["samples"] == 12
    assert len(read_history(tmp_path / "run")) == 1


def test_who_wants_restarts_is_told_what_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence comes where restarts are asked for without the setting, and nowhere else."""
    monkeypatch.delenv("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", raising=False)
    assert advice() is None
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "0")
    assert advice() is None
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    assert "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1" in str(advice())
    monkeypatch.setenv("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    assert advice() is None


def test_of_several_processes_one_says_why_they_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who knows of a failure first says it, and the others leave silently; of Ctrl-C only rank 0 speaks."""
    hushed: list[str] = []
    monkeypatch.setattr(launcher, "GRACE", 0.0)
    monkeypatch.setattr(launcher, "_hush", lambda: hushed.append(os.environ["RANK"]))
    monkeypatch.setattr(parallel, "join", lambda *_: parallel.ProcessGroup(int(os.environ["RANK"]), 2))

    def fail(rank: int, error: BaseException) -> BaseException:
        for name, value in {
            "RANK": str(rank),
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "localhost",
            "MASTER_PORT": "1",
        }.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(BaseException) as caught, launcher.joined("cpu"):
            raise error
        return caught.value

    def failures(*some: tuple[int, BaseException]) -> list[BaseException]:
        store = torch.distributed.HashStore()
        monkeypatch.setattr(parallel, "meet", lambda: store)
        hushed.clear()
        return [fail(rank, error) for rank, error in some]

    wrong, gone = (
        SettingsError("It is wrong."),
        RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer"),
    )
    assert failures((0, wrong), (1, wrong)) == [wrong, wrong]
    assert hushed == ["1"]
    knows, lost = failures((1, wrong), (0, gone))
    assert knows is wrong
    assert isinstance(lost, parallel.LostError)
    assert hushed == ["0"]
    assert "torchrun says which" in str(failures((0, gone))[0])
    assert not hushed
    failures((0, KeyboardInterrupt()), (1, KeyboardInterrupt()))
    assert hushed == ["1"]
    monkeypatch.setattr(launcher.time, "sleep", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))  # while it waits
    assert "torchrun says which" in str(failures((1, gone))[0])
    assert not hushed
    assert failures((1, wrong)) == [wrong]
    assert hushed == ["1"]
    monkeypatch.setenv("RANK", "x")
    with pytest.raises(SettingsError, match="RANK is 'x'"), launcher.joined("cpu"):
        pass
