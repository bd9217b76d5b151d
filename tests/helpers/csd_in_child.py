"""Damaged files, one after the other in a process of their own: through the program, and against what they were."""

import json
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from damaged_csd import Damaged, whole_files
from forked import emotiwave, forked

MARK = "\x1e"  # before what the program says of each file
TOML = 'name = "Hostile"\n{words}[modalities]\naudio = "audio.csd"\n[labels]\nfile = "labels.csd"\n'

Content = dict[str, Any]
Try = Callable[[Damaged, Path], dict[str, Any]]


class Outcome(NamedTuple):
    """What became of one file."""

    file: Damaged
    facts: dict[str, Any]
    said: str
    seconds: float
    memory: int  # the most bytes that the process has held so far


def tried(one: Try, files: Sequence[Damaged], folder: Path, seconds: int, memory: int) -> list[Outcome]:
    """Try each file in turn, all in one process. AssertionError that names the file at which it died or hung.

    It hangs where it computes for more than `seconds` on one file. `memory` bytes are all that the process may take
    beside what it begins with.
    """
    ended = forked(
        partial(_all, one, files, seconds),
        folder=folder,
        environment={"EMOTIWAVE_CACHE": str(folder / "cache")},
        seconds=600.0 + seconds * len(files),
        memory=memory,
    )
    told = [json.loads(line) for line in (folder / "outcomes").read_text().splitlines()]
    if ended.code != 0:
        how = f"hung for {seconds} s" if ended.code == -signal.SIGPROF else f"ended with {ended.code}"
        raise AssertionError(f"The process {how} at the file: {files[len(told)].name}.\n{ended.err[-3000:]}")
    said = [out + err for out, err in zip(*(text.split(MARK)[1:] for text in (ended.out, ended.err)), strict=True)]
    return [Outcome(file, told[place][0], said[place], *told[place][1:]) for place, file in enumerate(files)]


def _all(one: Try, files: Sequence[Damaged], seconds: int) -> int:
    with Path("outcomes").open("w", buffering=1) as told:
        for number, file in enumerate(files):
            for stream in (sys.stdout, sys.stderr):
                stream.write(MARK)
                stream.flush()
            folder = Path(str(number))
            folder.mkdir()
            began = time.monotonic()
            signal.setitimer(signal.ITIMER_PROF, seconds)  # of computing: how busy the machine is does not matter
            facts = one(file, folder)
            signal.setitimer(signal.ITIMER_PROF, 0)
            took, most = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            told.write(json.dumps([facts, took, most]) + "\n")
    return 0


def through_the_program(file: Damaged, folder: Path) -> dict[str, Any]:
    """Its two commands that read data, their exit codes, what they left, and what is wrong in what is read."""
    part = file.name.split()[0].strip(",")
    whole = {"audio": whole_files()["audio contiguous"], "labels": whole_files()["labels"], part: file.content}
    for name, content in whole.items():
        (folder / f"{name}.csd").write_bytes(content)
    (folder / "dataset.toml").write_text(TOML.format(words='words = "words.csd"\n' if part == "words" else ""))
    before = sorted(folder.iterdir())
    align = ["--set", "data.align=words"] if part == "words" else []
    codes = [emotiwave("data", "inspect", folder), emotiwave("data", "prepare", folder, *align)]
    return {"codes": codes, "left": sorted(folder.iterdir()) != before, **read_again(file, folder / f"{part}.csd")}


def read_again(file: Damaged, path: Path) -> dict[str, Any]:
    """Whether a file is refused, and else what in it is not what it was."""
    from emotiwave_core.errors import DataError

    try:
        found = content_of(path)
    except DataError as error:
        return {"refused": str(error), "wrong": []}
    return {"refused": "", "wrong": wrong(file, found) if file.whole else []}


def content_of(path: Path) -> Content:
    """All that the reader gives of a file, in the bytes of its numbers."""
    from emotiwave_core.data.formats.csd import CsdFile

    with CsdFile(path) as file:
        found: Content = {"root": file.root, "ids": list(file.keys), "metadata": file.metadata}
        for key in file.keys:
            features, intervals = file.read(key)
            found[f"{key} features"] = (features.shape, features.tobytes())
            found[f"{key} intervals"] = (intervals.shape, intervals.tobytes())
        return found


@cache
def _truth(whole: str) -> tuple[Content, dict[str, tuple[int, Any]]]:
    """What is in a whole file, and where the raw numbers stand that have no checksum: {data set: (place, content)}."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "whole.csd"
        path.write_bytes(whole_files()[whole])
        raw = {}
        with h5py.File(path) as file:
            for key, entry in file[next(iter(file))]["data"].items():
                raw |= {f"{key} {name}": (table.id.get_offset(), table[()]) for name, table in entry.items()}
        return content_of(path), {name: (place, table) for name, (place, table) in raw.items() if place is not None}


def wrong(file: Damaged, found: Content) -> list[str]:
    """What was read and is not what it was, but for raw numbers that have no checksum and stand changed in the file."""
    truth, raw = _truth(file.whole)
    different = [name for name in {**truth, **found} if truth.get(name) != found.get(name)]
    return [name for name in different if name not in raw or found.get(name) != _as_it_stands(file, *raw[name])]


def _as_it_stands(file: Damaged, place: int, table: Any) -> tuple[Any, bytes]:
    stands = np.frombuffer(file.content[place : place + table.nbytes].ljust(table.nbytes, b"\0"), table.dtype)
    return table.shape, stands.tobytes()
