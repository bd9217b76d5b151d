"""Shared by the contracts: a law, the list of them, and the measures that they use."""

import functools
import inspect
import traceback
import unittest
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from emotiwave_core.interfaces import Tensors

TOLERANCE = 1e-5  # of the largest number compared: float32 keeps about 1e-7, and a sum over many steps loses some of it
CUDA_TOLERANCE = 1e-2  # cuDNN's recurrent and convolution kernels may use TF32, which keeps about 1e-3
BF16_TOLERANCE = 0.1  # bfloat16 keeps 8 bits, .4 %, and a part takes many steps in it
LONG = 1000  # steps of a long sequence
KNOWN_CAUSES = {  # what torch says, and what it means for a part
    "Expected more than 1 value per channel when training": "BatchNorm needs more than one value: use LayerNorm.",
    "modified by an inplace operation": "Work out of place: x + 1 or torch.where, not x += 1 or x[~mask] = 0.",
}
DRAW_BY_TORCH = (  # the cure of a part that the seed does not repeat
    "Draw with torch from its global generator (nn.Dropout does), not with random, numpy or one of your own; and keep "
    "no count of its calls, or other memory of batches."
)
OTHER_CONTENTS = (float("nan"), float("inf"), 1e30)  # what may stand where nobody should look


class BrokenLaw(AssertionError):  # noqa: N818 -- it is a finding, not a fault of the program
    """A law that a plugin breaks. The message is for the plugin's author: what came, and what usually causes it."""

    cured = False  # True where the message ends with a cure


class Remark(unittest.SkipTest):
    """A finding that may be meant so: no law is broken, and the author is told of it."""


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
            with torch.random.fork_rng(devices=[]), cured(cure):
                seed_torch(0)
                check(contract)

        return run

    return decorate


def law_in_both(cure: str, in_train: str) -> Callable[[Callable[[C, bool], None]], Callable[[C], None]]:
    """Make a method a law of eval() and of train(), which has a cure of its own. `check` is told whether it trains."""

    def decorate(check: Callable[[C, bool], None]) -> Callable[[C], None]:
        @law(cure)
        def run(contract: C) -> None:
            check(contract, False)
            try:
                with cured(in_train):
                    seed_torch(0)
                    check(contract, True)
            except BrokenLaw as broken:
                said = str(broken)
                again = BrokenLaw(f"In train() {said[0].lower()}{said[1:]}")
                again.cured = True
                raise again from broken.__cause__
            except unittest.SkipTest:
                return  # what it draws in train() cannot be held still: eval() has spoken

        # Not functools.wraps: pytest would take `training` for a fixture.
        run.__name__, run.__qualname__, run.__doc__ = check.__name__, check.__qualname__, check.__doc__
        return run

    return decorate


@contextmanager
def cured(cure: str) -> Iterator[None]:
    """End the message of a law that is broken within by this cure; the innermost counts. What is raised breaks it."""
    try:
        yield
    except BrokenLaw as broken:
        if broken.cured:
            raise
        found, cause = BrokenLaw(f"{broken} {cure}"), broken.__cause__
    except unittest.SkipTest:
        raise
    except (Exception, SystemExit) as error:
        said = str(error).strip() or "no message"
        cure = next((known for words, known in KNOWN_CAUSES.items() if words in said), cure)
        what = said.split("\n")[0][:120].rstrip(".")
        found, cause = BrokenLaw(f"It raised {type(error).__name__} ({what}){_place(error)}. {cure}"), error
    else:
        return
    found.cured = True
    raise found from cause


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


def switch_dropout_off(module: nn.Module) -> None:
    """Switch torch's own dropout off in a module, so that train() can be compared with itself."""
    for part in module.modules():
        if isinstance(part, nn.modules.dropout._DropoutNd):
            part.eval()
        elif isinstance(part, nn.RNNBase | nn.MultiheadAttention):
            part.dropout = 0.0


@contextmanager
def buffers_kept(module: nn.Module) -> Iterator[None]:
    """Put back in train() what forward changes in the buffers: it may count there, and be compared with itself."""
    before = {name: buffer.clone() for name, buffer in module.named_buffers()} if module.training else {}
    yield
    for name, now in module.named_buffers():
        if name in before and not torch.equal(now, before[name]):
            now.data = before[name]  # autograd's versions stay as they are


def cut_at(strength: Tensor) -> int | None:
    """The number of steps after which reading is cut off, of the strength [T] of each step's gradient; None: nowhere.

    A cut ends at full strength, where forgetting fades. The last quarter of the steps may be unread by chance, for a
    maximum takes few of them; the first ones may be, for a window may end at the last step.
    """
    read = (strength > 0).nonzero().flatten()
    if not len(read) or int(read[-1]) >= 0.75 * len(strength):
        return None
    last = int(read[-1])
    return last + 1 if float(strength[last]) > 1e-4 * float(strength.max()) else None


def gradient_to(leaf: Tensor, *results: Tensor) -> Tensor:
    """The gradient of a random weighted sum of the results to a leaf, of its shape; zero where there is none."""
    loss = total(*results)
    if not loss.requires_grad:
        return torch.zeros_like(leaf)
    (gradient,) = torch.autograd.grad(loss, [leaf], retain_graph=True, allow_unused=True)
    return torch.zeros_like(leaf) if gradient is None else gradient


def cuda() -> torch.device:
    """The GPU to check on; a law that needs one is not tried where there is none."""
    if not torch.cuda.is_available():
        raise not_tried("there is no GPU here")
    return torch.device("cuda")
