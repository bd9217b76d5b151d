"""Shared by the contracts: a law, the list of them, and the measures that they use."""

import functools
import inspect
import traceback
import unittest
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from emotiwave_core.interfaces import Tensors

TOLERANCE = 1e-5  # of the largest number compared: float32 keeps about 1e-7, and a sum over many steps loses some of it
CUDA_TOLERANCE = 1e-2  # cuDNN's recurrent and convolution kernels may use TF32, which keeps about 1e-3
OTHER_CONTENTS = (float("nan"), float("inf"), 1e30)  # what may stand where nobody should look


class BrokenLaw(AssertionError):  # noqa: N818 -- it is a finding, not a fault of the program
    """A law that a plugin breaks. The message is for the plugin's author: what came, and what usually causes it."""


class Law(NamedTuple):
    """One law of a contract."""

    name: str  # of the test method, without `test_`
    sentence: str  # what every plugin promises
    check: Callable[[], None]  # raises BrokenLaw


class Contract:
    """The laws of one kind of plugin. A subclass says how to make the plugin, by the method `make`."""

    @classmethod
    def laws(cls) -> list[Law]:
        """List the laws in the order in which they are written; those that all kinds share come last."""
        contract = cls()
        bases = list(reversed(cls.__mro__))
        bases.sort(key=lambda base: base.__module__ == "emotiwave_core.testing.shared")
        names = dict.fromkeys(name for base in bases for name in vars(base) if name.startswith("test_"))
        return [
            Law(name.removeprefix("test_"), inspect.getdoc(getattr(cls, name)) or "", getattr(contract, name))
            for name in names
        ]


C = TypeVar("C", bound=Contract)


def law(cure: str) -> Callable[[Callable[[C], None]], Callable[[C], None]]:
    """Make a method a law. It runs from a fixed seed, what the plugin raises breaks it, and `cure` ends the message."""

    def decorate(check: Callable[[C], None]) -> Callable[[C], None]:
        @functools.wraps(check)
        def run(contract: C) -> None:
            with torch.random.fork_rng(devices=[]):
                seed_torch(0)
                try:
                    check(contract)
                except BrokenLaw as broken:
                    raise BrokenLaw(f"{broken} {cure}") from None
                except unittest.SkipTest:
                    raise
                except (Exception, SystemExit) as error:
                    what = str(error).strip().split("\n")[0][:120].rstrip(".") or "no message"
                    raise BrokenLaw(f"It raised {type(error).__name__} ({what}){_place(error)}. {cure}") from error

        return run

    return decorate


def seed_torch(number: int) -> None:
    """Seed torch's generators of the CPU and of CUDA.

    Without a GPU `torch.manual_seed` keeps a stack trace for each kind of accelerator, which takes a thousand times
    longer.
    """
    torch.default_generator.manual_seed(number)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(number)


def not_tried(reason: str) -> unittest.SkipTest:
    """The exception of a law that cannot be tried here; pytest shows it as skipped, with the reason."""
    return unittest.SkipTest(reason)


def _place(error: BaseException) -> str:
    """Name the innermost line, neither torch's nor ours, at which it was raised."""
    own = Path(__file__).parent.parent
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_file() and own not in path.parents and not {"site-packages", "lib"} & set(path.parts):
            return f" in {path.name}, line {frame.lineno}"
    return ""


def expect(holds: bool, what_came: str) -> None:
    """Break the law with a sentence unless it holds."""
    if not holds:
        raise BrokenLaw(what_came)


def expect_type(result: object, expected: type) -> None:
    """Break the law unless forward returned what its kind returns."""
    expect(
        isinstance(result, expected),
        f"The method forward returned a {type(result).__name__} where {expected.__name__} is due.",
    )


def expect_same(what: str, now: Tensor | None, before: Tensor | None, when: str, tolerance: float = TOLERANCE) -> None:
    """Break the law unless two tensors are the same, up to the tolerance. NaN equals NaN, None equals None."""
    if now is None or before is None:
        expect(now is before, f"{what} came or went when {when}.")
        return
    shape, expected = list(now.shape), list(before.shape)
    expect(shape == expected, f"{what} changed its shape from {expected} to {shape} when {when}.")
    now, before = now.detach().double().cpu(), before.detach().double().cpu()
    difference = torch.where((now == before) | (now.isnan() & before.isnan()), 0.0, (now - before).abs())
    became = "became NaN or infinite" if finite(before) else "ceased to be NaN or infinite"
    expect(finite(difference), f"{what} {became} when {when}.")
    if difference.numel():
        scale = torch.where(before.isfinite(), before.abs(), 0.0).max().clamp(min=0.1)
        largest = float(difference.max())
        expect(largest <= tolerance * float(scale), f"{what} changed by {largest:.2g} when {when}.")


def finite(*tensors: Tensor | None) -> bool:
    """Tell whether all tensors hold finite numbers only; None counts as such."""
    return all(tensor is None or bool(tensor.isfinite().all()) for tensor in tensors)


def expect_finite(by_name: Tensors, when: str) -> None:
    """Break the law unless all gradients are numbers."""
    for name, gradient in by_name.items():
        expect(finite(gradient), f"The gradient of {name} is NaN or infinite {when}.")


def total(*tensors: Tensor | None) -> Tensor:
    """A random weighted sum of all that are given, [], to take gradients of. (A plain sum is blind to a LayerNorm.)"""
    generator = torch.Generator().manual_seed(1)
    sums = [
        (tensor.float() * torch.randn(tensor.shape, generator=generator)).sum()
        for tensor in tensors
        if tensor is not None
    ]
    return torch.stack(sums).sum()


def gradients(module: nn.Module, loss: Tensor) -> Tensors:
    """The gradient of the loss for each trainable parameter by name; zero where it has none."""
    module.zero_grad()
    if loss.requires_grad:
        loss.backward()  # type: ignore[no-untyped-call]
    by_name = {name: p.new_zeros(p.shape) if p.grad is None else p.grad for name, p in trainable(module)}
    module.zero_grad()
    return by_name


def trainable(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters that are meant to learn."""
    return ((name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad)


def cuda() -> torch.device:
    """The GPU to check on; a law that needs one is not tried where there is none."""
    if not torch.cuda.is_available():
        raise not_tried("there is no GPU here")
    return torch.device("cuda")
