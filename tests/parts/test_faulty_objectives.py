"""Faulty objectives of plugins: what each method raises or returns is held against the interface, and named."""

import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from emotiwave_core.config.recipe import ObjectiveSettings
from emotiwave_core.errors import PluginError
from emotiwave_core.interfaces import Output
from emotiwave_core.objectives import Objective
from emotiwave_core.objectives.multi import MultiLabel
from emotiwave_core.objectives.regression import Regression
from emotiwave_core.objectives.single import SingleLabel
from emotiwave_core.parts.guard import exits_of_plugins
from emotiwave_core.parts.guarded_objective import DUE, guard_objective

NAMES = ("happy", "sad")
LABELS = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0]])
LOGITS = torch.tensor([[2.0, 1.0], [0.0, 1.0], [-1.0, 0.0]])


def asked(objective: Objective) -> dict[str, Callable[[], Any]]:
    """Each method of an objective, asked as the program does."""
    targets = type(objective)(NAMES).targets(LABELS)
    logits = LOGITS.clone().requires_grad_()
    output = Output(logits, None, None, torch.ones(3, 1, dtype=torch.bool))
    answers = type(objective)(NAMES).answers(LOGITS).double().numpy()
    return {
        "fit": lambda: objective.fit(targets, ObjectiveSettings()),
        "used": lambda: objective.used(LABELS),
        "targets": lambda: objective.targets(LABELS),
        "truth": lambda: objective.truth(targets),
        "sample_losses": lambda: objective.sample_losses(output, targets),
        "adjusted": lambda: objective.adjusted(logits),
        "sample_weights": lambda: objective.sample_weights(targets),
        "divergence": lambda: objective.divergence(logits, LOGITS),
        "answers": lambda: objective.answers(torch.stack([LOGITS, LOGITS])),
        "decide": lambda: objective.decide(answers, None),
        "prior": lambda: objective.prior(targets) if hasattr(objective, "prior") else None,
    }


def guarded(method: str, body: Callable[..., Any], base: type[Objective] = SingleLabel) -> Callable[[], Any]:
    """A method of a guarded objective that is sound but for this one."""
    sound = getattr(base, method)
    objective = base(NAMES)
    objective.fit(objective.targets(LABELS), ObjectiveSettings())
    setattr(objective, method, lambda *given: body(lambda: sound(objective, *given), *given))
    return asked(guard_objective(objective, "The objective 'mine'"))[method]


@pytest.mark.parametrize("base", [SingleLabel, MultiLabel, Regression])
def test_a_sound_objective_answers_as_it_does_without_a_guard(base: type[Objective]) -> None:
    """Every method gives what the objective itself gives, also in inference mode."""
    objective, free = base(NAMES), base(NAMES)
    guard_objective(objective, "The objective 'mine'")
    for name in DUE:
        with torch.inference_mode(name in ("answers", "truth", "decide")):
            given, due = asked(objective)[name](), asked(free)[name]()
        assert np.array_equal(np.asarray(_plain(given)), np.asarray(_plain(due))), name


def _plain(given: Any) -> Any:
    return given.detach().numpy() if isinstance(given, torch.Tensor) else 0 if given is None else given


WRONG: list[tuple[str, Callable[..., Any], str]] = [
    ("used", lambda right, labels: None, r"used NoneType, where a tensor \[N\] = \[3\] of bool is due"),
    ("used", lambda right, labels: right()[:1], r"used \[1\] of torch.bool"),
    ("targets", lambda right, labels: labels, r"targets \[3, 2\] of torch.float32, where a tensor \[N\] = \[3\]"),
    ("targets", lambda right, labels: right() + 5, "targets numbers from 5 to 6, where .* from 0 to 1 is due"),
    ("truth", lambda right, targets: targets, "truth Tensor, where an array"),
    ("truth", lambda right, targets: right()[:1], r"truth \[1\] of int64"),
    ("sample_losses", lambda right, *_: right().mean(), r"sample_losses \[\] of torch.float32, where .* \[B\] = \[3\]"),
    ("sample_losses", lambda right, *_: right().long(), "sample_losses .* of torch.int64"),
    ("sample_losses", lambda right, *_: right().to(torch.complex64), "sample_losses .* of torch.complex64"),
    ("sample_losses", lambda right, *_: right().to("meta"), "sample_losses what is on meta"),
    ("sample_losses", lambda right, *_: right().detach(), "a loss without a gradient"),
    ("sample_losses", lambda right, output, targets: (targets.zero_(), right())[1], "writes in sample_losses into"),
    ("sample_weights", lambda right, targets: torch.ones(3, 4), r"sample_weights \[3, 4\]"),
    ("answers", lambda right, logits: right()[..., :1], r"answers \[2, 3, 1\] of torch.float32, where .* \[2, 3, 2\]"),
    ("answers", lambda right, logits: (logits.zero_(), right())[1], "writes in answers into what it is given"),
    ("answers", lambda right, logits: right() * 7 - 3, "answers numbers from .* of floats from 0 to 1 is due"),
    ("decide", lambda right, *_: right() + 9, "decide numbers from 9 to 10, where an array"),
    ("decide", lambda right, *_: right() - 1, "decide numbers from -1 to 0"),
    ("decide", lambda right, *_: right() + 0.5, "decide .* of float64, where .* of whole numbers"),
    ("decide", lambda right, answers, _: (answers.fill(0), right())[1], "fails in decide.*read-only"),
    ("prior", lambda right, *_: torch.zeros(9), r"prior \[9\]"),
    ("fit", lambda right, *_: 1 / 0, "fails in fit.*ZeroDivisionError"),
]


@pytest.mark.parametrize(("method", "body", "sentence"), WRONG)
def test_what_a_method_returns(method: str, body: Callable[..., Any], sentence: str) -> None:
    """Each departure from the interface is one sentence: the plugin, the method, what came and what is due."""
    with pytest.raises(PluginError, match=f"(?s)^The objective 'mine' .*{sentence}"):
        guarded(method, body)()


@pytest.mark.parametrize("method", DUE)
@pytest.mark.parametrize("end", [lambda: os._exit(0), lambda: sys.exit(0), lambda: [][1]])
def test_no_method_ends_the_program(method: str, end: Callable[[], object]) -> None:
    """`os._exit`, `sys.exit` and exceptions of every method are PluginErrors that name it."""
    with exits_of_plugins(), pytest.raises(PluginError, match=f"^The objective 'mine' fails in {method}"):
        guarded(method, lambda right, *_: end())()


def test_the_headline_is_that_of_its_kind() -> None:
    """An attribute that hides the headline is told before the training."""
    hides = type("Hides", (SingleLabel,), {"headline": "x"})
    with pytest.raises(PluginError, match="'x' as its headline"):
        guard_objective(hides(NAMES), "The objective 'mine'")
