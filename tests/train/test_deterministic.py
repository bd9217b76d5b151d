"""The deterministic mode: on for the time of a run, the same bits, one sentence where there is no such algorithm."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from training import CPU, REGISTRY, small

from emotiwave_core.compute.device import CUBLAS, cost_of_determinism, deterministic
from emotiwave_core.compute.runtime import Runtime
from emotiwave_core.errors import SettingsError
from emotiwave_core.evaluate import evaluation
from emotiwave_core.monitor import Monitor
from emotiwave_core.runs.saved_model import WEIGHTS
from emotiwave_core.train import run
from emotiwave_dropout.uniform import Uniform


class Heard(Monitor):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        """Keep a line."""
        self.lines.append(text)


def state() -> tuple[Any, ...]:
    """All that the mode sets."""
    modes = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    return *modes, torch.backends.cudnn.benchmark, os.environ.get(CUBLAS)


@pytest.mark.parametrize("workspace", [None, ":16:8"])
def test_it_is_over_when_it_is_over(monkeypatch: pytest.MonkeyPatch, workspace: str | None) -> None:
    """What was set before is set after, also after an error, and a choice of the user's for cuBLAS stays."""
    monkeypatch.delenv(CUBLAS, raising=False)
    if workspace is not None:
        monkeypatch.setenv(CUBLAS, workspace)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    before = state()
    with pytest.raises(ZeroDivisionError), deterministic(True):  # noqa: PT012
        assert state() == (True, False, False, workspace or ":4096:8")
        raise ZeroDivisionError
    assert state() == before
    with deterministic(False):
        assert state() == before


def test_an_operation_without_a_deterministic_version_is_one_sentence() -> None:
    """It names the operation and the way out; another error passes as it is."""
    sentence = r"no deterministic version \(put_ .*\): .* leave out --deterministic"
    with pytest.raises(SettingsError, match=sentence), deterministic(True):
        torch.zeros(4).put_(torch.tensor([0, 0]), torch.ones(2))
    with pytest.raises(RuntimeError, match="shapes"), deterministic(True):
        torch.ones(2, 3) @ torch.ones(2, 3)


@pytest.mark.full
def test_on_a_cpu_it_changes_nothing(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run in the mode has the bits of one without, trains and scores in it, and says what it costs."""
    monkeypatch.setattr("emotiwave_core.report.page.write_report", lambda _: None)
    on: list[bool] = []
    forward, score = Uniform.forward, evaluation.score_all

    def watched(function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            on.append(torch.are_deterministic_algorithms_enabled())
            return function(*arguments, **options)

        return call

    monkeypatch.setattr(Uniform, "forward", watched(forward))
    monkeypatch.setattr(evaluation, "score_all", watched(score))
    heard = {wanted: Heard() for wanted in (False, True)}
    for wanted, monitor in heard.items():
        recipe = small(computing={"deterministic": wanted})
        run.start(recipe, tiny, tmp_path / str(wanted), REGISTRY, Runtime(CPU, monitor))
        assert set(on) == {wanted}
        on.clear()
    assert (tmp_path / "True" / WEIGHTS).read_bytes() == (tmp_path / "False" / WEIGHTS).read_bytes()
    assert cost_of_determinism(CPU) in heard[True].lines
    assert not any("Deterministic" in line for line in heard[False].lines)
    assert "slower" in cost_of_determinism(torch.device("cuda"))
