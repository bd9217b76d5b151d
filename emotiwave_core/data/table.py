"""One data set of an HDF5 file, [steps, columns]: opened without trust.

HDF5 on its own follows external links, external storage and virtual data sets into other files; all are refused.
"""

from pathlib import Path

import h5py

from emotiwave_core.errors import DataError

MAX_BYTES = 8 << 30  # of one id's features: 8 GiB is days of any known feature
MAX_EXPANSION = 1100  # deflate cannot pack tighter than 1032 to 1
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}


def hard_link(path: Path, group: h5py.Group, name: str) -> None:
    """Soft and external links are refused: they can lead to another file or in a circle."""
    if group.id.links.get_info(str(name).encode()).type != h5py.h5l.TYPE_HARD:  # bytes where it is not UTF-8
        raise DataError(f"{path}: {name!r} in '{group.name}' is a link to elsewhere; only plain entries are read.")


def child(path: Path, group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset | None:
    """What a plain entry of a group is: a group, a data set or neither. KeyError where there is none.

    `group[name]` says the same, in several times the time: an entry is opened for every video of a data set.
    """
    hard_link(path, group, name)
    found = h5py.h5o.open(group.id, name.encode())
    if isinstance(found, h5py.h5g.GroupID):
        return h5py.Group(found)
    return h5py.Dataset(found) if isinstance(found, h5py.h5d.DatasetID) else None


def form(dataset: h5py.Dataset) -> str:
    """Its shape and type, for an error."""
    return f"{list(dataset.shape)} of {dataset.dtype}"


def check(path: Path, key: str, dataset: h5py.Dataset) -> None:
    """Refuse what could read another file, run other code or unpack without bound."""
    shape, kind = dataset.shape, dataset.dtype
    plist = dataset.id.get_create_plist()
    where = f"{path}: {key!r}"
    if shape is None or len(shape) != 2:
        raise DataError(f"{where} has data of shape {shape}, not [steps, columns].")
    if kind.kind not in "fiuS":
        raise DataError(f"{where} has data of type {kind}; only numbers and byte strings are read.")
    if plist.get_layout() == h5py.h5d.VIRTUAL or plist.get_external_count():
        raise DataError(f"{where} keeps its data in another file; only data inside the file is read.")
    if any(code not in _FILTERS for code in _filters(plist)):
        raise DataError(f"{where} is compressed with a filter other than gzip, shuffle and fletcher32.")
    size, stored = shape[0] * shape[1] * kind.itemsize, dataset.id.get_storage_size()
    if size > MAX_BYTES or size > MAX_EXPANSION * max(stored, 64):
        raise DataError(f"{where} declares {size} bytes of data but {stored} are stored; it is not read.")


def _filters(plist: h5py.h5p.PropDCID) -> list[int]:
    return [plist.get_filter(index)[0] for index in range(plist.get_nfilters())]
