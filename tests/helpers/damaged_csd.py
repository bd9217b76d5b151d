"""Damaged `.csd` files: whole ones of every kind, cut and flipped at each of their structures, from a seed."""

import random
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from datasets import EMOTIONS, write_csd
from hostile_csd import write
from hostile_csd_rules import RULES

SIGNATURES = (b"\x89HDF", b"OHDR", b"OCHK", b"TREE", b"SNOD", b"HEAP", b"GCOL", b"FRHP", b"FHDB", b"FSHD", b"FADB")
SIGNATURES += (b"FAHD", b"EAHD", b"EADB", b"BTHD", b"BTLF", b"BTIN", b"\x01\x00\x00\x00\x00\x00\x00\x00\x18\x00")
VIDEOS = [f"video{number}" for number in range(5)]
GZIP = {"compression": "gzip", "shuffle": True, "fletcher32": True, "chunks": (16, 3)}
SEGMENTS = [[0.0, 3.0], [3.0, 6.0]]
TIMES = np.stack([np.arange(24) / 4, np.arange(1, 25) / 4], axis=1)


class Damaged(NamedTuple):
    """A file that is not what it was."""

    name: str
    kind: str
    whole: str  # of which whole file it was made; "" where it was made hostile
    content: bytes


@cache
def whole_files() -> dict[str, bytes]:
    """Small files that can be read, by name: the first word says their part in a data set."""
    dice = np.random.default_rng(0)
    numbers = {key: dice.normal(size=(24, 3)).astype(np.float32) for key in VIDEOS}
    words = {key: np.array([[b"sp"], [b"word"], [b"another"]] * 8) for key in VIDEOS}
    labels = {key: (dice.integers(0, 3, size=(2, 7)).astype(np.float32), SEGMENTS) for key in [*VIDEOS, "v", "w"]}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "whole.csd"
        made = {}
        write_csd(path, labels, ["sentiment", *EMOTIONS])
        made["labels"] = path.read_bytes()
        write_csd(path, {key: (value, TIMES) for key, value in numbers.items()}, ["a", "b", "c"])
        made["audio contiguous"] = path.read_bytes()
        write_csd(path, {key: (value, TIMES) for key, value in words.items()})
        made["words"] = path.read_bytes()
        for name, version, options in (
            ("audio gzip", "earliest", GZIP),
            ("audio latest", "latest", {}),
            ("audio latest gzip", "latest", GZIP),
        ):
            _write(path, numbers, version, options)
            made[name] = path.read_bytes()
        return made


def _write(path: Path, numbers: dict[str, Any], version: str, options: dict[str, Any]) -> None:
    """A file of a version of the format, with metadata of fixed length and with more ids than one node of it holds."""
    with h5py.File(path, "w", libver=version) as file:
        file["root/metadata/description"] = np.array([b'"a description"'])
        file.create_group("root/data")
        for key, value in numbers.items():
            file.create_dataset(f"root/data/{key}/features", data=value, **options)
            file.create_dataset(
                f"root/data/{key}/intervals", data=TIMES, **({**options, "chunks": (16, 2)} if options else {})
            )


def structures(content: bytes) -> list[int]:
    """Where the structures of a file begin: what has a signature, object headers, and the data."""
    found = {place for signature in SIGNATURES for place in _all(content, signature)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "whole.csd"
        path.write_bytes(content)
        with h5py.File(path) as file:
            for entry in file[next(iter(file))]["data"].values():
                found.add(h5py.h5o.get_info(entry.id).addr)
                for table in entry.values():
                    found.add(h5py.h5o.get_info(table.id).addr)
                    chunks = range(table.id.get_num_chunks() if table.chunks else 0)
                    found |= {table.id.get_chunk_info(index).byte_offset for index in chunks}
                    found |= {table.id.get_offset()} - {None}
    return sorted(found)


def _all(content: bytes, signature: bytes) -> Iterator[int]:
    place = content.find(signature)
    while place >= 0:
        yield place
        place = content.find(signature, place + 1)


def damaged_files(seed: int = 0) -> list[Damaged]:
    """All of them, always the same: some 900."""
    return [*_cut(), *_flipped(random.Random(seed)), *_without_rows(), *_hostile()]


def _cut() -> Iterator[Damaged]:
    """Cut off at every structure, and one byte and half a structure before and after."""
    for name, content in whole_files().items():
        places = structures(content)
        ends = [*places[1:], len(content)]
        middles = {(start + end) // 2 for start, end in zip(places, ends, strict=True)}
        around = {place + more for place in places for more in (-1, 0, 1)} | {len(content) - 1}
        for length in sorted(place for place in around | middles if 0 <= place < len(content)):
            yield Damaged(f"{name}, cut to {length} bytes", "cut", name, content[:length])


def _flipped(dice: random.Random) -> Iterator[Damaged]:
    """One bit of each structure, in its first 64 bytes, and four bits anywhere."""
    for name, content in whole_files().items():
        for place in structures(content):
            bits = {min(place + dice.randrange(64), len(content) - 1): 1 << dice.randrange(8)}
            yield Damaged(f"{name}, a bit of byte {next(iter(bits))}", "flip", name, flipped(content, bits))
        for number in range(10):
            bits = {dice.randrange(len(content)): 1 << dice.randrange(8) for _ in range(4)}
            yield Damaged(f"{name}, four bits, {number}", "flip", name, flipped(content, bits))


def flipped(content: bytes, bits: dict[int, int]) -> bytes:
    """With some bits of some bytes turned."""
    made = bytearray(content)
    for place, mask in bits.items():
        made[place] ^= mask
    return bytes(made)


def _without_rows() -> Iterator[Damaged]:
    """No rows in one entry or in all: odd, but not damaged."""
    for name, some in (("one", VIDEOS[:1]), ("all", VIDEOS)):
        entries = {
            key: (np.ones((0 if key in some else 24, 3), np.float32), TIMES[: 0 if key in some else 24])
            for key in VIDEOS
        }
        with tempfile.TemporaryDirectory() as folder:
            content = write_csd(Path(folder) / "a.csd", entries).read_bytes()
        yield Damaged(f"audio, 0 rows in {name}", "rows", "", content)


def _hostile() -> Iterator[Damaged]:
    for rule in RULES:
        with tempfile.TemporaryDirectory() as folder:
            content = write(rule.make, Path(folder) / "a.csd", Path(folder) / "other").read_bytes()
        yield Damaged(f"audio, {rule.name}", "rule", "", content)
