"""Parameters of a part: which are its own, and how each of them is trained."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
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


Form = dict[str, tuple[tuple[int, ...], torch.dtype, bool]]  # shape, type and whether it is trained, by name


def form_of(part: nn.Module) -> Form:
    """The form of a part: all that a run must find again when it is rebuilt, but for the numbers."""
    trained = {name for name, parameter in part.named_parameters() if parameter.requires_grad}
    return {name: (tuple(x.shape), x.dtype, name in trained) for name, x in part.state_dict().items()}


def numbers_of(part: nn.Module) -> dict[str, torch.Tensor]:
    """The numbers of a part, by name, as they are now."""
    return {name: x.detach().clone() for name, x in part.state_dict().items()}


def same_numbers(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> bool:
    """True where two parts of the same form have the same numbers."""
    return all(torch.equal(x, after[name]) for name, x in before.items())


def changed_form(before: Form, after: Form) -> str | None:
    """The first change of a part's form, as the end of a sentence; None where it has the same."""
    for name in {**before, **after}:
        if name not in before or name not in after:
            return f"{'loses' if name in before else 'gets'} the tensor {name}"
        for what, then, now in zip(("shape", "type", "training"), before[name], after[name], strict=True):
            if then != now:
                was, is_now = (list(x) if isinstance(x, tuple) else x for x in (then, now))
                told = f"{'stops' if then else 'begins'} to train {name}"
                return told if what == "training" else f"changes the {what} of {name} from {was} to {is_now}"
    return None
