"""On what it was measured."""

import contextlib
import datetime
import os
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

import torch


def waiter(device: torch.device) -> Any:
    """A function that waits until a device has done all it was given; clocks are read after it."""
    return (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else (lambda: None)


def about(device: torch.device, folder: Path, videos: int) -> dict[str, Any]:
    """Facts of the machine, beside the rows in the JSON."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", "-m", "speed", *sys.argv[1:]]),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "videos": videos,
        "bytes": sum(path.stat().st_size for path in folder.glob("*")),
    }


def _cpu() -> str:
    """The model of the processor, as Linux has it, else as the platform calls it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
