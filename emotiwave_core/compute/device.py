"""The device to compute on, determinism, and the seeds."""

import contextlib
import functools
import os
import platform
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emotiwave_core.errors import ResourceError, SettingsError

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


def find_device(name: str, local_rank: int | None = None) -> torch.device:
    """`auto` is CUDA when there is one, else the CPU. ResourceError for a device that is not there.

    `local_rank` is the number of this process among those that train together on this machine: each has its own GPU.
    """
    if name == "auto":
        if local_rank is None or not torch.cuda.is_available():
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        name = "cuda"
    if local_rank is not None and name.startswith("cuda:"):
        raise SettingsError(f"--device {name} is one GPU for all processes: --device cuda gives each its own.")
    if local_rank is not None and name == "cuda":
        name = f"cuda:{local_rank}"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingsError(f"'{name}' is not a device; use auto, cpu, cuda or cuda:N.") from error
    if device.type not in ("cpu", "cuda"):
        raise SettingsError(f"Emotiwave computes on cpu or cuda, not on '{name}'.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ResourceError(f"There is no device '{name}' ({torch.cuda.device_count()} CUDA devices): --device cpu.")
    return device


@contextmanager
def autocast(device: torch.device, precision: str) -> Iterator[None]:
    """bf16 where it is safe (torch's list), or float32 throughout (in which cuDNN may use TF32, torch's default).

    oneDNN has no LSTM of bfloat16 for processors without AVX-512 and refuses it; torch's own has, and takes its place.
    """
    bf16 = precision == "bf16"
    own = _without_onednn() if bf16 and device.type == "cpu" and not _onednn_has_bf16_lstm() else nullcontext()
    with own, torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
        yield


@functools.cache
def _onednn_has_bf16_lstm() -> bool:
    """True where oneDNN trains an LSTM in bfloat16: tried once, for torch tells it of no operation by name."""
    with seeded(torch.device("cpu"), 0), torch.autocast("cpu", dtype=torch.bfloat16):
        try:
            torch.nn.LSTM(1, 1)(torch.zeros(1, 1, 1))
        except RuntimeError:
            return False
    return True


_onednn_lock = threading.Lock()
_onednn_off = 0  # contexts within which oneDNN is off: the switch is one for all threads, the last to leave restores it


@contextmanager
def _without_onednn() -> Iterator[None]:
    global _onednn_off
    with _onednn_lock:
        _onednn_off += 1
        torch.backends.mkldnn.enabled = False  # type: ignore[assignment]  # a property, to its stub
    try:
        yield
    finally:
        with _onednn_lock:
            _onednn_off -= 1
            torch.backends.mkldnn.enabled = _onednn_off == 0  # type: ignore[assignment]


def seed_everything(seed: int, epoch: int = 0) -> None:
    """Seed every generator that a part may draw from.

    Each epoch is seeded by its own number, so that a run that resumes draws what one that was never killed draws.
    """
    number = int(np.random.SeedSequence([seed, epoch, 1]).generate_state(1)[0])  # [seed, epoch] is that of the order
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002 (plugins may use the legacy one)
    torch.manual_seed(number)


@contextmanager
def seeded(device: torch.device, *key: int) -> Iterator[None]:
    """Within it torch's generators, of the CPU and of the device, begin at a key: no draw there moves any other."""
    state, on_device = torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    number = int(np.random.SeedSequence(key).generate_state(1)[0])
    torch.default_generator.manual_seed(number)
    if on_device is not None:
        torch.cuda.manual_seed(number)
    try:
        yield
    finally:
        torch.set_rng_state(state)
        if on_device is not None:
            torch.cuda.set_rng_state(on_device, device)


def random_state(device: torch.device) -> dict[str, Any]:
    """State of every generator that a part may draw from, as JSON can tell it."""
    version, numbers, left = random.getstate()
    name, keys, *position = np.random.get_state()  # noqa: NPY002
    state: dict[str, Any] = {
        "python": [version, list(numbers), left],
        "numpy": [name, np.asarray(keys).tolist(), *position],
    }
    state["torch"] = torch.get_rng_state().numpy().tobytes().hex()
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device).numpy().tobytes().hex()
    return state


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Put every generator back to where it was; that of a GPU where the state was taken on one."""

    def from_hex(text: str) -> torch.Tensor:
        return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)

    version, numbers, left = state["python"]
    random.setstate((version, tuple(numbers), left))
    np.random.set_state(tuple(state["numpy"]))  # noqa: NPY002
    torch.set_rng_state(from_hex(state["torch"]))
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(from_hex(state["cuda"]), device)


@contextmanager
def deterministic(on: bool) -> Iterator[None]:
    """Only algorithms that give the same bits every time run within it. SettingsError for an operation without one."""
    if not on:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    workspace, benchmark = os.environ.get(CUBLAS), torch.backends.cudnn.benchmark
    os.environ.setdefault(CUBLAS, ":4096:8")  # else cuBLAS refuses to multiply
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False  # it may choose another algorithm every time
    try:
        yield
    except RuntimeError as error:
        if "use_deterministic_algorithms" not in str(error):
            raise
        which = str(error).split(", but")[0]
        raise SettingsError(
            f"An operation of this recipe has no deterministic version ({which}): choose another part, or leave out "
            "--deterministic (computing.deterministic)."
        ) from error
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.benchmark = benchmark
        if workspace is None:
            os.environ.pop(CUBLAS, None)


def cost_of_determinism(device: torch.device) -> str:
    """Price of the deterministic mode on a device, as a sentence."""
    if device.type == "cpu":
        return "Deterministic: on a CPU training gives the same bits anyway, and this costs nothing."
    return (
        "Deterministic: only algorithms that give the same bits every time on this kind of GPU. They are slower; "
        "by how much depends on the parts."
    )


def hardware_name(device: torch.device) -> str:
    """The name of the GPU, or of the processor where the system tells it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
