"""Hostile `.csd` files, each breaking exactly one rule of the reader, with the reason it must be refused for."""

import zlib
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import hostile_csd as make
import numpy as np
from hostile_csd import (
    ENTRY,
    FEATURES,
    Make,
    chunks,
    dataset,
    linked,
    of_type,
    soft_linked,
    zeros,
)

ELSEWHERE, ANOTHER_FILE, FILTER = "is a link to elsewhere", "keeps its data in another file", "with a filter other than"
TYPE, BOMB = "only numbers and byte strings", "are stored; it is not read"


GZIP = zlib.compress(FEATURES.tobytes())
LONG = partial(zeros, 64)


class Rule(NamedTuple):
    """A way to break one rule."""

    name: str
    reason: str  # what must stand in the sentence
    make: Make
    leads: bool = False  # whether h5py itself would open another file


def _without(place: str) -> Make:
    def made(file: h5py.File, other: Path) -> None:
        del file[place]

    return made


def _metadata(**options: Any) -> Make:
    def made(file: h5py.File, other: Path) -> None:
        del file["anything/metadata"]
        file["anything"].create_dataset("metadata", **options)

    return made


def _second(features: Any) -> Make:
    def made(file: h5py.File, other: Path) -> None:
        file["anything/data/w/features"], file["anything/data/w/intervals"] = features, np.zeros((len(features), 2))

    return made


RULES = [
    *(
        Rule(f"an external link, {place}", ELSEWHERE, linked(place), True)
        for place in ("anything", "anything/data", ENTRY, f"{ENTRY}/features", f"{ENTRY}/intervals")
    ),
    Rule("an external link, metadata", ELSEWHERE, linked("anything/metadata"), True),
    Rule("an external link, a metadata value", ELSEWHERE, linked("anything/metadata/dimension names"), True),
    Rule("a soft link out of the file", ELSEWHERE, soft_linked(ENTRY, f"/zdoor/{ENTRY}"), True),
    Rule("a soft link within the file", ELSEWHERE, soft_linked(f"{ENTRY}/features", f"/{ENTRY}/intervals")),
    Rule("a soft link to itself", ELSEWHERE, soft_linked(ENTRY, f"/{ENTRY}")),
    Rule("a soft link to nothing", ELSEWHERE, soft_linked(f"{ENTRY}/intervals", "/nothing")),
    Rule("a group that holds itself", "is not a data set", make.cycle),
    Rule("a name that is a path", "a path, so the file is damaged", make.name_that_is_a_path, True),
    Rule("external storage, features", ANOTHER_FILE, make.external("features"), True),
    Rule("external storage, intervals", ANOTHER_FILE, make.external("intervals"), True),
    Rule("a virtual data set", ANOTHER_FILE, make.virtual(unlimited=False), True),
    Rule("a virtual data set without end", ANOTHER_FILE, make.virtual(unlimited=True), True),
    Rule("the filter lzf", FILTER, dataset(data=FEATURES, compression="lzf")),
    Rule("the filter scale-offset", FILTER, dataset(data=FEATURES.astype("i4"), scaleoffset=0)),
    Rule("a filter that nobody knows", FILTER, make.unknown_filter),
    Rule("object references", "type references", dataset(shape=(5, 3), dtype=h5py.ref_dtype)),
    Rule("region references", "type references", dataset(shape=(5, 3), dtype=h5py.regionref_dtype)),
    Rule("texts of any length", "type object", dataset(shape=(5, 3), dtype=h5py.string_dtype())),
    Rule("lists of any length", "type lists", dataset(shape=(5, 3), dtype=h5py.vlen_dtype("f4"))),
    Rule("lists of lists, 1,000 deep", "type lists", of_type(make.nested)),
    Rule("compounds", TYPE, dataset(shape=(5, 3), dtype=[("a", "f4"), ("b", "i4")])),
    Rule("arrays", TYPE, dataset(shape=(5, 3), dtype="(2,2)f4")),
    Rule("truth values", TYPE, dataset(data=FEATURES > 1)),
    Rule("complex numbers", TYPE, dataset(data=FEATURES + 1j)),
    Rule("opaque bytes", TYPE, of_type(make.opaque)),
    Rule("times", "type times", of_type(lambda: h5py.h5t.UNIX_D32LE)),
    Rule("numbers of an odd layout", "odd layout", of_type(make.odd_float)),
    Rule("one dimension", "not [steps, columns]", dataset(data=FEATURES[0])),
    Rule("three dimensions", "not [steps, columns]", dataset(data=FEATURES[None])),
    Rule("thirty-two dimensions", "not [steps, columns]", dataset(data=FEATURES.reshape((1,) * 30 + (5, 3)))),
    Rule("a single number", "not [steps, columns]", dataset(data=1.0)),
    Rule("no value at all", "shape None", dataset(data=h5py.Empty("f4"))),
    Rule("no column", "have no column", dataset(data=FEATURES[:, :0])),
    Rule("a huge declared shape", BOMB, dataset(shape=(2**62, 4), chunks=(16, 4), dtype="f4")),
    Rule("a shape that nothing is stored of", BOMB, dataset(shape=(5, 3), dtype="f4")),
    Rule("a huge declared byte string", BOMB, dataset(shape=(5, 3), dtype="S2000000000", chunks=(1, 1))),
    Rule("512 MB of zeros in half a megabyte", BOMB, chunks((1 << 16, 2048), (1 << 12, 2048), partial(zeros, 32))),
    Rule("a chunk far larger than its data", BOMB, chunks((5, 3), (1 << 20, 96), partial(zeros, 1))),
    Rule("gzip of a gigabyte in a small chunk", "of no possible length", chunks((5, 3), (5, 3), LONG)),
    Rule("gzip that is longer than its chunk", "too early or too late", chunks((1 << 16, 1), (1 << 16, 1), LONG)),
    Rule("gzip that is cut off", "too early or too late", chunks((5, 3), (5, 3), GZIP[:-4])),
    Rule("gzip that is shorter than its chunk", "has 48 bytes", chunks((5, 3), (5, 3), zlib.compress(bytes(48)))),
    Rule("no gzip at all", "while decompressing", chunks((5, 3), (5, 3), FEATURES.tobytes())),
    Rule("a chunk that is not there", "the part at [5, 0] is not there", make.one_of_two_chunks),
    Rule("a chunk of no length", "of no possible length", make.chunk_of_no_length),
    Rule("a wrong checksum", "its checksum does not agree", make.wrong_checksum),
    Rule("data in the place of others", "stands where other data stand", make.data_in_the_place_of_others),
    Rule("an id that is not UTF-8", "is not UTF-8", make.id_not_utf8),
    Rule("an id twice", "holds an id twice", make.id_twice),
    Rule("a damaged heap", "the metadata 'dimension names' cannot be read", make.damaged_heap),
    Rule("metadata that are no group", "is not a group", _metadata(data=[1.0])),
    Rule("no features", "has no 'features'", _without(f"{ENTRY}/features")),
    Rule("no intervals", "has no 'intervals'", _without(f"{ENTRY}/intervals")),
    Rule("no ids", "holds no ids", _without(ENTRY)),
    Rule("no data", "not a .csd file", _without("anything/data")),
    Rule("no root", "not a .csd file", _without("anything")),
    Rule("too few intervals", "but 4 intervals", dataset("intervals", data=np.zeros((4, 2)))),
    Rule("intervals of three bounds", "not [steps, 2] numbers", dataset("intervals", data=np.zeros((5, 3)))),
    Rule("intervals of words", "not [steps, 2] numbers", dataset("intervals", data=np.full((5, 2), b"1.0"))),
    Rule("another width", "most ids have 3 columns of numbers", _second(FEATURES[:, :2])),
    Rule("words among numbers", "most ids have 3 columns of numbers", _second(np.full((5, 3), b"sp"))),
]
