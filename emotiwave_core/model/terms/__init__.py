"""Further terms of the training loss, one file each: the objective's own loss, plus a weight times each term.

A file of this package defines one `Term` and ends with `TERM = …`. Its weight is the value of the recipe by the name of
its `setting` in `[objective]`; at 0 the term costs nothing.
"""

import functools
import importlib
import pkgutil
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from emotiwave_core.config.recipe import ObjectiveSettings
from emotiwave_core.interfaces import Mixture, Output
from emotiwave_core.objectives import Objective


class Term(ABC):
    """One term of the training loss."""

    setting: ClassVar[str]  # its weight, a field of ObjectiveSettings
    needs_complete: ClassVar[bool] = False  # also reads the output before the dropout policy
    needs_heads: ClassVar[bool] = False  # also reads auxiliary heads, one for each modality

    @abstractmethod
    def loss(
        self,
        objective: Objective,
        output: Output,
        complete: Output | None,
        targets: Tensor,
        mixture: Mixture | None = None,
    ) -> Tensor:
        """The term of a batch, [], before its weight.

        `output` is of what the dropout policy left, `complete` of all that there was: there where some term of the
        recipe needs it. `mixture`: samples that an augmentation has mixed.
        """


@functools.cache
def all_terms() -> tuple[Term, ...]:
    """Every term, by the name of its file."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(importlib.import_module(f"{__name__}.{name}").TERM for name in names)


def weighted_terms(settings: ObjectiveSettings) -> list[tuple[float, Term]]:
    """The terms that a recipe asks for, with their weights."""
    weights = ((float(getattr(settings, term.setting)), term) for term in all_terms())
    return [(weight, term) for weight, term in weights if weight > 0]


def needs_complete(settings: ObjectiveSettings) -> bool:
    """True where a training step also needs the output before the dropout policy."""
    return any(term.needs_complete for _, term in weighted_terms(settings))


def needs_heads(settings: ObjectiveSettings) -> bool:
    """True where the model has an auxiliary head for each modality."""
    return any(term.needs_heads for _, term in weighted_terms(settings))


def training_loss(
    objective: Objective,
    settings: ObjectiveSettings,
    output: Output,
    complete: Output | None,
    targets: Tensor,
    mixture: Mixture | None = None,
) -> tuple[Tensor, Tensor]:
    """The training loss of a batch, [], and the objective's loss of each sample, [B].

    `output` is of what the dropout policy left, `complete` of all that there was (`needs_complete`). Of an ensemble
    they are the means over its members, each of which learns as if there were no other.
    """
    if output.members is None:
        return _loss(objective, settings, output, complete, targets, mixture)
    wholes = [None] * output.members.shape[1] if complete is None else members_of(complete)
    pairs = zip(members_of(output), wholes, strict=True)
    each = [_loss(objective, settings, *pair, targets, mixture) for pair in pairs]
    loss, losses = (torch.stack(of_members).mean(dim=0) for of_members in zip(*each, strict=True))
    return loss, losses


def members_of(output: Output) -> list[Output]:
    """The output of each member of an ensemble, as that of a model; the fusion's loss is the mean of theirs in each."""
    assert output.members is not None
    count = output.members.shape[1]
    alone = [None] * count if output.unimodal is None else output.unimodal.chunk(count, dim=1)
    return [
        output._replace(logits=logits, unimodal=own, members=None)
        for logits, own in zip(output.members.unbind(dim=1), alone, strict=True)
    ]


def _loss(
    objective: Objective,
    settings: ObjectiveSettings,
    output: Output,
    complete: Output | None,
    targets: Tensor,
    mixture: Mixture | None,
) -> tuple[Tensor, Tensor]:
    """`training_loss` of one model."""
    loss, losses = objective.output_loss(output, targets, mixture)
    for weight, term in weighted_terms(settings):
        loss = loss + weight * term.loss(objective, output, complete, targets, mixture)
    return loss, losses
