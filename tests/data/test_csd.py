"""`.csd` files: read as they are found, and refused where HDF5 would lead elsewhere."""

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from datasets import read_all, write_csd
from hypothesis import example, given, settings
from hypothesis import strategies as st

from emotiwave_core.data.formats.csd import CsdFile
from emotiwave_core.data.formats.hdf5_chunks import rows_of
from emotiwave_core.data.formats.reader import split_key
from emotiwave_core.errors import DataError

FEATURES = np.arange(15, dtype=np.float32).reshape(5, 3)
INTERVALS = np.arange(10, dtype=np.float64).reshape(5, 2)
Make = Callable[[h5py.Group, str], object]


def one_video(folder: Path, make: Make, name: str = "features") -> Path:
    """A file of the id `v` whose features (or intervals) `make` writes."""
    path = write_csd(folder / "one.csd", {"v": (FEATURES, INTERVALS)})
    with h5py.File(path, "a") as file:
        del file["anything/data/v"][name]
        make(file["anything/data/v"], name)
    return path


def test_features_and_intervals_are_read_as_they_stand(tmp_path: Path) -> None:
    """Reading gives what was written, NaN, -inf, order, overlaps and a start below 0 included."""
    features = np.array([[1.0, np.nan], [-np.inf, 2.0], [3.0, 4.0]], dtype=np.float32)
    intervals = [[5.0, 6.0], [-0.488, 5.5], [2.0, 2.0]]
    with CsdFile(write_csd(tmp_path / "a.csd", {"v": (features, intervals)})) as file:
        sequence = file.read("v")
        assert (file.root, file.keys, file.width, file.is_words, file.steps("v")) == ("anything", ("v",), 2, False, 3)
    np.testing.assert_array_equal(sequence.features, features)
    np.testing.assert_array_equal(sequence.intervals, intervals)
    assert sequence.intervals.dtype == np.float64


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", ">f8", "i4", "u1"])
@pytest.mark.parametrize("storage", [{}, {"compression": "gzip", "shuffle": True, "fletcher32": True}])
def test_any_number_type_and_storage_is_read_as_float32(tmp_path: Path, kind: str, storage: dict[str, object]) -> None:
    """Numbers of any width and byte order, contiguous or packed, come as float32."""
    path = one_video(tmp_path, lambda group, name: group.create_dataset(name, data=FEATURES.astype(kind), **storage))
    with CsdFile(path) as file:
        assert file.read("v").features.dtype == np.float32
        np.testing.assert_array_equal(file.read("v").features, FEATURES)


def test_float64_beyond_float32_is_infinite(tmp_path: Path) -> None:
    """A value that float32 cannot hold becomes inf without a warning, to be counted with the others."""
    path = one_video(tmp_path, lambda group, name: group.create_dataset(name, data=np.full((5, 3), -1e300)))
    with CsdFile(path) as file:
        assert (file.read("v").features == -np.inf).all()


@pytest.mark.short_rows(32)
@pytest.mark.parametrize("rows", [slice(None), slice(0, 3), slice(16, 17), slice(15, 33), slice(40, 41), slice(9, 9)])
@pytest.mark.parametrize("kind", ["f4", ">f8", "i2", "S5"])
@pytest.mark.parametrize("options", [{}, {"compression": "gzip"}, {"shuffle": True}, {"fletcher32": True}])
def test_chunks_are_unpacked_as_h5py_unpacks_them(tmp_path: Path, rows: slice, kind: str, options: Any) -> None:
    """Some rows of what is kept in chunks, which do not divide the shape, are what h5py reads."""
    table = np.random.default_rng(0).integers(0, 99, size=(41, 7)).astype(kind)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=table, chunks=(16, 3), **options)
        np.testing.assert_array_equal(rows_of(file["x"], rows), file["x"][rows])


def test_an_entry_may_stand_under_two_names(tmp_path: Path) -> None:
    """One entry that is linked twice within the file is two ids: its data are no others' data."""
    path = write_csd(tmp_path / "a.csd", {"v": (FEATURES, INTERVALS)})
    with h5py.File(path, "a") as file:
        file["anything/data/w"] = file["anything/data/v"]
    with CsdFile(path) as file:
        np.testing.assert_array_equal(file.read("w").features, file.read("v").features)


@pytest.mark.parametrize("width", [2, 5, 31])
def test_words_are_bytes_of_any_width(tmp_path: Path, width: int) -> None:
    """A file of byte strings is known as words, and they are read as bytes."""
    words = np.array([[b"sp"], [b"a" * width]], dtype=f"S{width}")
    with CsdFile(write_csd(tmp_path / "words.csd", {"v": (words, [[0, 1], [1, 2]])})) as file:
        assert file.is_words
        assert file.read("v").features.tolist() == words.tolist()


@pytest.mark.parametrize(
    "key", ["..", "-rf", "-571d8cVauQ", "a_b", "1234", "a\nb", "<script>", "a" * 5000, "é", "v[3]"]
)
def test_any_id_is_a_key_and_never_a_path(tmp_path: Path, key: str) -> None:
    """Ids that would be a path, an option or markup elsewhere are read as plain names."""
    with CsdFile(write_csd(tmp_path / "a.csd", {key: (FEATURES, INTERVALS)})) as file:
        assert file.keys == (key,)
        np.testing.assert_array_equal(file.read(key).features, FEATURES)
    assert [path.name for path in tmp_path.iterdir()] == ["a.csd"]


@settings(deadline=None)
@given(st.text(min_size=1), st.integers(0, 999_999_999))
@example("[3]", 0)
@example("a\n", 7)
def test_split_key_inverts_the_writing_of_an_entry(video: str, number: int) -> None:
    """`video[number]` is split into exactly these two, whatever the video is called."""
    assert split_key(f"{video}[{number}]") == (video, number)


@pytest.mark.parametrize("key", ["", "v", "[3]", "v[]", "v[-1]", "v[3] ", "v[3", "3", "v[x]"])
def test_split_key_leaves_other_ids_whole(key: str) -> None:
    """An id without a number in brackets at its end is a video."""
    assert split_key(key) == (key, None)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (["not json"], "not json"),
        (['["a", "b"]'], ["a", "b"]),
        ("3.5", 3.5),
        (np.array([b'"fixed"']), "fixed"),
        ([""], ""),
        (["x" * 100_000], "x" * 100_000),
        ([b"\xff"], "\ufffd"),
        (["NaN"], "NaN"),
        (['"\\ud800"'], '"\\ud800"'),
        (["[" * 50_000], "[" * 50_000),
    ],
)
def test_metadata_are_json_or_plain(tmp_path: Path, stored: object, expected: object) -> None:
    """Metadata are read as JSON where they are, else as text, and what is read can be written as JSON."""
    path = write_csd(tmp_path / "a.csd", {"v": (FEATURES, INTERVALS)})
    with h5py.File(path, "a") as file:
        file["anything/metadata"]["about"] = stored
    with CsdFile(path) as file:
        assert file.metadata == {"about": expected}
        json.dumps(file.metadata, ensure_ascii=False, allow_nan=False).encode()


@pytest.mark.parametrize("fixed", [True, False])
def test_metadata_of_a_repacked_file_are_read(tmp_path: Path, fixed: bool) -> None:
    """Metadata that `h5repack` has packed are read as others are."""
    path = write_csd(tmp_path / "a.csd", {"v": (FEATURES, INTERVALS)})
    text, kind = b'["x", "y", "z"]', "S15" if fixed else h5py.string_dtype("ascii")
    with h5py.File(path, "a") as file:
        file["anything/metadata"].create_dataset(
            "dimension names",
            data=np.array([text], dtype="S15" if fixed else object),
            dtype=kind,
            chunks=(1,),
            compression="gzip",
        )
    with CsdFile(path) as file:
        assert file.dimension_names == ["x", "y", "z"]


def test_odd_metadata_are_left_out(tmp_path: Path) -> None:
    """Groups, numbers, references, lists and texts beyond a megabyte are no metadata."""
    path = write_csd(tmp_path / "a.csd", {"v": (FEATURES, INTERVALS)}, ["x", "y", "z"])
    with h5py.File(path, "a") as file:
        metadata = file["anything/metadata"]
        metadata.create_group("group")
        metadata["number"], metadata["list"], metadata["reference"] = [3.0], ["a", "b"], file["anything"].ref
        metadata.create_dataset("huge", (1,), dtype="S2000000000")
    with CsdFile(path) as file:
        assert file.metadata == {"dimension names": ["x", "y", "z"]}


@pytest.mark.parametrize("names", [None, ["x", "y"], ["x", 2, "z"]])
def test_dimension_names_must_fit(tmp_path: Path, names: list[str] | None) -> None:
    """Without names, with too few or with other things than names, a file has no dimension names."""
    with CsdFile(write_csd(tmp_path / "a.csd", {"v": (FEATURES, INTERVALS)}, names)) as file:
        assert file.dimension_names is None


def test_a_file_without_metadata_is_read(tmp_path: Path) -> None:
    """The group `metadata` may be absent, and another group may stand before the root."""
    path = write_csd(tmp_path / "a.csd", {"v": (FEATURES, INTERVALS)}, root="root")
    with h5py.File(path, "a") as file:
        del file["root/metadata"]
        file.create_group("a group without data")
    with CsdFile(path) as file:
        assert (file.root, file.metadata, file.dimension_names) == ("root", {}, None)
        assert file.steps("v") == 5


def _opaque(group: h5py.Group, name: str) -> None:
    kind = h5py.h5t.create(h5py.h5t.OPAQUE, 8)
    kind.set_tag(b"x")
    h5py.h5d.create(group.id, name.encode(), kind, h5py.h5s.create_simple((5, 3)))


def _time(group: h5py.Group, name: str) -> None:
    h5py.h5d.create(group.id, name.encode(), h5py.h5t.UNIX_D32LE, h5py.h5s.create_simple((5, 3)))


def _text(group: h5py.Group, name: str) -> None:
    group.create_dataset(name, data=np.full((5, 3), "word", dtype=object), dtype=h5py.string_dtype())


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda g, n: g.create_dataset(n, data=FEATURES[0]), r"shape \(3,\)"),
        (lambda g, n: g.create_dataset(n, data=FEATURES[None]), r"shape \(1, 5, 3\)"),
        (lambda g, n: g.create_dataset(n, data=1.0), r"shape \(\)"),
        (lambda g, n: g.create_dataset(n, data=h5py.Empty("f4")), "shape None"),
        (lambda g, n: g.create_dataset(n, data=FEATURES[:, :0]), "no column"),
        (lambda g, n: g.create_dataset(n, data=FEATURES > 1), "type names or truth values"),
        (lambda g, n: g.create_dataset(n, data=FEATURES + 1j), "type comp"),
        (lambda g, n: g.create_dataset(n, (5, 3), dtype=[("a", "f4")]), "only numbers and byte strings"),
        (lambda g, n: g.create_dataset(n, (5, 3), dtype=h5py.ref_dtype), "type references"),
        (lambda g, n: g.create_dataset(n, (5, 3), dtype=h5py.vlen_dtype("f4")), "type lists"),
        (_text, "type object"),
        (_opaque, "only numbers and byte strings"),
        (_time, "type times"),
        (lambda g, n: g.create_group(n), "not a data set"),
        (lambda g, n: None, "has no"),
        (lambda g, n: g.create_dataset(n, data=FEATURES, compression="lzf"), "filter other than gzip"),
        (lambda g, n: g.create_dataset(n, data=FEATURES.astype("i4"), scaleoffset=0), "filter other than gzip"),
        (
            lambda g, n: g.create_dataset(n, (2**62, 4), chunks=(16, 4), dtype="f4"),
            "declares 73786976294838206464 bytes",
        ),
        (lambda g, n: g.create_dataset(n, (10**5, 10), chunks=(100, 10), dtype="f4"), "but 0 are stored"),
        (lambda g, n: g.create_dataset(n, (5, 3), dtype="S2000000000", chunks=(1, 1)), "but 0 are stored"),
    ],
)
def test_only_plain_tables_of_numbers_or_bytes_are_read(tmp_path: Path, make: Make, reason: str) -> None:
    """Another form, type, filter or a size without storage is refused with its reason, and nothing is unpacked."""
    with pytest.raises(DataError, match=reason):
        read_all(one_video(tmp_path, make))


@pytest.mark.parametrize("name", ["features", "intervals"])
@pytest.mark.parametrize("kind", ["external storage", "external link", "soft link", "virtual"])
def test_no_other_file_is_read(tmp_path: Path, kind: str, name: str) -> None:
    """Data that HDF5 would fetch from another file, or from another place in this one, is refused."""
    secret = write_csd(tmp_path / "secret.csd", {"v": (FEATURES, INTERVALS)})
    (tmp_path / "raw").write_bytes(bytes(1000))

    def make(group: h5py.Group, name: str) -> None:
        if kind == "external storage":
            group.create_dataset(name, (5, 2), dtype="f4", external=[(str(tmp_path / "raw"), 0, 1000)])
        elif kind == "external link":
            group[name] = h5py.ExternalLink(str(secret), f"/anything/data/v/{name}")
        elif kind == "soft link":
            group[name] = h5py.SoftLink("/anything/data/v")
        else:
            layout = h5py.VirtualLayout((5, 2), "f4")
            layout[:] = h5py.VirtualSource(str(secret), f"/anything/data/v/{name}", shape=(5, 2))
            group.create_virtual_dataset(name, layout)

    reason = "link to elsewhere" if "link" in kind else "keeps its data in another file"
    with pytest.raises(DataError, match=reason):
        read_all(one_video(tmp_path, make, name))


@pytest.mark.parametrize(
    "place", ["anything", "anything/data", "anything/data/v", "anything/metadata", "anything/metadata/x"]
)
@pytest.mark.parametrize("kind", ["external", "soft"])
def test_links_are_refused_wherever_they_stand(tmp_path: Path, place: str, kind: str) -> None:
    """The root, its groups, an entry or a metadata value that is a link is refused."""
    secret = write_csd(tmp_path / "secret.csd", {"v": (FEATURES, INTERVALS)}, ["a", "b", "c"])
    path = write_csd(tmp_path / "a.csd", {"v": (FEATURES, INTERVALS)})
    target = place.replace("/x", "/dimension names")
    with h5py.File(path, "a") as file:
        if place in file:
            file.move(place, "moved")
        file[place] = h5py.ExternalLink(str(secret), target) if kind == "external" else h5py.SoftLink("/moved")
    with pytest.raises(DataError, match="link to elsewhere"):
        read_all(path)


def test_metadata_never_come_from_another_file(tmp_path: Path) -> None:
    """A metadata value in external storage is left out, unread."""
    path = write_csd(tmp_path / "a.csd", {"v": (FEATURES, INTERVALS)})
    (tmp_path / "raw").write_bytes(b"secret")
    with h5py.File(path, "a") as file:
        file["anything/metadata"].create_dataset("x", (1,), dtype="S6", external=[(str(tmp_path / "raw"), 0, 6)])
    with CsdFile(path) as file:
        assert file.metadata == {}


@pytest.mark.parametrize(
    ("intervals", "reason"),
    [
        (INTERVALS[:4], "5 rows of features but 4 intervals"),
        (np.zeros((5, 3)), r"\[5, 3\] of float64, not \[steps, 2\] numbers"),
        (np.full((5, 2), b"1.0"), "numbers"),
    ],
)
def test_intervals_must_fit_the_features(tmp_path: Path, intervals: object, reason: str) -> None:
    """Every step has one interval of two numbers."""
    with pytest.raises(DataError, match=reason):
        read_all(one_video(tmp_path, lambda group, name: group.create_dataset(name, data=intervals), "intervals"))


def test_all_entries_have_the_width_and_kind_of_the_first(tmp_path: Path) -> None:
    """An entry of another width, or of words among numbers, is refused by its name."""
    other = {"a": (FEATURES, INTERVALS), "b": (FEATURES[:, :2], INTERVALS)}
    with pytest.raises(DataError, match=r"'b' are \[5, 2\].*3 columns of numbers"):
        read_all(write_csd(tmp_path / "a.csd", other))
    with pytest.raises(DataError, match=r"'b' are .*\|S2.*3 columns of numbers"):
        read_all(write_csd(tmp_path / "b.csd", {**other, "b": (np.full((5, 3), b"sp"), INTERVALS)}))


@pytest.mark.parametrize(
    "content", [b"", b"<html>404 Not Found</html>", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(500)]
)
def test_a_failed_download_is_named(tmp_path: Path, content: bytes) -> None:
    """An empty file, a page or a stub is refused with its size and the advice to fetch it again."""
    path = tmp_path / "a.csd"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.csd \({len(content)} bytes\) is .*fetch it again"):
        CsdFile(path)


def test_other_hdf5_is_named(tmp_path: Path) -> None:
    """HDF5 without a group `data`, or without an id, is refused with that reason."""
    with h5py.File(tmp_path / "a.csd", "w") as file:
        file["x/y"] = [1.0]
    with pytest.raises(DataError, match=r"not a \.csd file"):
        CsdFile(tmp_path / "a.csd")
    with pytest.raises(DataError, match="holds no ids"):
        CsdFile(write_csd(tmp_path / "b.csd", {}))
    with pytest.raises(DataError, match="no such file"):
        CsdFile(tmp_path / "none.csd")


def test_an_id_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """An id that no text can hold is a damaged file, not a crash at the first print."""
    path = write_csd(tmp_path / "a.csd", {"v": (FEATURES, INTERVALS)})
    with h5py.File(path, "a") as file:
        data = file["anything/data"].id
        h5py.h5o.copy(data, b"v", data, b"\xff\xfe")
    with pytest.raises(DataError, match="damaged"):
        read_all(path)


def test_a_cut_off_file_is_refused(tmp_path: Path) -> None:
    """Wherever a download broke off, the file is refused."""
    path = write_csd(tmp_path / "a.csd", {f"v{n}": (FEATURES, INTERVALS) for n in range(4)}, ["a", "b", "c"])
    whole = path.read_bytes()
    for length in range(0, len(whole), math.ceil(len(whole) / 40)):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError):
            read_all(path)


@pytest.mark.full
def test_flipped_bits_are_an_error_or_another_number(tmp_path: Path) -> None:
    """A file with flipped bits is read or refused with a DataError: no other exception."""
    path = write_csd(tmp_path / "a.csd", {f"v{n}": (FEATURES, INTERVALS) for n in range(4)}, ["a", "b", "c"])
    whole, dice = path.read_bytes(), random.Random(0)
    refused = 0
    for _ in range(250):
        damaged = bytearray(whole)
        for _ in range(dice.choice([1, 1, 4, 20])):
            damaged[dice.randrange(len(whole))] ^= 1 << dice.randrange(8)
        path.write_bytes(damaged)
        try:
            read_all(path)
        except DataError:
            refused += 1
    assert 25 < refused < 250


def test_a_damaged_text_heap_is_refused(tmp_path: Path) -> None:
    """Every flipped bit in the sizes of the heap, where HDF5 would go round for ever, is refused."""
    path = write_csd(tmp_path / "a.csd", {"v": (FEATURES, INTERVALS)}, ["a", "b", "c"])
    whole = path.read_bytes()
    heap = whole.index(b"GCOL")
    first = int.from_bytes(whole[heap + 24 : heap + 32], "little")
    free = heap + 32 + (first + 7) // 8 * 8
    for start in (heap + 8, heap + 24, free + 8):  # of the heap, of its first object, of its free rest
        for bit in range(64):
            damaged = bytearray(whole)
            damaged[start + bit // 8] ^= 1 << bit % 8
            path.write_bytes(damaged)
            with CsdFile(path) as file:
                try:
                    assert file.dimension_names == ["a", "b", "c"]  # a size that rounds to the same is harmless
                except DataError as error:
                    assert "damaged" in str(error)  # noqa: PT017
                else:
                    assert start == heap + 24
                    assert bit < 3
