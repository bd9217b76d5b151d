"""One of several processes of a test: `python parallel_worker.py JOBS FOUND` runs the jobs and writes what it found."""

import functools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from training import CPU, REGISTRY, small

from emotiwave_core.compute import distributed as parallel
from emotiwave_core.compute.runtime import Runtime
from emotiwave_core.errors import EmotiwaveError, SettingsError
from emotiwave_core.interfaces import Fused, Tensors
from emotiwave_core.train import run
from emotiwave_core.train.step import LossWatch
from emotiwave_dropout.uniform import Uniform
from emotiwave_encoders.bilstm import BiLSTM
from emotiwave_fusions.concat import Concat

LOSSES: list[float] = []
WRITTEN: list[str] = []
KEPT: list[int] = []  # steps that the policy has left of every batch
INITIALISED: list[int] = []  # the rank, once for each part that was initialised
SEEN: list[float] = []  # a statistic of a part, as validation has it


def watch_losses(put: Callable[[Any, str, Any], None] = setattr) -> None:
    """Keep the loss of every batch."""
    step = LossWatch.step

    def kept(watch: LossWatch, loss: torch.Tensor, *rest: Any) -> None:
        LOSSES.append(loss.item())
        step(watch, loss, *rest)

    put(LossWatch, "step", kept)


def watch_policy() -> None:
    """Keep how much the policy has left of every batch."""
    forward = Uniform.forward

    def kept(policy: Uniform, masks: Tensors, progress: torch.Tensor) -> Tensors:
        left = forward(policy, masks, progress)
        KEPT.extend(int(mask.sum()) for mask in left.values())
        return left

    Uniform.forward = kept  # type: ignore[method-assign]


def keep_statistics() -> None:
    """Let the fusion `concat` keep a statistic of what it saw in training, as batch normalisation does."""
    make, forward = Concat.__init__, Concat.forward

    @functools.wraps(make)
    def made(fusion: Concat, *arguments: Any, **options: Any) -> None:
        make(fusion, *arguments, **options)
        fusion.register_buffer("seen", torch.zeros(()))

    def fused(fusion: Concat, *arguments: Any) -> Fused:
        answer = forward(fusion, *arguments)
        if fusion.training:
            fusion.seen += answer.vector.detach().mean()
        else:
            SEEN.append(float(fusion.seen))
        return answer

    Concat.__init__ = made  # type: ignore[assignment,method-assign]
    Concat.forward = fused  # type: ignore[method-assign]


def initialise_by_rank(rank: int) -> None:
    """Let encoders `bilstm` begin with numbers that are another process's own."""

    def initialise(encoder: BiLSTM) -> None:
        INITIALISED.append(rank)
        for parameter in encoder.parameters():
            parameter.fill_(0.01 * (rank + 1))

    BiLSTM.initialise = initialise  # type: ignore[method-assign]


def watch_files(event: str, arguments: tuple[Any, ...]) -> None:
    """Keep the name of every file that is opened to be written, and of every folder that is made."""
    if event == "os.mkdir" or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
        WRITTEN.append(str(arguments[0]))


def train(group: parallel.ProcessGroup, job: dict[str, Any], data: Path, out: Path) -> dict[str, Any]:
    """A run of several processes: the loss of every batch and the files that this one has written."""
    for found in (LOSSES, WRITTEN, KEPT, SEEN, INITIALISED):
        found.clear()  # type: ignore[attr-defined]
    if job.get("statistics"):
        keep_statistics()
    if job.get("initialised"):
        initialise_by_rank(group.rank)
    scores = run.start(small(**job["recipe"]), data, out, REGISTRY, Runtime(CPU, group=group))
    found = {"losses": list(LOSSES), "written": list(WRITTEN), "kept": list(KEPT), "seen": sorted(set(SEEN))}
    return found | {"mean": scores.mean, "initialised": list(INITIALISED)}


def said(work: Any) -> str:
    """The error of some work, as `kind: sentence`."""
    try:
        work()
    except EmotiwaveError as error:
        return f"{type(error).__name__}: {error}"
    return "none"


def refuse() -> None:
    """Stands for a recipe that is wrong."""
    raise SettingsError("It is wrong.")


def talk(group: parallel.ProcessGroup) -> dict[str, Any]:
    """What the processes say to each other, without a run."""
    mine = torch.full((3,), float(group.rank))
    linear = torch.nn.Linear(2, 2)
    with torch.no_grad():
        linear.weight.fill_(group.rank + 1.0)
    group.take_over(linear)
    return {
        "refused": said(lambda: group.first(refuse)),
        "first": group.first(lambda: f"rank {group.rank}"),
        "everyone": group.everyone(group.rank),
        "in_turn": group.in_turn(lambda: group.rank),
        "same": said(lambda: group.check_same([torch.ones(3)], "Now")),
        "other": said(lambda: group.check_same([mine], "Now")),
        "taken_over": linear.weight.unique().tolist(),
    }


def main(jobs: Path, found: Path) -> None:
    """Run the jobs, each in a folder of its name beside their file."""
    torch.set_num_threads(1)
    watch_losses()
    watch_policy()
    sys.addaudithook(watch_files)
    group = parallel.join(parallel.meet(), CPU)
    told = json.loads(jobs.read_text())
    answers: dict[str, Any] = {"talk": talk(group)}
    for name, job in told["jobs"].items():
        if "error" in job:
            answers[name] = said(lambda job=job, name=name: train(group, job, Path(told["data"]), jobs.parent / name))  # type: ignore[misc]
        else:
            answers[name] = train(group, job, Path(told["data"]), jobs.parent / name)
    found.write_text(json.dumps(answers))
    parallel.leave(group)


if __name__ == "__main__":
    import emotiwave_core.report.page

    emotiwave_core.report.page.write_report = lambda run: None  # type: ignore[assignment]
    run.write_explanation = lambda *_: None  # type: ignore[attr-defined]
    main(Path(sys.argv[1]), Path(sys.argv[2]))
