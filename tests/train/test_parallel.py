"""Several processes train as one does: the same losses, weights and scores, written once."""

import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from datasets import write_dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from parallel_worker import LOSSES, watch_losses
from torch import Tensor
from training import CPU, small, start

from emotiwave_core.compute import distributed as parallel
from emotiwave_core.compute.device import find_device
from emotiwave_core.compute.distributed import SINGLE, ProcessGroup
from emotiwave_core.config.recipe import ObjectiveSettings
from emotiwave_core.errors import DivergedError, ResourceError, SettingsError
from emotiwave_core.interfaces import Output
from emotiwave_core.io.tensors import read_tensors
from emotiwave_core.model.terms import training_loss
from emotiwave_core.objectives.settle import make_objective
from emotiwave_core.runs.history import read_history
from emotiwave_core.runs.model_file import read_model_file
from emotiwave_core.runs.saved_model import WEIGHTS
from emotiwave_core.runs.scores import SCORES
from emotiwave_core.train.step import gather_outputs
from emotiwave_objectives.supervised_contrastive import SupervisedContrastive

QUIET = {"head_dropout": 0.0}
ALL_LOSSES = {"complete": 0.5, "distillation": 0.5, "unimodal": 0.25}
LEARNING = {"name": "mixed", "policies": ["uniform", {"name": "scheduled", "policy": "adversarial", "end": 0.1}]}
# A training fold of 20 samples: batches of 19 leave one of 1, in which one of two processes has nothing to do.
RECIPES: dict[str, dict[str, Any]] = {
    "default": {"model": QUIET},
    "all losses": {"model": QUIET, "objective": ALL_LOSSES, "training": {"ema": 0.9, "schedule": "one-cycle"}},
    "multi-label": {"model": QUIET, "objective": {"kind": "multi", "logit_adjustment": 0.5}, "dropout": LEARNING},
    "a batch of one": {"model": QUIET, "training": {"batch_size": 19}, "objective": ALL_LOSSES},
    "contrastive": {"model": QUIET, "objective": {"name": "supervised_contrastive", "complete": 0.5}},
    "frames": {"model": QUIET, "dropout": "frames", "training": {"buckets": 2}},
}

REFITTED: dict[str, Any] = {"model": QUIET, "training": {"refit": True, "ema": 0.9}}


def launch(launcher: str, folder: Path, data: Path, jobs: dict[str, Any], size: int = 2) -> list[dict[str, Any]]:
    """What real processes find as they run the jobs together."""
    told = folder / "jobs.json"
    told.write_text(json.dumps({"data": str(data), "jobs": jobs}))
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        port = taken.getsockname()[1]
    meeting = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "WORLD_SIZE": str(size)}
    own = {"EMOTIWAVE_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    found = [folder / f"found.{rank}.json" for rank in range(size)]
    workers = [
        subprocess.Popen(
            [launcher, Path(__file__).parents[1] / "helpers" / "parallel_worker.py", told, found[rank]],
            env=os.environ | meeting | own | {"RANK": str(rank)},
        )
        for rank in range(size)
    ]
    try:
        assert [worker.wait(600) for worker in workers] == [0] * size
    finally:
        for worker in workers:
            worker.kill()
    return [json.loads(path.read_text()) for path in found]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set whose folds are not the same in both halves."""
    return write_dataset(tmp_path_factory.mktemp("data"), videos=20)


@pytest.fixture(scope="module")
def pair(launcher: str, data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """The folder of the runs of two processes, and what each has found."""
    folder = tmp_path_factory.mktemp("pair")
    jobs: dict[str, Any] = {name: {"recipe": recipe} for name, recipe in RECIPES.items()}
    jobs["noisy"] = {"recipe": {"model": {"head_dropout": 0.5}, "fusion": "misa", "training": {"batch_size": 7}}}
    jobs["refitted"] = {"recipe": REFITTED}
    jobs["diverging"] = {"recipe": {"training": {"learning_rate": 1e38}}, "error": True}
    jobs["statistics"] = {"recipe": {"model": QUIET, "training": {"ema": 0.5}}, "statistics": True}
    jobs["initialised"] = {"recipe": {"model": QUIET}, "initialised": True}  # the last: its encoders stay so
    return folder, launch(launcher, folder, data, jobs)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_are_one(
    name: str, data: Path, tmp_path: Path, pair: tuple[Path, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of every batch is that of one process to 1e-5; weights, validation, scores and thresholds follow."""
    folder, found = pair
    for costly in ("emotiwave_core.report.page.write_report", "emotiwave_core.evaluate.evaluation.write_explanations"):
        monkeypatch.setattr(costly, lambda *_: None)
    LOSSES.clear()
    with monkeypatch.context() as patch:
        watch_losses(patch.setattr)
        start(small(**RECIPES[name]), data, tmp_path / "one")
    assert found[0][name]["losses"] == found[1][name]["losses"]
    assert len(LOSSES) == 3 * -(-20 // RECIPES[name].get("training", {}).get("batch_size", 8))
    assert found[0][name]["losses"] == pytest.approx(LOSSES, abs=1e-5)
    histories = [read_history(run) for run in (tmp_path / "one", folder / name)]
    losses = [[line.valid.loss for line in history] for history in histories]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    scored = [[attrs.evolve(line.valid, loss=None) for line in history] for history in histories]
    assert scored[0] == scored[1]
    one, two = (read_tensors(run / WEIGHTS)[0] for run in (tmp_path / "one", folder / name))
    assert all(torch.allclose(tensor, two[key], atol=1e-4) for key, tensor in one.items())
    scores = [json.loads((run / SCORES).read_text()) for run in (tmp_path / "one", folder / name)]
    assert scores[0]["configurations"].keys() == scores[1]["configurations"].keys()
    for key in ("mean_macro_f1", "thresholds"):
        assert scores[0][key] == pytest.approx(scores[1][key], abs=1e-4)


@pytest.mark.slow
def test_two_processes_refit_as_one(
    data: Path, tmp_path: Path, pair: tuple[Path, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights of a refit in two processes are those of one, and so is what the run says of it."""
    monkeypatch.setattr("emotiwave_core.report.page.write_report", lambda *_: None)
    start(small(**REFITTED), data, tmp_path / "one")
    one, two = (read_tensors(run / WEIGHTS)[0] for run in (tmp_path / "one", pair[0] / "refitted"))
    assert all(torch.allclose(tensor, two[key], atol=1e-4) for key, tensor in one.items())
    models = [read_model_file(run) for run in (tmp_path / "one", pair[0] / "refitted")]
    assert models[0].refit == models[1].refit is not None


@pytest.mark.slow
def test_only_the_first_process_writes(pair: tuple[Path, list[dict[str, Any]]]) -> None:
    """Rank 0 writes the run, and builds the store once; rank 1 opens nothing to write, not even the store's lock."""
    folder, found = pair
    for name in [*RECIPES, "noisy", "refitted"]:
        written = {Path(path).suffix for path in found[1][name]["written"] if Path(path).is_relative_to(folder)}
        assert not written
        assert {path.name for path in (folder / name).iterdir()} > {"model.json", "last.safetensors", "scores.json"}
        assert found[1][name]["mean"] == found[0][name]["mean"]
    arrays = [path for job in found[0].values() if "written" in job for path in job["written"] if "arrays." in path]
    assert len(arrays) == 1


@pytest.mark.slow
def test_noise_does_not_touch_what_is_dropped(pair: tuple[Path, list[dict[str, Any]]]) -> None:
    """Where parts draw too, and not as much in each process, the policies of all still leave the same."""
    _, (first, second) = pair
    assert len(first["noisy"]["kept"]) == 3 * 3 * 3
    assert first["noisy"]["kept"] == second["noisy"]["kept"]
    assert first["noisy"]["losses"] == second["noisy"]["losses"]


@pytest.mark.slow
def test_statistics_of_a_part_are_those_of_the_first_process(pair: tuple[Path, list[dict[str, Any]]]) -> None:
    """A part that keeps statistics of what it saw is scored, in every process, with those that are saved."""
    folder, (first, second) = pair
    saved = float(read_tensors(folder / "statistics" / WEIGHTS)[0]["fusion.seen"])
    assert saved != 0.0
    assert saved in [pytest.approx(seen) for seen in first["statistics"]["seen"]]
    assert len(second["statistics"]["seen"]) == 3
    assert set(second["statistics"]["seen"]) <= set(first["statistics"]["seen"])


@pytest.mark.slow
def test_the_first_process_initialises_for_all(pair: tuple[Path, list[dict[str, Any]]]) -> None:
    """Rank 0 alone initialises each part once, and all processes begin with its numbers."""
    _, (first, second) = pair
    assert (first["initialised"]["initialised"], second["initialised"]["initialised"]) == ([0, 0, 0], [])
    assert first["initialised"]["losses"] == second["initialised"]["losses"]


@pytest.mark.slow
def test_what_processes_say_to_each_other(pair: tuple[Path, list[dict[str, Any]]]) -> None:
    """What rank 0 finds or refuses is so for all; other weights are noticed by all, and rank 0's are taken over."""
    for rank, one in enumerate(found["talk"] for found in pair[1]):
        assert one["refused"] == "SettingsError: It is wrong."
        assert one["first"] == "rank 0"
        assert one["everyone"] == [0, 1]
        assert one["in_turn"] == rank
        assert one["same"] == "none"
        assert one["other"].startswith("ResourceError: Now the weights of rank 1 are not those of rank 0")
        assert one["taken_over"] == [1.0]


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_all(
    pair: tuple[Path, list[dict[str, Any]]], data: Path, tmp_path: Path
) -> None:
    """All processes say what one says, and leave the folder free for another try."""
    folder, found = pair
    with pytest.raises(DivergedError) as error:
        start(small(training={"learning_rate": 1e38}), data, tmp_path / "run")
    assert [one["diverging"].split(" the samples")[0] for one in found] == [
        f"DivergedError: {error.value}".split(" the samples")[0]
    ] * 2
    assert not any((folder / "diverging").iterdir())


@given(st.integers(0, 200), st.integers(1, 70))
def test_shares_are_a_partition(count: int, size: int) -> None:
    """The shares of all ranks are the batch, in order, and within one of each other; who has none computes one."""
    groups = [ProcessGroup(rank, size) for rank in range(size)]
    shares = [group.own(count) for group in groups]
    assert [row for share in shares for row in range(count)[share]] == list(range(count))
    lengths = [len(range(count)[share]) for share in shares]
    assert max(lengths) - min(lengths) <= 1
    for group, share, length in zip(groups, shares, lengths, strict=True):
        assert group.computed(count) == (share if length else slice(0, 1))
    assert SINGLE.own(count) == slice(0, count)


def together(size: int, work: Callable[[ProcessGroup], Any], patch: pytest.MonkeyPatch) -> list[Any]:
    """What the ranks of a group make of it, each a thread; only `all_gather` is there."""
    results: list[Any] = [None] * size
    slots: list[Tensor] = [torch.empty(0)] * size
    barrier, local = threading.Barrier(size, timeout=600), threading.local()

    def all_gather(found: list[Tensor], mine: Tensor) -> None:
        slots[local.rank] = mine
        barrier.wait()
        for place, one in zip(found, slots, strict=True):
            place.copy_(one)
        barrier.wait()

    def run(rank: int) -> None:
        local.rank = rank
        results[rank] = work(ProcessGroup(rank, size))

    patch.setattr(parallel.dist, "all_gather", all_gather)
    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 9), st.sampled_from(["single", "multi", "contrastive"]), st.integers(0, 2**20))
def test_gradients_sum_to_that_of_one(size: int, count: int, kind: Any, seed: int) -> None:
    """Each rank's loss is the whole batch's, and the gradients of all sum to its gradient, whatever the shares."""
    generator = torch.Generator().manual_seed(seed)
    x, weights = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((count, 4), (4, 12)))
    masks = {m: torch.rand(count, 2, generator=generator) < 0.7 for m in ("text", "audio", "visual")}
    left = {m: mask & (torch.rand(count, 1, generator=generator) < 0.6) for m, mask in masks.items()}
    wanted = ObjectiveSettings(
        "multi" if kind == "multi" else "single", complete=0.5, distillation=0.25, unimodal=0.125
    )
    pairs = partial(SupervisedContrastive, temperature=0.5) if kind == "contrastive" else None
    objective = make_objective(wanted, ("happy", "sad", "anger"), pairs).double()
    classes = torch.randint(3, (count,), generator=generator)
    targets = torch.nn.functional.one_hot(classes, 3).double() if kind == "multi" else classes
    objective.weights.copy_(torch.tensor([1.0, 2.5, 0.3]))

    def loss_of(group: ProcessGroup) -> tuple[Tensor, Tensor, Tensor]:
        own = weights.clone().requires_grad_()
        share = group.computed(count)
        rows = (x[share] @ own).tanh()
        there = {m: mask[share] for m, mask in masks.items()}
        alone, none = rows[:, 3:].reshape(len(rows), 3, 3), torch.zeros(len(rows), len(there), dtype=torch.bool)
        states = (rows[:, 3:8], {m: rows[:, 4 : 7 + k] for k, m in enumerate(masks)}) if kind == "contrastive" else ()
        outputs = (
            Output(scale * rows[:, :3], None, rows.square().mean(), none, alone, *states) for scale in (1.0, 2.0)
        )
        output, complete = (
            gather_outputs(group, *outputs, masks, left)
            if group.size > 1
            else tuple(
                one._replace(present=torch.stack([mask.any(1) for mask in some.values()], 1))
                for one, some in zip(outputs, (left, masks), strict=True)
            )
        )
        loss, each = training_loss(objective, wanted, output, complete, targets)
        loss.backward()  # type: ignore[no-untyped-call]
        assert own.grad is not None
        return loss.detach(), each.detach(), own.grad

    with pytest.MonkeyPatch.context() as patch:
        found = together(size, loss_of, patch)
    loss, each, gradient = loss_of(SINGLE)
    for one in found:
        torch.testing.assert_close(one[0], loss, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(one[1], each, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(sum(one[2] for one in found), gradient, rtol=1e-6, atol=1e-6)


def test_parts_draw_their_own_and_policies_what_one_process_draws() -> None:
    """Noise depends on seed, epoch and rank, goes on from step to step, and leaves the policy's generator as it was."""

    def drawn(seed: int, epoch: int, rank: int) -> list[float]:
        noise, numbers = ProcessGroup(rank, 2).noise(seed, epoch, CPU), []
        for _ in range(2):
            with noise():
                numbers.append(torch.rand(()).item())
        return numbers

    torch.manual_seed(5)
    due = torch.rand(3)
    torch.manual_seed(5)
    cases = [drawn(*case) for case in ((0, 1, 0), (0, 1, 1), (0, 2, 0), (1, 1, 0))]
    assert torch.equal(torch.rand(3), due)
    assert len({number for case in cases for number in case}) == 8
    assert drawn(0, 1, 1) == cases[1]
    torch.manual_seed(5)
    with SINGLE.noise(0, 1, CPU)():
        assert torch.equal(torch.rand(3), due)


def test_one_failure_is_said_once() -> None:
    """Of several processes that fail the first may speak; the end of another is told from errors of one's own."""
    store = torch.distributed.HashStore()
    assert [parallel.speaks_first(store) for _ in range(3)] == [True, False, False]
    assert parallel.is_lost(RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed"))
    assert parallel.is_lost(torch.distributed.DistBackendError("NCCL communicator was aborted"))
    assert not parallel.is_lost(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not parallel.is_lost(SettingsError("gloo is not an encoder"))


def test_each_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` and `cuda` are the GPU of the local rank; one GPU for all, or one that is not there, is refused."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert find_device("auto", 1) == find_device("cuda", 1) == torch.device("cuda:1")
    assert find_device("cpu", 1) == CPU
    with pytest.raises(SettingsError, match="one GPU for all processes"):
        find_device("cuda:0", 1)
    with pytest.raises(ResourceError, match="no device 'cuda:2'"):
        find_device("auto", 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device("auto", 1) == CPU
