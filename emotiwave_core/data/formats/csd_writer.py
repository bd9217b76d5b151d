"""Writing a `.csd` file in the layout of the CMU-MultimodalSDK."""

import contextlib
import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np

from emotiwave_core.data.formats.reader import Entry
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
    not: both kinds exist. One entry is in memory at a time. ResourceError where it cannot be written.
    """
    with written_beside(path) as part, _Target(part) as target, h5py.File(target, "w") as file:
        for key, value in _metadata(root, columns, metadata or {}).items():
            text = np.array([json.dumps(value)], dtype=object)
            file.create_dataset(f"{root}/metadata/{key}", data=text, dtype=h5py.string_dtype())
        data = file.create_group(f"{root}/data")
        for key, entry in entries:
            compression = "gzip" if entry.features.shape[1] < NARROW else None
            group = data.create_group(key)
            group.create_dataset("features", data=entry.features, compression=compression)
            group.create_dataset("intervals", data=entry.intervals, compression=compression)
            target.check()


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
