"""The gradient of a batch. Where memory runs out it is computed in pieces, and stays the gradient of that batch."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from emotiwave_core.compute.device import autocast, random_state, set_random_state
from emotiwave_core.data.loading.batch import Batch
from emotiwave_core.errors import is_out_of_memory
from emotiwave_core.interfaces import Output, Tensors
from emotiwave_core.model.objective import training_loss
from emotiwave_core.train.step import Setup, joined, of_all, on

Noise = Callable[[], AbstractContextManager[None]]


class Learned(NamedTuple):
    """What a step has found; the gradients are in the parameters."""

    loss: Tensor  # []
    each: Tensor  # [B], the loss of each sample
    present: Tensor  # [B, M] bool, what the policy left


def learn(setup: Setup, batch: Batch, left: Tensors, whole: bool, noise: Noise) -> Learned:
    """Put the gradient of a batch into the parameters; left {m: [B, T] bool}, on the CPU, is what the policy left.

    With `computing.auto_batch` it is computed in twice as many pieces whenever memory runs out. The error of the memory
    itself where batches stay whole, or a single sample is too much.
    """
    device, auto = setup.feed.device, setup.recipe.computing.auto_batch
    random = random_state(device) if auto else None
    while (found := _try(setup, batch, left, whole, noise)) is None:
        assert random is not None
        set_random_state(random, device)
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return found


def _try(setup: Setup, batch: Batch, left: Tensors, whole: bool, noise: Noise) -> Learned | None:
    rows, pieces = len(batch.rows), setup.pieces
    try:
        return _learn(setup, batch, left, whole, noise)
    except (RuntimeError, MemoryError) as error:
        if not (setup.recipe.computing.auto_batch and is_out_of_memory(error)) or pieces.count >= rows:
            raise
    pieces.count = min(2 * pieces.count, rows)  # out here the frames of the error are gone, and what they held
    setup.monitor.say(f"Memory is short: a batch of {rows} samples is now computed in {pieces.count} pieces.")
    return None


def _learn(setup: Setup, batch: Batch, left: Tensors, whole: bool, noise: Noise) -> Learned:
    device, recipe, group = setup.feed.device, setup.recipe, setup.group
    setup.model.zero_grad(set_to_none=True)
    kept = on(device, left, group.computed(len(batch.rows)))
    with autocast(device, recipe.training.precision), noise():
        answers = in_microbatches(setup.learner, setup.pieces.count, batch.inputs, batch.masks, kept, whole)
    output, complete = of_all(group, *answers, batch.host_masks, left)
    loss, each = training_loss(setup.objective, recipe.objective, output, complete, batch.targets)
    scaled = loss * group.size if group.size > 1 else loss  # for DDP takes the mean over the processes
    scaled.backward()  # type: ignore[no-untyped-call]
    return Learned(loss.detach(), each, output.present)


def in_microbatches(
    learner: nn.Module, pieces: int, inputs: Tensors, masks: Tensors, left: Tensors, whole: bool
) -> tuple[Output, Output | None]:
    """What a `step.Learner` says, a piece at a time: of each only the outputs are kept for the backward pass.

    That computes each piece once more, with the noise that it had (gradient checkpointing, Chen et al. 2016). So the
    gradient is that of the whole batch, whatever its loss, for the cost of one more forward pass.
    """
    rows = len(next(iter(masks.values())))
    if pieces == 1 or rows == 1:
        answer: tuple[Output, Output | None] = learner(inputs, masks, left, whole)
        return answer
    found = []
    for number in range(min(pieces, rows)):
        some = slice(rows * number // min(pieces, rows), rows * (number + 1) // min(pieces, rows))
        piece = ({m: tensor[some] for m, tensor in tensors.items()} for tensors in (inputs, masks, left))
        found.append(checkpoint(learner, *piece, whole, use_reentrant=False))
    complete = [one for _, one in found if one is not None]
    return joined([output for output, _ in found]), joined(complete) if complete else None
