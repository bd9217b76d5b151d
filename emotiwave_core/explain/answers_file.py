"""Answers in a file, JSON Lines, CSV or Parquet: written input by input, so that what was stopped goes on."""

import contextlib
import hashlib
import importlib.util
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import attrs

from emotiwave_core.errors import DataError, PackageNotHere, ResourceError, SettingsError
from emotiwave_core.explain.answers import TEXTS, Answer, columns
from emotiwave_core.io.atomic import csv_line, out_of_space, written_beside
from emotiwave_core.io.locks import BusyError, locked
from emotiwave_core.io.untrusted import parse_json

FORMATS = (".jsonl", ".csv", ".parquet")
MOST_LINE = 64 << 20  # bytes
GROUP = 10_000  # rows of a Parquet file's row group


@attrs.frozen
class Work:
    """All that decides on the rows of a file, so that another work does not go on in it."""

    run: str  # SHA-256 of its model
    settings: dict[str, Any]
    inputs: list[list[Any]]  # path, size and time of change of each
    classes: list[str]
    modalities: list[str]
    is_regression: bool
    is_selective: bool = False

    @property
    def key(self) -> str:
        """A hash of all of it."""
        facts = attrs.asdict(self)
        if not self.is_selective:  # so that what an earlier version has begun goes on
            del facts["is_selective"]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


class AnswersFile:
    """The answers to a work. `PATH.part` holds those to the inputs that are done, until `finish` makes the file.

    A stopped work goes on after the last input that was done. SettingsError for a suffix that is not known, a file
    that is there already and a `.part` of another work; ResourceError where another process writes it.
    """

    def __init__(self, path: Path, work: Work) -> None:
        if path.suffix.lower() not in FORMATS:
            raise SettingsError(f"{path}: the answers are written as {', '.join(FORMATS)}; end its name so.")
        if path.suffix.lower() == ".parquet" and importlib.util.find_spec("pyarrow") is None:
            raise PackageNotHere(
                'Parquet is written by pyarrow, which is not installed: pip install "emotiwave[tables]"'
            )
        if path.exists():
            raise SettingsError(f"{path} is there already: give another name, or move it away.")
        self.path, self.work = path, work
        self.part = path.with_name(f"{path.name}.part")
        self.done = self.failed = self.rows = 0  # inputs that are done, those of them that failed, rows
        self._held = contextlib.ExitStack()
        try:
            with out_of_space(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                self._held.enter_context(locked(path.with_name(f".{path.name}.lock")))
        except BusyError as error:
            raise ResourceError(f"{path} is being written by another process.") from error
        try:
            with out_of_space(self.part):
                self._file: BinaryIO = self._held.enter_context(self.part.open("a+b"))
                self._resume()
        except BaseException:
            self.close()
            raise

    def _resume(self) -> None:
        """Take up what is in the part; what follows the last input that was done is cut off."""
        self._file.seek(0)
        first, end = self._file.readline(MOST_LINE), 0
        head = _parsed(first)
        if first.endswith(b"\n") and "key" in head:
            if head["key"] != self.work.key:
                raise SettingsError(
                    f"{self.part} holds answers of another run, or to other inputs or settings: give another name for "
                    "--out, or the same inputs."
                )
            end, rows = self._file.tell(), 0
            while (line := self._file.readline(MOST_LINE)).endswith(b"\n"):
                entry = _parsed(line)
                rows += "done" not in entry
                if "done" in entry:
                    end, self.done, self.rows = self._file.tell(), self.done + 1, rows
                    self.failed += bool(entry["failed"])
        self._file.truncate(end)
        if end == 0:
            self._write({"key": self.work.key})

    def add(self, answers: Iterable[Answer]) -> None:
        """Write the answers to the input that is worked on."""
        for answer in answers:
            self._write(attrs.asdict(answer))
            self.rows += 1

    def input_done(self, failed: bool = False) -> None:
        """Keep what was written: the input is done."""
        self._write({"done": self.done, "failed": failed})
        with out_of_space(self.part):
            self._file.flush()
            os.fsync(self._file.fileno())
        self.done += 1
        self.failed += failed

    def _write(self, entry: dict[str, Any]) -> None:
        with out_of_space(self.part):
            self._file.write(json.dumps(entry, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace") + b"\n")

    def finish(self) -> Path:
        """Make the file of the answers, whole or not at all, and take the part away."""
        writers = {".jsonl": self._write_lines, ".csv": self._write_csv, ".parquet": self._write_parquet}
        with written_beside(self.path) as place:
            writers[self.path.suffix.lower()](place)
        self.close()
        self.part.unlink(missing_ok=True)
        self.path.with_name(f".{self.path.name}.lock").unlink(missing_ok=True)
        return self.path

    def close(self) -> None:
        """Let go of the file; what is done stays in the part."""
        self._held.close()

    def _answers(self) -> Iterator[dict[str, Any]]:
        self._file.flush()
        self._file.seek(0)
        self._file.readline()
        while line := self._file.readline():
            entry = json.loads(line)
            if "done" not in entry:
                yield entry

    def _table(self) -> Iterator[dict[str, Any]]:
        for entry in self._answers():
            answer = Answer(**{**entry, "decided": tuple(entry["decided"]), "present": tuple(entry["present"])})
            row = answer.row(self.work.classes, self.work.modalities)
            yield {name: row.get(name) for name in self._columns()}

    def _columns(self) -> Sequence[str]:
        work = self.work
        return columns(work.classes, work.modalities, work.is_regression, work.is_selective)

    def _write_lines(self, place: Path) -> None:
        with place.open("w", encoding="utf-8") as file:
            for entry in self._answers():
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")

    def _write_csv(self, place: Path) -> None:
        with place.open("w", encoding="utf-8", newline="") as file:
            file.write(csv_line(self._columns()))
            for row in self._table():
                file.write(csv_line(["" if value is None else value for value in row.values()]))

    def _write_parquet(self, place: Path) -> None:
        import pyarrow
        import pyarrow.parquet

        kinds = [(name, pyarrow.string() if name in TEXTS else pyarrow.float64()) for name in self._columns()]
        schema = pyarrow.schema(kinds)
        rows = self._table()
        with pyarrow.parquet.ParquetWriter(place, schema) as writer:
            while group := list(islice(rows, GROUP)):
                writer.write_table(pyarrow.Table.from_pylist(group, schema))


def _parsed(line: bytes) -> dict[str, Any]:
    """A line of the part. DataError where it is none of ours."""
    try:
        entry = parse_json(line) if line else {}
    except ValueError as error:
        raise DataError(f"A line of the answers is damaged: {error}; give another name for --out.") from error
    return entry if isinstance(entry, dict) else {}
