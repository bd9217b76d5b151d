"""Metadata of a `.csd` file: its group `metadata`, read without trust."""

import json
import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from emotiwave_core.data.formats.hdf5 import elsewhere, hard_link, odd_filter
from emotiwave_core.data.formats.hdf5_chunks import Chunks
from emotiwave_core.errors import DataError

MAX_TEXT = 1 << 23  # bytes of one value: the groups of 100,000 videos
REFERENCE = 16  # bytes that stand for a text of variable length


def read_metadata(path: Path, group: h5py.Group) -> dict[str, Any]:
    """Read the values: `(1,)` byte strings that hold JSON or plain text; what is neither is left out."""
    metadata: dict[str, Any] = {}
    for name in group:
        hard_link(path, group, name)
        dataset = group[name]
        if not isinstance(dataset, h5py.Dataset):
            continue
        plist = dataset.id.get_create_plist()
        if elsewhere(plist) or odd_filter(plist) or dataset.id.get_type().get_class() != h5py.h5t.STRING:
            continue
        text_type = h5py.check_string_dtype(dataset.dtype)
        if text_type is None or dataset.size != 1 or dataset.nbytes > MAX_TEXT or _chunk_size(dataset) > MAX_TEXT:
            continue
        if not _is_sound(path, dataset, varies=text_type.length is None):
            raise DataError(f"{path}: the metadata '{name}' cannot be read, the file is damaged: fetch it again.")
        value = np.asarray(dataset[()]).reshape(-1)[0]
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        try:
            metadata[name] = json.loads(text)
            json.dumps(metadata[name], ensure_ascii=False, allow_nan=False).encode()
        except (ValueError, RecursionError):  # not JSON, or not to be written again (NaN, half a surrogate)
            metadata[name] = text.encode("utf-8", "replace").decode()
    return metadata


def _chunk_size(dataset: h5py.Dataset) -> int:
    return math.prod(dataset.chunks) * dataset.dtype.itemsize if dataset.chunks else 0


def _is_sound(path: Path, dataset: h5py.Dataset, varies: bool) -> bool:
    """True where HDF5 can be asked for the one value. Of a text that `varies` in length a reference is stored."""
    if dataset.chunks:
        origin = (0,) * len(dataset.shape)
        reference = Chunks(dataset, REFERENCE if varies else None).content(origin)
        return not varies or _heap_is_sound(path, reference, dataset.file.userblock_size)
    if not varies:
        return True
    offset = dataset.id.get_offset()
    if offset is None:
        return False
    with path.open("rb") as file:
        file.seek(offset)
        return _heap_is_sound(path, file.read(REFERENCE), dataset.file.userblock_size)


def _heap_is_sound(path: Path, reference: bytes, base: int) -> bool:
    """True where the heap in which a text of variable length lies is whole: HDF5 hangs in a damaged one.

    A reference is the text's length (4 bytes), the heap's address (8) and the text's number in it (4). A heap is
    `GCOL`, 4 bytes, its size (8), then objects: number (2), 6 bytes, size (8), content padded to 8. Number 0 is the
    free rest.
    """
    length, address = int.from_bytes(reference[:4], "little"), int.from_bytes(reference[4:12], "little")
    with path.open("rb") as file:
        file.seek(min(base + address, path.stat().st_size))
        head = file.read(16)
        end = int.from_bytes(head[8:], "little") - 16
        heap = file.read(end) if head[:4] == b"GCOL" and 0 < end <= 4 * MAX_TEXT else b""
    position = 0
    while position + 16 <= len(heap):
        number = int.from_bytes(heap[position : position + 2], "little")
        size = int.from_bytes(heap[position + 8 : position + 16], "little")
        if number == 0:
            return position + size == end
        position += 16 + (size + 7) // 8 * 8
    return length == 0 or (len(heap) == end and 0 <= end - position < 16)
