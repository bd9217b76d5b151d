"""The arrays file of a store: safetensors, written piece by piece and read by memory map."""

import contextlib
import errno
import hashlib
import io
import json
import mmap
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emotiwave_core.data.prepare.packing import Packer
from emotiwave_core.errors import DataError
from emotiwave_core.io.atomic import out_of_space
from emotiwave_core.io.incremental_hash import IncrementalHash

CODES = {"float32": "F32", "float64": "F64", "int64": "I64", "bool": "BOOL", "uint8": "U8"}
WITHOUT_SPACE = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}  # file systems that reserve none, some NFS and FUSE
NORESERVE = 0x4000  # of Linux; Python has no name for it before 3.13
LONG = (".values", ".times", ".present")  # arrays of steps; the others are of samples
BLOCKS, BLOCK = 8, 4096  # of each array of steps, how many blocks are looked at and their bytes


def map_arrays(arrays: Path) -> dict[str, Tensor]:
    """The arrays, as views of the file's memory map: nothing is read yet. DataError where the file is not sound."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(arrays, framework="numpy") as file:  # which checks that the head fits the file
            names = list(file.keys())
    except SafetensorError as error:
        raise DataError(str(error)) from error
    with arrays.open("rb") as opened:
        size = int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(size))
        # A private map is promised as much memory as it is long, but for NORESERVE: a store may be larger than that.
        flags = {"flags": mmap.MAP_PRIVATE | NORESERVE} if sys.platform == "linux" else {"access": mmap.ACCESS_COPY}
        content = np.frombuffer(mmap.mmap(opened.fileno(), 0, **flags), dtype=np.uint8)[8 + size :]
    arrays_by_name = {}
    for name in names:
        layout = header[name]
        start, end = layout["data_offsets"]
        kind = {code: kind for kind, code in CODES.items()}[layout["dtype"]]
        arrays_by_name[name] = torch.from_numpy(content[start:end].view(kind).reshape(layout["shape"]))
    return arrays_by_name


def sampled(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of the short arrays and of a few blocks of the long ones, from the first bytes to the last."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        content = tensor.numpy().reshape(-1).view(np.uint8)
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        if name.endswith(LONG) and len(content) > BLOCKS * BLOCK:
            for start in np.linspace(0, len(content) - BLOCK, BLOCKS).astype(int):
                digest.update(content[start : start + BLOCK].data)
        else:
            digest.update(content.data)
    return digest.hexdigest()


def write_arrays(path: Path, packer: Packer) -> str:
    """Write the safetensors file piece by piece, so that no more than two videos are in memory; its SHA-256."""
    head, spans = _layout(packer.shapes())
    size = max(end for _, end in spans.values())
    with (
        out_of_space(path),
        path.open("wb", buffering=0) as file,
        IncrementalHash(path) as follower,
        contextlib.closing(packer.pieces()) as pieces,
    ):
        if hasattr(os, "posix_fallocate"):
            _reserve(file.fileno(), size)
        places, waiting = {name: start for name, (start, _) in spans.items()}, list(spans)
        _write(file, 0, head)
        for name, piece in pieces:
            places[name] = _write(file, places[name], piece.reshape(-1).view(np.uint8).data)
            while waiting and places[waiting[0]] == spans[waiting[0]][1]:
                del waiting[0]
            if waiting and name == waiting[0]:
                follower.reach(places[name])
        if any(places[name] != end for name, (_, end) in spans.items()):
            raise DataError("A file of the data set has changed while it was packed; start again.")
        digest = follower.finish(size)
        os.fsync(file.fileno())
        return digest


def _reserve(number: int, size: int) -> None:
    """Take the space of a file, so that a full disk is noticed now and not after an hour; where the system can."""
    try:
        os.posix_fallocate(number, 0, size)
    except OSError as error:
        if error.errno not in WITHOUT_SPACE:
            raise


def _write(file: io.FileIO, offset: int, content: bytes | memoryview) -> int:
    """Write all of it at a place in a file, and say where it ends."""
    file.seek(offset)
    done = 0
    while done < len(content):
        done += file.write(content[done:])
    return offset + done


def _layout(arrays: dict[str, tuple[str, tuple[int, ...]]]) -> tuple[bytes, dict[str, tuple[int, int]]]:
    """The head of a safetensors file, and from which byte of the file to which each array stands."""
    header: dict[str, Any] = {}
    position = 0
    for name, (kind, shape) in arrays.items():
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(kind).itemsize
        header[name] = {"dtype": CODES[kind], "shape": list(shape), "data_offsets": [position, position + size]}
        position += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    head = len(text).to_bytes(8, "little") + text
    spans = {
        name: (len(head) + layout["data_offsets"][0], len(head) + layout["data_offsets"][1])
        for name, layout in header.items()
    }
    return head, spans
