"""The loss of the validation fold."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from training import REGISTRY, small, start

from emotiwave_core.config.recipe import ObjectiveSettings
from emotiwave_core.objectives.settle import make_objective
from emotiwave_core.predict.trained import open_trained_run
from emotiwave_core.runs.history import read_history
from emotiwave_core.train.validate import validation_loss


def cross_entropy(logits: NDArray[np.float64], targets: list[int], weights: list[float]) -> float:
    """The weighted mean cross-entropy, as a loop."""
    total = weight = 0.0
    for row, target in zip(logits.tolist(), targets, strict=True):
        total += weights[target] * (math.log(sum(map(math.exp, row))) - row[target])
        weight += weights[target]
    return total / weight


def test_the_validation_loss_is_the_objective_s_on_the_complete_configuration(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each epoch's is the class-weighted cross-entropy of the kept model on all modalities, without further terms."""
    monkeypatch.setattr("emotiwave_core.report.page.write_report", lambda run: None)
    recipe = small(training={"epochs": 1}, objective={"distillation": 0.5, "unimodal": 0.5})
    start(recipe, tiny, tmp_path / "run")
    (line,) = read_history(tmp_path / "run")
    trained = open_trained_run(tmp_path / "run", REGISTRY, fold="valid")
    training = trained.corpus.fold("train", trained.objective).targets
    counts = torch.bincount(training, minlength=len(trained.objective.classes)).tolist()
    weights = [len(training) / (len(counts) * count) if count else 0.0 for count in counts]
    trained.model.calibration = None
    logits = trained.predict(torch.device("cpu")).logits[-1]
    assert line.valid.loss == pytest.approx(cross_entropy(logits, trained.fold.targets.tolist(), weights), abs=1e-5)


def test_a_validation_loss_that_is_no_number_is_none() -> None:
    """Where no sample has a class with a weight there is no loss, and none is made up."""
    objective = make_objective(ObjectiveSettings(), ("happy", "sad"))
    objective.fit(torch.tensor([0, 0]), ObjectiveSettings())
    assert validation_loss(objective, np.zeros((2, 2)), torch.tensor([1, 1])) is None
