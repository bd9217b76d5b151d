"""One step of training: forward pass, loss and gradient of a batch, in microbatches where memory is short."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from emotiwave_core.compute.device import autocast, random_state, set_random_state
from emotiwave_core.compute.distributed import SINGLE, ProcessGroup
from emotiwave_core.config.recipe import Recipe
from emotiwave_core.data.loading.batch import Batch
from emotiwave_core.data.loading.loader import Loader
from emotiwave_core.errors import DivergedError, is_out_of_memory
from emotiwave_core.interfaces import DropoutPolicy, Mixture, Output, Tensors
from emotiwave_core.layers.masking import present_in
from emotiwave_core.model.fusion_model import FusionModel
from emotiwave_core.model.terms import needs_complete, training_loss
from emotiwave_core.monitor import SILENT, Monitor
from emotiwave_core.objectives import Objective
from emotiwave_core.train.augment import Augmenter

Noise = Callable[[], AbstractContextManager[None]]
LARGE = 1e4  # a logit that only a model which diverges has
POOLED = "pooled."  # before a modality's name


class ForwardPass(nn.Module):
    """The output of what the policy left, and, where a term of the loss needs it, of all that there was."""

    def __init__(self, model: FusionModel, with_complete: bool) -> None:
        super().__init__()
        self.model = model
        self.with_complete = with_complete

    def forward(
        self, inputs: Tensors, masks: Tensors, left: Tensors, whole: bool, videos: Tensor | None = None
    ) -> tuple[Output, Output | None]:
        """inputs {s: [B, T, F]}, masks and what is left of them {s: [B, T] bool}, by stream -> the two outputs.

        `whole` and `videos` as for `FusionModel.forward_both`. The outputs are without `weights`: no loss reads these,
        and where several processes train, each waits for a gradient of all that it has been given.
        """
        if self.with_complete:
            output, complete = self.model.forward_both(inputs, masks, left, whole, videos)
            return output._replace(weights=None), complete._replace(weights=None)
        return self.model.forward_masked(inputs, left, videos)._replace(weights=None), None


@attrs.define
class Microbatches:
    """The number of microbatches that a batch is computed in. It grows where memory runs out."""

    count: int = 1


@attrs.frozen(eq=False)
class TrainingSetup:
    """All that every step of a training shares."""

    model: FusionModel
    objective: Objective
    recipe: Recipe
    loader: Loader
    monitor: Monitor = SILENT
    group: ProcessGroup = SINGLE
    augmenter: Augmenter | None = None
    microbatches: Microbatches = attrs.Factory(Microbatches)
    forward_pass: nn.Module = attrs.field()  # as the processes share it

    @forward_pass.default
    def _wrapped(self) -> nn.Module:
        return self.group.wrap(ForwardPass(self.model, needs_complete(self.recipe.objective)))


class StepResult(NamedTuple):
    """The loss of a step; its gradients are in the parameters."""

    loss: Tensor  # []
    losses: Tensor  # [B], of each sample
    logits: Tensor  # [B, C]
    present: Tensor  # [B, M] bool, what the policy left


class Left(NamedTuple):
    """A batch after the dropout policy."""

    masks: Tensors  # {s: [B, T] bool}, on the CPU
    whole: bool  # it took whole modalities only


def compute_gradients(
    setup: TrainingSetup, batch: Batch, left: Left, noise: Noise, mixture: Mixture | None = None
) -> StepResult:
    """Put the gradient of a batch into the parameters, of what the policy left of it.

    With `computing.auto_batch` it is computed in twice as many microbatches whenever memory runs out. The error of the
    memory itself where batches stay whole, or a single sample is too much.
    """
    device, auto = setup.loader.device, setup.recipe.computing.auto_batch
    random = random_state(device) if auto else None
    while (result := _try_gradients(setup, batch, left, noise, mixture)) is None:
        assert random is not None
        set_random_state(random, device)
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return result


def _try_gradients(
    setup: TrainingSetup, batch: Batch, left: Left, noise: Noise, mixture: Mixture | None
) -> StepResult | None:
    """The result of the step, or None where memory ran out and more microbatches may fit."""
    samples, microbatches = len(batch.rows), setup.microbatches
    try:
        return _gradients(setup, batch, left, noise, mixture)
    except (RuntimeError, MemoryError) as error:
        if not (setup.recipe.computing.auto_batch and is_out_of_memory(error)) or microbatches.count >= samples:
            raise
    microbatches.count = min(2 * microbatches.count, samples)  # the error's frames are gone, and what they held
    count = microbatches.count
    setup.monitor.say(f"Memory is short: a batch of {samples} samples is now computed in {count} pieces.")
    return None


def _gradients(setup: TrainingSetup, batch: Batch, left: Left, noise: Noise, mixture: Mixture | None) -> StepResult:
    device, recipe, group = setup.loader.device, setup.recipe, setup.group
    setup.model.zero_grad(set_to_none=True)
    own_left = on(device, left.masks, group.computed(len(batch.rows)))
    with autocast(device, recipe.training.precision), noise():
        outputs = in_microbatches(
            setup.forward_pass, setup.microbatches.count, batch.inputs, batch.masks, own_left, left.whole, batch.videos
        )
    output, complete = gather_outputs(group, *outputs, batch.host_masks, left.masks)
    loss, losses = training_loss(setup.objective, recipe.objective, output, complete, batch.targets, mixture)
    scaled = loss * group.size if group.size > 1 else loss  # for DDP takes the mean over the processes
    scaled.backward()  # type: ignore[no-untyped-call]
    return StepResult(loss.detach(), losses, output.logits.detach(), output.present)


def in_microbatches(
    forward_pass: nn.Module,
    count: int,
    inputs: Tensors,
    masks: Tensors,
    left: Tensors,
    whole: bool,
    videos: Tensor | None = None,
) -> tuple[Output, Output | None]:
    """A `ForwardPass` in `count` microbatches, of each of which only the outputs are kept for the backward pass.

    That computes each microbatch once more, with the noise that it had (gradient checkpointing, Chen et al. 2016). So
    the gradient is that of the whole batch, whatever its loss, for the cost of one more forward pass. A batch of whole
    `videos` stays one.
    """
    rows = len(next(iter(masks.values())))
    if count == 1 or rows == 1:
        outputs: tuple[Output, Output | None] = forward_pass(inputs, masks, left, whole, videos)
        return outputs
    assert videos is None, "a microbatch would cut through a video"
    pairs = []
    for number in range(min(count, rows)):
        piece = slice(rows * number // min(count, rows), rows * (number + 1) // min(count, rows))
        arguments = ({m: tensor[piece] for m, tensor in tensors.items()} for tensors in (inputs, masks, left))
        pairs.append(checkpoint(forward_pass, *arguments, whole, use_reentrant=False))
    complete = [output for _, output in pairs if output is not None]
    return join_outputs([output for output, _ in pairs]), join_outputs(complete) if complete else None


def gather_outputs(
    group: ProcessGroup, output: Output, complete: Output | None, masks: Tensors, left: Tensors
) -> tuple[Output, Output | None]:
    """The outputs of the whole batch, of which each process has computed its share.

    masks and what is left of them {s: [B, T] bool} are of the whole batch. A fusion's own loss becomes the mean over
    the samples of the losses of each process's fusion on its share.
    """
    if group.size == 1:
        return output, complete
    outputs = [output] if complete is None else [output, complete]
    columns = [column for own in outputs for column in _columns(own).values()]
    gathered = iter(group.gather(columns, len(next(iter(masks.values())))))
    whole = []
    for own, own_masks in zip(outputs, (left, masks), strict=False):
        rows = {name: next(gathered) for name in _columns(own)}
        present = present_in({s: own_masks[s] for s in masks}).to(output.logits.device, non_blocking=True)
        whole.append(_from_columns(rows, present))
    return whole[0], whole[1] if complete is not None else None


def join_outputs(outputs: Sequence[Output]) -> Output:
    """The output of a batch, from those of its microbatches; a fusion's own loss is the mean over samples."""
    columns = [_columns(output) for output in outputs]
    rows = {name: torch.cat([column[name] for column in columns]) for name in columns[0]}
    return _from_columns(rows, torch.cat([output.present for output in outputs]))


def _columns(output: Output) -> Tensors:
    """All that a loss reads of an output, a row a sample."""
    loss = None if output.loss is None else output.loss.expand(len(output.logits))
    columns = {"loss": loss} | {name: getattr(output, name) for name in ("logits", "unimodal", "vector", "members")}
    columns |= {f"{POOLED}{m}": pooled for m, pooled in (output.pooled or {}).items()}
    return {name: column for name, column in columns.items() if column is not None}


def _from_columns(columns: Tensors, present: Tensor) -> Output:
    """The output again, from its columns."""
    loss = columns["loss"].mean() if "loss" in columns else None
    pooled = {name.removeprefix(POOLED): column for name, column in columns.items() if name.startswith(POOLED)}
    others = {name: columns.get(name) for name in ("unimodal", "vector", "members")}
    return Output(columns["logits"], None, loss, present, pooled=pooled or None, **others)


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
        self.unseen: _Unseen | None = None

    def step(self, loss: Tensor, norm: Tensor, rows: NDArray[np.int64], logits: Tensor) -> None:
        """The loss [] and the gradient's norm [] of a step over these samples of the store, and their logits [B, C]."""
        self.check()
        finite, ready = torch.isfinite(loss.detach()) & torch.isfinite(norm), None
        if finite.is_cuda:  # brought over while the next step is on its way
            finite = torch.empty((), dtype=torch.bool, pin_memory=True).copy_(finite, non_blocking=True)
            ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
            ready.record()
        self.unseen = _Unseen(loss.detach(), norm, finite, ready, rows, logits)
        if ready is None:
            self.check()

    def check(self) -> None:
        """DivergedError where a step that was not looked at was not finite."""
        if self.unseen is None:
            return
        (loss, norm, finite, ready, rows, logits), self.unseen = self.unseen, None
        if ready is not None:
            ready.synchronize()
        if not bool(finite):
            ids = ", ".join(repr(self.ids[row]) for row in rows)
            cure = (
                "The model's logits for them are no large numbers: look at the loss of the objective (objective.kind), "
                "or the fusion's own."
                if bool((logits.abs() < LARGE).all()) and not bool(loss.isfinite())
                else "Lower training.learning_rate; where features are huge set model.standardise=true; "
                "`emotiwave data inspect` shows the data."
            )
            raise DivergedError(
                f"In epoch {self.epoch} the loss is {loss.item()} and its gradient's norm {norm.item()}, for the "
                f"samples {ids}. {cure}"
            )


class _Unseen(NamedTuple):
    """A step that was not looked at yet."""

    loss: Tensor
    norm: Tensor
    finite: Tensor  # [] bool, on the CPU once `ready`
    ready: torch.cuda.Event | None
    rows: NDArray[np.int64]
    logits: Tensor  # [B, C]
