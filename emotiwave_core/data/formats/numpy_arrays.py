"""NumPy arrays: a folder of `ID.npy` or `ID.npz`, or one `.npz` with an array for each id.

Times stand beside the features, [T, 2] seconds: as `ID_times.npy`, as the array `ID_times` of the one `.npz`, or as the
array `times` beside `features` in `ID.npz`. Headers are looked at before anything is read, and nothing is unpickled.
"""

import ast
import math
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emotiwave_core.data.formats.reader import Reader, Source, counted_intervals
from emotiwave_core.errors import DataError, short
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.io.untrusted import open_file, starts_with, why

MAGIC, ZIP = b"\x93NUMPY", b"PK\x03\x04"
SUFFIXES = (".npy", ".npz")
TIMES = "_times"  # after the id, of the array that has its times
MOST_BYTES = 16 << 30  # of one array
MOST_PACKED = 2 << 30  # of one in an archive, which is held whole
MOST_EXPANSION = 1100  # deflate cannot pack tighter than 1032 to 1
LONGEST_HEADER = 10_000  # bytes
MOST_AXES = 8
_NUMBERS = re.compile(r"[<>|=](?:f[248]|[iu][1248]|b1)")
KINDS = "fiub"
_FAILURES: tuple[type[Exception], ...] = (OSError, ValueError, EOFError, RuntimeError, LookupError, TypeError)
_FAILURES += (SyntaxError, zipfile.BadZipFile, zlib.error)  # of the text of a header, or of an archive


class Place(NamedTuple):
    """One array: a file, or a member of an archive."""

    path: Path
    member: str | None = None


class Header(NamedTuple):
    """The form of an array as its header declares it, and where its content begins."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[Any]
    start: int


class NumpyArrays(Reader):
    """Arrays by id: a folder of `.npy` or `.npz` files, or one `.npz`.

    They are [T, F], or [F] for a single step. DataError where they are damaged or no numbers.
    """

    name = "numpy"
    suffixes = (".npz",)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A folder of `.npy` or `.npz` files, or an archive of arrays."""
        try:
            if path.is_dir():
                return any(file.suffix.lower() in SUFFIXES for file in path.iterdir())
            return super().recognises(path) and starts_with(path, b"PK")
        except OSError:
            return False

    @classmethod
    def example(cls, folder: Path, steps: int) -> Source:
        """Write two arrays with their times, on which the laws of readers are tried."""
        (folder / "example").mkdir()
        for key in ("one", "two"):
            np.save(folder / "example" / f"{key}.npy", np.ones((steps, 3), dtype=np.float32))
            np.save(folder / "example" / f"{key}{TIMES}.npy", counted_intervals(steps, 10.0))
        return Source(folder / "example")

    def __init__(self, source: Source) -> None:
        self.path, self.rate = source.path, source.rate
        self.root = source.path.stem
        self.is_words = False
        self._headers: dict[str, Header] = {}
        self._last: tuple[str | None, NDArray[Any]] = (None, np.empty((0, 0)))  # of those that are read whole
        self._archives: dict[Path, zipfile.ZipFile] = {}
        try:
            self._arrays, self._times = self._places()
            self.keys = tuple(sorted(self._arrays))
            if not self.keys:
                raise DataError(
                    f"{self.path} holds no array: `ID.npy` for each id, or one .npz with an array for each."
                )
            self.has_times = bool(self._times) or source.rate is not None
            self.width = self._usual_width()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the archives."""
        for archive in self._archives.values():
            archive.close()

    def steps(self, key: str) -> int:
        """The number of steps of an entry, from its header."""
        shape = self._header(key).shape
        return shape[0] if len(shape) == 2 else 1

    def intervals(self, key: str) -> NDArray[np.float64]:
        """The intervals [T, 2] of an entry: its times, or its steps counted."""
        steps = self.steps(key)
        if key not in self._times:
            if self._times and self.rate is None:
                raise DataError(f"{self.path}: {key!r} has no times, and others have.")
            return counted_intervals(steps, self.rate)
        place = self._times[key]
        header = self._read_header(place, f"{key}{TIMES}")
        if header.shape != (steps, 2):
            raise DataError(f"{self.path}: the times of {key!r} are {list(header.shape)}, not [{steps}, 2] seconds.")
        return np.asarray(self._content(place, header, f"{key}{TIMES}"), dtype=np.float64)

    def features(self, key: str, rows: slice = slice(None)) -> NDArray[Any]:
        """The features [T, F] of an entry, or some rows of them."""
        if (form := self._form(key)) != self.width:
            raise DataError(f"{self.path}: {key!r} has {form} columns; most ids have {self.width}.")
        place, header = self._arrays[key], self._header(key)
        if place.member is None and not header.is_fortran and len(header.shape) == 2:
            values = self._content(place, header, key, rows)  # a long recording is read in parts
        else:
            if self._last[0] != key:
                self._last = (key, np.atleast_2d(self._content(place, header, key)))
            values = self._last[1][rows]
        with np.errstate(over="ignore", invalid="ignore"):  # beyond float32 is infinite, and counted as such later
            return np.asarray(values, dtype=np.float32)

    def unfit(self) -> dict[str, str]:
        """The entries of another width or number of axes than most."""
        return {key: self._told(key) for key in self.keys if self._form(key) != self.width}

    def _places(self) -> tuple[dict[str, Place], dict[str, Place]]:
        """The arrays and the times by id."""
        if self.path.is_dir():
            files = sorted(file for file in self.path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
            places: dict[str, Place] = {}
            for file in files:
                if file.stem in places:
                    raise DataError(f"{self.path} holds {file.stem!r} as .npy and as .npz: keep one of them.")
                places |= _of_archive(file, self._members(file)) if file.suffix == ".npz" else {file.stem: Place(file)}
        else:
            places = {_bare(name): Place(self.path, name) for name in self._members(self.path)}
        times = {key.removesuffix(TIMES): place for key, place in places.items() if key.endswith(TIMES)}
        arrays = {key: place for key, place in places.items() if not key.endswith(TIMES)}
        return arrays, {key: place for key, place in times.items() if key in arrays}

    def _usual_width(self) -> int:
        widths = Counter(self._form(key) for key in self.keys)
        width = widths.most_common(1)[0][0]
        if not width:
            raise DataError(
                f"{self.path}: {self.keys[0]!r} is {self._told(self.keys[0])}; arrays of numbers are read, [steps, "
                "columns] or [columns]."
            )
        return width

    def _form(self, key: str) -> int:
        """The columns of an entry, 0 where it is no row or table of numbers."""
        header = self._header(key)
        is_fit = header.dtype.kind in KINDS and 1 <= len(header.shape) <= 2
        return header.shape[-1] if is_fit else 0

    def _told(self, key: str) -> str:
        header = self._header(key)
        return f"{list(header.shape)} of {'Python objects or texts' if header.dtype.hasobject else header.dtype}"

    def _header(self, key: str) -> Header:
        if key not in self._headers:
            if key not in self._arrays:
                raise DataError(f"{self.path} has no id {short(key)}.")
            self._headers[key] = self._read_header(self._arrays[key], key)
        return self._headers[key]

    def _read_header(self, place: Place, name: str) -> Header:
        try:
            with self._open(place) as file:
                return _header_of(file)
        except _FAILURES as error:
            raise self._damaged(place, name, error) from error

    def _content(self, place: Place, header: Header, name: str, rows: slice = slice(None)) -> NDArray[Any]:
        """An array, whole, or some rows of one that is stored plainly, row by row."""
        shape, skipped, whole = header.shape, 0, math.prod(header.shape) * header.dtype.itemsize
        if rows != slice(None):
            start, stop, _ = rows.indices(shape[0])
            skipped = start * shape[1] * header.dtype.itemsize
            shape = (max(stop - start, 0), shape[1])
        size = math.prod(shape) * header.dtype.itemsize
        try:
            if header.dtype.hasobject:
                raise ValueError("it holds Python objects, which could be anything")
            with self._open(place) as file:
                file.seek(header.start + skipped)
                content = file.read(size if size < whole else size + 1)
            if len(content) != size:
                raise ValueError("it is cut off" if len(content) < size else "it is longer than it says")
            values: NDArray[Any] = np.frombuffer(content, header.dtype) if size else np.empty(0, header.dtype)
            return values.reshape(shape, order="F" if header.is_fortran else "C")
        except _FAILURES as error:
            raise self._damaged(place, name, error) from error

    def _open(self, place: Place) -> Any:
        """A file or a member. ValueError where a member would unpack without bound."""
        if place.member is None:
            return open_file(place.path)
        archive = self._archive(place.path)
        about = archive.getinfo(place.member)
        if about.file_size > MOST_EXPANSION * max(about.compress_size, 64) or about.file_size > MOST_PACKED:
            raise ValueError(f"it declares {about.file_size} bytes, and {about.compress_size} are stored")
        return archive.open(about)

    def _archive(self, path: Path) -> zipfile.ZipFile:
        if path not in self._archives:
            self._archives[path] = zipfile.ZipFile(path)
        return self._archives[path]

    def _members(self, path: Path) -> list[str]:
        try:
            with open_file(path):
                names = self._archive(path).namelist()
        except _FAILURES as error:
            raise self._damaged(Place(path), path.name, error) from error
        if len(set(names)) != len(names):
            raise DataError(f"{path} holds an array twice, so it is damaged: fetch it again.")
        return [name for name in names if name.endswith(".npy")]

    def _damaged(self, place: Place, name: str, error: Exception) -> DataError:
        return DataError(f"{place.path}: {short(name)} cannot be read: {_reason(error)}.")


def _of_archive(file: Path, names: list[str]) -> dict[str, Place]:
    """The array of `ID.npz`, and its times: the one that it has, or `features` beside `times`."""
    places = {_bare(name): Place(file, name) for name in names}
    arrays = {name: place for name, place in places.items() if name != "times"}
    if len(arrays) != 1 and "features" not in arrays:
        raise DataError(
            f"{file} holds the arrays {', '.join(sorted(places)[:5]) or 'none'}; `features` is one of them."
        )
    own = {file.stem: arrays.get("features") or next(iter(arrays.values()))}
    return own | ({f"{file.stem}{TIMES}": places["times"]} if "times" in places else {})


def _bare(member: str) -> str:
    return member.removesuffix(".npy")


def _header_of(file: BinaryIO) -> Header:
    """The header of an array. ValueError where it is none, or declares more than one array may hold.

    It is parsed here: NumPy's own parser gives what it does not understand to a tokeniser.
    """
    start = file.read(len(MAGIC) + 2)
    length = {b"\1\0": 2, b"\2\0": 4, b"\3\0": 4}.get(start[len(MAGIC) :])
    if start[: len(MAGIC)] != MAGIC or length is None:
        raise ValueError("it is no array of NumPy")
    size = int.from_bytes(file.read(length), "little")
    if size > LONGEST_HEADER:
        raise ValueError(f"its header has {size} bytes")
    try:
        table = ast.literal_eval(file.read(size).decode("latin-1").strip())
        descr, is_fortran, shape = (table[name] for name in ("descr", "fortran_order", "shape"))
    except (ValueError, LookupError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError("its header is damaged") from error
    if not isinstance(shape, tuple) or not all(type(length) is int and 0 <= length < 1 << 40 for length in shape):
        raise ValueError(f"it declares the shape {short(shape)}")
    # Of anything but plain numbers the type is left at that: such an array is named as unfit, and never read.
    dtype = np.dtype(descr) if isinstance(descr, str) and _NUMBERS.fullmatch(descr) else np.dtype(object)
    if math.prod(shape) * dtype.itemsize > MOST_BYTES or len(shape) > MOST_AXES:
        raise ValueError(f"it declares the shape {short(shape)}")
    return Header(shape, bool(is_fortran), dtype, len(MAGIC) + 2 + length + size)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError | ValueError) and not isinstance(error, UnicodeError):
        return why(error).strip().rstrip(".").splitlines()[0] if why(error).strip() else "it is damaged"
    if isinstance(error, NotImplementedError):
        return "it is packed in a way that is not known"
    return "it is damaged"


@hookimpl
def register_readers(register: Callable[[str, type[Reader]], None]) -> None:
    """Offer `numpy`."""
    register("numpy", NumpyArrays)
