"""Measures a part beside the shipped reference of its kind: size, time, memory, and whether it compiles and exports."""

import contextlib
import importlib.util
import logging
import os
import shutil
import statistics
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import attrs
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from emotiwave_core.config.recipe import Part
from emotiwave_core.errors import EmotiwaveError
from emotiwave_core.interfaces import AnsweringFusion, DropoutPolicy, Encoded, OutputSpace, WordEncoder
from emotiwave_core.layers.masking import prepare_policies
from emotiwave_core.layers.sequence import zero_masked
from emotiwave_core.parts.kinds import PartKind
from emotiwave_core.parts.registry import Registry
from emotiwave_core.testing.policy import DRAWS, kept_draws

B, T, F, STATES, D = 16, 300, 74, 100, 256  # 74 features: COVAREP's; 256: the width that bilstm returns by default
WIDTHS = {"text": D, "audio": D, "visual": D}
CLASSES = 6  # of a fusion that answers itself
WORDS = 1000  # distinct ones, as many as a long recording has
REPEATS, ENOUGH = 9, 10.0  # repeats of what is timed, fewer where they take more seconds than this

VOCABULARY = [f"word{number}" for number in range(WORDS)]

Make = Callable[..., nn.Module]
Inputs = tuple[Any, ...]


@attrs.frozen
class Workload:
    """The work by which parts of a kind are measured."""

    setting: str  # in words
    arguments: tuple[Any, ...]  # of the constructor, before the options
    inputs: Callable[[nn.Module], Inputs]  # of a part's forward, at a size as in training
    shapes: Callable[[], Any] | None = None  # of the inputs, to export any number of samples and steps
    drops: bool = False  # a dropout policy works in training only, anything else is scored in eval()


class Measured(NamedTuple):
    """A part that is measured, with its inputs: words have other numbers in each."""

    module: nn.Module
    inputs: Inputs


class Measurement(NamedTuple):
    """A number of the part and the same of the reference, or a yes or no; the note says the rest."""

    value: Any
    reference: float | None = None
    note: str = ""


def measurements(
    workload: Workload, make: Make, kind: PartKind, registry: Registry
) -> Iterator[tuple[str, Callable[[], Measurement]]]:
    """The measurements of a part that `make` makes, in the order of their risk: the last may hang."""
    torch.manual_seed(0)
    made, drops, reference = make(*workload.arguments), workload.drops, None
    if isinstance(made, AnsweringFusion):
        made.answer(OutputSpace("single", CLASSES))
    part = Measured(made, workload.inputs(made))
    if kind.reference is not None:
        with contextlib.suppress(EmotiwaveError):  # disabled, or replaced by one that does not work
            shipped = registry.make(kind.name, Part(kind.reference), *workload.arguments)
            reference = Measured(shipped, workload.inputs(shipped))
    for one in (part, reference) if drops else ():
        if one and isinstance(one.module, DropoutPolicy):
            prepare_policies(one.module, tuple(WIDTHS))
    yield "parameters", lambda: _counted(parameters, part, reference)
    if isinstance(made, WordEncoder):
        yield "numbers of words", lambda: timed(numbers_of_words, part, reference, training=False)
    yield "forward", lambda: timed(forward, part, reference, training=drops)
    if drops:
        yield "rates", lambda: rates(made)
    else:
        yield "forward and backward", lambda: timed(forward_backward, part, reference, training=True)
        yield "held for backward", lambda: _counted(held_bytes, part, reference)
    if workload.shapes is not None:
        shapes = workload.shapes()
        yield "exports", lambda: exports(made, shapes, part.inputs)
        yield "ONNX", lambda: onnx(made, part.inputs)
    yield "whole graph", lambda: whole_graph(made.train(drops), part.inputs)
    yield "compiles", lambda: compiles(made.train(drops), part.inputs)


class _Example:
    """Random inputs; every fourth sample lacks its first modality."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)
        self.present = torch.ones(B, len(WIDTHS), dtype=torch.bool)
        self.present[::4, 0] = False

    def mask(self, steps: int) -> Tensor:
        """[B, steps] bool, each sample a quarter of the steps long at least."""
        return torch.arange(steps) < torch.randint(steps // 4, steps + 1, (B, 1), generator=self.generator)

    def numbers(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)


def _sequences(_: nn.Module) -> Inputs:
    """x [B, T, F], mask [B, T]."""
    example = _Example()
    mask = example.mask(T)
    return zero_masked(example.numbers(B, T, F), mask), mask


def _words(encoder: Any) -> Inputs:
    """x [B, STATES, K] int64, the encoder's own numbers of words, mask [B, STATES]."""
    example = _Example()
    mask = example.mask(STATES)
    x = encoder.tokens(VOCABULARY)[torch.randint(WORDS, (B, STATES), generator=example.generator)]
    return torch.where(mask[..., None], x, 0), mask


def _encodings(_: nn.Module) -> Inputs:
    """encoded {modality: Encoded}, present [B, M]."""
    example = _Example()
    encoded = {}
    for column, (name, width) in enumerate(WIDTHS.items()):
        here = example.present[:, column, None]
        mask = example.mask(STATES) & here
        pooled = torch.where(here, example.numbers(B, width), 0.0)
        encoded[name] = Encoded(zero_masked(example.numbers(B, STATES, width), mask), pooled, mask)
    return encoded, example.present


def _masks(_: nn.Module) -> Inputs:
    """masks {modality: [B, T]}, progress []."""
    example = _Example()
    masks = {name: example.mask(T) & example.present[:, m, None] for m, name in enumerate(WIDTHS)}
    return masks, torch.tensor(0.5)


def _open_sequences() -> Any:
    steps = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    return steps, steps


def _open_encodings() -> Any:
    free = torch.export.Dim.DYNAMIC
    steps: Any = {0: free, 1: free}
    return {name: Encoded(steps, {0: free}, steps) for name in WIDTHS}, {0: free}  # type: ignore[arg-type]


ENCODER = Workload(f"{B} sequences of up to {T} steps, {F} features", (F,), _sequences, _open_sequences)
WORD_ENCODER = Workload(f"{B} sequences of up to {STATES} words", (1,), _words, _open_sequences)
FUSION = Workload(
    f"{B} samples of three modalities, up to {STATES} states of width {D} each", (WIDTHS,), _encodings, _open_encodings
)
DROPOUT = Workload(f"masks of {B} samples, three modalities, {T} steps", (), _masks, drops=True)


def parameters(part: Measured) -> float:
    """Count the numbers that are learned."""
    return sum(parameter.numel() for parameter in part.module.parameters() if parameter.requires_grad)


def numbers_of_words(part: Measured) -> None:
    """As when a data set is prepared."""
    encoder: Any = part.module
    encoder.tokens(VOCABULARY)


def forward(part: Measured) -> None:
    """As in scoring; a dropout policy as in training."""
    with torch.no_grad():
        part.module(*part.inputs)


def forward_backward(part: Measured) -> None:
    """As in training. Inputs ask for gradients too, as those of a fusion do."""
    module, inputs = part
    leaves = pytree.tree_map(lambda x: x.detach().requires_grad_() if x.is_floating_point() else x, inputs)
    tensors = [x for x in pytree.tree_leaves(module(*leaves)) if isinstance(x, Tensor) and x.requires_grad]
    torch.autograd.backward([x.sum() for x in tensors])
    module.zero_grad()


def timed(work: Callable[[Measured], None], part: Measured, reference: Measured | None, training: bool) -> Measurement:
    """Medians in seconds. Part and reference take turns, so that a busy machine slows both."""
    both = [one for one in (part, reference) if one is not None]
    took: list[list[float]] = [[] for _ in both]
    for one in both:
        one.module.train(training)
        work(one)  # the first call allocates
    began = time.perf_counter()
    while len(took[0]) < REPEATS and time.perf_counter() - began < ENOUGH:
        for one, times in zip(both, took, strict=True):
            start = time.perf_counter()
            work(one)
            times.append(time.perf_counter() - start)
    medians = [statistics.median(times) for times in took]
    note = f"median of {len(took[0])} repeats"
    return Measurement(medians[0], medians[1] if reference else None, note)


def held_bytes(part: Measured) -> float:
    """Sum what autograd keeps from forward until backward, in bytes, without the parameters; it is no peak."""
    module, inputs = part
    own = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    sizes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = module.train()(*inputs)  # bound, so that nothing is freed and its place counted twice
    del result
    return sum(sizes.values())


def rates(policy: Any) -> Measurement:
    """Count which modalities a complete sample of three keeps."""
    counts = Counter(kept_draws(policy.train(), (True,) * len(WIDTHS), DRAWS))
    named = {
        "+".join(name for name, here in zip(WIDTHS, remaining, strict=True) if here) or "nothing": count / DRAWS
        for remaining, count in counts.most_common()
    }
    return Measurement(named, None, f"what is kept of {'+'.join(WIDTHS)}, {DRAWS} draws half way through training")


def exports(part: nn.Module, shapes: Any, inputs: Inputs) -> Measurement:
    """Try torch.export, with the number of samples and of steps left open (`shapes`), else for these sizes only."""
    with _quiet():
        try:
            torch.export.export(part.eval(), inputs, dynamic_shapes=shapes)
            return Measurement(True, None, "torch.export, any number of samples and steps")
        except Exception as error:
            open_ended = _first(error)
        try:
            torch.export.export(part, pytree.tree_map(Tensor.clone, inputs))  # the others are marked as open-ended now
        except Exception as error:
            return Measurement(False, None, f"torch.export: {_first(error)}")
    return Measurement(False, None, f"torch.export for fixed sizes only: {open_ended}")


def onnx(part: nn.Module, inputs: Inputs) -> Measurement:
    """torch.onnx, where it is installed."""
    absent = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if absent:
        return Measurement(None, None, f"not tried: {' and '.join(absent)} not installed")
    with _quiet():
        try:
            torch.onnx.export(part.eval(), inputs, dynamo=True, verbose=False)
        except Exception as error:
            return Measurement(False, None, _first(error))
    return Measurement(True, None, "torch.onnx.export, fixed sizes")


def whole_graph(part: nn.Module, inputs: Inputs) -> Measurement:
    """Try whether torch.compile sees all of forward as one graph; nothing is compiled yet."""
    with _quiet():
        try:
            torch.compile(part, fullgraph=True, backend="eager")(*inputs)
        except Exception as error:
            return Measurement(False, None, f"torch.compile(fullgraph=True): {_first(error)}")
    return Measurement(True, None, 'torch.compile(fullgraph=True, backend="eager")')


def compiles(part: nn.Module, inputs: Inputs) -> Measurement:
    """Try whether torch's default compiler makes a program of it that gives the same results."""
    if whole_graph(part, inputs).value is False:
        return Measurement(None, None, "not tried: it is not one graph")
    if not shutil.which(os.environ.get("CXX", "c++")) and not shutil.which("g++") and not shutil.which("clang++"):
        return Measurement(None, None, "not tried: no C++ compiler is there (c++, g++, clang++)")
    with _quiet(), torch.no_grad():
        torch.compiler.reset()
        try:
            results = torch.compile(part, fullgraph=True)(*inputs)
        except Exception as error:
            return Measurement(False, None, f"inductor: {_first(error)}")
        expected = part(*inputs)
    if part.training:
        return Measurement(True, None, "inductor")
    pairs = zip(pytree.tree_leaves(results), pytree.tree_leaves(expected), strict=True)
    off = max(float((now - then).abs().max()) for now, then in pairs if now is not None and now.is_floating_point())
    return Measurement(off < 1e-3, None, f"inductor; the results differ by at most {off:.1g}")


def _counted(count: Callable[[Measured], float], part: Measured, reference: Measured | None) -> Measurement:
    return Measurement(count(part), count(reference) if reference else None)


def _first(error: Exception) -> str:
    """The first sentence of a long error, and the explanation that torch puts below it."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()] or [type(error).__name__]
    more = [line.removeprefix("Explanation: ") for line in lines[1:4] if line.startswith("Explanation: ")]
    first = lines[0].partition(" For more information, run with")[0]  # a variable that shows torch's own log
    return ". ".join([first.rstrip("."), *more])[:200]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch says a lot on stderr while it tries."""
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
