"""The laws of a reader."""

import random
import tempfile
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from emotiwave_core.errors import DataError, PluginError
from emotiwave_core.reading import Reader, Source
from emotiwave_core.testing.laws import BrokenLaw, expect, law, not_tried
from emotiwave_core.testing.shared import PluginContract, expect_options

FEW, MANY = 5, 20_000  # steps of an entry
DAMAGES = 60  # copies of a file, each damaged in another way
STRANGE = {"strange.txt": b"a letter to a friend\n" * 40, "empty": b"", "zeros.bin": bytes(4096)}


class _Content(NamedTuple):
    """All that a reader gives of a file, in a form that can be compared."""

    keys: tuple[str, ...]
    width: int
    entries: dict[str, tuple[Any, ...]]


class ReaderContract(PluginContract):
    """The laws that every reader keeps. A subclass opens the reader that is checked."""

    positional = ("source",)
    arguments = (Source(Path("example")),)
    granted = ("is_a_reader", "gives_entries")
    part: type[Reader] | None = None

    def make(self, source: Source) -> Reader:
        """The reader of a source."""
        raise NotImplementedError("The contract needs the method make(self, source: Source) -> Reader.")

    def example(self, folder: Path, steps: int = FEW) -> Source:
        """A small file of the format in a folder, with entries of so many steps; by default the reader's own."""
        made = None if self.part is None else self.part.example(folder, steps)
        if made is None:
            raise PluginError(
                "A reader is tried on a file of its format: write one in the classmethod example(folder, steps)."
            )
        return made

    def first_arguments(self) -> tuple[Any, ...]:
        """The source of a file of the format."""
        self._kept = tempfile.TemporaryDirectory(prefix="emotiwave-")  # as long as this contract
        return (self.example(Path(self._kept.name)),)

    def once(self) -> Reader:
        """A reader that has read its file and is closed."""
        with self._file() as source, self.make(source) as reader:
            _read(reader)
            return reader

    @law("Derive from emotiwave_core.Reader, and set name and suffixes in the class.")
    def test_is_a_reader(self) -> None:
        """A reader derives from Reader, and its class has a name and the suffixes of its files."""
        with self._file() as source, self.make(source) as reader:
            expect(isinstance(reader, Reader), f"{type(reader).__name__} is not a Reader.")
            name, suffixes = getattr(type(reader), "name", None), getattr(type(reader), "suffixes", None)
            expect(isinstance(name, str) and bool(name), f"Its name is {name!r}.")
            expect(
                isinstance(suffixes, tuple) and all(isinstance(s, str) and s.startswith(".") for s in suffixes),
                f"Its suffixes are {suffixes!r}.",
            )

    @law(
        "keys: texts, each once; features [T, F] float32 or bytes; intervals [T, 2] float64; steps and width fit them."
    )
    def test_gives_entries(self) -> None:
        """Each entry has features [T, F] and intervals [T, 2], and their T is what `steps` says."""
        with self._file() as source, self.make(source) as reader:
            keys = reader.keys
            expect(isinstance(keys, tuple) and bool(keys), f"keys is {type(keys).__name__} of {len(keys)}.")
            expect(len(set(keys)) == len(keys), "A key stands twice.")
            for key in set(keys) - set(reader.unfit()):
                features, intervals = reader.read(key)
                due = np.bytes_ if reader.is_words else np.float32
                expect(np.issubdtype(features.dtype, due), f"Features are of {features.dtype}, not {due.__name__}.")
                shape = (reader.steps(key), reader.width)
                expect(features.shape == shape, f"Features are {list(features.shape)}, where {list(shape)} are said.")
                expect(intervals.dtype == np.float64, f"Intervals are of {intervals.dtype}, not float64.")
                expect(intervals.shape == (shape[0], 2), f"Intervals are {list(intervals.shape)}.")

    @law("Say True for what `example` writes, and look at a name or at first bytes for anything else.")
    def test_recognises_its_own_alone(self) -> None:
        """A file of the format is recognised, and one of no format, a folder or nothing at all is not."""
        with self._file() as source, self.make(source) as reader:
            recognises = type(reader).recognises
            expect(bool(recognises(source.path)), f"It does not recognise {source.path.name}.")
            with tempfile.TemporaryDirectory(prefix="emotiwave-") as name:
                for stranger, content in STRANGE.items():
                    path = Path(name) / stranger
                    path.write_bytes(content)
                    expect(not recognises(path), f"It recognises {stranger}, which is of no format.")
                expect(not recognises(Path(name) / "folder"), "It recognises what is not there.")

    @law("Keep nothing from one reading to the next, and draw no random number.")
    def test_is_repeatable(self) -> None:
        """Two readings of a file, by one reader or by two, are the same."""
        with self._file() as source:
            with self.make(source) as reader:
                first, again = _read(reader), _read(reader)
            with self.make(source) as reader:
                other = _read(reader)
        expect(first == again, "A second reading by the same reader is another.")
        expect(first == other, "The reading of a second reader is another.")

    @law("Take `rows` of the same array that is given whole.")
    def test_slices_are_those_of_the_whole(self) -> None:
        """Some rows of an entry are those rows of the whole entry."""
        with self._file() as source, self.make(source) as reader:
            for key in set(reader.keys) - set(reader.unfit()):
                whole = reader.features(key)
                for rows in (slice(0, 2), slice(1, None), slice(2, 3), slice(0, 0)):
                    part = reader.features(key, rows)
                    expect(_same(part, whole[rows]), f"Rows {rows.start} to {rows.stop} of {key!r} are others.")

    @law(
        "Open headers and an index only; of a format that can only be read whole, set reads_whole = True in the class."
    )
    def test_opens_lazily(self) -> None:
        """Opening a large file takes less memory than a half of it."""
        with self._file(MANY) as source:
            size = sum(file.stat().st_size for file in _files(source.path))
            tracemalloc.start()
            try:
                with self.make(source) as reader:
                    peak = tracemalloc.get_traced_memory()[1]
                    if type(reader).reads_whole:
                        raise not_tried("its class says reads_whole")
            finally:
                tracemalloc.stop()
        expect(peak < size / 2, f"Opening a file of {size} bytes takes {peak} bytes of memory.")

    @law(
        "An entry that does not fit is named in `unfit`, and reading it is a DataError, as for an id that is not there."
    )
    def test_refuses_what_is_not_there(self) -> None:
        """A file or an id that is not there, and an unfit entry, are a DataError."""
        with self._file() as source:
            with self.make(source) as reader:
                unfit = reader.unfit()
                expect(set(unfit) <= set(reader.keys), "unfit names an entry that is no key.")
                for key in (*unfit, "no such id"):
                    _expect_data_error(f"reading {key!r}", lambda reader=reader, key=key: reader.features(key))
            nowhere = Source(source.path.with_name("nowhere"), source.part, source.rate)
            _expect_data_error("a file that is not there", lambda: self.make(nowhere).close())

    @law("Catch what the library of the format raises, and raise DataError with a sentence that names the file.")
    def test_damage_is_a_data_error(self) -> None:
        """Files that are cut off, or with bytes changed, are read or refused with a DataError, and nothing else."""
        dice = random.Random(0)
        with self._file() as source:
            files = _files(source.path)
            whole = {file: file.read_bytes() for file in files}
            for number in range(DAMAGES):
                file = files[dice.randrange(len(files))]
                file.write_bytes(_damaged(whole[file], number, dice))
                try:
                    with self.make(source) as reader:
                        _read(reader)
                except DataError:
                    pass
                except (Exception, SystemExit) as error:
                    what = " ".join(f"{type(error).__name__}: {error}".split())[:150]
                    raise BrokenLaw(f"A damaged file ({file.name}, damage {number}) raised {what}.") from error
                finally:
                    file.write_bytes(whole[file])

    @law("Write (self, source: Source, *, option: type = default).")
    def test_options_are_explicit(self) -> None:
        """The constructor takes `source`, then options that are keyword-only, typed and have defaults."""
        with self._file() as source, self.make(source) as reader:
            expect_options(reader, self.positional)

    @contextmanager
    def _file(self, steps: int = FEW) -> Iterator[Source]:
        """A file of the format, in a folder of its own."""
        with tempfile.TemporaryDirectory(prefix="emotiwave-") as folder:
            yield self.example(Path(folder), steps)


def _read(reader: Reader) -> _Content:
    entries = {}
    for key in set(reader.keys) - set(reader.unfit()):
        features, intervals = reader.read(key)
        entries[key] = (features.shape, features.tobytes(), intervals.tobytes(), reader.steps(key))
    told = (reader.metadata, reader.dimension_names, dict(reader.groups), dict(reader.folds))
    return _Content(reader.keys, reader.width, {**entries, "": told})


def _same(one: Any, other: Any) -> bool:
    return bool(one.shape == other.shape and one.tobytes() == other.tobytes())


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def _damaged(content: bytes, number: int, dice: random.Random) -> bytes:
    """Content that is cut off, or with some bytes changed."""
    if number % 3 == 0 or not content:
        return content[: dice.randrange(len(content) + 1)]
    changed = bytearray(content)
    for _ in range(number % 3):
        changed[dice.randrange(len(changed))] = dice.randrange(256)
    return bytes(changed)


def _expect_data_error(what: str, work: Any) -> None:
    try:
        work()
    except DataError:
        return
    raise BrokenLaw(f"{what[:1].upper()}{what[1:]} raised nothing.")
