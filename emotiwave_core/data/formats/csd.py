"""One `.csd` file (computational sequence, CMU-MultimodalSDK): an HDF5 file read lazily and without trust.

Layout: `ROOT/metadata/*` and `ROOT/data/ID/{features [T, F], intervals [T, 2] seconds}`.
"""

import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from emotiwave_core.data.formats.csd_metadata import read_metadata
from emotiwave_core.data.formats.csd_writer import write_csd
from emotiwave_core.data.formats.hdf5 import Spans, check, child, form, hard_link, has
from emotiwave_core.data.formats.hdf5_chunks import rows_of
from emotiwave_core.data.formats.reader import Entry, Reader, Source, counted_intervals
from emotiwave_core.errors import DataError
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.io.untrusted import starts_with

MAGIC = b"\x89HDF\r\n\x1a\n"
LOOKED_AT = 9  # ids, of which most say the form of all
ROOM_FOR_TIMES = 16 << 20  # bytes of intervals that are kept
_FAILURES = (KeyError, OSError, RuntimeError, TypeError, ValueError, zlib.error)  # what h5py raises on a damaged file


class CsdFile(Reader):
    """A `.csd` file of the CMU-MultimodalSDK.

    Use it as a context manager. DataError where it is not one or cannot be trusted.
    """

    name = "csd"
    suffixes = (".csd",)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """By its name, or as HDF5 under any other."""
        return super().recognises(path) or (path.is_file() and starts_with(path, MAGIC))

    @classmethod
    def example(cls, folder: Path, steps: int) -> Source:
        """Write two videos, on which the laws of readers are tried."""
        entry = Entry(np.ones((steps, 3), dtype=np.float32), counted_intervals(steps, 10.0))
        write_csd(folder / "example.csd", "example", [("one", entry), ("two", entry)], ["a", "b", "c"])
        return Source(folder / "example.csd")

    def __init__(self, source: Source | Path) -> None:
        path = self.path = source if isinstance(source, Path) else source.path
        self._file = _open(path)
        self._spans = Spans()
        self._known_times: dict[str, NDArray[np.float64]] = {}
        self._room_for_times = ROOM_FOR_TIMES
        self._opened: tuple[str | None, dict[str, Any]] = (None, {})  # the last entry and its data sets, by name
        try:
            self.root = self._first_group()
            self._data = self._child(self._file[self.root], "data")
            self.keys: tuple[str, ...] = tuple(self._data)
            if not self.keys:
                raise DataError(f"{path}: '{self.root}/data' holds no ids; the file is empty.")
            if not all(isinstance(key, str) for key in self.keys):  # h5py gives bytes
                raise DataError(f"{path}: an id in '{self.root}/data' is not UTF-8: it is damaged, fetch it again.")
            if len(set(self.keys)) < len(self.keys):
                raise DataError(
                    f"{path}: '{self.root}/data' holds an id twice, so the file is damaged: fetch it again."
                )
            self.width, self.is_words = self._usual_form()
            self.has_times = not self._has_counted_times()
        except BaseException as error:
            self.close()
            if isinstance(error, _FAILURES):
                raise _damaged(path, "its content", error) from error
            raise

    def _usual_form(self) -> tuple[int, bool]:
        """The width of most entries, and whether they hold words, by a few that are spread over the file."""
        keys = self.keys[:: max(1, len(self.keys) // LOOKED_AT)][:LOOKED_AT]
        forms = Counter(_form_of(self._dataset(key, "features")) for key in keys)
        width, is_words = forms.most_common(1)[0][0]
        if not width:
            raise DataError(f"{self.path}: features of {self.keys[0]!r} have no column.")
        return width, is_words

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def unfit(self) -> dict[str, str]:
        """The entries of another width or type than most, from their declared shapes."""
        opened = ((key, self._dataset(key, "features")) for key in self.keys)
        return {key: form(data) for key, data in opened if _form_of(data) != (self.width, self.is_words)}

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """Metadata of the file, by name."""
        try:
            group = self._file[self.root]
            return read_metadata(self.path, self._child(group, "metadata")) if has(group, "metadata") else {}
        except _FAILURES as error:
            raise _damaged(self.path, "its metadata", error) from error

    def _has_counted_times(self) -> bool:
        """True where the metadata say that the intervals are numbers of steps, as of a format without times."""
        group = self._file[self.root]
        if not has(group, "metadata") or not has(self._child(group, "metadata"), "times"):
            return False
        return self.metadata.get("times") == "counted"

    @property
    def groups(self) -> Mapping[str, str]:
        """The group of each video, where the metadata tell it."""
        told = self.metadata.get("groups")
        if not isinstance(told, dict) or not all(isinstance(group, str) for group in told.values()):
            return {}
        return told

    @property
    def dimension_names(self) -> list[str] | None:
        """The names of the feature columns, where the file tells them and their number fits."""
        names = self.metadata.get("dimension names")
        if isinstance(names, list) and len(names) == self.width and all(isinstance(name, str) for name in names):
            return [name.strip() for name in names]
        return None

    def steps(self, key: str) -> int:
        """The number of steps of an entry, from its declared shape."""
        if (known := self._known_times.get(key)) is not None:
            return len(known)
        return int(self._dataset(key, "features").shape[0])

    def intervals(self, key: str) -> NDArray[np.float64]:
        """The intervals [T, 2] of an entry, in seconds."""
        if (known := self._known_times.get(key)) is not None:
            return known.copy()
        times = self._intervals(key, self.steps(key))
        if self._room_for_times >= times.nbytes:  # packing asks thrice, and opening is slow
            self._room_for_times -= times.nbytes
            self._known_times[key] = times.copy()
        return times

    def _intervals(self, key: str, steps: int) -> NDArray[np.float64]:
        dataset = self._dataset(key, "intervals")
        if dataset.shape[1] != 2 or dataset.dtype.kind not in "fiu":
            raise DataError(f"{self.path}: intervals of {key!r} are {form(dataset)}, not [steps, 2] numbers.")
        if dataset.shape[0] != steps:
            raise DataError(f"{self.path}: {key!r} has {steps} rows of features but {dataset.shape[0]} intervals.")
        return np.asarray(self._content(dataset, key, slice(None)), dtype=np.float64)

    def read(self, key: str) -> Entry:
        """The features and intervals of an entry, as they stand (-inf and NaN included)."""
        values = self.features(key)
        return Entry(values, self._intervals(key, len(values)))

    def features(self, key: str, rows: slice = slice(None)) -> NDArray[Any]:
        """The features of an entry, or some rows of them: what is not asked for is not unpacked."""
        dataset = self._dataset(key, "features")
        if _form_of(dataset) != (self.width, self.is_words):
            expected = f"{self.width} columns of {'words' if self.is_words else 'numbers'}"
            raise DataError(f"{self.path}: features of {key!r} are {form(dataset)}; most ids have {expected}.")
        values = self._content(dataset, key, rows)
        if not self.is_words:
            with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf, and is counted as such later
                values = np.asarray(values, dtype=np.float32)
        return values

    def _first_group(self) -> str:
        for name in self._file:
            hard_link(self.path, self._file, name)
            group = self._file[name]
            if isinstance(group, h5py.Group) and has(group, "data"):
                return str(name)
        raise DataError(f"{self.path}: no group with a 'data' group in it, so this is HDF5 but not a .csd file.")

    def _child(self, group: h5py.Group, name: str) -> h5py.Group:
        entry = child(self.path, group, name)
        if not isinstance(entry, h5py.Group):
            raise DataError(f"{self.path}: '{group.name}/{name}' is not a group, so this is not a .csd file.")
        return entry

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
        if not has(entry, name):
            raise DataError(f"{self.path}: {key!r} has no '{name}'.")
        dataset = child(self.path, entry, name)
        if not isinstance(dataset, h5py.Dataset):
            raise DataError(f"{self.path}: '{name}' of {key!r} is not a data set.")
        check(self.path, key, dataset)
        self._spans.take(self.path, key, dataset)
        return dataset

    def _content(self, dataset: h5py.Dataset, key: str, rows: slice) -> NDArray[Any]:
        try:
            return rows_of(dataset, rows) if dataset.chunks else np.asarray(dataset[rows])
        except _FAILURES as error:
            raise _damaged(self.path, repr(key), error) from error


def _form_of(dataset: h5py.Dataset) -> tuple[int, bool]:
    """The width of features, and whether they are words."""
    return dataset.shape[1], dataset.dtype.kind == "S"


def _open(path: Path) -> h5py.File:
    if not path.is_file():
        raise DataError(f"{path}: there is no such file.")
    size = path.stat().st_size
    try:
        return h5py.File(path, "r", locking=False)
    except PermissionError as error:
        raise DataError(f"{path}: no permission to read it.") from error
    except OSError as error:
        what = "is a damaged or cut-off HDF5 file" if starts_with(path, MAGIC) else "is not an HDF5 file"
        raise DataError(f"{path} ({size} bytes) {what}, probably a failed download: fetch it again.") from error


def _damaged(path: Path, what: str, error: Exception) -> DataError:
    return DataError(f"{path}: {what} cannot be read, the file is damaged ({error}): fetch it again.")


@hookimpl
def register_readers(register: Callable[[str, type[Reader]], None]) -> None:
    """Offer `csd`."""
    register("csd", CsdFile)
