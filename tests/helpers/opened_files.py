"""Which files of a folder are opened, by whomever: the kernel tells (inotify), for HDF5 opens files in C."""

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

IN_OPEN, IN_ISDIR = 0x20, 0x40000000
HEAD = struct.Struct("iIII")  # watch, what happened, cookie, length of the name


@contextmanager
def opened(folder: Path) -> Iterator[list[str]]:
    """The names of the files of a folder that were opened meanwhile; known when the block has ended."""
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "inotify_init1"):
        pytest.skip("no inotify on this system")
    handle = library.inotify_init1(os.O_NONBLOCK)
    if handle < 0 or library.inotify_add_watch(handle, os.fsencode(folder), IN_OPEN) < 0:
        pytest.skip(f"no inotify watch to be had: {os.strerror(ctypes.get_errno())}")
    names: list[str] = []
    try:
        yield names
        names += _names(handle)
    finally:
        os.close(handle)


def _names(handle: int) -> Iterator[str]:
    try:
        told = os.read(handle, 1 << 16)
    except BlockingIOError:  # nothing has happened
        told = b""
    while told:
        _, what, _, length = HEAD.unpack_from(told)
        name, told = told[HEAD.size : HEAD.size + length], told[HEAD.size + length :]
        if not what & IN_ISDIR:
            yield os.fsdecode(name.rstrip(b"\0"))
