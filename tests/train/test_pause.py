"""Ctrl-C and SIGTERM: the step is finished and kept, and the run goes on from there as if it had never been stopped."""

import gc
import json
import os
import random
import signal
import threading
import time
import weakref
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest
import torch
from forked import emotiwave, forked
from killed_runs import EPOCHS, MULTI, killed_at, outcome
from torch import Tensor
from training import resume, start

from emotiwave_core.interfaces import Tensors
from emotiwave_core.io.tensors import read_tensors
from emotiwave_core.layers.masking import keep
from emotiwave_core.runs.history import read_history
from emotiwave_core.train import pause
from emotiwave_core.train.checkpoint import LAST
from emotiwave_core.train.pause import Pause
from emotiwave_core.train.step import LossWatch
from emotiwave_dropout.uniform import Uniform

STEPS = 3  # of an epoch: 24 samples, 8 at a time
SMALL = ["training.epochs=3", "training.batch_size=8", "encoder.hidden_size=4", "model.head=8"]


@pytest.fixture(autouse=True)
def _draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """No report; and a policy that draws from Python, numpy and torch, as a plugin may."""
    monkeypatch.setattr("emotiwave_core.report.page.write_report", lambda run: None)

    def forward(policy: Uniform, masks: Tensors, progress: Tensor) -> Tensors:
        kept = torch.tensor([random.random() < 0.7, np.random.rand() < 0.7, float(torch.randn(())) < 0.5])  # noqa: NPY002
        return keep(masks, kept)

    monkeypatch.setattr(Uniform, "forward", forward)


@pytest.fixture(scope="module")
def whole(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The outcome of a run that was never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        _draws.__wrapped__(patch)  # type: ignore[attr-defined]
        start(MULTI, tiny, folder / "run")
    return outcome(folder / "run")


def state_of(run: Path) -> dict[str, Any]:
    """What `last.safetensors` says of how far the training has come."""
    return dict(json.loads(read_tensors(run / LAST)[1]["state"]))


def stopped_in_step(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Ctrl-C come in the middle of a step, counted from 1 over the whole training."""
    seen, inner = [0], LossWatch.step

    def step(watch: LossWatch, *arguments: Any) -> None:
        seen[0] += 1
        if seen[0] == number:
            signal.raise_signal(signal.SIGINT)
        inner(watch, *arguments)

    monkeypatch.setattr(LossWatch, "step", step)


@pytest.mark.short_rows(1)
@pytest.mark.parametrize("number", [1, 5, 9])
def test_a_stopped_run_ends_as_one_that_was_not(tiny: Path, tmp_path: Path, whole: dict[str, Any], number: int) -> None:
    """Ctrl-C in any step finishes that step and keeps it; the resumed run has the same bits, drawn numbers included."""
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        stopped_in_step(number, patch)
        with pytest.raises(KeyboardInterrupt):
            start(MULTI, tiny, run)
    state = state_of(run)
    assert (state["epoch"] * STEPS + state["middle"]["step"]) == number
    torch.rand(3), np.random.rand(), random.random()  # noqa: NPY002 (what was drawn since does not matter)
    resume(run)
    assert outcome(run) == whole


@pytest.mark.stress
def test_a_run_stopped_in_every_step_ends_as_one_that_was_not(
    tiny: Path, tmp_path: Path, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step at a time is the same training."""
    run, stops = tmp_path / "run", 0
    stopped_in_step(0, monkeypatch)
    inner = LossWatch.step
    monkeypatch.setattr(LossWatch, "step", lambda *given: (signal.raise_signal(signal.SIGINT), inner(*given)))
    for work in (partial(start, MULTI, tiny, run), *[partial(resume, run)] * (EPOCHS * STEPS)):
        try:
            work()
        except KeyboardInterrupt:
            stops += 1
    assert stops == EPOCHS * STEPS
    assert outcome(run) == whole


@pytest.mark.full
def test_a_kill_costs_no_more_than_the_steps_of_ten_minutes(
    tiny: Path, tmp_path: Path, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where an epoch takes long, its steps are kept as it goes on: a killed run takes them up."""
    assert pause.EVERY <= 600
    monkeypatch.setattr(pause, "EVERY", 0.0)
    run = tmp_path / "run"
    with killed_at("emotiwave_core.train.step.training_loss", STEPS + 2):
        start(MULTI, tiny, run)
    assert (state_of(run)["epoch"], state_of(run)["middle"]["step"]) == (1, 1)
    resume(run)
    assert outcome(run) == whole


def test_a_step_that_is_not_finite_is_not_kept(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop during a step whose loss is NaN leaves what was kept before it."""
    with killed_at("emotiwave_core.train.checkpoint.save_checkpoint", 1, after=True):
        start(MULTI, tiny, tmp_path / "run")
    before = (tmp_path / "run" / LAST).read_bytes()
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: signal.raise_signal(2) or torch.tensor(torch.nan))
    with pytest.raises(Exception, match="the loss is"):
        resume(tmp_path / "run")
    assert (tmp_path / "run" / LAST).read_bytes() == before


def test_a_second_signal_comes_through_at_once() -> None:
    """The first is noted, the second raises where the program stands; afterwards all handlers are what they were."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    noted = []
    with pytest.raises(KeyboardInterrupt), Pause(lambda step, loss: None) as paused:  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        noted.append(paused.due())
        signal.raise_signal(signal.SIGINT)
        noted.append("not reached")
    assert noted == [True]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_that_a_signal_was_heard_is_told_by_another_thread() -> None:
    """Where the signal comes nothing is written: it may have interrupted a write, and a terminal may be stopped."""
    told: SimpleQueue[tuple[str, bool]] = SimpleQueue()

    def say(text: str) -> None:
        told.put((text, threading.current_thread() is threading.main_thread()))

    with pytest.raises(KeyboardInterrupt), Pause(lambda step, loss: None, say=say) as paused:  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        assert told.get(timeout=60) == (pause.PATIENCE, False)
        paused.deliver()


def test_an_ignored_signal_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under nohup, or beside the main thread, nothing is taken over."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Pause(lambda step, loss: None) as paused:
            signal.raise_signal(signal.SIGINT)
            assert not paused.due()
    finally:
        signal.signal(signal.SIGINT, before)

    def elsewhere() -> None:
        with Pause(lambda step, loss: None):
            pass

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGINT) is before


def send(number: int, run: Path, pid: int) -> None:
    """The signal, once the run has an epoch."""
    end = time.monotonic() + 600
    while not (run / LAST).exists() and time.monotonic() < end:
        time.sleep(0.005)
    os.kill(pid, number)


@pytest.mark.short_rows(1)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_command_says_how_to_go_on(tiny: Path, tmp_path: Path, number: int, code: int) -> None:
    """It leaves with 130, 143 or 129 and the command that continues; a script reads none as success."""
    run, cache = tmp_path / "a run", {"EMOTIWAVE_CACHE": str(tmp_path / "cache")}
    command = ["run", "--data", tiny, "--device", "cpu", "--out", run, *(f"--set={one}" for one in SMALL)]
    long = partial(emotiwave, *command, "--set=training.epochs=25", "--set=training.patience=25")
    ended = forked(long, folder=tmp_path, environment=cache, meanwhile=partial(send, number, run))
    assert ended.code == code, ended
    assert f"Continue with: emotiwave run --resume '{run}'" in ended.err
    assert "Traceback" not in ended.err
    assert "is kept after" in ended.err or "validation" in ended.err
    again = forked(partial(emotiwave, "run", "--resume", run), folder=tmp_path, environment=cache)
    assert (again.code, "Resuming after epoch" in again.err) == (0, True), again
    assert len(read_history(run)) == 25


def test_the_thread_that_speaks_holds_no_model() -> None:
    """No thread that may outlive the training keeps its tensors: torch aborts a process that ends meanwhile."""

    class Model:
        def keep(self, step: int, loss: float) -> None: ...

    model, paused = Model(), None
    gone = weakref.ref(model)
    paused = Pause(model.keep)
    paused.__enter__()  # and not left: the thread waits
    heard, speaker = paused._heard, next(thread for thread in threading.enumerate() if thread.name == "pause")
    paused._give_back()
    del model, paused
    gc.collect()
    try:
        assert speaker.is_alive()
        assert gone() is None
    finally:
        heard.put(False)
        speaker.join(60)
