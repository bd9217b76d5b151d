"""The learning rate follows torch's schedules, step by step, also in a run that is resumed."""

from pathlib import Path

import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR
from training import small, start

from emotiwave_core.config.recipe import TrainingSettings
from emotiwave_core.runs.history import read_history
from emotiwave_core.train.optimise import learning_rate


@pytest.mark.parametrize("steps", [4, 5, 10, 37, 400])
def test_one_cycle_is_torch_s(steps: int) -> None:
    """Every step has the learning rate of torch.optim.lr_scheduler.OneCycleLR as it comes."""
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = OneCycleLR(optimiser, max_lr=0.02, total_steps=steps)
    settings = TrainingSettings(learning_rate=0.02, schedule="one-cycle")
    for step in range(steps):
        assert learning_rate(settings, step, steps) == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-9)
        optimiser.step()
        if step < steps - 1:
            schedule.step()


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_a_short_training_has_a_rate(steps: int) -> None:
    """However few steps there are, each has a learning rate above 0 and not above the recipe's."""
    settings = TrainingSettings(learning_rate=0.02, schedule="one-cycle")
    assert all(0 < learning_rate(settings, step, steps) <= 0.02 for step in range(steps))


@pytest.mark.full
def test_the_history_tells_the_rate(tiny: Path, tmp_path: Path) -> None:
    """The line of an epoch has the learning rate of its last step; without a schedule it is the recipe's."""
    start(small(training={"epochs": 2, "schedule": "one-cycle"}), tiny, tmp_path / "cycle")
    start(small(training={"epochs": 2}), tiny, tmp_path / "constant")
    settings = small(training={"epochs": 2, "schedule": "one-cycle"}).training
    rates = [line.learning_rate for line in read_history(tmp_path / "cycle")]
    assert rates == [learning_rate(settings, step, 6) for step in (2, 5)]
    assert [line.learning_rate for line in read_history(tmp_path / "constant")] == [0.01, 0.01]
