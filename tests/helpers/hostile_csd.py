"""Ways to make a whole `.csd` file a hostile one."""

import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from datasets import write_csd

FEATURES = np.arange(15, dtype=np.float32).reshape(5, 3)
INTERVALS = np.arange(10, dtype=np.float64).reshape(5, 2)
ENTRY = "anything/data/v"
PACKED = {"chunks": (5, 3), "compression": "gzip", "shuffle": True, "fletcher32": True}

Make = Callable[
    [h5py.File, Path], object
]  # of the file, and a folder with another file; can return an edit of its bytes
Edit = Callable[[bytes], bytes]


def write(make: Make, path: Path, other: Path) -> Path:
    """A whole file, made hostile. It may lead to the files of the folder `other`."""
    if not other.exists():
        other.mkdir()
        write_csd(other / "secret.csd", {"v": (FEATURES, INTERVALS)}, ["x", "y", "z"])
        (other / "raw").write_bytes(bytes(1000))
    write_csd(path, {"v": (FEATURES, INTERVALS)}, ["a", "b", "c"])
    with h5py.File(path, "a") as file:
        edit = make(file, other)
    if callable(edit):
        path.write_bytes(edit(path.read_bytes()))
    return path


def linked(place: str) -> Make:
    """Another file's entry in the place of the own one."""

    def make(file: h5py.File, other: Path) -> None:
        del file[place]
        file[place] = h5py.ExternalLink(str(other / "secret.csd"), place)

    return make


def soft_linked(place: str, target: str) -> Make:
    """A soft link, which may lead through `/zdoor` into another file."""

    def make(file: h5py.File, other: Path) -> None:
        file["zdoor"] = h5py.ExternalLink(str(other / "secret.csd"), "/")
        del file[place]
        file[place] = h5py.SoftLink(target)

    return make


def external(name: str) -> Make:
    """Raw bytes of another file as the data."""

    def make(file: h5py.File, other: Path) -> None:
        del file[ENTRY][name]
        width = 2 if name == "intervals" else 3
        file[ENTRY].create_dataset(name, (5, width), "f4", external=[(str(other / "raw"), 0, 1000)])

    return make


def virtual(unlimited: bool) -> Make:
    """Another file's data set as a part of this one. Of an unlimited one HDF5 asks the other file for the shape."""

    def make(file: h5py.File, other: Path) -> None:
        del file[f"{ENTRY}/features"]
        most = (h5py.h5s.UNLIMITED if unlimited else 5, 3)
        space, source = h5py.h5s.create_simple((5, 3), most), h5py.h5s.create_simple((5, 3), most)
        if unlimited:
            for one in (space, source):
                one.select_hyperslab((0, 0), (h5py.h5s.UNLIMITED, 1), block=(1, 3))
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        secret = str(other / "secret.csd").encode()
        plist.set_virtual(space, secret, b"/anything/data/v/features", source)
        h5py.h5d.create(file[ENTRY].id, b"features", h5py.h5t.IEEE_F32LE, space, dcpl=plist)

    return make


def dataset(name: str = "features", **options: Any) -> Make:
    """Another data set in the place of the features (or intervals)."""

    def make(file: h5py.File, other: Path) -> None:
        del file[ENTRY][name]
        file[ENTRY].create_dataset(name, **options)

    return make


def of_type(kind: Callable[[], h5py.h5t.TypeID]) -> Make:
    """Features of a type that NumPy has no name for."""

    def make(file: h5py.File, other: Path) -> None:
        del file[f"{ENTRY}/features"]
        h5py.h5d.create(file[ENTRY].id, b"features", kind(), h5py.h5s.create_simple((5, 3)))

    return make


def opaque() -> h5py.h5t.TypeID:
    """Eight bytes that mean nothing."""
    kind = h5py.h5t.create(h5py.h5t.OPAQUE, 8)
    kind.set_tag(b"x")
    return kind


def odd_float() -> h5py.h5t.TypeID:
    """Numbers four times as large as they look: the exponent is counted from elsewhere."""
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_ebias(125)
    return kind


def nested() -> h5py.h5t.TypeID:
    """Lists of lists of lists of …"""
    kind = h5py.h5t.vlen_create(h5py.h5t.IEEE_F32LE)
    for _ in range(1000):
        kind = h5py.h5t.vlen_create(kind)
    return kind


def unknown_filter(file: h5py.File, other: Path) -> None:
    """HDF5 would look for a library that knows this filter, and run it."""
    del file[f"{ENTRY}/features"]
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((5, 3))
    plist.set_filter(32_123, h5py.h5z.FLAG_OPTIONAL, ())
    space = h5py.h5s.create_simple((5, 3))
    h5py.h5d.create(file[ENTRY].id, b"features", h5py.h5t.IEEE_F32LE, space, dcpl=plist)
    file[f"{ENTRY}/features"].id.write_direct_chunk((0, 0), FEATURES.tobytes(), 1)


def chunks(shape: tuple[int, int], chunk: tuple[int, int], packed: bytes | Callable[[], bytes]) -> Make:
    """A data set whose chunks all hold the same packed bytes, or what a function packs when they are written."""

    def make(file: h5py.File, other: Path) -> None:
        for name in ("features", "intervals"):
            del file[ENTRY][name]
        limit = (None, None) if chunk[0] > shape[0] else None
        content = packed if isinstance(packed, bytes) else packed()
        table = file[ENTRY].create_dataset("features", shape, "f4", chunks=chunk, compression="gzip", maxshape=limit)
        for start in range(0, shape[0], chunk[0]):
            table.id.write_direct_chunk((start, 0), content)
        file[ENTRY].create_dataset("intervals", data=np.zeros((shape[0], 2)), chunks=True, compression="gzip")

    return make


@cache
def zeros(megabytes: int) -> bytes:
    """So many zeros, packed as tight as it goes."""
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(megabytes)) + packer.flush()


def one_of_two_chunks(file: h5py.File, other: Path) -> None:
    """The second chunk was never written: HDF5 would say zeros."""
    chunks((10, 3), (5, 3), zlib.compress(FEATURES.tobytes()))(file, other)
    del file[f"{ENTRY}/features"]
    table = file[ENTRY].create_dataset("features", (10, 3), "f4", chunks=(5, 3), compression="gzip")
    table.id.write_direct_chunk((0, 0), zlib.compress(FEATURES.tobytes()))


def chunk_of_no_length(file: h5py.File, other: Path) -> Edit:
    """Of which HDF5 takes off the four bytes of a checksum, and dies."""
    dataset(data=FEATURES, **PACKED)(file, other)
    size = file[f"{ENTRY}/features"].id.get_chunk_info(0).size.to_bytes(4, "little")
    return lambda content: replaced(content, size + bytes(4 + 3 * 8), bytes(8 + 3 * 8))


def name_that_is_a_path(file: h5py.File, other: Path) -> Edit:
    """HDF5 would go through the link at the root."""
    file["zdoor"] = h5py.ExternalLink(str(other / "secret.csd"), "/anything/data")
    file["anything/data"].move("v", "_zdoor_v")
    return lambda content: replaced(content, b"_zdoor_v", b"/zdoor/v")


def id_not_utf8(file: h5py.File, other: Path) -> None:
    """Bytes that are no text, behind an id that is one."""
    data = file["anything/data"].id
    h5py.h5o.copy(data, b"v", data, b"w\xff\xfe")


def id_twice(file: h5py.File, other: Path) -> Edit:
    """Two entries of one name."""
    file.copy(ENTRY, "anything/data/number two")
    file["anything/data"].move("v", "number one")
    return lambda content: replaced(content, b"number two", b"number one")


def data_in_the_place_of_others(file: h5py.File, other: Path) -> Edit:
    """The intervals begin within the features."""
    own, others = (file[ENTRY][name].id.get_offset() for name in ("intervals", "features"))
    kept = INTERVALS.nbytes.to_bytes(8, "little")
    return lambda content: replaced(
        content, own.to_bytes(8, "little") + kept, (others + 8).to_bytes(8, "little") + kept
    )


def wrong_checksum(file: h5py.File, other: Path) -> Edit:
    """Raw numbers that are not those of their checksum."""
    dataset(data=-FEATURES, chunks=(5, 3), fletcher32=True)(file, other)
    return lambda content: replaced(content, (-FEATURES).tobytes(), FEATURES.tobytes())


def damaged_heap(file: h5py.File, other: Path) -> Edit:
    """The heap of the metadata says that its free rest is longer than the heap: HDF5 would go on for ever."""
    return lambda content: content[: content.index(b"GCOL") + 10] + b"\xff" + content[content.index(b"GCOL") + 11 :]


def cycle(file: h5py.File, other: Path) -> None:
    """A group that holds itself."""
    file[ENTRY].pop("features")
    file[f"{ENTRY}/features"] = file["anything/data"]


def replaced(content: bytes, find: bytes, put: bytes) -> bytes:
    """Other bytes in the place of some, which are there once."""
    assert content.count(find) == 1, (find, content.count(find))
    return content.replace(find, put)
