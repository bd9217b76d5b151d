"""On a GPU: what a CPU computes, the same bits where that is asked for, and a run that goes on when memory is short.

Where there is no GPU these are played on the CPU, so that they are known to run; `make gpu` tries them on one.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from documents import ROOT
from killed_runs import killed_at
from training import CPU, REGISTRY, small

import emotiwave as ew
from emotiwave_core.cli import exit_code_of
from emotiwave_core.compute.runtime import Runtime
from emotiwave_core.config.recipe import Recipe
from emotiwave_core.monitor import Monitor
from emotiwave_core.runs.history import read_history
from emotiwave_core.runs.saved_model import WEIGHTS
from emotiwave_core.runs.scores import SCORES
from emotiwave_core.train import run
from emotiwave_core.train.checkpoint import LAST

pytestmark = pytest.mark.full
GPU = torch.device("cuda" if torch.cuda.is_available() else "cpu")
QUIET: dict[str, Any] = {"model": {"head_dropout": 0.0}, "dropout": {"name": "none"}}  # nothing is drawn
ENCODERS = ("bilstm", "bigru", "transformer", "tcn", "conformer")
APART = 5e-3  # TF32 keeps ten bits of a number


class Spoken(Monitor):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        """Keep a line."""
        self.lines.append(text)


@pytest.fixture(autouse=True)
def _no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is drawn."""
    monkeypatch.setattr("emotiwave_core.report.page.write_report", lambda _: None)


def trained(recipe: Recipe, data: Path, out: Path, device: torch.device = GPU) -> Path:
    """The folder of a run."""
    run.start(recipe, data, out, REGISTRY, Runtime(device))
    return out


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_gpu_learns_as_a_cpu_does(encoder: str, tiny: Path, tmp_path: Path) -> None:
    """The losses of all epochs, and the validation scores' losses, are the same but for rounding."""
    recipe = small(encoder={"name": encoder}, **QUIET)
    both = [trained(recipe, tiny, tmp_path / str(n), device) for n, device in enumerate((CPU, GPU))]
    one, other = (read_history(folder) for folder in both)
    assert len(one) == len(other) == 3
    assert [epoch.train_loss for epoch in one] == pytest.approx([epoch.train_loss for epoch in other], rel=APART)


def test_a_gpu_repeats_to_the_bit_where_that_is_asked_for(tiny: Path, tmp_path: Path) -> None:
    """With computing.deterministic two runs are the same to the byte, noise and dropped modalities included."""
    recipe = small(dropout={"name": "uniform"}, computing={"deterministic": True})
    one, other = (trained(recipe, tiny, tmp_path / name) for name in "ab")
    for name in (WEIGHTS, LAST, SCORES):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.parametrize("call", [1, 2])
def test_a_run_on_a_gpu_goes_on_to_the_bit(call: int, tiny: Path, tmp_path: Path) -> None:
    """Killed after an epoch and resumed, a deterministic run ends with the bits of one that was not."""
    recipe = small(dropout={"name": "uniform"}, computing={"deterministic": True})
    whole = trained(recipe, tiny, tmp_path / "whole")
    with killed_at("emotiwave_core.train.checkpoint.save_checkpoint", call, after=True):
        trained(recipe, tiny, tmp_path / "cut")
    run.resume(tmp_path / "cut", REGISTRY, Runtime(GPU))
    for name in (WEIGHTS, LAST, SCORES):
        assert (whole / name).read_bytes() == (tmp_path / "cut" / name).read_bytes(), name


def test_data_in_the_memory_of_a_gpu_are_the_same(tiny: Path, tmp_path: Path) -> None:
    """Kept on the device, or brought there batch by batch, the same samples give the same bits."""
    recipes = {
        kept: small(computing={"deterministic": True, "keep_on_device": kept}, **QUIET) for kept in (True, False)
    }
    one, other = (trained(recipe, tiny, tmp_path / str(kept)) for kept, recipe in recipes.items())
    assert (one / WEIGHTS).read_bytes() == (other / WEIGHTS).read_bytes()


def test_bf16_learns_on_a_gpu(tiny: Path, tmp_path: Path) -> None:
    """In bf16 every loss is finite, and near that of float32."""
    losses = []
    for precision in ("fp32", "bf16"):
        recipe = small(training={"precision": precision}, **QUIET)
        losses.append([epoch.train_loss for epoch in read_history(trained(recipe, tiny, tmp_path / precision))])
    assert np.isfinite(losses).all()
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_a_run_of_a_gpu_answers_and_is_explained_alike_everywhere(tiny: Path, tmp_path: Path) -> None:
    """Trained on a GPU: predictions, scores and Shapley values on a GPU are those on a CPU but for rounding."""
    folder = trained(small(**QUIET), tiny, tmp_path / "run")
    runs = [ew.open_run(folder, device=device) for device in (CPU, GPU)]
    one, other = ([list(row.probabilities.values()) for row in each.predict(tiny)] for each in runs)
    np.testing.assert_allclose(one, other, atol=APART)
    valid = [each.evaluate(fold="valid") for each in runs]
    assert [entry.score for entry in valid[0].configurations.values()] == pytest.approx(
        [entry.score for entry in valid[1].configurations.values()], abs=0.2
    )
    told = [each.explain(sample="v20[0]").to_dict()["shapley"] for each in runs]
    assert told[0] == pytest.approx(told[1], abs=APART)


@pytest.mark.skipif(GPU.type != "cuda", reason="needs a GPU, whose memory can be made short")
def test_a_run_goes_on_when_the_memory_of_a_gpu_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Memory that holds a fourth of the batch but not all of it: with --auto-batch the run ends; else exit code 5."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from speed.corpus import write_corpus

    data, spoken = write_corpus(tmp_path / "data", 64, seconds=6.0), Spoken()

    def recipe(batch: int, **computing: Any) -> Recipe:
        return Recipe.from_table(
            {
                "training": {"epochs": 1, "batch_size": batch},
                "encoder": {"name": "bilstm", "hidden_size": 256},
                "computing": {"keep_on_device": False, **computing},
            },
            "short",
        )

    def reserved(batch: int) -> int:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(GPU)
        trained(recipe(batch), data, tmp_path / f"free-{batch}")
        return torch.cuda.max_memory_reserved(GPU)

    few, many = reserved(8), reserved(32)
    assert many > 1.3 * few, "the batch does not decide on the memory"
    total = torch.cuda.get_device_properties(GPU).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((few + many) / 2 / total)
    try:
        run.start(recipe(32, auto_batch=True), data, tmp_path / "short", REGISTRY, Runtime(GPU, spoken))
        assert any(line.startswith("Memory is short") for line in spoken.lines), spoken.lines
        short = ["--set=training.epochs=1", "--set=training.batch_size=32", "--encoder=bilstm:hidden_size=256"]
        short += ["--set=computing.keep_on_device=false", "--device=cuda"]
        assert exit_code_of(["run", f"--data={data}", f"--out={tmp_path / 'out'}", *short]) == 5
        assert "--auto-batch" in capfd.readouterr().err
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
