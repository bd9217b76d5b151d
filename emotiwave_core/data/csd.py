"""One `.csd` file (computational sequence, CMU-MultimodalSDK): an HDF5 file read lazily and without trust.

Layout: `ROOT/metadata/*` and `ROOT/data/ID/{features [T, F], intervals [T, 2] seconds}`.
"""

import json
import re
import zlib
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from emotiwave_core.data.table import check, child, form, hard_link
from emotiwave_core.errors import DataError

MAX_TEXT = 1 << 20  # bytes of one metadata value
_ENTRY = re.compile(r"(.+)\[(\d{1,9})\]", re.DOTALL)
_FAILURES = (KeyError, OSError, RuntimeError, TypeError, ValueError, zlib.error)  # what h5py raises on a damaged file


class Sequence(NamedTuple):
    """One entry of a file."""

    features: NDArray[Any]  # [T, F] float32, or [T, F] bytes where the file holds words
    intervals: NDArray[np.float64]  # [T, 2] seconds


def split_key(key: str) -> tuple[str, int | None]:
    """The video of an entry and its number in it: `id[3]` (in files aligned to segments) is ("id", 3)."""
    match = _ENTRY.fullmatch(key)
    return (match[1], int(match[2])) if match else (key, None)


class CsdFile:
    """An open `.csd` file. Use it as a context manager. DataError where it is not one or cannot be trusted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _open(path)
        self._opened: tuple[str | None, dict[str, Any]] = (None, {})  # the last entry and its data sets, by name
        try:
            self.root = self._first_group()
            self._data = self._child(self._file[self.root], "data")
            self.keys: tuple[str, ...] = tuple(self._data)
            if not self.keys:
                raise DataError(f"{path}: '{self.root}/data' holds no ids; the file is empty.")
            first = self._dataset(self.keys[0], "features")
            self.width: int = first.shape[1]
            self.is_words: bool = first.dtype.kind == "S"
            if not self.width:
                raise DataError(f"{path}: features of {self.keys[0]!r} have no column.")
        except BaseException as error:
            self.close()
            if isinstance(error, _FAILURES):
                raise _damaged(path, "its content", error) from error
            raise

    def __enter__(self) -> "CsdFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """What the file says of itself, by name."""
        try:
            group = self._file[self.root]
            return _metadata(self.path, self._child(group, "metadata")) if "metadata" in group else {}
        except _FAILURES as error:
            raise _damaged(self.path, "its metadata", error) from error

    @property
    def dimension_names(self) -> list[str] | None:
        """The names of the feature columns, where the file tells them and their number fits."""
        names = self.metadata.get("dimension names")
        if isinstance(names, list) and len(names) == self.width and all(isinstance(name, str) for name in names):
            return [name.strip() for name in names]
        return None

    def steps(self, key: str) -> int:
        """The number of steps of an entry, from its declared shape."""
        return int(self._dataset(key, "features").shape[0])

    def intervals(self, key: str) -> NDArray[np.float64]:
        """The intervals [T, 2] of an entry, in seconds."""
        return self._intervals(key, self.steps(key))

    def _intervals(self, key: str, steps: int) -> NDArray[np.float64]:
        dataset = self._dataset(key, "intervals")
        if dataset.shape[1] != 2 or dataset.dtype.kind not in "fiu":
            raise DataError(f"{self.path}: intervals of {key!r} are {form(dataset)}, not [steps, 2] numbers.")
        if dataset.shape[0] != steps:
            raise DataError(f"{self.path}: {key!r} has {steps} rows of features but {dataset.shape[0]} intervals.")
        return np.asarray(self._content(dataset, key, slice(None)), dtype=np.float64)

    def read(self, key: str) -> Sequence:
        """The features and intervals of an entry, as they stand (-inf and NaN included)."""
        values = self.features(key)
        return Sequence(values, self._intervals(key, len(values)))

    def features(self, key: str, rows: slice = slice(None)) -> NDArray[Any]:
        """The features of an entry, or some rows of them: what is not asked for is not unpacked."""
        dataset = self._dataset(key, "features")
        if dataset.shape[1] != self.width or (dataset.dtype.kind == "S") != self.is_words:
            expected = f"{self.width} columns of {'words' if self.is_words else 'numbers'}"
            raise DataError(
                f"{self.path}: features of {key!r} are {form(dataset)}; the file's first id has {expected}."
            )
        values = self._content(dataset, key, rows)
        if not self.is_words:
            with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf, and is counted as such later
                values = np.asarray(values, dtype=np.float32)
        return values

    def _first_group(self) -> str:
        for name in self._file:
            hard_link(self.path, self._file, name)
            if isinstance(self._file[name], h5py.Group) and "data" in self._file[name]:
                return str(name)
        raise DataError(f"{self.path}: no group with a 'data' group in it, so this is HDF5 but not a .csd file.")

    def _child(self, group: h5py.Group, name: str) -> h5py.Group:
        found = child(self.path, group, name)
        if not isinstance(found, h5py.Group):
            raise DataError(f"{self.path}: '{group.name}/{name}' is not a group, so this is not a .csd file.")
        return found

    def _dataset(self, key: str, name: str) -> h5py.Dataset:
        if self._opened[0] != key:
            self._opened = (key, {})
        opened = self._opened[1]  # opening takes longer than reading where clips are short
        try:
            if "" not in opened:
                opened[""] = self._child(self._data, key)
            if name not in opened:
                opened[name] = self._checked(key, opened[""], name)
        except _FAILURES as error:
            raise _damaged(self.path, repr(key), error) from error
        return opened[name]

    def _checked(self, key: str, entry: h5py.Group, name: str) -> h5py.Dataset:
        if not entry.id.links.exists(name.encode()):
            raise DataError(f"{self.path}: {key!r} has no '{name}'.")
        dataset = child(self.path, entry, name)
        if not isinstance(dataset, h5py.Dataset):
            raise DataError(f"{self.path}: '{name}' of {key!r} is not a data set.")
        check(self.path, key, dataset)
        return dataset

    def _content(self, dataset: h5py.Dataset, key: str, rows: slice) -> NDArray[Any]:
        try:
            return np.asarray(dataset[rows])
        except _FAILURES as error:
            raise _damaged(self.path, repr(key), error) from error


def _open(path: Path) -> h5py.File:
    if not path.is_file():
        raise DataError(f"{path}: there is no such file.")
    size = path.stat().st_size
    try:
        return h5py.File(path, "r", locking=False)
    except PermissionError as error:
        raise DataError(f"{path}: no permission to read it.") from error
    except OSError as error:
        with path.open("rb") as file:
            is_hdf5 = file.read(8) == b"\x89HDF\r\n\x1a\n"
        what = "is a damaged or cut-off HDF5 file" if is_hdf5 else "is not an HDF5 file"
        raise DataError(f"{path} ({size} bytes) {what}, probably a failed download: fetch it again.") from error


def _damaged(path: Path, what: str, error: Exception) -> DataError:
    return DataError(f"{path}: {what} cannot be read, the file is damaged ({error}): fetch it again.")


def _metadata(path: Path, group: h5py.Group) -> dict[str, Any]:
    """Metadata values are `(1,)` byte strings that hold JSON or plain text; what is neither is left out."""
    found: dict[str, Any] = {}
    for name in group:
        hard_link(path, group, name)
        dataset = group[name]
        if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
            continue
        text_type, place = h5py.check_string_dtype(dataset.dtype), dataset.id.get_offset()
        if text_type is None or dataset.size != 1 or dataset.nbytes > MAX_TEXT:
            continue
        if text_type.length is None and (place is None or not _heap_is_sound(path, place, dataset.file.userblock_size)):
            raise DataError(f"{path}: the metadata '{name}' cannot be read, the file is damaged: fetch it again.")
        value = np.asarray(dataset[()]).reshape(-1)[0]
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        try:
            found[name] = json.loads(text)
            json.dumps(found[name], ensure_ascii=False, allow_nan=False).encode()
        except (ValueError, RecursionError):  # not JSON, or not to be written again (NaN, half a surrogate)
            found[name] = text
    return found


def _heap_is_sound(path: Path, place: int, base: int) -> bool:
    """Whether the heap of a string of variable length, stored at `place`, is whole: HDF5 hangs in a damaged one.

    There stand its length (4 bytes), the heap's address (8) and its number (4). A heap is `GCOL`, 4 bytes, its size
    (8), then objects: number (2), 6 bytes, size (8), content padded to 8. Number 0 is the free rest.
    """
    with path.open("rb") as file:
        file.seek(place)
        length, address = int.from_bytes(file.read(4), "little"), int.from_bytes(file.read(8), "little")
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
