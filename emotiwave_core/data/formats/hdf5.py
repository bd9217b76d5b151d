"""Data sets of an HDF5 file, [steps, columns], opened without trust.

HDF5 on its own follows external links, external storage and virtual data sets into other files; all are refused.
"""

import math
from bisect import bisect_left
from pathlib import Path

import h5py

from emotiwave_core.data.formats.hdf5_chunks import FLETCHER32, GZIP, SHUFFLE
from emotiwave_core.errors import DataError

MAX_BYTES = 16 << 30  # of one id's features, which are read in parts: days of them
MAX_CHUNK = 2 << 30  # of a part that is compressed as one, and so unpacked whole
MAX_EXPANSION = 1100  # deflate cannot pack tighter than 1032 to 1
LARGE, PLAUSIBLE = 256 << 20, 100  # what unpacks to more bytes than this packs no tighter, but for a bomb
_FILTERS = {GZIP, SHUFFLE, FLETCHER32}
_PLAIN = {h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.STRING}
_ODD = {
    h5py.h5t.ARRAY: "arrays",
    h5py.h5t.BITFIELD: "bits",
    h5py.h5t.COMPOUND: "compounds",
    h5py.h5t.ENUM: "names or truth values",
    h5py.h5t.OPAQUE: "opaque bytes",
    h5py.h5t.REFERENCE: "references",
    h5py.h5t.TIME: "times",
    h5py.h5t.VLEN: "lists",
}


def hard_link(path: Path, group: h5py.Group, name: str) -> None:
    """Refuse soft and external links, which can lead to another file or in a circle, and names that are paths.

    HDF5 would follow these through other groups, and none that was written by it holds one.
    """
    if "/" in name or name in ("", "."):
        raise DataError(
            f"{path}: the name {name!r} in '{group.name}' is a path, so the file is damaged: fetch it again."
        )
    if group.id.links.get_info(str(name).encode()).type != h5py.h5l.TYPE_HARD:  # bytes where it is not UTF-8
        raise DataError(f"{path}: {name!r} in '{group.name}' is a link to elsewhere; only plain entries are read.")


def has(group: h5py.Group, name: str) -> bool:
    """True where there is an entry of this name, a link that leads nowhere included: `in` would follow it."""
    return bool(group.id.links.exists(name.encode()))


def child(path: Path, group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset | None:
    """Open a plain entry of a group: a group, a data set or None for anything else. KeyError where there is none.

    `group[name]` says the same, in several times the time: an entry is opened for every video of a data set.
    """
    hard_link(path, group, name)
    opened = h5py.h5o.open(group.id, name.encode())
    if isinstance(opened, h5py.h5g.GroupID):
        return h5py.Group(opened)
    return h5py.Dataset(opened) if isinstance(opened, h5py.h5d.DatasetID) else None


def form(dataset: h5py.Dataset) -> str:
    """Shape and type of a data set, for an error."""
    return f"{list(dataset.shape)} of {dataset.dtype}"


def check(path: Path, key: str, dataset: h5py.Dataset) -> None:
    """Refuse what could read another file, run other code or unpack without bound."""
    where = f"{path}: {key!r}"
    plist = dataset.id.get_create_plist()
    if elsewhere(plist):  # before anything else is asked: HDF5 opens the other file to tell the shape
        raise DataError(f"{where} keeps its data in another file; only data inside the file is read.")
    shape, stored_as = dataset.shape, dataset.id.get_type()
    if shape is None or len(shape) != 2:
        raise DataError(f"{where} has data of shape {shape}, not [steps, columns].")
    if stored_as.get_class() not in _PLAIN:  # before NumPy's type is asked for: of lists in lists it takes minutes
        odd = _ODD.get(stored_as.get_class(), "unknown")
        raise DataError(f"{where} has data of type {odd}; only numbers and byte strings are read.")
    kind = dataset.dtype
    if kind.kind not in "fiuS":
        raise DataError(f"{where} has data of type {kind}; only numbers and byte strings are read.")
    if kind.kind != "S" and stored_as != h5py.h5t.py_create(kind):
        raise DataError(f"{where} has numbers of an odd layout, so the file is damaged: fetch it again.")
    if odd_filter(plist):
        raise DataError(f"{where} is compressed with a filter other than gzip, shuffle and fletcher32.")
    size, stored = shape[0] * shape[1] * kind.itemsize, dataset.id.get_storage_size()
    is_bomb = size != stored
    if plist.get_layout() == h5py.h5d.CHUNKED:
        chunk = math.prod(plist.get_chunk()) * kind.itemsize
        size = max(size, chunk)
        is_bomb = size > MAX_EXPANSION * max(stored, 64) or size > max(LARGE, PLAUSIBLE * stored)
        is_bomb |= stored > path.stat().st_size or chunk > MAX_CHUNK
    if is_bomb or size > MAX_BYTES:
        raise DataError(f"{where} declares {size} bytes of data but {stored} are stored; it is not read.")


def elsewhere(plist: h5py.h5p.PropDCID) -> bool:
    """True where HDF5 would look for the data in other files."""
    return bool(plist.get_layout() == h5py.h5d.VIRTUAL or plist.get_external_count())


def odd_filter(plist: h5py.h5p.PropDCID) -> bool:
    """True where other filters than the known ones are to be run, for which HDF5 would load code."""
    return any(plist.get_filter(index)[0] not in _FILTERS for index in range(plist.get_nfilters()))


class Spans:
    """Bytes of a file that each opened data set takes: a damaged address leads into another one's."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._owned: dict[int, tuple[int, int]] = {}  # from each start: the end, and where its data set is described

    def take(self, path: Path, key: str, dataset: h5py.Dataset) -> None:
        """DataError where some of its bytes belong to another one (that is not the same under two names)."""
        start, size = dataset.id.get_offset(), dataset.id.get_storage_size()
        if start is None or not size:  # kept in chunks, or with its description
            return
        owner, index_of_start = h5py.h5o.get_info(dataset.id).addr, bisect_left(self._starts, start)
        near = [self._starts[index] for index in (index_of_start - 1, index_of_start) if 0 <= index < len(self._starts)]
        overlapped = [other for other in near if other < start + size and self._owned[other][0] > start]
        if any(self._owned[other][1] != owner for other in overlapped):
            raise DataError(f"{path}: {key!r} stands where other data stand, so the file is damaged: fetch it again.")
        if not overlapped:
            self._starts.insert(index_of_start, start)
            self._owned[start] = (start + size, owner)
