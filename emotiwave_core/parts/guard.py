"""Guards around a plugin's code: it changes no number of others, and does not end the program.

A process cannot fence code that runs in it. What is guarded is what would silently change the numbers of everybody
else: the working folder, torch's default type, device and gradients, and the random generators. Where a plugin is
loaded, or a part constructed, a change is put back and said; in `forward` it is an error.
"""

import contextlib
import inspect
import math
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple, NoReturn

from emotiwave_core.errors import PassedOver, PluginError

SLOW = 30.0  # seconds of loading, after which it is said what is waited for
OWN = "emotiwave_core"
PLUGINS: set[str] = set()  # the modules, or the packages, that were loaded as plugins

Drawing = Literal["nothing", "weights", "anything"]  # what may be taken from the random generators


class PutBack(PassedOver):
    """A plugin has changed what all parts share, and the change goes for nothing."""


STOPPING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class SharedState(NamedTuple):
    """State that all parts share: its name, how it is read and how it is put back."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object]


def asked_to_end(error: BaseException) -> bool:
    """Tell whether somebody outside wants the program to end: Ctrl-C, SIGTERM, whoever has called us.

    SystemExit, and what a plugin derives from BaseException itself, is not that: no part decides about a run.
    """
    if isinstance(error, Exception | SystemExit | GeneratorExit) or type(error) is BaseException:
        return False
    return type(error).__module__.partition(".")[0] not in PLUGINS


def in_words(error: BaseException) -> str:
    """The type and the message of an error, on one line."""
    try:
        message = str(error)
    except Exception:  # it is the plugin's own code
        message = "(it has no message)"
    return " ".join(f"{type(error).__name__}: {message}".split())


def finite_number(value: Any) -> float | None:
    """The finite number that a plugin gives, as Python has it; None for all else."""
    numpy = sys.modules.get("numpy")
    kinds = (int, float) if numpy is None else (int, float, numpy.integer, numpy.floating)
    if not isinstance(value, kinds):
        return None
    try:
        number = float(value)
    except OverflowError:  # an int may be of any size
        return None
    return number if math.isfinite(number) else None


def shown_value(value: Any) -> str:
    """The beginning of what a plugin gives, on one line."""
    try:
        return " ".join(repr(value).split())[:80]
    except Exception:  # its repr is the plugin's own code
        return f"a {type(value).__name__}"


@contextlib.contextmanager
def forbid_exit(what: str) -> Iterator[None]:
    """Turn what would end the program, such as `sys.exit()`, into a PluginError that begins with `what`."""
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        if asked_to_end(error):
            raise
        raise PluginError(f"{what}: {in_words(error)}; a part must not end the program.") from error


@contextlib.contextmanager
def preserve_global_state(who: str, when: str, drawing: Drawing = "nothing") -> Iterator[None]:
    """Put back what changes within of all that parts share (`shared_states`); a warning says who it was."""
    states = shared_states(drawing)
    before = [state.read() for state in states]
    try:
        yield
    finally:
        changed = []
        for state, value in zip(states, before, strict=True):
            if value is not None and _differs(state.read(), value):  # None: the folder was removed before
                state.write(value)
                changed.append(state.name)
        if changed:
            what = " and ".join([", ".join(changed[:-1]), changed[-1]] if changed[1:] else changed)
            warnings.warn(f"{who} changes {what} {when}. All parts share it: it is put back.", PutBack, stacklevel=3)


def _differs(now: Any, before: Any) -> bool:
    """True where a state has changed; of a table of functions what was there before, and is not only wrapped."""
    if isinstance(before, dict) and before and isinstance(next(iter(before)), tuple):
        return any(inspect.unwrap(now[place]) is not inspect.unwrap(value) for place, value in before.items())
    return bool(now != before)


@contextlib.contextmanager
def exits_of_plugins() -> Iterator[None]:
    """Within it `os._exit` ends a plugin's work with an error, and not the program without a word.

    A process that was started from this one leaves by it as ever.
    """
    leave, owner = os._exit, os.getpid()

    def told(status: int) -> NoReturn:
        if os.getpid() != owner:
            leave(status)
        if threading.current_thread() is threading.main_thread():
            raise SystemExit(f"os._exit({status})")
        with contextlib.suppress(OSError):
            os.write(2, b"Error: a thread of a plugin ends the program by os._exit(); a part must not do that.\n")
        leave(PluginError.exit_code)

    os._exit = told
    try:
        yield
    finally:
        os._exit = leave


@contextlib.contextmanager
def loading(who: str, module: str) -> Iterator[None]:
    """Around the import of a plugin: preserve_global_state, and after some seconds stderr says what is waited for."""
    root = module.partition(".")[0]
    if root != OWN:  # which has readers and objectives with entry points, and in whose name the program is ended
        PLUGINS.add(root)
    stderr = sys.stderr
    sentence = f"Still loading {who} after {SLOW:.0f} s; if it hangs, Ctrl-C stops the program."
    timer = threading.Timer(SLOW, lambda: print(sentence, file=stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        with preserve_global_state(who[:1].upper() + who[1:], "when it is loaded"):
            yield
    finally:
        timer.cancel()


class Snapshot(NamedTuple):
    """The shared state that is looked at in every forward: little enough to take a microsecond."""

    folder: str
    gradients: bool
    dtype: Any
    seed: int
    precision: str
    threads: int


_UNSEEN = Snapshot("", True, None, 0, "", 0)  # while a model is compiled nothing is run
_NAMES = (
    "the working folder",
    "whether torch keeps gradients",
    "torch's default type",
    "the seed of torch's generator",
    "torch's precision of matrix products",
    "the number of torch's threads",
)


def snapshot() -> Snapshot:
    """The state before a forward, for `check_snapshot`."""
    import torch

    if torch.compiler.is_compiling():
        return _UNSEEN
    folder = os.getcwd()  # noqa: PTH109 (a Path takes four times as long)
    precision, threads = torch.get_float32_matmul_precision(), torch.get_num_threads()
    return Snapshot(
        folder, torch.is_grad_enabled(), torch.get_default_dtype(), torch.initial_seed(), precision, threads
    )


def check_snapshot(before: Snapshot, who: str) -> None:
    """PluginError where a part has changed one of these in its forward. They are put back, but for the seed."""
    import torch

    now = snapshot()
    if now == before:
        return
    os.chdir(before.folder)
    torch.set_grad_enabled(before.gradients)
    torch.set_default_dtype(before.dtype)
    torch.set_float32_matmul_precision(before.precision)
    torch.set_num_threads(before.threads)
    changed = " and ".join(what for what, old, new in zip(_NAMES, before, now, strict=True) if old != new)
    raise PluginError(f"{who} changes {changed} in its forward. All parts share it: leave it as it is.")


def shared_states(drawing: Drawing) -> list[SharedState]:
    """List the shared state that is guarded, while a part may draw as much from the random generators.

    Nothing is imported for it: of torch and NumPy, what counts is how they are once they are loaded.
    """
    return [
        SharedState("the working folder", _folder, os.chdir),
        SharedState("torch's default type", _torch_dtype, _set_torch_dtype),
        SharedState("torch's default device", _torch_device, lambda name: _torch().set_default_device(name or None)),
        SharedState("whether torch keeps gradients", _torch_gradients, lambda on: _torch().set_grad_enabled(on)),
        SharedState("torch's choice of deterministic algorithms", _torch_deterministic, _set_torch_deterministic),
        SharedState("torch's precision of matrix products", _torch_precision, _set_torch_precision),
        SharedState("the number of torch's threads", _torch_threads, lambda count: _torch().set_num_threads(count)),
        SharedState("torch's hooks for all modules", _module_hooks, _set_module_hooks),
        SharedState("functions of others that a run computes with", _functions, _set_functions),
        SharedState("what Ctrl-C, SIGTERM and SIGHUP do", _handlers, _set_handlers),
        *_generators(drawing),
    ]


def _folder() -> Path | None:
    try:
        return Path.cwd()
    except FileNotFoundError:  # it was removed
        return None


def _handlers() -> dict[int, Any]:
    """The handlers of the signals that stop a run; those that Python did not set are left out."""
    known = {number: signal.getsignal(number) for number in STOPPING}
    return {number: handler for number, handler in known.items() if handler is not None}


def _set_handlers(before: dict[int, Any]) -> None:
    if threading.current_thread() is threading.main_thread():  # no other may, nor has one changed them
        for number, handler in before.items():
            signal.signal(number, handler)


def _torch() -> Any:
    """Torch where it is loaded; half of it may be, where its own import has failed."""
    torch = sys.modules.get("torch")
    return torch if hasattr(torch, "get_default_device") else None


def _torch_dtype() -> str:
    return "float32" if (torch := _torch()) is None else str(torch.get_default_dtype()).removeprefix("torch.")


def _set_torch_dtype(name: str) -> None:
    _torch().set_default_dtype(getattr(_torch(), name))


def _torch_device() -> str:
    """The device that `torch.set_default_device` has set, not that of a `with torch.device(…)` around us."""
    context = getattr(getattr(_torch(), "_GLOBAL_DEVICE_CONTEXT", None), "device_context", None)
    return str(getattr(context, "device", ""))


def _torch_gradients() -> bool:
    return True if (torch := _torch()) is None else torch.is_grad_enabled()


def _torch_deterministic() -> tuple[bool, bool]:
    if (torch := _torch()) is None:
        return False, False
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _set_torch_deterministic(before: tuple[bool, bool]) -> None:
    _torch().use_deterministic_algorithms(before[0], warn_only=before[1])


def _torch_precision() -> str:
    return "highest" if (torch := _torch()) is None else torch.get_float32_matmul_precision()


def _set_torch_precision(name: str) -> None:
    _torch().set_float32_matmul_precision(name)


def _torch_threads() -> int | None:
    return None if (torch := _torch()) is None else torch.get_num_threads()


def _module_hooks() -> dict[str, dict[Any, Any]]:
    """The hooks that torch calls for every module, by the name of their table."""
    module = sys.modules.get("torch.nn.modules.module")
    tables = {name: table for name, table in vars(module).items() if name.startswith("_global_")} if module else {}
    return {name: dict(table) for name, table in tables.items() if isinstance(table, dict) and table}


def _set_module_hooks(before: dict[str, dict[Any, Any]]) -> None:
    module = sys.modules["torch.nn.modules.module"]
    for name in {*before, *_module_hooks()}:
        table = getattr(module, name)
        table.clear()
        table.update(before.get(name, {}))


# Where a plugin that replaces one would change the numbers of all: the optimiser, the losses, the metrics.
COMPUTED_WITH = (
    ("torch.optim.adamw", "AdamW", "step"),
    ("torch.nn.utils", "", "clip_grad_norm_"),
    ("torch.nn.functional", "", "cross_entropy"),
    ("torch.nn.functional", "", "binary_cross_entropy_with_logits"),
    ("torch", "Tensor", "backward"),
    ("torch.nn.modules.module", "Module", "__call__"),
    ("numpy", "", "bincount"),
    ("sklearn.metrics", "", "average_precision_score"),
    ("emotiwave_core.metrics.macro_f1", "", "macro_f1"),
    ("emotiwave_core.metrics.decisions", "", "count"),
)


def _functions() -> dict[tuple[str, str, str], Any] | None:
    """The functions of `COMPUTED_WITH` that are loaded; None before torch is."""
    if _torch() is None:
        return None
    functions = {place: getattr(_owner(place), place[2], None) for place in COMPUTED_WITH}
    return {place: function for place, function in functions.items() if function is not None}


def _set_functions(before: dict[tuple[str, str, str], Any]) -> None:
    for place, value in before.items():
        setattr(_owner(place), place[2], value)


def _owner(place: tuple[str, str, str]) -> Any:
    """The module or the class that holds a function; something empty where it is not loaded."""
    module = sys.modules.get(place[0], SimpleNamespace())
    return getattr(module, place[1], SimpleNamespace()) if place[1] else module


def _generators(drawing: Drawing) -> list[SharedState]:
    """The random generators: torch's seed where a part draws its weights, else the state of all of them."""
    torch, numpy = _torch(), sys.modules.get("numpy")
    states = []
    if torch is not None and drawing == "weights":
        state = torch.get_rng_state()
        states.append(
            SharedState("the seed of torch's generator", torch.initial_seed, lambda _: torch.set_rng_state(state))
        )
    if drawing != "nothing":
        return states
    if torch is not None:
        states.append(SharedState("torch's random generator", lambda: _bytes_of(torch), partial(_set_bytes, torch)))
    if numpy is not None:
        states.append(SharedState("NumPy's random generator", lambda: _state_of(numpy), partial(_set_state, numpy)))
    return [*states, SharedState("Python's random generator", random.getstate, random.setstate)]


def _bytes_of(torch: Any) -> bytes:
    return bytes(torch.get_rng_state().numpy().tobytes())


def _set_bytes(torch: Any, state: bytes) -> None:
    torch.set_rng_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))


def _state_of(numpy: Any) -> tuple[Any, ...]:
    name, key, *rest = numpy.random.get_state()
    return name, key.tobytes(), *rest


def _set_state(numpy: Any, state: tuple[Any, ...]) -> None:
    name, key, *rest = state
    numpy.random.set_state((name, numpy.frombuffer(key, dtype=numpy.uint32), *rest))
