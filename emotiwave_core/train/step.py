"""One step of training: what it is made with, its forward pass as a module, and a watch over its loss."""

from collections.abc import Sequence
from typing import NamedTuple

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emotiwave_core.compute.distributed import SINGLE, ProcessGroup
from emotiwave_core.config.recipe import Recipe
from emotiwave_core.data.loading.loader import Loader
from emotiwave_core.errors import DivergedError
from emotiwave_core.interfaces import DropoutPolicy, Output, Tensors
from emotiwave_core.layers.masking import present_in
from emotiwave_core.model.fusion_model import FusionModel
from emotiwave_core.model.objective import Objective
from emotiwave_core.monitor import SILENT, Monitor


class Learner(nn.Module):
    """What the model says of what the policy left, and, where a loss needs it, of all that there was."""

    def __init__(self, model: FusionModel, twice: bool) -> None:
        super().__init__()
        self.model = model
        self.twice = twice

    def forward(self, inputs: Tensors, masks: Tensors, left: Tensors, whole: bool) -> tuple[Output, Output | None]:
        """inputs {m: [B, T, F]}, masks and what is left of them {m: [B, T] bool} -> the two outputs.

        `whole` as for `FusionModel.forward_both`. The outputs are without `weights`: no loss reads these, and where
        several processes train, each waits for a gradient of all that it has been given.
        """
        if self.twice:
            output, complete = self.model.forward_both(inputs, masks, left, whole)
            return output._replace(weights=None), complete._replace(weights=None)
        return self.model.forward_masked(inputs, left)._replace(weights=None), None


@attrs.define
class Microbatches:
    """How many pieces a batch is computed in. It grows where memory runs out (pieces.py)."""

    count: int = 1


@attrs.frozen(eq=False)
class Setup:
    """What every step of a training is made with."""

    model: FusionModel
    objective: Objective
    recipe: Recipe
    feed: Loader
    monitor: Monitor = SILENT
    group: ProcessGroup = SINGLE
    pieces: Microbatches = attrs.Factory(Microbatches)
    learner: nn.Module = attrs.field()  # the model, as the processes share it

    @learner.default
    def _wrapped(self) -> nn.Module:
        extra = self.recipe.objective
        return self.group.wrap(Learner(self.model, extra.complete > 0 or extra.distillation > 0))


def of_all(
    group: ProcessGroup, output: Output, complete: Output | None, masks: Tensors, left: Tensors
) -> tuple[Output, Output | None]:
    """What the model says of the whole batch, of which each process has computed its share.

    masks and what is left of them {m: [B, T] bool} are of the whole batch. A fusion's own loss becomes the mean over
    the samples of what each process's fusion has said of its share.
    """
    if group.size == 1:
        return output, complete
    outputs = [output] if complete is None else [output, complete]
    pieces = [piece for one in outputs for piece in _rows(one).values()]
    whole = iter(group.gather(pieces, len(next(iter(masks.values())))))
    found = []
    for one, there in zip(outputs, (left, masks), strict=False):
        rows = {name: next(whole) for name in _rows(one)}
        present = present_in({m: there[m] for m in masks}).to(output.logits.device, non_blocking=True)
        own_loss = rows["loss"].mean() if "loss" in rows else None
        found.append(Output(rows["logits"], None, own_loss, present, rows.get("unimodal")))
    return found[0], found[1] if complete is not None else None


def joined(outputs: Sequence[Output]) -> Output:
    """What the model says of a batch, from what it says of its pieces; a fusion's own loss is the mean over samples."""
    each = [_rows(output) for output in outputs]
    rows = {name: torch.cat([one[name] for one in each]) for name in each[0]}
    present = torch.cat([output.present for output in outputs])
    own_loss = rows["loss"].mean() if "loss" in rows else None
    return Output(rows["logits"], None, own_loss, present, rows.get("unimodal"))


def _rows(output: Output) -> Tensors:
    """What a loss reads of an output, a row a sample."""
    loss = None if output.loss is None else output.loss.expand(len(output.logits))
    rows = {"logits": output.logits, "loss": loss, "unimodal": output.unimodal}
    return {name: piece for name, piece in rows.items() if piece is not None}


def on(device: torch.device, tensors: Tensors, rows: slice) -> Tensors:
    """Some rows of the tensors, on a device."""
    return {name: tensor[rows].to(device, non_blocking=True) for name, tensor in tensors.items()}


def observe(policy: DropoutPolicy, present: Tensor, losses: Tensor) -> None:
    """Show present [B, M] and the losses [B] to a policy that looks at them: to others the CPU would wait in vain."""
    if type(policy).observe is not DropoutPolicy.observe:
        policy.observe(present.cpu(), losses.detach().cpu())


class LossWatch:
    """Stops at a loss or gradient that is not finite: on a CPU before it touches the weights.

    On a GPU it looks one step late, so that nobody waits; the run goes back to the last whole epoch anyway.
    """

    def __init__(self, epoch: int, ids: Sequence[str]) -> None:
        self.epoch, self.ids = epoch, ids
        self.unseen: _Seen | None = None

    def step(self, loss: Tensor, norm: Tensor, rows: NDArray[np.int64]) -> None:
        """The loss [] and the gradient's norm [] of a step over these samples of the store."""
        self.check()
        finite, ready = torch.isfinite(loss.detach()) & torch.isfinite(norm), None
        if finite.is_cuda:  # brought over while the next step is on its way
            finite = torch.empty((), dtype=torch.bool, pin_memory=True).copy_(finite, non_blocking=True)
            ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
            ready.record()
        self.unseen = _Seen(loss.detach(), norm, finite, ready, rows)
        if ready is None:
            self.check()

    def check(self) -> None:
        """DivergedError where a step that was not looked at was not finite."""
        if self.unseen is None:
            return
        (loss, norm, finite, ready, rows), self.unseen = self.unseen, None
        if ready is not None:
            ready.synchronize()
        if not bool(finite):
            ids = ", ".join(repr(self.ids[row]) for row in rows)
            raise DivergedError(
                f"In epoch {self.epoch} the loss is {loss.item()} and its gradient's norm {norm.item()}, for the "
                f"samples {ids}. Lower training.learning_rate; where features are huge set model.standardise=true; "
                "`emotiwave data inspect` shows the data."
            )


class _Seen(NamedTuple):
    """A step that was not looked at yet."""

    loss: Tensor
    norm: Tensor
    finite: Tensor  # [] bool, on the CPU once `ready`
    ready: torch.cuda.Event | None
    rows: NDArray[np.int64]
