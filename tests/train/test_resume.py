"""A run that is killed at any point and resumed ends as one that was never killed."""

import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import write_dataset
from killed_runs import EPOCHS, MULTI, killed_at, outcome
from torch import Tensor
from training import edit_csd, resume, small, start

from emotiwave_core.errors import DataError, ResourceError, SettingsError
from emotiwave_core.interfaces import Tensors
from emotiwave_core.layers.masking import keep
from emotiwave_core.runs.folder import alone_in
from emotiwave_core.runs.history import HISTORY, read_history
from emotiwave_core.runs.scores import SCORES
from emotiwave_core.train import checkpoint
from emotiwave_core.train.checkpoint import LAST
from emotiwave_dropout.uniform import Uniform


@pytest.fixture(autouse=True)
def _no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emotiwave_core.report.page.write_report", lambda run: None)


@pytest.fixture(scope="module")
def whole(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The outcome of a run that was never killed."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emotiwave_core.report.page.write_report", lambda run: None)
        start(MULTI, tiny, folder / "run")
    found = outcome(folder / "run")
    assert [epoch.epoch for epoch in found["history"]] == list(range(1, EPOCHS + 1))
    assert not found["leftovers"]
    return found


POINTS = {
    "before the data is read": ("emotiwave_core.train.run.open_corpus", 1, False),
    "in the first epoch": ("emotiwave_dropout.uniform.Uniform.forward", 2, False),
    "in the middle of an epoch": ("emotiwave_dropout.uniform.Uniform.forward", 5, False),
    "in a step": ("torch.optim.AdamW.step", 6, False),
    "in validation": ("emotiwave_core.train.validate.tune_thresholds", 2, False),
    "before the first model": ("emotiwave_core.train.checkpoint.save_model", 1, False),
    "between weights and description": ("emotiwave_core.runs.saved_model.write_model_file", 2, False),
    "between model and history": ("emotiwave_core.train.checkpoint.append_history", 2, False),
    "between history and last": ("emotiwave_core.train.checkpoint.save_checkpoint", 2, False),
    "after an epoch": ("emotiwave_core.train.checkpoint.save_checkpoint", 2, True),
    "after the last epoch": ("emotiwave_core.train.checkpoint.save_checkpoint", EPOCHS, True),
    "while scoring": ("emotiwave_core.evaluate.evaluation.score_all", 1, False),
    "before the predictions": ("emotiwave_core.evaluate.evaluation.write_predictions", 1, False),
    "after the predictions": ("emotiwave_core.evaluate.evaluation.write_predictions", 1, True),
    **{f"at write {number}": ("os.fsync", number, False) for number in (8, 13, 19)},
}


QUICK = {"in validation", "between model and history", "after an epoch", "before the predictions", "at write 13"}


@pytest.mark.short_rows(2)
@pytest.mark.parametrize(
    "point", [point if point in QUICK else pytest.param(point, marks=pytest.mark.slow) for point in POINTS]
)
def test_a_killed_run_ends_as_one_that_was_not(tiny: Path, tmp_path: Path, whole: dict[str, Any], point: str) -> None:
    """Weights, optimiser, description, scores, predictions and history are the same to the last bit."""
    run = tmp_path / "run"
    with killed_at(*POINTS[point]):
        start(MULTI, tiny, run)
    torch.rand(3)  # what was drawn since does not matter
    scores = resume(run)
    assert outcome(run) == whole
    assert json.loads((run / SCORES).read_text()) == scores.to_dict()


@pytest.mark.full
def test_a_run_killed_many_times_ends_as_one_that_was_not(tiny: Path, tmp_path: Path, whole: dict[str, Any]) -> None:
    """Also when the resumed run is killed, and resumed, and killed."""
    run = tmp_path / "run"
    with killed_at("emotiwave_core.train.checkpoint.append_history", 1, after=True):
        start(MULTI, tiny, run)
    for name, call in (
        ("emotiwave_core.train.checkpoint.save_checkpoint", 2),
        ("emotiwave_core.train.loop.validate", 1),
    ):
        with killed_at(name, call):
            resume(run)
    resume(run)
    assert outcome(run) == whole


def test_a_run_that_has_ended_can_be_resumed(tiny: Path, tmp_path: Path, whole: dict[str, Any]) -> None:
    """It is scored again and nothing else; what a kill left behind is taken away."""
    start(MULTI, tiny, tmp_path / "run")
    (tmp_path / "run" / ".last.safetensors.x1y2z3_4.part").write_bytes(b"torn")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", None)
        resume(tmp_path / "run")
    assert outcome(tmp_path / "run") == whole


@pytest.mark.full
def test_early_stopping_survives_a_kill(tiny: Path, tmp_path: Path) -> None:
    """A run that was killed as it was about to stop early stops early when it is resumed."""
    recipe = small(training={"epochs": 40, "patience": 1, "learning_rate": 1e-6})
    start(recipe, tiny, tmp_path / "whole")
    epochs = len(read_history(tmp_path / "whole"))
    assert epochs < 40
    with killed_at("emotiwave_core.train.checkpoint.save_checkpoint", epochs, after=True):
        start(recipe, tiny, tmp_path / "killed")
    resume(tmp_path / "killed")
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")


@pytest.mark.full
def test_a_part_may_draw_from_any_generator(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy that draws from Python, numpy and torch draws the same after a kill."""

    def forward(policy: Uniform, masks: Tensors, progress: Tensor) -> Tensors:
        kept = torch.tensor([random.random() < 0.5, np.random.rand() < 0.5, float(torch.rand(())) < 0.5])  # noqa: NPY002
        return keep(masks, kept)

    monkeypatch.setattr(Uniform, "forward", forward)
    start(MULTI, tiny, tmp_path / "whole")
    with killed_at("emotiwave_core.train.checkpoint.save_checkpoint", 1, after=True):
        start(MULTI, tiny, tmp_path / "killed")
    resume(tmp_path / "killed")
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")


@pytest.mark.full
def test_a_torn_line_of_history_is_trained_again(tiny: Path, tmp_path: Path, whole: dict[str, Any]) -> None:
    """A history cut in the middle of a line is as if that line were not there."""
    run = tmp_path / "run"
    with killed_at("emotiwave_core.train.checkpoint.save_checkpoint", 2):
        start(MULTI, tiny, run)
    (run / HISTORY).write_bytes((run / HISTORY).read_bytes()[:-20])
    resume(run)
    assert outcome(run) == whole


@pytest.mark.full
def test_a_full_disk_loses_no_epoch(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: dict[str, Any]
) -> None:
    """A disk that is full when the history grows is one sentence, no line is torn, and the run goes on from there."""
    run, fsync = tmp_path / "run", os.fsync

    def full(handle: int) -> None:
        if (run / HISTORY).exists() and (run / HISTORY).read_bytes().count(b"\n") == 2:
            raise OSError(28, "No space left on device")
        fsync(handle)

    with monkeypatch.context() as patch:
        patch.setattr("emotiwave_core.runs.history.os.fsync", full)
        with pytest.raises(ResourceError, match="No space left"):
            start(MULTI, tiny, run)
    assert (run / HISTORY).read_bytes().count(b"\n") == 1
    assert (run / HISTORY).read_bytes().endswith(b"}\n")
    resume(run)
    assert outcome(run) == whole


def test_data_that_changed_is_refused(tmp_path: Path) -> None:
    """A run does not go on with other data than it was started with."""
    (tmp_path / "data").mkdir()
    write_dataset(tmp_path / "data")
    with killed_at("emotiwave_core.train.checkpoint.save_checkpoint", 1, after=True):
        start(MULTI, tmp_path / "data", tmp_path / "run")
    edit_csd(tmp_path / "data" / "text.csd", lambda _, features: features + 1)
    with pytest.raises(DataError, match="have changed"):
        resume(tmp_path / "run")


def test_a_damaged_last_is_one_sentence(tiny: Path, tmp_path: Path) -> None:
    """A last epoch that cannot be read is named with its file."""
    with killed_at("emotiwave_core.train.checkpoint.save_checkpoint", 1, after=True):
        start(MULTI, tiny, tmp_path / "run")
    whole = (tmp_path / "run" / LAST).read_bytes()
    for damaged in (whole[:-7], whole[: len(whole) // 2], b"", whole.replace(b'"state"', b'"STATE"')):
        (tmp_path / "run" / LAST).write_bytes(damaged)
        with pytest.raises(DataError, match=LAST):
            resume(tmp_path / "run")


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    """Nothing is resumed where nothing was started."""
    with pytest.raises(SettingsError, match="no run to resume"):
        resume(tmp_path)


def test_a_run_is_not_started_over(tiny: Path, tmp_path: Path) -> None:
    """A folder that holds a run, or in which one is at work, is refused and left as it is."""
    with killed_at("emotiwave_core.train.checkpoint.save_checkpoint", 1, after=True):
        start(MULTI, tiny, tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(SettingsError, match="holds a run already"):
        start(MULTI, tiny, tmp_path / "run")
    with alone_in(tmp_path / "run"), pytest.raises(SettingsError, match="at work"):
        resume(tmp_path / "run")
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


@pytest.mark.full
def test_a_recipe_that_was_edited_is_refused_and_a_later_setting_is_its_default(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first key that differs is named; a key that the version of the checkpoint did not have is no difference."""
    with killed_at("emotiwave_core.train.validate.tune_thresholds", 2):
        start(MULTI, tiny, tmp_path / "run")
    run = tmp_path / "run"
    recipe = (run / "recipe.toml").read_text()
    (run / "recipe.toml").write_text(recipe.replace("smoothing = 0.0", "smoothing = 0.2"))
    with pytest.raises(SettingsError, match=r"objective\.smoothing was 0\.0 and is 0\.2"):
        resume(run)
    (run / "recipe.toml").write_text(recipe)
    inner = checkpoint.load_checkpoint

    def of_an_earlier_version(*given: Any) -> dict[str, Any] | None:
        state = inner(*given)
        assert state is not None
        del state["recipe"]["objective.smoothing"]
        return state

    monkeypatch.setattr(checkpoint, "load_checkpoint", of_an_earlier_version)
    resume(run)
    assert (run / SCORES).exists()
