"""Chunks of a data set, found and unpacked without trust.

HDF5 on its own takes zeros for a chunk that its index does not name, unpacks gzip without bound, and dies of a chunk of
no length. So each one is asked for by its place, must be there, and is unpacked here to no more than its size. (zlib
also lets another thread work meanwhile, as HDF5 does not.)
"""

import math
import zlib
from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

GZIP, SHUFFLE, FLETCHER32 = h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32
WORDS = 1 << 15  # of two bytes, that are summed at a time: they fit into the cache


def rows_of(dataset: h5py.Dataset, rows: slice) -> NDArray[Any]:
    """Some rows of a data set [T, F] that is kept in chunks. ValueError where a chunk is not what it must be."""
    (steps, columns), (height, width) = dataset.shape, dataset.chunks
    start, stop, _ = rows.indices(steps)
    content = np.empty((max(stop - start, 0), columns), dtype=dataset.dtype)
    reader = Chunks(dataset)
    for top in range(start // height * height, stop, height):
        low, high = max(top, start), min(top + height, stop)
        for left in range(0, columns, width):
            block = reader.read((top, left))[low - top : high - top, : columns - left]
            content[low - start : high - start, left : left + width] = block
    return content


class Chunks:
    """The chunks of one data set, of any number of dimensions. A value may take other bytes in the file than here."""

    def __init__(self, dataset: h5py.Dataset, value: int | None = None) -> None:
        plist = dataset.id.get_create_plist()
        self._id, self._kind, self._shape = dataset.id, dataset.dtype, plist.get_chunk()
        self._value = value or self._kind.itemsize
        self._size = math.prod(self._shape) * self._value
        self._filters = [plist.get_filter(index) for index in range(plist.get_nfilters())]

    def read(self, origin: Sequence[int]) -> NDArray[Any]:
        """The chunk that begins at a place, whole. ValueError where it is not there or not what it must be."""
        return np.frombuffer(self.content(origin), dtype=self._kind).reshape(self._shape)

    def content(self, origin: Sequence[int]) -> bytes:
        """Its bytes, unpacked."""
        most = self._size + self._size // 512 + 64  # gzip and a checksum cannot make it longer
        chunk = self._id.get_chunk_info_by_coord(tuple(origin))
        if chunk.byte_offset is None or not 0 < chunk.size <= most:
            raise ValueError(f"the part at {list(origin)} is not there or of no possible length")
        passed_over, content = self._id.read_direct_chunk(tuple(origin))
        for index, (code, _, options, _) in reversed(list(enumerate(self._filters))):
            if code == GZIP and passed_over >> index & 1:  # it could not make it shorter; the others cannot fail
                continue
            if code == GZIP:
                content = _inflated(content, most)
            elif code == FLETCHER32:
                content = _verified(content)
            elif code == SHUFFLE and options[:1] == (self._value,):
                content = _unshuffled(content, self._value)
            else:
                raise ValueError(f"filter {code} has odd options")
        if len(content) != self._size:
            raise ValueError(f"the part at {list(origin)} has {len(content)} bytes, not {self._size}")
        return bytes(content)


def _inflated(content: bytes, most: int) -> bytes:
    unpacker = zlib.decompressobj()
    unpacked = unpacker.decompress(content, most)
    if not unpacker.eof:
        raise ValueError("gzip data that end too early or too late")
    return unpacked


def _unshuffled(content: bytes, size: int) -> bytes:
    """The bytes in their order again: the first ones of all numbers stood first, then the second ones, …"""
    whole = len(content) // size * size
    return np.frombuffer(content, np.uint8, whole).reshape(size, -1).T.tobytes() + content[whole:]


def _verified(content: bytes) -> bytes:
    """The bytes before the checksum, which must agree: Fletcher's, of words of two bytes, modulo 65535."""
    body, stored = content[:-4], int.from_bytes(content[-4:], "little")
    words = np.frombuffer(body + bytes(len(body) % 2), dtype=">u2")
    first = second = 0
    for start in range(0, len(words), WORDS):
        block = words[start : start + WORDS].astype(np.uint64)
        second += first * len(block) + int(block @ np.arange(len(block), 0, -1, dtype=np.uint64))
        first += int(block.sum())
    if len(content) < 4 or (stored % 65536 - first) % 65535 or ((stored >> 16) - second) % 65535:
        raise ValueError("its checksum does not agree")
    return body
