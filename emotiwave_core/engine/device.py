"""Where and how exactly to compute, and the seeds."""

import random
from contextlib import AbstractContextManager

import numpy as np
import torch

from emotiwave_core.errors import ResourceError, SettingsError


def find_device(name: str) -> torch.device:
    """`auto` is CUDA when there is one, else the CPU. ResourceError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingsError(f"'{name}' is not a device; use auto, cpu, cuda or cuda:N.") from error
    if device.type not in ("cpu", "cuda"):
        raise SettingsError(f"Emotiwave computes on cpu or cuda, not on '{name}'.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ResourceError(f"There is no device '{name}' ({torch.cuda.device_count()} CUDA devices): --device cpu.")
    return device


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """bf16 where it is safe (torch's list), or float32 throughout."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def seed_everything(seed: int, epoch: int = 0) -> None:
    """Seed every generator that a part may draw from.

    Each epoch is seeded by its own number, so that a run that resumes draws what one that was never killed draws.
    """
    number = int(np.random.SeedSequence([seed, epoch, 1]).generate_state(1)[0])  # [seed, epoch] is that of the order
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002 (plugins may use the legacy one)
    torch.manual_seed(number)
