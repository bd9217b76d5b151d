"""Reads and writes safetensors files, which cannot run code; written ones are whole or not there."""

import os
from pathlib import Path

from torch import Tensor

from emotiwave_core.errors import DataError
from emotiwave_core.io.atomic import write_bytes
from emotiwave_core.io.untrusted import open_file, why


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors that `on_cpu` has made, and texts beside them. ResourceError where the disk is full."""
    from safetensors.torch import save

    write_bytes(path, save(tensors, metadata=metadata))


def read_tensors(path: Path, most: int | None = None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and metadata of a safetensors file; DataError where it is missing, damaged or has more bytes."""
    from safetensors import SafetensorError, safe_open

    try:
        with open_file(path) as opened:  # so that it is a file
            if most is not None and os.fstat(opened.fileno()).st_size > most:
                raise ValueError(f"it has more than {most} bytes")
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{path} is missing or damaged ({_in_words(error)}).") from error


def on_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies on the CPU: safetensors takes no views that share memory."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def _in_words(error: Exception) -> str:
    return why(error).removeprefix("Error while deserializing header: ")
