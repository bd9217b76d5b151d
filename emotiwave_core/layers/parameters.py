"""Parameters of a part: which are its own, and how each of them is trained."""

import math
from collections.abc import Iterator
from typing import NamedTuple

from torch import nn

from emotiwave_core.interfaces import LearnedPart, ParameterGroup


class TrainedHow(NamedTuple):
    """The way in which a parameter is trained."""

    learning_rate: float = 1.0  # a factor of the recipe's; 0: it is frozen
    decays: bool = True


def trained_how(model: nn.Module, every_decays: bool = False) -> dict[nn.Parameter, TrainedHow]:
    """The way in which each parameter of a model is trained, by what the parts in it say (`parameter_groups`).

    With `every_decays` weight decay is for all of them. Of a part inside a part the outer one counts.
    """
    named: dict[nn.Parameter, ParameterGroup] = {}
    for part in learned_parts(model):
        for group in part.parameter_groups():
            for parameter in group.parameters:
                named.setdefault(parameter, group)
    ways = {}
    for parameter in model.parameters():
        group = named.get(parameter, ParameterGroup(()))
        decays = parameter.dim() > 1 if group.weight_decay is None else group.weight_decay
        ways[parameter] = TrainedHow(group.learning_rate, decays or every_decays)
    return ways


def learned_parts(model: nn.Module) -> Iterator[LearnedPart]:
    """The encoders and fusions of a model, each before those inside it."""
    return (module for module in model.modules() if isinstance(module, LearnedPart))


def wrong_groups(part: nn.Module, groups: object) -> str | None:
    """The fault of what a part returned as its parameter groups, as the end of a sentence; None where there is none."""
    if not isinstance(groups, list) or not all(isinstance(group, ParameterGroup) for group in groups):
        return f"returns {groups!r:.80} where a list of ParameterGroup is due"
    own, seen = {id(parameter) for parameter in part.parameters()}, set[int]()
    for group in groups:
        if not all(isinstance(parameter, nn.Parameter) for parameter in group.parameters):
            return "has something in a group that is no parameter"
        numbers = {id(parameter) for parameter in group.parameters}
        if not numbers <= own:
            return "has a parameter in a group that is not its own"
        if numbers & seen:
            return "has a parameter in two groups"
        seen |= numbers
        rate = group.learning_rate
        if not isinstance(rate, int | float) or not 0.0 <= rate < math.inf:
            return f"has a group with the learning rate {rate!r}: it is a factor, of at least 0"
    return None
