"""Laws of the refit: the second training is that of a run on both folds, and the first stays what it was."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from killed_runs import killed_at, outcome
from safetensors.torch import load_file
from training import evaluate, resume, small, start

import emotiwave as ew
from emotiwave_core.config.recipe import Recipe
from emotiwave_core.errors import DataError
from emotiwave_core.io.tensors import read_tensors
from emotiwave_core.runs.model_file import MODEL, ModelFile, read_model_file
from emotiwave_core.runs.saved_model import WEIGHTS
from emotiwave_core.train.checkpoint import LAST
from emotiwave_core.train.refit import REFIT, refit
from emotiwave_core.train.step import LossWatch

EPOCHS = 3


def recipe(refit: bool, **tables: Any) -> Recipe:
    """With all that has a state of its own: averaged weights, a schedule, and a policy that learns."""
    training = {"epochs": EPOCHS, "ema": 0.9, "schedule": "one-cycle", "refit": refit}
    tables.setdefault("dropout", {"name": "mixed", "policies": ["uniform", "adversarial"]})
    return small(**tables, training=training)


@pytest.fixture(scope="module")
def refitted(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was refitted."""
    run = tmp_path_factory.mktemp("refitted") / "run"
    start(recipe(refit=True), tiny, run)
    return run


@pytest.fixture(scope="module")
def plain(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run without the refit."""
    run = tmp_path_factory.mktemp("plain") / "run"
    start(recipe(refit=False), tiny, run)
    return run


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_a_refit_is_the_training_of_a_run_on_both_folds(kind: str, tiny: Path, tmp_path: Path) -> None:
    """Its weights are to the bit those that a run has after as many epochs whose training fold is both folds."""
    settings = {"objective": {"kind": kind}}
    start(recipe(refit=True, **settings), tiny, tmp_path / "run")
    model = read_model_file(tmp_path / "run")

    both = shutil.copytree(tiny, tmp_path / "both")
    folds = json.loads((both / "folds.json").read_text())
    moved = {"train": [*folds["train"], *folds["valid"]], "valid": folds["test"][:2], "test": folds["test"][2:]}
    (both / "folds.json").write_text(json.dumps(moved))
    with killed_at("emotiwave_core.train.checkpoint.save_checkpoint", model.best.epoch, after=True):
        start(recipe(refit=False, **settings), both, tmp_path / "of-both")

    kept, other = load_file(tmp_path / "run" / WEIGHTS), load_file(tmp_path / "of-both" / LAST)
    average = "average.module."
    assert {name: tensor.tolist() for name, tensor in kept.items()} == {
        name.removeprefix(average): tensor.tolist() for name, tensor in other.items() if name.startswith(average)
    }


def test_what_validation_chose_stays(refitted: Path, plain: Path) -> None:
    """Epochs, best epoch and calibration are those of the run without a refit; weights and scores are others."""
    after, before = outcome(refitted), outcome(plain)
    assert after["history"] == before["history"]
    of_refit, of_plain = read_model_file(refitted), read_model_file(plain)
    assert (of_refit.best, of_refit.calibration) == (of_plain.best, of_plain.calibration)
    assert of_plain.refit is None
    assert "refit" not in json.loads((plain / MODEL).read_text())
    assert after[WEIGHTS] != before[WEIGHTS]


def test_thresholds_are_those_of_the_first_training(tiny: Path, tmp_path: Path) -> None:
    """A run of several labels keeps the thresholds that the validation fold gave before it was trained on."""
    models: list[ModelFile] = []
    for name in ("once", "again"):
        start(recipe(refit=name == "again", objective={"kind": "multi"}), tiny, tmp_path / name)
        models.append(read_model_file(tmp_path / name))
    assert models[0].thresholds == models[1].thresholds is not None


POINTS = {
    "after the last epoch of the first": ("emotiwave_core.train.checkpoint.save_checkpoint", EPOCHS, True),
    "before the first step of the refit": ("emotiwave_core.train.refit.plan_epoch", 1, True),
    "after an epoch of the refit": ("emotiwave_core.train.checkpoint.save_checkpoint", EPOCHS + 1, True),
    "before it is kept": ("emotiwave_core.train.refit.save_model", 1, False),
    "between weights and description": ("emotiwave_core.train.refit.save_model", 1, True),
    "while the alarms are fitted": ("emotiwave_core.train.run.fit_alarm", 1, False),
}


@pytest.mark.short_rows(2)
@pytest.mark.parametrize("point", POINTS)
def test_a_refit_that_is_killed_ends_as_one_that_was_not(
    point: str, tiny: Path, refitted: Path, tmp_path: Path
) -> None:
    """Killed before, in or after the refit and resumed, all bytes of the run are the same."""
    with killed_at(*POINTS[point]):
        start(recipe(refit=True), tiny, tmp_path / "run")
    resume(tmp_path / "run")
    assert outcome(tmp_path / "run") == outcome(refitted)
    assert (tmp_path / "run" / REFIT).read_bytes() == (refitted / REFIT).read_bytes()


def test_a_refit_that_is_stopped_within_an_epoch_goes_on_from_that_step(
    tiny: Path, refitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the second step of the refit keeps it, and the run ends with the same bytes."""
    run, steps, inner = tmp_path / "run", 0, LossWatch.step

    def stopping(*given: Any) -> None:
        nonlocal steps
        steps += (tmp_path / "begun").exists()
        if steps == 2:
            signal.raise_signal(signal.SIGINT)
        inner(*given)

    monkeypatch.setattr(LossWatch, "step", stopping)
    monkeypatch.setattr("emotiwave_core.train.run.refit", lambda *given: ((tmp_path / "begun").touch(), refit(*given)))
    with pytest.raises(KeyboardInterrupt):
        start(recipe(refit=True), tiny, run)
    state = json.loads(read_tensors(run / REFIT)[1]["state"])
    assert (state["epoch"], state["middle"]["step"]) == (0, 2)
    resume(run)
    assert outcome(run) == outcome(refitted)
    assert (run / REFIT).read_bytes() == (refitted / REFIT).read_bytes()


def test_a_killed_refit_leaves_the_model_of_the_best_epoch(tiny: Path, plain: Path, tmp_path: Path) -> None:
    """Until the refit is done the run's model is that of the best epoch."""
    with killed_at("emotiwave_core.train.refit.save_model", 1):
        start(recipe(refit=True), tiny, tmp_path / "run")
    assert read_model_file(tmp_path / "run").refit is None
    assert (tmp_path / "run" / WEIGHTS).read_bytes() == (plain / WEIGHTS).read_bytes()


def test_scores_of_the_validation_fold_are_of_samples_that_were_trained_on(refitted: Path, plain: Path) -> None:
    """Scoring the validation fold of a refitted run says how many of its samples the weights have seen."""
    notes = {run: evaluate(run, fold="valid").notes for run in (refitted, plain)}
    assert any("are those that" in note and "was trained on" in note for note in notes[refitted])
    assert not any("was trained on" in note for note in notes[plain])


def test_card_and_page_tell_of_the_refit(refitted: Path, plain: Path) -> None:
    """Model card and report say on how many samples the weights were trained; without a refit neither does."""
    samples = read_model_file(refitted).refit
    assert f"on the {samples} samples of the training and validation folds" in (refitted / "model-card.md").read_text()
    assert f"on the {samples} samples of the training and validation folds" in (refitted / "report.html").read_text()
    assert "training.refit" not in (plain / "model-card.md").read_text()
    assert "samples of the training and validation folds" not in (plain / "report.html").read_text()


@pytest.mark.parametrize("wrong", [0, -3, "many"])
def test_a_number_of_samples_that_cannot_be_is_refused(wrong: object, refitted: Path, tmp_path: Path) -> None:
    """A description that names no possible number of samples is refused by file and key."""
    run = shutil.copytree(refitted, tmp_path / "run")
    content = json.loads((run / MODEL).read_text()) | {"refit": wrong}
    (run / MODEL).write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"model\.json.*refit"):
        ew.open_run(run).predict(text=[[0.0] * 4])
