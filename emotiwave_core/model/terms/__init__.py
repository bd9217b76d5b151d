"""Further terms of the training loss, one file each: the objective's own loss, plus a weight times each term.

A file of this package defines one `Term` and ends with `TERM = …`. Its weight is the value of the recipe by the name of
its `setting` in `[objective]`; at 0 the term costs nothing.
"""

import functools
import importlib
import pkgutil
from abc import ABC, abstractmethod
from typing import ClassVar

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

    `output` is of what the dropout policy left, `complete` of all that there was (`needs_complete`).
    """
    loss, losses = objective.output_loss(output, targets, mixture)
    for weight, term in weighted_terms(settings):
        loss = loss + weight * term.loss(objective, output, complete, targets, mixture)
    return loss, losses
