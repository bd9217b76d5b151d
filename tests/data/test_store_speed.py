"""Speed does not change the store: opening, reading in part, unpacking in threads, hashing beside."""

import hashlib
import json
import math
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import write_csd, write_dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from short_suite import in_short

from emotiwave_core.data.dataset import load_dataset
from emotiwave_core.data.formats.csd import CsdFile
from emotiwave_core.data.prepare import packing
from emotiwave_core.data.prepare.align import average, grouped
from emotiwave_core.data.prepare.options import Options
from emotiwave_core.data.prepare.segments import InTimeOrder, in_time_order, overlap
from emotiwave_core.data.store import arrays as arrays_file
from emotiwave_core.data.store import store
from emotiwave_core.data.store.store import open_store
from emotiwave_core.errors import DataError
from emotiwave_core.io import incremental_hash as follower
from emotiwave_core.io.incremental_hash import IncrementalHash
from emotiwave_core.monitor import Monitor

BOUND = st.sampled_from([-1.5, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0])
DIRTY = st.tuples(*[BOUND | st.sampled_from([math.nan, math.inf, -math.inf]) | st.floats(-2, 4)] * 2)


class Hearing(Monitor):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        """Keep a line."""
        self.lines.append(text)


@settings(deadline=None, max_examples=300)
@given(st.lists(DIRTY, max_size=14), st.lists(st.tuples(BOUND | st.floats(-2, 4), BOUND), min_size=1, max_size=6))
def test_sorted_once_cuts_as_a_look_at_every_step(
    steps: list[tuple[float, float]], segments: list[tuple[float, float]]
) -> None:
    """For any steps and segments, the steps near a segment hold all that overlap it, in the same order."""
    intervals = np.array(steps, dtype=np.float64).reshape(-1, 2)
    ordered, order = InTimeOrder(intervals), in_time_order(intervals)
    low, high = np.sort(intervals[order], axis=1).T
    for pair in segments:
        start, end = sorted(pair)
        assert ordered.cut(start, end).tolist() == order[overlap(low, high, start, end)].tolist()


def test_a_cut_looks_only_at_steps_that_are_near() -> None:
    """Of a million steps that follow one another, those looked at are those of the segment and its two neighbours."""
    edges = np.arange(1_000_001.0)
    first, last = InTimeOrder(np.stack([edges[:-1], edges[1:]], axis=1)).near(500.0, 510.0)
    assert last - first <= 12


@pytest.fixture
def opened(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[Path]]:
    """The arrays file of a store that is there, and a list of the files that are hashed whole from now on.

    Of the arrays of steps so little is looked at that the small ones of this data set count as long.
    """
    monkeypatch.setattr(arrays_file, "BLOCK", 16)
    arrays = open_store(load_dataset(tiny), Options(), tmp_path).path / "arrays.safetensors"
    hashed: list[Path] = []
    whole = store.sha256_of
    monkeypatch.setattr(store, "sha256_of", lambda path: hashed.append(path) or whole(path))
    return arrays, hashed


def again(tiny: Path, tmp_path: Path) -> list[str]:
    """Open the store of `opened`, and give what was said."""
    monitor = Hearing()
    open_store(load_dataset(tiny), Options(), tmp_path, monitor)
    return monitor.lines


def test_a_store_as_it_was_written_is_not_hashed(opened: tuple[Path, list[Path]], tiny: Path, tmp_path: Path) -> None:
    """With its size and time of change the arrays file is trusted; its time is that of the newest source."""
    arrays, hashed = opened
    assert again(tiny, tmp_path) == []
    assert hashed == []
    assert arrays.stat().st_mtime_ns == max(path.stat().st_mtime_ns for path in tiny.glob("*.csd"))


def test_a_copy_is_hashed_once(opened: tuple[Path, list[Path]], tiny: Path, tmp_path: Path) -> None:
    """A whole store with another time is hashed, taken without a word, and known from then on."""
    arrays, hashed = opened
    shutil.copyfile(arrays, tmp_path / "copy")
    (tmp_path / "copy").replace(arrays)
    assert [again(tiny, tmp_path), again(tiny, tmp_path)] == [[], []]
    assert hashed == [arrays]


def flip(arrays: Path, place: int) -> None:
    """Change one bit and keep the time of change."""
    status = arrays.stat()
    content = bytearray(arrays.read_bytes())
    content[place] ^= 1
    arrays.write_bytes(content)
    os.utime(arrays, ns=(status.st_atime_ns, status.st_mtime_ns))


def span(arrays: Path, name: str) -> tuple[int, int]:
    """The place of an array in a safetensors file."""
    content = arrays.read_bytes()
    size = int.from_bytes(content[:8], "little")
    start, end = json.loads(content[8 : 8 + size])[name]["data_offsets"]
    return 8 + size + start, 8 + size + end


@pytest.mark.full
@pytest.mark.parametrize("name", in_short(["labels", "intervals", "text.offsets", "audio.offsets"], "labels"))
def test_labels_and_offsets_are_always_hashed(
    opened: tuple[Path, list[Path]], tiny: Path, tmp_path: Path, name: str
) -> None:
    """A bit that flips anywhere in what is of samples is noticed, though size and time stay."""
    arrays, _ = opened
    start, end = span(arrays, name)
    for place in np.linspace(start, end - 1, 5).astype(int):
        flip(arrays, place)
        assert ["is damaged" in line for line in again(tiny, tmp_path)] == [True]


def test_a_file_of_zeros_is_noticed(opened: tuple[Path, list[Path]], tiny: Path, tmp_path: Path) -> None:
    """Values that are gone, as after a power cut, are noticed though size and time stay."""
    arrays, _ = opened
    start, end = span(arrays, "audio.values")
    status = arrays.stat()
    content = bytearray(arrays.read_bytes())
    content[start:end] = bytes(end - start)
    arrays.write_bytes(content)
    os.utime(arrays, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert ["is damaged" in line for line in again(tiny, tmp_path)] == [True]


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="asks Linux what was read")
def test_what_is_not_noticed_is_found_on_demand(
    opened: tuple[Path, list[Path]], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bit in a long array that keeps size and time passes, and EMOTIWAVE_VERIFY=1 finds it; 0 is as if not set."""
    arrays, hashed = opened
    start, end = span(arrays, "text.values")
    flip(arrays, start + 16)  # the first block ends before it
    monkeypatch.setenv("EMOTIWAVE_VERIFY", "0")
    assert again(tiny, tmp_path) == []
    assert hashed == []
    monkeypatch.setenv("EMOTIWAVE_VERIFY", "1")
    assert ["is damaged" in line for line in again(tiny, tmp_path)] == [True]
    assert end - start > 16 * arrays_file.BLOCKS
    assert set(hashed) == {arrays}


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="bytes read are counted by /proc")
def test_opening_reads_no_values(tmp_path: Path) -> None:
    """Opening a store of 40 MB reads and copies less than a tenth of it: the rest is a map of the file."""
    video = (np.ones((50_000, 200), np.float32), np.arange(100_000.0).reshape(-1, 2))
    labels = write_csd(tmp_path / "labels.csd", {"v": ([[1.0, 0.0]], [[0, 100_000]])}, ["happy", "sad"])
    (tmp_path / "dataset.toml").write_text('[modalities]\naudio = "a.csd"\n[labels]\nfile = "labels.csd"\n')
    write_csd(tmp_path / "a.csd", {"v": video})
    assert labels.is_file()
    dataset = load_dataset(tmp_path)
    open_store(dataset, Options(), tmp_path)

    def used() -> np.ndarray:
        read = int(Path("/proc/self/io").read_text().split()[1])
        status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
        return np.array([read, int(status["RssAnon"].split()[0]) * 1024])

    before = used()
    again = open_store(dataset, Options(), tmp_path)
    assert (used() - before < again.values["audio"].nbytes / 10).all()


def test_reading_ahead_builds_the_same_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes of a store and its facts are the same whether videos are read ahead or in turn."""
    made, folder = [], write_dataset(tmp_path, videos=8)
    for name, large in (("ahead", 0), ("turn", 1 << 60)):
        monkeypatch.setattr(packing, "LARGE", large)
        for options in (Options(max_steps={"audio": 3}), Options(align="words"), Options(unit="video")):
            path = open_store(load_dataset(folder), options, tmp_path / name).path
            made.append([file.read_bytes() for file in sorted(path.iterdir())])
    assert made[:3] == made[3:]


def test_only_rows_that_samples_read_are_unpacked(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one step of each sample kept, no more is asked for than from a video's first sample to its last."""
    asked: list[slice] = []
    features = CsdFile.features

    def ask(self: CsdFile, key: str, rows: slice = slice(None)) -> np.ndarray:
        asked.append(rows)
        return features(self, key, rows)

    monkeypatch.setattr(CsdFile, "features", ask)
    open_store(load_dataset(tiny), Options(max_steps=dict.fromkeys(("text", "audio", "visual"), 1)), tmp_path)
    asked = [rows for rows in asked if rows.stop]  # the labels are read whole
    assert {rows.start for rows in asked} == {0}
    assert {rows.stop for rows in asked} == {5, 11, 7}  # the row at 2 s, of 2, 5 and 3 a second


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 3000), max_size=8), st.integers(0, 3000))
def test_a_follower_hashes_the_file(tmp_path_factory: pytest.TempPathFactory, places: list[int], size: int) -> None:
    """However far it is told to go in between, its hash is that of the whole file."""
    path = tmp_path_factory.mktemp("follow") / "file"
    content = np.random.default_rng(0).bytes(size)
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(follower, "BLOCK", 64)
        patch.setattr(follower, "WORTH_A_TURN", 100)
        with IncrementalHash(path) as one:
            for place in sorted(min(place, size) for place in places):
                one.reach(place)
            assert one.finish(size) == hashlib.sha256(content).hexdigest()
        with IncrementalHash(path) as one, pytest.raises(DataError, match="shorter"):
            one.finish(size + 1)


@pytest.mark.full
def test_the_hashes_of_a_build_are_those_of_the_files(tiny: Path, tmp_path: Path) -> None:
    """The digests of sources and arrays in `store.json` are those that hashing the files gives."""
    made = open_store(load_dataset(tiny), Options(align="words"), tmp_path)
    assert made.facts.sources == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in tiny.glob("*.csd")
    }
    arrays = made.path / "arrays.safetensors"
    assert (
        json.loads((made.path / "store.json").read_text())["sha256"] == hashlib.sha256(arrays.read_bytes()).hexdigest()
    )


def test_an_average_of_finite_rows_needs_no_second_look() -> None:
    """Saying that all features are finite, where they are, changes nothing, for rows that follow one another or not."""
    features = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    edges = np.arange(21.0)
    for rows, k in ((np.arange(4, 12), 1), (np.array([9, 3, 4]), 1), (np.arange(5, 19), 4)):
        steps = grouped(np.stack([edges[:-1], edges[1:]], axis=1), rows, k)
        np.testing.assert_array_equal(average(features, steps, all_finite=True), average(features, steps))
        if k == 1:
            np.testing.assert_array_equal(average(features, steps), features[rows])


@pytest.mark.skipif(sys.platform != "linux", reason="other systems promise no memory for a map")
def test_a_store_may_be_larger_than_memory(tmp_path: Path) -> None:
    """An arrays file of a terabyte, nearly all of it a hole, is mapped; its last numbers are read."""
    path, steps = tmp_path / "arrays.safetensors", 1 << 37
    about = {"a.values": {"dtype": "F32", "shape": [steps, 2], "data_offsets": [0, steps * 8]}}
    text = json.dumps(about).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.seek(8 + len(text) + steps * 8 - 4)
        file.write(np.float32(2.5).tobytes())
    assert arrays_file.map_arrays(path)["a.values"][-1].tolist() == [0.0, 2.5]


def test_a_source_that_changes_while_it_is_packed_is_noticed(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No store is left where fewer or more steps come than were counted."""
    pack = packing.Packer.pieces
    for change in (lambda piece: piece[:-1], lambda piece: np.concatenate([piece, piece[:1]])):

        def pieces(packer: packing.Packer, change: Any = change) -> Any:
            for name, piece in pack(packer):
                yield name, change(piece) if name == "visual.values" and len(piece) else piece

        monkeypatch.setattr(packing.Packer, "pieces", pieces)
        with pytest.raises(DataError, match="changed while it was packed"):
            open_store(load_dataset(tiny), Options(), tmp_path)
        assert not [path for path in tmp_path.iterdir() if path.is_dir()]
