"""Training: its history, its best epoch, its end, its seeds, and what it does not look at."""

import itertools
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import WIDTHS, write_dataset
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn
from training import CPU, REGISTRY, edit_csd, small, start

from emotiwave_core.compute.device import find_device, seed_everything
from emotiwave_core.compute.runtime import Runtime
from emotiwave_core.config.recipe import Recipe, read_recipe
from emotiwave_core.data.corpus import Corpus, open_corpus
from emotiwave_core.data.loading import batch as batch_module
from emotiwave_core.data.loading.batch import epoch_order
from emotiwave_core.data.store.store import Store
from emotiwave_core.errors import DivergedError, ResourceError, SettingsError
from emotiwave_core.interfaces import Output, Tensors
from emotiwave_core.io.tensors import read_tensors
from emotiwave_core.layers.masking import present_in
from emotiwave_core.objectives.settle import make_objective
from emotiwave_core.runs.folder import RECIPE
from emotiwave_core.runs.history import HISTORY, Validation, read_history
from emotiwave_core.runs.model_file import ValidationFit, read_model_file
from emotiwave_core.runs.saved_model import WEIGHTS, describe
from emotiwave_core.train import checkpoint
from emotiwave_core.train import loop as train_module
from emotiwave_core.train import run as run_module
from emotiwave_core.train.checkpoint import LAST
from emotiwave_core.train.loop import TrainingJob, train
from emotiwave_core.train.step import LossWatch
from emotiwave_core.train.validate import selection
from emotiwave_dropout.uniform import Uniform

COMPLETE = "text+audio+visual"


@pytest.fixture(autouse=True)
def _no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emotiwave_core.report.page.write_report", lambda run: None)


@pytest.mark.short_rows(1)
@pytest.mark.parametrize("select", ["mean", "complete", "audio", "text+visual"])
def test_the_best_epoch_is_that_of_the_history(tiny: Path, tmp_path: Path, select: str) -> None:
    """Every epoch has its line; the epoch kept is the first with the best macro-F1 of the kind chosen."""
    start(small(training={"epochs": 5, "select": select}), tiny, tmp_path / "run")
    history = read_history(tmp_path / "run")
    assert [line.epoch for line in history] == [1, 2, 3, 4, 5]
    for line in history:
        scores = line.valid.configurations
        assert len(scores) == 7
        assert line.valid.mean == pytest.approx(np.mean(list(scores.values())))
        assert line.valid.complete == scores[COMPLETE]
        assert line.valid.worst == min(scores.values())
        assert (line.train_loss or 0) > 0
    best = read_model_file(tmp_path / "run").best
    chosen = [getattr(line.valid, select, line.valid.configurations.get(select)) for line in history]
    assert best.epoch == 1 + int(np.argmax(chosen))
    assert best.mean == history[best.epoch - 1].valid.mean


def test_what_chooses_the_epoch_is_known(tiny: Path, tmp_path: Path) -> None:
    """A configuration that there is none of is refused before anything is trained, and the choices are said."""
    with pytest.raises(SettingsError, match=r"training.select cannot be 'audoi'. Did you mean 'audio'"):
        start(small(training={"select": "audoi"}), tiny, tmp_path / "run")
    assert not (tmp_path / "run" / HISTORY).exists()
    assert selection("visual+text", tuple(WIDTHS)) == "text+visual"  # in any order


def scripted(monkeypatch: pytest.MonkeyPatch, mean: list[float], complete: list[float]) -> list[Tensors]:
    """Validation that says these scores, one an epoch. Returns where the weights of each epoch are put."""
    weights: list[Tensors] = []
    scores = iter(zip(mean, complete, strict=True))

    def validate(_: Any, model: nn.Module, *__: Any) -> tuple[Validation, ValidationFit]:
        weights.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        mean_score, complete_score = next(scores)
        return Validation(mean_score, complete_score, 0.0, {COMPLETE: complete_score}), ValidationFit()

    monkeypatch.setattr(train_module, "validate", validate)
    return weights


@pytest.mark.short_rows(1)
@pytest.mark.parametrize(
    ("select", "patience", "epochs", "best"),
    [("mean", 2, 4, 2), ("complete", 2, 3, 1), ("mean", 3, 7, 5), ("mean", 9, 7, 5), ("complete", 1, 2, 1)],
)
def test_early_stopping(
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    select: str,
    patience: int,
    epochs: int,
    best: int,
) -> None:
    """Training ends `patience` epochs after the last better one (an equal one is not better) and keeps its weights."""
    mean = [0.1, 0.3, 0.2, 0.3, 0.4, 0.0, 0.1]
    weights = scripted(monkeypatch, mean, complete=[0.5, 0.4, 0.5, 0.5, 0.6, 0.2, 0.1])
    start(small(training={"epochs": 7, "patience": patience, "select": select}), tiny, tmp_path / "run")
    assert [line.epoch for line in read_history(tmp_path / "run")] == list(range(1, epochs + 1))
    assert read_model_file(tmp_path / "run").best.epoch == best
    kept, _ = read_tensors(tmp_path / "run" / WEIGHTS)
    assert kept.keys() == weights[best - 1].keys()
    assert all(torch.equal(tensor, weights[best - 1][name]) for name, tensor in kept.items())


def test_the_same_seed_gives_the_same_weights(tiny: Path, tmp_path: Path) -> None:
    """Bit for bit, whatever was drawn before; another seed gives others."""
    for number, (name, seed) in enumerate((("one", 7), ("two", 7), ("other", 8))):
        seed_everything(number)
        start(small(seed=seed, training={"epochs": 2}), tiny, tmp_path / name)
    one, two, other = ((tmp_path / name / LAST).read_bytes() for name in ("one", "two", "other"))
    assert one == two
    assert one != other


def test_the_optimiser_is_the_recipe_s(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AdamW over every parameter of the model, with the recipe's learning rate; weight decay of all but vectors."""
    kept: list[tuple[nn.Module, torch.optim.Optimizer]] = []
    monkeypatch.setattr(
        checkpoint, "save_checkpoint", lambda run, model, optimiser, average, state: kept.append((model, optimiser))
    )
    start(small(training={"epochs": 1, "learning_rate": 0.02, "weight_decay": 0.3}), tiny, tmp_path / "run")
    [(model, optimiser)] = kept
    assert type(optimiser) is torch.optim.AdamW
    decay = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert {group["lr"] for group in optimiser.param_groups} == {0.02}
    assert decay == {id(p): 0.3 if p.dim() > 1 else 0.0 for p in model.parameters()}


@pytest.mark.full
def test_a_run_s_recipe_can_be_run_again(tiny: Path, tmp_path: Path) -> None:
    """`recipe.toml` is complete: a run of it has the same recipe, weights, scores and predictions."""
    recipe = small(seed=3, objective={"kind": "multi"}, dropout={"name": "bernoulli", "p": 0.4}, training={"epochs": 2})
    first, again = tmp_path / "first", tmp_path / "again"
    scores = start(recipe, tiny, first)
    table = read_recipe(first / RECIPE)
    assert {"name", "hidden_size", "layers", "dropout", "pooling"} <= table["encoder"].keys()
    assert start(Recipe.from_table(table, "again"), tiny, again) == scores
    for name in (RECIPE, WEIGHTS, "predictions.csv"):
        assert (first / name).read_bytes() == (again / name).read_bytes()


def test_seeds_reach_every_generator() -> None:
    """Python's, numpy's and torch's generators are set; seed and epoch both count."""

    def drawn(*seed: int) -> tuple[float, ...]:
        seed_everything(*seed)
        return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002

    assert drawn(1, 2) == drawn(1, 2)
    for one, other in itertools.combinations([drawn(1, 2), drawn(1, 3), drawn(2, 2), drawn(1)], 2):
        assert all(a != b for a, b in zip(one, other, strict=True))


def test_the_test_fold_is_read_after_training_only(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until training has ended, no sample of the test fold is gathered, measured or asked for; then all are."""
    touched: set[int] = set()
    asked: list[str] = []
    padded, statistics = batch_module.padded, train_module.feature_statistics
    rows, opened = Corpus.rows, run_module.reopen_trained_run
    at_end: dict[str, Any] = {}

    def gathered(store: Store, modality: str, some: Any, *rest: Any) -> Any:
        touched.update(some.tolist())
        return padded(store, modality, some, *rest)

    def measured(store: Store, modality: str, some: Any) -> Any:
        touched.update(some.tolist())
        return statistics(store, modality, some)

    def asked_for(corpus: Corpus, fold: str) -> Any:
        asked.append(fold)
        return rows(corpus, fold)

    def evaluated(*arguments: Any, **options: Any) -> Any:
        at_end.update(touched=set(touched), asked=set(asked))
        return opened(*arguments, **options)

    monkeypatch.setattr(batch_module, "padded", gathered)
    monkeypatch.setattr(train_module, "feature_statistics", measured)
    monkeypatch.setattr(Corpus, "rows", asked_for)
    monkeypatch.setattr(run_module, "reopen_trained_run", evaluated)
    start(small(), tiny, tmp_path / "run")
    corpus = open_corpus(tiny, small().data)
    test = set(rows(corpus, "test").tolist())
    assert at_end["asked"] == {"train", "valid"}
    assert at_end["touched"] == {*rows(corpus, "train").tolist(), *rows(corpus, "valid").tolist()}
    assert test
    assert test <= touched


def test_the_test_fold_does_not_matter_to_training(tmp_path: Path) -> None:
    """With other features and labels in the test fold, the weights are the same to the last bit."""
    for name in ("true", "false"):
        (tmp_path / name).mkdir()
        write_dataset(tmp_path / name)
    test = set(json.loads((tmp_path / "false" / "folds.json").read_text())["test"])
    for file in ("text", "audio", "visual", "labels"):
        edit_csd(tmp_path / "false" / f"{file}.csd", lambda video, x: 100 - x if video in test else x)
    scores = [start(small(), tmp_path / name, tmp_path / f"run-{name}") for name in ("true", "false")]
    assert scores[0].configurations != scores[1].configurations
    for name in (WEIGHTS, LAST):
        assert (tmp_path / "run-true" / name).read_bytes() == (tmp_path / "run-false" / name).read_bytes()


def test_the_policy_hears_what_was_left_and_each_loss(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`observe` gets the modalities present after the policy, and the losses of the samples, whose mean is the loss."""
    left: list[Tensor] = []
    heard: list[tuple[Tensor, Tensor]] = []
    drop = Uniform.forward

    def forward(policy: Uniform, masks: Tensors, progress: Tensor) -> Tensors:
        kept = drop(policy, masks, progress)
        left.append(present_in(kept))
        assert (left[-1] & ~present_in(masks)).sum() == 0
        return kept

    monkeypatch.setattr(Uniform, "forward", forward)
    monkeypatch.setattr(Uniform, "observe", lambda policy, present, loss: heard.append((present, loss)))
    start(small(objective={"class_weights": False}, training={"epochs": 2}), tiny, tmp_path / "run")
    assert len(heard) == len(left)
    assert all(torch.equal(present, due) for (present, _), due in zip(heard, left, strict=True))
    assert all(loss.shape == (len(present),) and not loss.requires_grad for present, loss in heard)
    means = [float(loss.mean()) for _, loss in heard]
    steps = len(means) // 2
    for epoch, line in enumerate(read_history(tmp_path / "run")):
        assert line.train_loss == pytest.approx(np.mean(means[epoch * steps : (epoch + 1) * steps]), rel=1e-5)


def test_progress_runs_from_0_to_1(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The policy is told 0 in the first step of training, 1 in the last, and even steps between."""
    told: list[float] = []
    drop = Uniform.forward

    def forward(policy: Uniform, masks: Tensors, progress: Tensor) -> Tensors:
        told.append(float(progress))
        return drop(policy, masks, progress)

    monkeypatch.setattr(Uniform, "forward", forward)
    start(small(training={"epochs": 3}), tiny, tmp_path / "run")
    np.testing.assert_allclose(told, np.linspace(0, 1, 9), atol=1e-6)  # 24 samples in batches of 8, three times


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_loss_that_is_not_finite_names_its_samples(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """The batch whose loss or gradient is not finite ends training, before it touches the weights, by its ids."""
    from emotiwave_core.objectives.single import SingleLabel

    recipe, calls, losses = small(), itertools.count(1), SingleLabel._losses

    def diverge(objective: SingleLabel, output: Output, targets: Tensor, mixture: None) -> tuple[Tensor, Tensor]:
        loss, each = losses(objective, output, targets, mixture)
        if torch.is_grad_enabled() and next(calls) == 5:  # the second batch of the second epoch
            loss = loss * torch.nan if where == "loss" else loss + (0.0 * output.logits.sum()).sqrt()
        return loss, each

    monkeypatch.setattr(SingleLabel, "_losses", diverge)
    steps: list[Any] = []
    step = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *a, **k: (steps.append(1), step(*a, **k)))
    with pytest.raises(DivergedError) as caught:
        start(recipe, tiny, tmp_path / "run")
    assert len(steps) == 4
    corpus = open_corpus(tiny, recipe.data)
    rows = corpus.fold("train", make_objective(recipe.objective, corpus.store.targets)).rows
    batch = rows[epoch_order(len(rows), recipe.seed, 2)[8:16].numpy()]
    named = {row for row, name in enumerate(corpus.store.ids) if repr(name) in str(caught.value)}
    assert named == set(batch.tolist())
    assert "epoch 2" in str(caught.value)
    assert len(read_history(tmp_path / "run")) == 1


def test_class_weights_are_of_the_training_fold(tiny: Path, tmp_path: Path) -> None:
    """With class weights the loss has scikit-learn's "balanced" weights of the training targets; without, ones."""
    for wanted in (True, False):
        recipe = small(objective={"class_weights": wanted}, training={"epochs": 1})
        corpus = open_corpus(tiny, recipe.data)
        corpus.store.labels[:3] = torch.tensor([1.0, 0, 0, 0, 0, 0])  # so that the fold is not balanced
        objective = make_objective(recipe.objective, corpus.store.targets)
        parts = REGISTRY.resolve(recipe)
        model = run_module.build(parts, corpus, objective)
        folder = tmp_path / str(wanted)
        folder.mkdir()
        job = TrainingJob(folder, recipe, describe(parts, model, objective, corpus))
        train(job, model, objective, corpus, Runtime(CPU))
        targets = corpus.fold("train", objective).targets.numpy()
        due = compute_class_weight("balanced", classes=np.arange(6), y=targets) if wanted else np.ones(6)
        np.testing.assert_allclose(objective.weights, due, rtol=1e-6)
        assert wanted == (len(set(due.tolist())) > 1)


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.slow)])
def test_training_learns(tiny: Path, tmp_path: Path, precision: str) -> None:
    """On data that shows the emotion, the complete configuration is far better than chance, in fp32 and bf16."""
    recipe = small(
        encoder={"name": "bilstm", "hidden_size": 8, "pooling": "mean"},
        training={"epochs": 12, "precision": precision},
    )
    assert start(recipe, tiny, tmp_path / precision).complete.score > 0.5


@pytest.mark.full
def test_precision_and_device_are_taken_as_told(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In bf16 the layers compute in bf16 and the loss in fp32; in fp32 all is fp32."""
    for precision, due in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        seen: set[torch.dtype] = set()
        hook = nn.modules.module.register_module_forward_hook(
            lambda module, _, output, seen=seen: seen.add(output.dtype) if isinstance(module, nn.Linear) else None
        )
        try:
            start(small(training={"epochs": 1, "precision": precision}), tiny, tmp_path / precision)
        finally:
            hook.remove()
        assert seen == {due}
        weights, _ = read_tensors(tmp_path / precision / WEIGHTS)
        assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


def test_a_device_is_found_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` is CUDA when there is one, else the CPU; what is not there or not known is refused in one sentence."""
    for there, due in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert find_device("auto") == torch.device(due)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert find_device("cuda") == torch.device("cuda")
    assert find_device("cuda:0") == torch.device("cuda:0")
    assert find_device("cpu") == CPU
    with pytest.raises(ResourceError, match="'cuda:1'"):
        find_device("cuda:1")
    for name in ("gpu", "meta", ""):
        with pytest.raises(SettingsError, match=f"'{name}'"):
            find_device(name)


@pytest.mark.parametrize(
    ("loss", "logit", "cure"),
    [
        (float("inf"), 3.0, "look at the loss of the objective"),
        (float("nan"), float("nan"), "Lower training.learning_rate"),
        (float("inf"), 1e20, "Lower training.learning_rate"),
        (1.0, 3.0, "Lower training.learning_rate"),  # the gradient alone
    ],
)
def test_a_loss_that_is_at_fault_itself_is_told_apart(loss: float, logit: float, cure: str) -> None:
    """Where the model's logits are ordinary numbers and the loss is none, the objective is named; else the rate is."""
    watch = LossWatch(2, ["a", "b"])
    with pytest.raises(DivergedError, match=r"In epoch 2 .* for the samples 'b'") as error:
        watch.step(torch.tensor(loss), torch.tensor(float("nan")), np.array([1]), torch.full((1, 3), logit))
    assert cure in str(error.value)
