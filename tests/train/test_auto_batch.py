"""Memory that runs out: a batch is computed in pieces and has the gradient of the whole, or the way out is said."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import write_dataset
from forked import emotiwave, forked
from models import CROSSMODAL, some_batch, some_model
from torch import Tensor, nn
from training import CPU, REGISTRY, small, start

from emotiwave_core.compute.memory import retry_smaller_batches
from emotiwave_core.compute.runtime import Runtime
from emotiwave_core.config.recipe import Recipe, read_recipe
from emotiwave_core.errors import SettingsError, is_out_of_memory
from emotiwave_core.io.tensors import read_tensors
from emotiwave_core.layers.masking import keep, whole_modalities
from emotiwave_core.model.terms import training_loss
from emotiwave_core.monitor import Monitor
from emotiwave_core.runs.folder import RECIPE
from emotiwave_core.runs.history import read_history
from emotiwave_core.runs.saved_model import WEIGHTS
from emotiwave_core.train import run
from emotiwave_core.train.step import ForwardPass, in_microbatches

B = 6
SIZES = [1, 2, 4, 50]
OBJECTIVES: dict[str, dict[str, Any]] = {
    "single": {"unimodal": 0.3, "complete": 0.5, "distillation": 1.0},
    "multi": {"kind": "multi", "asymmetric": {}, "logit_adjustment": 1.0},
    "contrastive": {"name": "supervised_contrastive", "options": {"weight": 2.0}, "complete": 0.5},
}


def gradients(model: Any, recipe: Recipe, count: int, noise: int | None = None) -> dict[str, Tensor]:
    """Of the training loss of one batch that is computed in so many pieces; `noise` seeds what parts draw."""
    inputs, masks = some_batch()
    left = keep(masks, torch.tensor([[1, 1, 0], [1, 0, 1], [1, 1, 1], [0, 1, 1], [1, 1, 1], [1, 1, 0]]).bool())
    objective = REGISTRY.resolve(recipe).make_objective(("a", "b", "c", "d", "e", "f"))
    targets = torch.eye(6) if objective.multi else torch.tensor([0, 1, 1, 2, 5, 5])
    objective.fit(targets, recipe.objective)
    model.train(noise is not None)
    model.training = True  # so that the heads of single modalities are asked
    torch.manual_seed(noise or 0)
    extra = recipe.objective.complete > 0 or recipe.objective.distillation > 0
    whole = whole_modalities(masks, left)
    output, complete = in_microbatches(ForwardPass(model, extra), count, inputs, masks, left, whole)
    loss, _ = training_loss(objective, recipe.objective, output, complete, targets)
    model.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    found = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    return found | {"loss": loss.detach(), "present": output.present}


@pytest.mark.short_rows(1)
@pytest.mark.parametrize("kind", OBJECTIVES)
@pytest.mark.parametrize("fusion", ["concat", CROSSMODAL, {"name": "gated", "width": 8}], ids=lambda one: str(one)[:20])
@pytest.mark.parametrize("absent", ["mask", pytest.param("zeros", marks=pytest.mark.stress)])
def test_the_gradient_is_that_of_the_whole_batch(kind: str, fusion: Any, absent: str) -> None:
    """In any number of pieces: loss, gradient of every parameter and presence, with weighted and further losses."""
    recipe = small(fusion=fusion, model={"absent": absent}, objective=OBJECTIVES[kind])
    model = some_model(fusion=fusion, model={"absent": absent}, objective=OBJECTIVES[kind])
    due = gradients(model, recipe, 1)
    assert len(due) > 10
    for count in SIZES[1:]:
        torch.testing.assert_close(gradients(model, recipe, count), due, atol=2e-6, rtol=1e-4)


def test_a_piece_is_computed_again_with_its_own_noise() -> None:
    """The backward pass drops the units that the forward pass dropped: the gradient is that of the loss it tells."""
    recipe = small(model={"head_dropout": 0.5})
    model = some_model(model={"head_dropout": 0.5}).double()
    inputs, masks = some_batch()
    weight = model.head[3].bias

    def loss() -> Tensor:
        torch.manual_seed(3)
        given = ({m: x.double() for m, x in inputs.items()}, masks, masks, True)
        output, _ = in_microbatches(ForwardPass(model, False), 3, *given)
        return (output.logits**2).sum()

    assert isinstance(model.head[2], nn.Dropout)
    model.train()
    model.policy.eval()
    loss().backward()  # type: ignore[no-untyped-call]
    first = model.head[0].bias
    assert first.grad is not None
    assert weight.grad is not None
    for place in range(3):
        with torch.no_grad():
            first[place] += 1e-6
            up = loss()
            first[place] -= 2e-6
            down = loss()
            first[place] += 1e-6
        assert float((up - down) / 2e-6) == pytest.approx(float(first.grad[place]), rel=1e-5, abs=1e-7)
    assert recipe.model.head_dropout == 0.5


class Told(Monitor):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        """A line."""
        self.lines.append(text)


def small_memory(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """No more than so many samples pass the model at a time, in training and in scoring."""
    from emotiwave_core.model.fusion_model import FusionModel

    inner = FusionModel.encode

    def encode(model: FusionModel, inputs: dict[str, Tensor], masks: dict[str, Tensor]) -> Any:
        if len(next(iter(masks.values()))) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore lines.")
        return inner(model, inputs, masks)

    monkeypatch.setattr(FusionModel, "encode", encode)


@pytest.mark.full
def test_a_run_whose_memory_is_short_learns_the_same(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With auto_batch it goes on in pieces, says so, drops the same, and has the losses of a run with enough memory."""
    quiet = {"model": {"head_dropout": 0.0}, "computing": {"auto_batch": True}}
    monkeypatch.setattr("emotiwave_core.report.page.write_report", lambda run: None)
    start(small(**quiet), tiny, tmp_path / "whole")
    with monkeypatch.context() as patch:
        small_memory(patch, 3)
        told = Told()
        run.start(small(**quiet), tiny, tmp_path / "short", REGISTRY, Runtime(CPU, told))
    for one, other in zip(read_history(tmp_path / "whole"), read_history(tmp_path / "short"), strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, abs=1e-5)
    weights = [read_tensors(tmp_path / name / WEIGHTS)[0] for name in ("whole", "short")]
    torch.testing.assert_close(*weights, atol=1e-4, rtol=1e-3)
    said = [line for line in told.lines if "Memory is short" in line]
    assert said[:2] == [f"Memory is short: a batch of 8 samples is now computed in {n} pieces." for n in (2, 4)]
    assert any("scoring takes" in line for line in said)
    assert sum("pieces" in line for line in said) == 2


@pytest.mark.full
def test_without_it_the_way_out_is_said_and_the_folder_is_free(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit code 5, which settings to lower, one sentence; and the same command with --auto-batch takes the folder."""
    from emotiwave_core.cli import exit_code_of

    small_memory(monkeypatch, 1)
    monkeypatch.setattr("emotiwave_core.report.page.write_report", lambda run: None)
    command = [
        "run",
        "--data",
        str(tiny),
        "--out",
        str(tmp_path / "run"),
        "--device",
        "cpu",
        "--set",
        "training.epochs=1",
    ]
    assert exit_code_of(command) == 5
    said = capfd.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(
        "Error: Out of memory (CUDA out of memory. Tried to allocate 2.00 GiB). Lower training.batch_size"
    )
    assert "--auto-batch" in said
    assert exit_code_of([*command, "--auto-batch"]) == 0
    assert read_recipe(tmp_path / "run" / RECIPE)["computing"]["auto_batch"] is True


@pytest.mark.full
def test_a_run_that_ran_out_is_resumed_with_it(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--resume RUN --auto-batch` goes on where memory ran out, and the recipe says so from then on."""
    monkeypatch.setattr("emotiwave_core.report.page.write_report", lambda run: None)
    with pytest.raises(torch.OutOfMemoryError), monkeypatch.context() as patch:  # noqa: PT012
        patch.setattr("emotiwave_core.train.checkpoint.append_history", lambda *_: small_memory(patch, 4))
        start(small(), tiny, tmp_path / "run")
    assert (tmp_path / "run" / "last.safetensors").exists()
    small_memory(monkeypatch, 4)
    run.resume(tmp_path / "run", REGISTRY, Runtime(CPU, Told()), auto_batch=True)
    assert Recipe.from_table(read_recipe(tmp_path / "run" / RECIPE), "it").computing.auto_batch
    assert [line.epoch for line in read_history(tmp_path / "run")] == [2, 3]


def test_a_single_sample_that_does_not_fit_ends_it(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is an end to retry_smaller_batches, in training and in scoring."""
    small_memory(monkeypatch, 0)
    with pytest.raises(torch.OutOfMemoryError):
        start(small(computing={"auto_batch": True}), tiny, tmp_path / "run")


def test_halving_ends_where_it_fits_or_at_one() -> None:
    """Half as many each time, rounded up; another error, or one without auto_batch, comes through at once."""
    asked: list[int] = []

    def work(size: int, fits: int, error: Exception) -> str:
        asked.append(size)
        if size > fits:
            raise error
        return "done"

    auto, told = small(computing={"auto_batch": True}), Told()
    short = torch.OutOfMemoryError("x")
    assert retry_smaller_batches(partial(work, fits=2, error=short), 9, auto, "it", told) == "done"
    assert asked == [9, 5, 3, 2]
    assert told.lines[-1] == "Memory is short: it takes 2 samples at a time."
    for recipe, error, due in ((auto, short, [2, 1]), (auto, RuntimeError("other"), [2]), (small(), short, [2])):
        asked.clear()
        with pytest.raises(type(error)):
            retry_smaller_batches(partial(work, fits=0, error=error), 2, recipe, "it")
        assert asked == due


@pytest.mark.parametrize(
    ("error", "due"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("x"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("DefaultCPUAllocator"), False),
    ],
)
def test_what_is_taken_for_it(error: Exception, due: bool) -> None:
    """Memory errors of Python, of a GPU, of a library and of a CPU are; others are not."""
    assert is_out_of_memory(error) is due


def test_several_processes_do_not_halve(tiny: Path, tmp_path: Path) -> None:
    """Each would do it for itself: it is refused with the setting to lower."""
    from emotiwave_core.compute.distributed import ProcessGroup

    with pytest.MonkeyPatch.context() as patch:
        for name in ("first", "in_turn"):
            patch.setattr(ProcessGroup, name, lambda _, work: work())
        patch.setattr(ProcessGroup, "everyone", lambda _, value: [value])
        recipe, out = small(computing={"auto_batch": True}), tmp_path / "run"
        with pytest.raises(SettingsError, match=r"lower training\.batch_size"):
            run.start(recipe, tiny, out, REGISTRY, Runtime(CPU, Told(), ProcessGroup(0, 2)))


@pytest.mark.stress
def test_real_memory(tmp_path: Path) -> None:
    """Where the system gives no more memory, a run leaves with 5, and one with --auto-batch comes to its end."""
    data = write_dataset(tmp_path, videos=96, dense=30)
    command = ["run", "--data", data, "--device", "cpu", "--set=training.epochs=1", "--set=training.batch_size=96"]
    command += ["--encoder", "transformer:width=64,layers=6", "--set=training.patience=1"]
    call = partial(forked, folder=tmp_path, environment={"EMOTIWAVE_CACHE": str(tmp_path / "cache")}, memory=700 << 20)
    ended = call(partial(emotiwave, *command, "--out", tmp_path / "one"))
    assert (ended.code, "Lower training.batch_size" in ended.said) == (5, True), ended
    ended = call(partial(emotiwave, *command, "--out", tmp_path / "two", "--auto-batch"))
    assert (ended.code, "Memory is short" in ended.err) == (0, True), ended
