"""Writing a `.csd` file in the layout of the CMU-MultimodalSDK."""

import contextlib
import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import ArrayLike

from emotiwave_core.data.formats.reader import Entry
from emotiwave_core.errors import DataError, short
from emotiwave_core.io.atomic import written_beside

NARROW = 10  # columns: fewer are compressed


def write_csd(
    path: Path,
    root: str,
    entries: Iterable[tuple[str, Entry]],
    columns: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write a `.csd` file whole or not at all: `root/data/ID/{features, intervals}` and `root/metadata`.

    entries: pairs of an id and its Entry. `columns` names the feature columns ("dimension names"), which some real
    files lack. `metadata` is laid over the fields that the SDK asks for. Narrow files are compressed and wide ones are
    not: both kinds exist. One entry is in memory at a time. ResourceError where it cannot be written, DataError for an
    id that HDF5 would take for a path.
    """
    with written_beside(path) as part, _Target(part) as target, h5py.File(target, "w") as file:
        for key, value in _metadata(root, columns, metadata or {}).items():
            text = np.array([json.dumps(value)], dtype=object)
            file.create_dataset(f"{root}/metadata/{key}", data=text, dtype=h5py.string_dtype())
        data = file.create_group(f"{root}/data")
        for key, entry in entries:
            compression = "gzip" if entry.features.shape[1] < NARROW else None
            if "/" in key or "\0" in key or key in ("", "."):
                raise DataError(f"The id {short(key)} cannot stand in a .csd file: it is empty, or holds a '/'.")
            group = data.create_group(key)
            group.create_dataset("features", data=entry.features, compression=compression)
            group.create_dataset("intervals", data=entry.intervals, compression=compression)
            target.check()


def checked_entries(
    features: Mapping[str, ArrayLike], intervals: Mapping[str, ArrayLike], columns: Sequence[str] | None
) -> Iterator[tuple[str, Entry]]:
    """Entries of arrays by id, [T, F] numbers or T words, with [T, 2] seconds. DataError where they do not fit."""
    if not features or set(features) != set(intervals):
        lacking = sorted(set(features) ^ set(intervals))
        raise DataError(f"features and intervals need the same ids; only one of them has {short(lacking[:3])}.")
    width: int | None = None if columns is None else len(columns)
    for key, values in features.items():
        array, times = np.asarray(values), np.asarray(intervals[key], dtype=np.float64)
        if array.dtype.kind in "OU":
            array = np.array([str(word).encode() for word in array.reshape(-1).tolist()])
        array = array[:, None] if array.ndim == 1 and array.dtype.kind == "S" else array
        if array.ndim != 2 or array.dtype.kind not in "fiuS" or array.shape[1] == 0:
            raise DataError(f"features of {short(key)} are {list(array.shape)} of {array.dtype}, not [steps, columns].")
        if times.shape != (len(array), 2):
            raise DataError(f"intervals of {short(key)} are {list(times.shape)}, not [{len(array)}, 2] seconds.")
        width = width or array.shape[1]
        if array.shape[1] != width:
            raise DataError(f"features of {short(key)} have {array.shape[1]} columns, and others {width}.")
        yield key, Entry(array if array.dtype.kind == "S" else array.astype(np.float32), times)


class _Target:
    """A file for h5py to write to. HDF5 does not survive a write that fails, so it is never told of one.

    What fails is kept, what comes after it is discarded, and `check` and the end of the block raise it.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b")
        self._error: OSError | None = None

    def check(self) -> None:
        """Raise the OSError of the first write that failed."""
        if self._error is not None:
            raise self._error

    def write(self, content: Any) -> int:
        """Write, or discard."""
        self._try(lambda: self._file.write(content))
        return len(content)

    def flush(self) -> None:
        """Flush what has been written."""
        self._try(self._file.flush)

    def truncate(self, size: int) -> int:
        """Cut the file, or lengthen it."""
        self._try(lambda: self._file.truncate(size))
        return size

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place."""
        self._try(lambda: self._file.seek(offset, whence))
        return offset

    def tell(self) -> int:
        """The place."""
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        """Read on; h5py takes what has this method for a file."""
        return self._file.read(size)

    def readinto(self, buffer: Any) -> int:
        """Read back what has been written."""
        self._try(lambda: self._file.readinto(buffer))
        return len(buffer)

    def _try(self, work: Callable[[], Any]) -> None:
        if self._error is None:
            try:
                work()
            except OSError as error:
                self._error = error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._try(self._file.close)
        if self._error is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            raise self._error


def _metadata(root: str, columns: Sequence[str] | None, own: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {
        "alignment compatible": "true",
        "computational sequence description": "",
        "computational sequence version": "1.0",
        "contact": "none",
        "creator": "emotiwave",
        "dataset bib citation": "",
        "dataset name": "",
        "dataset version": "1.0",
        "featureset bib citation": "",
        "md5": None,
        "root name": root,
        "uuid": str(uuid.uuid5(uuid.NAMESPACE_DNS, root)),
    }
    return {**metadata, **own, **({} if columns is None else {"dimension names": list(columns)})}
