"""NumPy arrays by id, as files and in archives; what is no table of numbers is named, and a bomb is not unpacked."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emotiwave_core.data.formats.numpy_arrays import NumpyArrays
from emotiwave_core.data.formats.reader import Source, open_reader
from emotiwave_core.errors import DataError

VALUES = np.arange(12, dtype=np.float64).reshape(4, 3)


def npy(array: Any, **options: Any) -> bytes:
    """An array as np.save writes it."""
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def with_header(header: str, content: bytes = b"") -> bytes:
    """An array whose header says what it likes."""
    told = header.encode()
    return b"\x93NUMPY\x01\x00" + len(told).to_bytes(2, "little") + told + content


def test_each_form_is_read(tmp_path: Path) -> None:
    """Any type of number, C or Fortran order, one step alone, and times as a file, in the archive or beside it."""
    folder = tmp_path / "audio"
    folder.mkdir()
    times = np.stack([np.arange(4) / 2, np.arange(1, 5) / 2], axis=1)
    forms = {"f": np.asfortranarray(VALUES), "h": VALUES.astype(np.float16), "big": VALUES.astype(">f4"), "i": VALUES}
    for key, array in {**forms, "i": VALUES.astype(np.int16)}.items():
        np.save(folder / f"{key}.npy", array)
        np.save(folder / f"{key}_times.npy", times)
    np.savez(folder / "z.npz", features=VALUES, times=times)
    with open_reader(folder) as file:
        assert isinstance(file, NumpyArrays)
        assert file.keys == ("big", "f", "h", "i", "z")
        assert file.has_times
        for key in file.keys:
            assert np.array_equal(file.features(key), VALUES.astype(np.float32))
            assert np.array_equal(file.features(key, slice(1, 3)), VALUES[1:3])
            assert np.array_equal(file.intervals(key), times)
    np.savez_compressed(tmp_path / "visual.npz", one=VALUES[0], two=VALUES)
    with open_reader(Source(tmp_path / "visual.npz", rate=4.0)) as file:
        assert [file.steps(key) for key in ("one", "two")] == [1, 4]
        assert np.array_equal(file.features("one"), VALUES[:1])
        assert file.intervals("two")[-1].tolist() == [0.75, 1.0]
    with open_reader(tmp_path / "visual.npz") as file:
        assert not file.has_times


def test_an_odd_entry_is_unfit_by_name(tmp_path: Path) -> None:
    """Another width, three axes, texts and objects are told of, and none is read."""
    odd = {"wide": npy(np.ones((4, 9))), "deep": npy(np.ones((1, 4, 3))), "text": npy(np.array(["a", "b"]))}
    odd["object"] = npy(np.array([{}], dtype=object), allow_pickle=True)
    for key in "abcdefg":
        np.save(tmp_path / f"{key}.npy", VALUES)
    for key, content in odd.items():
        (tmp_path / f"{key}.npy").write_bytes(content)
    with open_reader(tmp_path) as file:
        unfit = file.unfit()
        assert set(unfit) == set(odd)
        assert unfit["wide"] == "[4, 9] of float64"
        for key in odd:
            with pytest.raises(DataError, match=f"{key!r} has"):
                file.features(key)


def _packed(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return file.getvalue()


PLAIN = "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 3), }"
HOSTILE: dict[str, Callable[[], tuple[str, bytes]]] = {
    "a shape of an exabyte": lambda: ("a.npy", with_header(PLAIN.replace("(4, 3)", "(1152921504606846976, 3)"))),
    "a shape beyond the file": lambda: ("a.npy", with_header(PLAIN.replace("(4, 3)", "(4000000, 3)"), bytes(48))),
    "a shape below 0": lambda: ("a.npy", with_header(PLAIN.replace("(4, 3)", "(-4, 3)"), bytes(48))),
    "a shape of texts": lambda: ("a.npy", with_header(PLAIN.replace("(4, 3)", "('4', 3)"), bytes(48))),
    "a header that is code": lambda: ("a.npy", with_header("__import__('os').system('true')", bytes(48))),
    "a header nested deeply": lambda: ("a.npy", with_header("(" * 5000, bytes(48))),
    "a header of 60 kB": lambda: ("a.npy", with_header(PLAIN + " " * 60_000, bytes(48))),
    "Python objects": lambda: ("a.npy", npy(np.array([{}, {}], dtype=object), allow_pickle=True)),
    "more than its header says": lambda: ("a.npy", with_header(PLAIN, bytes(4800))),
    "no array": lambda: ("a.npy", b"hello"),
    "nothing": lambda: ("a.npy", b""),
    "an archive of another form": lambda: ("a.npz", b"PK\x03\x04" + bytes(100)),
    "an archive without arrays": lambda: ("a.npz", _packed("a.txt", b"hello")),
    "a bomb": lambda: (
        "a.npz",
        _packed("a.npy", with_header(PLAIN.replace("(4, 3)", "(5000000, 1)"), bytes(20 << 20))),
    ),
}


def _read_all(path: Path) -> None:
    with open_reader(path) as reader:
        for key in reader.keys:
            reader.features(key)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_array_is_refused(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence that names the file; a bomb packs 20 MB of zeros into 20 kB, where less than that is allowed."""
    monkeypatch.setattr("emotiwave_core.data.formats.numpy_arrays.MOST_EXPANSION", 500)
    file, content = HOSTILE[name]()
    (tmp_path / file).write_bytes(content)
    with pytest.raises(DataError, match=str(tmp_path)) as refused:
        _read_all(tmp_path)
    assert "\n" not in str(refused.value)
