"""What all parts of the program have in common: how each thing is read, put back, and when it counts as changed.

Nothing is imported for it: of a library that is not loaded yet, what counts is how it is once it is.
"""

import operator
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from emotiwave_core.errors import PassedOver

OURS = ("EMOTIWAVE_", "CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG")  # variables that are still to be read

Drawing = Literal["nothing", "weights", "anything"]  # what may be taken from the random generators


class Common(NamedTuple):
    """One thing that all have in common."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object]
    changed: Callable[[Any, Any], bool] = operator.ne  # (before, now)


def common_things(drawing: Drawing) -> list[Common]:
    """All that is looked at, while a part may draw as much from the random generators."""
    things = [
        Common("the working folder", _folder, os.chdir),
        Common("the mask of file modes", _umask, os.umask),
        Common("environment variables", lambda: dict(os.environ), _set_environment, _environment_changed),
        Common("the limit of recursion", sys.getrecursionlimit, sys.setrecursionlimit, operator.gt),
        Common("the filters of all warnings", _wide_filters, _set_wide_filters),
        Common("torch's default type", _torch_dtype, _set_torch_dtype),
        Common("torch's default device", _torch_device, _set_torch_device),
        Common("whether torch keeps gradients", _torch_gradients, lambda on: _torch().set_grad_enabled(on)),
        Common("torch's choice of deterministic algorithms", _torch_deterministic, _set_torch_deterministic),
        Common("what NumPy does at an overflow", _numpy_errors, lambda errors: _numpy().seterr(**errors)),
    ]
    things += [Common(f"sys.{name}", partial(getattr, sys, name), partial(setattr, sys, name)) for name in _STREAMS]
    if threading.current_thread() is threading.main_thread():  # no other may set them
        for number, what in ((signal.SIGINT, "what Ctrl-C does"), (signal.SIGTERM, "what SIGTERM does")):
            if signal.getsignal(number) is not None:  # else it is not Python's, and cannot be put back
                things.append(Common(what, partial(signal.getsignal, number), partial(signal.signal, number)))
    return things + _generators(drawing)


_STREAMS = ("stdout", "stderr")


def _folder() -> Path | None:
    try:
        return Path.cwd()
    except FileNotFoundError:  # it was removed
        return None


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _environment_changed(before: dict[str, str], now: dict[str, str]) -> bool:
    """Whether a variable is another, or gone, or a new one that we read; what a library sets for itself is its own."""
    new = any(name.startswith(OURS) for name in now if name not in before)
    return new or any(now.get(name) != value for name, value in before.items())


def _set_environment(before: dict[str, str]) -> None:
    for name in list(os.environ):
        if name not in before and name.startswith(OURS):
            del os.environ[name]
    os.environ.update(before)


def _wide_filters() -> list[Any]:
    """Filters that make errors of warnings, or decide about ours too; and the function that shows a warning."""
    return [*(one for one in warnings.filters if _is_wide(one)), warnings.showwarning]


def _is_wide(one: Any) -> bool:
    action, message, category, module, _ = one
    return action == "error" or (message is None and module is None and issubclass(PassedOver, category))


def _set_wide_filters(before: list[Any]) -> None:
    *wide, warnings.showwarning = before
    lost = [one for one in wide if one not in warnings.filters]
    warnings.filters = [*(one for one in warnings.filters if one in wide or not _is_wide(one)), *lost]


def _torch() -> Any:
    """Torch where it is loaded; half of it may be, where its own import has failed."""
    torch = sys.modules.get("torch")
    return torch if hasattr(torch, "get_default_device") else None


def _numpy() -> Any:
    return sys.modules.get("numpy")


def _torch_dtype() -> str:
    return "float32" if (torch := _torch()) is None else str(torch.get_default_dtype()).removeprefix("torch.")


def _set_torch_dtype(name: str) -> None:
    _torch().set_default_dtype(getattr(_torch(), name))


def _torch_device() -> str:
    """What `torch.set_default_device` has set; not what a `with torch.device(…)` around us says."""
    context = getattr(getattr(_torch(), "_GLOBAL_DEVICE_CONTEXT", None), "device_context", None)
    return str(getattr(context, "device", ""))


def _set_torch_device(name: str) -> None:
    _torch().set_default_device(name or None)


def _torch_gradients() -> bool:
    return True if (torch := _torch()) is None else torch.is_grad_enabled()


def _torch_deterministic() -> tuple[bool, bool]:
    if (torch := _torch()) is None:
        return False, False
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _set_torch_deterministic(before: tuple[bool, bool]) -> None:
    _torch().use_deterministic_algorithms(before[0], warn_only=before[1])


def _numpy_errors() -> dict[str, str] | None:
    return None if (numpy := _numpy()) is None else numpy.geterr()


def _generators(drawing: Drawing) -> list[Common]:
    """The random generators: torch's seed where a part draws its weights, else the state of all of them."""
    torch, numpy = _torch(), _numpy()
    found = []
    if torch is not None and drawing == "weights":
        state = torch.get_rng_state()
        found.append(Common("the seed of torch's generator", torch.initial_seed, lambda _: torch.set_rng_state(state)))
    if drawing != "nothing":
        return found
    if torch is not None:
        found.append(Common("torch's random generator", lambda: _bytes_of(torch), partial(_set_bytes, torch)))
    if numpy is not None:
        found.append(Common("NumPy's random generator", lambda: _state_of(numpy), partial(_set_state, numpy)))
    return [*found, Common("Python's random generator", random.getstate, random.setstate)]


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
