"""A training epoch against the plain loop: the same model, data, order and batches, and the same losses."""

import contextlib
import functools
import inspect
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

import emotiwave as ew
from emotiwave_core.compute.device import seed_everything
from emotiwave_core.config.recipe import Recipe
from emotiwave_core.data import corpus
from emotiwave_core.data.loading.batch import epoch_order
from emotiwave_core.interfaces import Mixture, Output
from emotiwave_core.model.fusion_model import FusionModel
from emotiwave_core.monitor import SILENT
from emotiwave_core.objectives import Objective
from emotiwave_core.train import loop as training
from speed.corpus import WIDTHS
from speed.machine import waiter
from speed.plain import Items, Loop, Plain, Timed
from speed.table import Row

EPOCHS = 3  # after one that is not counted
STEPS = 20  # whose losses are compared
PLAIN = 64  # batches of an epoch that the plain loop trains on at most: it takes as long for every sample

# Name -> what it changes of the recipe `notebook`. The first has the mathematics of the plain loop.
MASKED = {"model": {"absent": "mask"}, "dropout": "uniform"}
TEN = {"data": {"downsample": {"audio": 10, "visual": 3}, "max_steps": {"text": 300, "audio": 100, "visual": 100}}}
BF16 = {"training": {"precision": "bf16"}}
VARIANTS: dict[str, dict[str, Any]] = {
    "same mathematics": {},
    "absent=mask, uniform dropout": MASKED,
    "absent=mask, uniform dropout, bf16": MASKED | BF16,
    "the same, first 10 s of audio and visual at 10 steps a second": MASKED | BF16 | TEN,
}


class EnoughError(Exception):
    """All epochs that are measured are trained."""


class Measured(NamedTuple):
    """Medians of seconds a sample, and how far the losses of the first steps are apart."""

    preparation: float  # seconds from the start of the run to its first step
    ours: float
    theirs: float
    their_data: float
    compared: int
    apart: float


def measure(folder: Path, device: torch.device) -> list[Row]:
    """Each variant against the plain loop, and what is paid once before."""
    rows = preparation(folder)
    for name, changes in VARIANTS.items():
        found = against_plain(folder, device, changes)
        goal = ">= 100" if device.type == "cuda" else ">= 4" if changes else ">= 2"
        rows.append(Row("epoch", name, 1 / found.ours, "samples/s", "plain loop", 1 / found.theirs, goal))
        if not changes:
            rows += [
                Row("epoch", f"losses of the first {found.compared} steps, apart", found.apart, "", goal="<= 1e-4"),
                Row("epoch", "plain loop, reading", found.their_data * 1e3, "ms/sample"),
                Row("epoch", "plain loop, computing", (found.theirs - found.their_data) * 1e3, "ms/sample"),
                Row("epoch", "from the start of a run to its first step", found.preparation, "s"),
            ]
    return rows


def against_plain(folder: Path, device: torch.device, changes: dict[str, Any], epochs: int = EPOCHS) -> Measured:
    """Epochs of the recipe `notebook`, changed; the plain loop has its turn after each.

    Both start from the same weights and draw order, dropout and coins from the same seeds.
    """
    recipe = notebook(changes, epochs + 1)
    losses: list[Tensor] = []
    ours: list[float] = []
    theirs: list[Timed] = []
    loops: list[Loop] = []
    started: list[float] = []

    def both(epoch: Callable[[], float], asked: dict[str, Any]) -> float:
        rows, number = asked["training"].rows, asked["begun"].epoch
        if not loops:
            started.append(time.perf_counter())
            videos = [asked["setup"].loader.store.videos[row] for row in rows]
            loops.append(Loop(twin(asked["setup"].model), Items(folder, videos), device))
            listen(asked["setup"].objective, losses)
            seed_everything(recipe.seed, number)  # for the twin has drawn weights
        seconds, loss = timed(epoch, device)
        ours.append(seconds / len(rows))
        seed_everything(recipe.seed, number)
        theirs.append(loops[0].epoch(epoch_order(len(rows), recipe.seed, number)[: 16 * PLAIN].tolist()))
        return loss

    began = time.perf_counter()
    run(recipe, folder, device, both)
    # Where the plain loop has left out batches, its weights are other ones after an epoch.
    same = theirs[:1] if len(losses) > sum(len(one.losses) for one in theirs) else theirs
    pairs = list(zip(losses, (loss for one in same for loss in one.losses), strict=False))[:STEPS]
    return Measured(
        preparation=started[0] - began,
        ours=statistics.median(ours[1:]),
        theirs=statistics.median(one.seconds / one.samples for one in theirs[1:]),
        their_data=statistics.median(one.data_seconds / one.samples for one in theirs[1:]),
        compared=len(pairs),
        apart=max(abs(float(one) - other) for one, other in pairs),
    )


def run(
    recipe: Recipe, folder: Path, device: torch.device, around: Callable[[Callable[[], float], dict[str, Any]], float]
) -> None:
    """A run that is left when its last epoch is trained.

    `around` is given each epoch of training to call, and with what the engine called it; the engine is not changed.
    """
    inner = training.train_epoch

    def epoch(*given: Any, **named: Any) -> float:
        asked = inspect.signature(inner).bind(*given, **named).arguments
        loss = around(lambda: inner(*given, **named), asked)
        if asked["begun"].epoch == recipe.training.epochs:
            raise EnoughError
        return loss

    with (
        tempfile.TemporaryDirectory() as out,
        replaced(training, "train_epoch", epoch),
        contextlib.suppress(EnoughError),
    ):
        ew.train(folder, recipe, out=Path(out) / "run", device=device, monitor=SILENT)


def timed(work: Callable[[], float], device: torch.device) -> tuple[float, float]:
    """Seconds, and what the work returns."""
    settle = waiter(device)
    settle()
    began = time.perf_counter()
    found = work()
    settle()
    return time.perf_counter() - began, found


def preparation(folder: Path) -> list[Row]:
    """The price that is paid once: the store of the recipe `notebook`, built in an empty cache and then opened."""
    settings, usual = notebook({}, 1).data, corpus.open_store
    with tempfile.TemporaryDirectory(dir=folder.parent) as cache:
        empty = functools.partial(usual, folder=Path(cache))
        with replaced(corpus, "open_store", empty):
            began = time.perf_counter()
            corpus.open_corpus(folder, settings)
            built = time.perf_counter()
            corpus.open_corpus(folder, settings)
            opened = time.perf_counter()
    return [
        Row("epoch", "preparation: building the store, once", built - began, "s"),
        Row("epoch", "preparation: opening it", opened - built, "s"),
    ]


def notebook(changes: dict[str, Any], epochs: int) -> Recipe:
    """The recipe `notebook`, changed, that trains for so many epochs."""
    table = ew.recipes()["notebook"]
    for room, values in changes.items():
        table[room] = table[room] | values if isinstance(values, dict) else values
    table["training"] = table["training"] | {"epochs": epochs, "patience": epochs + 1}
    return Recipe.from_table(table, "The benchmark")


def twin(model: FusionModel) -> Plain:
    """The plain model with the weights of ours."""
    plain, state = Plain(), {}
    for m in WIDTHS:
        for kind in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
            for direction, suffix in (("forward", ""), ("backward", "_reverse")):
                ours = model.get_parameter(f"encoders.{m}.{direction}_layers.0.{kind}")
                state[f"lstms.{m}.{kind}{suffix}"] = ours.detach().clone()
    state |= {f"head.{name}": value.clone() for name, value in model.head.state_dict().items()}
    plain.load_state_dict(state)
    return plain


def listen(objective: Objective, losses: list[Tensor]) -> None:
    """Note the training loss of every batch. It is read at the end, so that nobody waits for a device."""
    inner = objective.output_loss

    def loss_of(output: Output, targets: Tensor, mixture: Mixture | None = None) -> tuple[Tensor, Tensor]:
        loss, each = inner(output, targets, mixture)
        if torch.is_grad_enabled():
            losses.append(loss.detach())
        return loss, each

    objective.output_loss = loss_of  # type: ignore[method-assign]


@contextlib.contextmanager
def replaced(module: ModuleType, name: str, value: Any) -> Iterator[None]:
    """Another value in the place of a module's own, for a while."""
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)
