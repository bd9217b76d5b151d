"""Guards the objective of a plugin: an error names it, and what it returns is held against its interface."""

import functools
import inspect
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from emotiwave_core.errors import EmotiwaveError, PluginError, is_out_of_memory
from emotiwave_core.metrics.headline import Headline
from emotiwave_core.objectives import Objective
from emotiwave_core.parts.guard import forbid_exit, in_words
from emotiwave_core.parts.interface_check import versions


class Due(NamedTuple):
    """The tensor, or the array, that a method has to return."""

    letters: str
    shape: tuple[int, ...]
    values: str = "floats"  # or whole numbers, or bool
    most: int | None = None  # they are from 0 to this one, or NaN
    of: type = Tensor

    @property
    def words(self) -> str:
        """The same in words."""
        limit = "" if self.most is None else f" from 0 to {self.most}"
        what = "a tensor" if self.of is Tensor else "an array"
        return f"{what} {self.letters} = {list(self.shape)} of {self.values}{limit}"


KINDS = {"floats": "f", "whole numbers": "iu", "bool": "b"}  # NumPy's letters for them


def guard_objective(objective: Objective, who: str) -> Objective:
    """The same objective, whose methods are a PluginError from now on where they fail or return what they must not.

    So too where they would end the program, or write into what they are given, which others read as well.
    """
    if not isinstance(objective.headline, Headline):
        raise PluginError(f"{who} has {objective.headline!r:.80} as its headline, which is that of its kind: leave it.")
    for name in DUE:
        if hasattr(objective, name):
            setattr(objective, name, _guarded(objective, who, name))
    return objective


def _guarded(objective: Objective, who: str, name: str) -> Callable[..., Any]:
    method, due_of = getattr(objective, name), DUE[name]

    @functools.wraps(method)
    def asked(*given: Any) -> Any:
        mine = [_own(one) for one in given]
        before = versions(_tensors(mine))
        try:
            with forbid_exit(f"{who} fails in {name}"):
                came = method(*mine)
        except EmotiwaveError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise PluginError(f"{who} fails in {name}{_place(error, objective)}: {in_words(error)}.") from error
        if versions(_tensors(mine)) != before:
            raise PluginError(f"{who} writes in {name} into what it is given, which others read too: make a new one.")
        if due_of is not None and not torch.compiler.is_exporting():  # sizes are open there
            _check(f"{who} returns from {name}", came, due_of(objective, given[0]), next(_tensors(given), None))
        if name == "sample_losses" and given[0].logits.requires_grad and not came.requires_grad:
            raise PluginError(f"{who} returns from {name} a loss without a gradient: look for detach and argmax.")
        return came

    return asked


def _own(given: Any) -> Any:
    """A copy, or a view that cannot be written, of what a method is given where writes are not counted."""
    if isinstance(given, np.ndarray):
        given = given.view()
        given.flags.writeable = False
        return given
    return given.clone() if isinstance(given, Tensor) and given.is_inference() else given


def _tensors(given: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors among arguments, those of an Output too."""
    for one in given:
        if isinstance(one, Tensor):
            yield one
        elif isinstance(one, tuple | list):
            yield from _tensors(one)
        elif isinstance(one, Mapping):
            yield from _tensors(one.values())


def _place(error: Exception, objective: Objective) -> str:
    """The file and the line of the plugin that an error comes from."""
    file = inspect.getsourcefile(type(objective))
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f" ({file}, line {lines[-1]})" if lines else ""


def _check(says: str, came: object, due: Due, like: Tensor | None) -> None:
    """PluginError where what came is not what is due, or a tensor is on another device than that one."""
    if not isinstance(came, due.of):
        raise PluginError(f"{says} {type(came).__name__}, where {due.words} is due.")
    assert isinstance(came, Tensor | np.ndarray)
    kind = _letter(came.dtype) if isinstance(came, Tensor) else came.dtype.kind
    if tuple(came.shape) != due.shape or kind not in KINDS[due.values]:
        raise PluginError(f"{says} {list(came.shape)} of {came.dtype}, where {due.words} is due.")
    if isinstance(came, Tensor) and like is not None and came.device != like.device:
        raise PluginError(f"{says} what is on {came.device}, and all that it is given is on {like.device}.")
    if due.most is not None and bool(((came < 0) | (came > due.most)).any()):
        raise PluginError(f"{says} numbers from {came.min()} to {came.max()}, where {due.words} is due.")


def _letter(dtype: torch.dtype) -> str:
    if dtype is torch.bool:
        return "b"
    return "f" if dtype.is_floating_point else "c" if dtype.is_complex else "i"


def _targets_due(objective: Objective, labels: Tensor) -> Due:
    if objective.kind == "single":
        return Due("[N]", (len(labels),), "whole numbers", len(objective.classes) - 1)
    return Due("[N, C]", (len(labels), len(objective.classes)))


def _decided_due(objective: Objective, answers: Any) -> Due:
    """Of decisions, and of the truth that they are compared with."""
    if objective.kind == "single":
        return Due("[N]", (len(answers),), "whole numbers", len(objective.classes) - 1, of=np.ndarray)
    shape = (len(answers), len(objective.classes))
    if objective.kind == "multi":
        return Due("[N, C]", shape, "whole numbers", 1, of=np.ndarray)
    return Due("[N, C]", shape, of=np.ndarray)


def _answers_due(objective: Objective, logits: Tensor) -> Due:
    return Due("[…, C]", tuple(logits.shape), most=None if objective.kind == "regression" else 1)


# The methods that are asked by others than the objective itself, and what is due; None: nothing that is used.
DUE: Mapping[str, Callable[[Objective, Any], Due] | None] = {
    "fit": None,
    "used": lambda _, labels: Due("[N]", (len(labels),), "bool"),
    "targets": _targets_due,
    "truth": _decided_due,
    "sample_losses": lambda _, output: Due("[B]", (len(output.logits),)),
    "adjusted": lambda _, logits: Due("[B, C]", tuple(logits.shape)),
    "sample_weights": lambda _, targets: Due("[B]", (len(targets),)),
    "divergence": lambda _, logits: Due("[]", ()),
    "answers": _answers_due,
    "decide": _decided_due,
    "prior": lambda objective, _: Due("[C]", (len(objective.classes),)),
}
