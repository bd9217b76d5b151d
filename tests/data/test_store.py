"""The store: what is in it, that it is built once and whole, and that damage is noticed."""

import errno
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import h5py
import numpy as np
import pytest
import safetensors.numpy
import torch
from datasets import EMOTIONS, Entry, write_csd, write_dataset
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from emotiwave_core.data.dataset import Dataset, load_dataset
from emotiwave_core.data.formats import csd
from emotiwave_core.data.formats.reader import Source
from emotiwave_core.data.prepare.align import average, grouped
from emotiwave_core.data.prepare.options import Options
from emotiwave_core.data.prepare.store_key import fingerprint
from emotiwave_core.data.store.store import Store, open_store
from emotiwave_core.errors import DataError, ResourceError, SettingsError
from emotiwave_core.monitor import Monitor


class Recorder(Monitor):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.bars: dict[str, list[int]] = {}  # title -> [total, steps]

    def say(self, text: str) -> None:
        """Keep a line."""
        self.lines.append(text)

    @contextmanager
    def progress(self, title: str, total: int) -> Iterator[Callable[[], None]]:
        """Count the steps."""
        bar = self.bars.setdefault(title, [total, 0])

        def step() -> None:
            bar[1] += 1

        yield step


@pytest.fixture(scope="module")
def dirty(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Two modalities with all the dirt: NaN, -inf, overlaps, disorder, instants, starts below 0, absent ids."""
    random = np.random.default_rng(0)
    labels: dict[str, Entry] = {}
    entries: dict[str, dict[str, Entry]] = {"fast": {}, "slow": {}}
    for number in range(7):
        video = f"v{number}"
        start = np.round(random.uniform(-1, 8, size=3), 1)
        end = start + np.array([2.0, 1.5, 0.0])
        labels[video] = (random.integers(0, 3, size=(3, 6)).astype(np.float32), np.stack([start, end], axis=1))
        for name, (rate, width) in {"fast": (10, 3), "slow": (2, 2)}.items():
            if video in {"fast": ("v2", "v4"), "slow": ("v3", "v4")}[name]:
                continue
            times = random.permutation(np.arange(-1, 8, 1 / rate))
            features = random.normal(size=(len(times), width)).astype(np.float32)
            features[random.random(features.shape) < 0.1] = np.nan
            features[random.random(features.shape) < 0.1] = -np.inf
            entries[name][video] = (features, np.stack([times, times + 2 / rate], axis=1))
    entries["fast"]["unlabelled"] = entries["fast"]["v0"]
    folder = tmp_path_factory.mktemp("dirty")
    files = {name: write_csd(folder / f"{name}.csd", some) for name, some in entries.items()}
    return Dataset("Dirty", folder, files, write_csd(folder / "labels.csd", labels, EMOTIONS))


def averaged(rows: list[list[float]], k: int, width: int) -> list[list[float]]:
    """The mean of the finite values of each k rows, in plain Python: the definition of `data.downsample`."""
    result = []
    for start in range(0, len(rows), k):
        columns = [[row[c] for row in rows[start : start + k] if np.isfinite(row[c])] for c in range(width)]
        result.append([sum(column) / len(column) if column else 0.0 for column in columns])
    return result


@settings(deadline=None)
@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 12), st.integers(1, 3)),
        elements=st.floats(-1e6, 1e6, width=32) | st.sampled_from([np.nan, np.inf, -np.inf]),
    ),
    st.integers(1, 15),
)
def test_downsample_is_the_mean_of_the_finite_values(features: np.ndarray, k: int) -> None:
    """Each k steps become their mean over finite values, 0 where none is; the last ones may be fewer."""
    expected = np.array(averaged(features.astype(np.float64).tolist(), k, features.shape[1]))
    edges = np.arange(len(features) + 1.0)
    found = average(features, grouped(np.stack([edges[:-1], edges[1:]], axis=1), np.arange(len(features)), k))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    assert found.dtype == np.float32


def plain_samples(
    dataset: Dataset, name: str, limit: int | None, k: int
) -> dict[str, tuple[list[list[float]], list[list[float]]]]:
    """{sample: its steps and their times} by a plain loop over h5py."""
    found = {}
    with h5py.File(dataset.labels.path) as labels, h5py.File(dataset.modalities[name].path) as file:
        root = file["anything/data"]
        for video, rows in labels["anything/data"].items():
            for row, (start, end) in enumerate(rows["intervals"][()].tolist()):
                steps = []
                if video in root:
                    table = zip(
                        root[video]["intervals"][()].tolist(), root[video]["features"][()].tolist(), strict=True
                    )
                    for (low, high), features in table:
                        if (low < end and high > start) or (start == end and low == start):
                            steps.append((low, high, features))
                steps.sort(key=lambda step: step[0])
                del steps[len(steps) if limit is None else limit * k :]
                taken = [features for _, _, features in steps]
                times = [[low, steps[min(n * k + k, len(steps)) - 1][1]] for n, (low, _, _) in enumerate(steps[::k])]
                found[f"{video}[{row}]"] = (averaged(taken, k, len(taken[0])) if taken else [], times)
    return found


@pytest.mark.short_rows(2)
@pytest.mark.parametrize(("limit", "k"), [(None, 1), (4, 1), (None, 3), (2, 3), (1, 100)])
def test_the_store_holds_what_a_plain_loop_cuts(dirty: Dataset, tmp_path: Path, limit: int | None, k: int) -> None:
    """Every sample of every modality is as a loop over h5py cuts, shortens and averages it; labels and times too."""
    options = Options(max_steps={} if limit is None else {"fast": limit}, downsample={"fast": k})
    store = open_store(dirty, options, tmp_path)
    plain = {"fast": plain_samples(dirty, "fast", limit, k), "slow": plain_samples(dirty, "slow", None, 1)}
    assert list(store.ids) == [name for name in plain["fast"] if plain["fast"][name][0] or plain["slow"][name][0]]
    for name in store.modalities:
        for row, sample in enumerate(store.ids):
            steps, times = plain[name][sample]
            expected = np.array(steps).reshape(-1, store.features[name])
            np.testing.assert_allclose(store.sequence(name, row), expected, rtol=1e-6, atol=1e-7)
            np.testing.assert_array_equal(store.times(name, row), np.array(times, dtype=np.float32).reshape(-1, 2))
            assert store.lengths(name)[row] == len(expected)
            assert store.present(name, row).tolist() == [True] * len(expected)
    with h5py.File(dirty.labels.path) as labels:
        for row, sample in enumerate(store.ids):
            video, number = sample[:2], int(sample[3])
            assert store.videos[row] == video
            assert store.labels[row].tolist() == labels[f"anything/data/{video}/features"][number].tolist()
            assert store.intervals[row].tolist() == labels[f"anything/data/{video}/intervals"][number].tolist()


def test_what_was_replaced_or_lost_is_counted(dirty: Dataset, tmp_path: Path) -> None:
    """NaN, infinities, samples cut short, missing modalities, samples without data and unlabelled videos count."""
    whole = open_store(dirty, Options(), tmp_path)
    store = open_store(dirty, Options(max_steps={"slow": 2}), tmp_path)
    facts = store.facts.modalities
    nan = inf = 0
    with h5py.File(dirty.labels.path) as labels, h5py.File(dirty.modalities["fast"].path) as file:
        for video, rows in labels["anything/data"].items():
            for start, end in rows["intervals"][()]:
                if video in file["anything/data"]:
                    entry = file["anything/data"][video]
                    low, high = entry["intervals"][()].T
                    taken = entry["features"][()][(low < end) & (high > start)]
                    nan, inf = nan + int(np.isnan(taken).sum()), inf + int(np.isinf(taken).sum())
    assert (facts["fast"].nan, facts["fast"].inf, facts["fast"].truncated) == (nan, inf, 0)
    assert nan > 0 < inf
    assert facts["slow"].truncated == (whole.lengths("slow") > 2).sum() > 0
    assert facts["slow"].longest_steps == 2
    for name in store.modalities:
        assert facts[name].missing == (store.lengths(name) == 0).sum() > 0
        assert facts[name].features == store.features[name]
    assert store.facts.left_out["no data in any modality"] == 21 - len(store) > 0
    assert "1 videos of the modality 'fast' have no labels and are not used." in store.facts.notes
    assert all(torch.isfinite(values).all() for values in store.values.values())


def test_complete_only_leaves_out_what_lacks_a_modality(dirty: Dataset, tmp_path: Path) -> None:
    """By default a missing modality is kept as missing; with `complete_only` the sample is left out and counted."""
    everything = open_store(dirty, Options(), tmp_path)
    complete = open_store(dirty, Options(complete_only=True), tmp_path)
    has_all = np.all([everything.lengths(name) > 0 for name in everything.modalities], axis=0)
    assert list(complete.ids) == [sample for sample, has in zip(everything.ids, has_all, strict=True) if has]
    assert complete.facts.left_out["a modality missing (complete_only)"] == (~has_all).sum() > 0
    assert all((complete.lengths(name) > 0).all() for name in complete.modalities)


def test_a_video_is_one_sample(dirty: Dataset, tmp_path: Path) -> None:
    """With `unit = "video"` a sample holds all steps of its video in time order, and the mean of the labels."""
    store = open_store(dirty, Options(unit="video"), tmp_path)
    assert store.ids == store.videos == ("v0", "v1", "v2", "v3", "v5", "v6")
    with h5py.File(dirty.modalities["fast"].path) as file, h5py.File(dirty.labels.path) as labels:
        entry = file["anything/data/v5"]
        features = entry["features"][()][np.argsort(entry["intervals"][:, 0], kind="stable")]
        np.testing.assert_array_equal(store.sequence("fast", 4), np.where(np.isfinite(features), features, 0))
        np.testing.assert_allclose(store.labels[4], labels["anything/data/v5/features"][()].mean(axis=0), rtol=1e-6)


def test_an_aligned_file_fills_the_same_store(tiny: Path, tmp_path: Path) -> None:
    """Features called `id[k]` for the k-th segment give the store that plain ones give."""
    plain = open_store(load_dataset(tiny), Options(), tmp_path)
    dataset = load_dataset(tiny)
    for name, source in dataset.modalities.items():
        entries: dict[str, Entry] = {}
        with h5py.File(source.path) as file:
            for video, entry in file["anything/data"].items():
                intervals = entry["intervals"][()]
                for number, (start, end) in enumerate([(0.0, 2.0), (2.0, 4.0)]):
                    own = (intervals[:, 0] < end) & (intervals[:, 1] > start)
                    entries[f"{video}[{number}]"] = (entry["features"][own], intervals[own])
        dataset.modalities[name] = Source(write_csd(tmp_path / f"{name}.csd", entries))
    assert_same(open_store(dataset, Options(), tmp_path), plain)


def test_a_modality_of_other_ids_is_refused_with_both_forms(dirty: Dataset, tmp_path: Path) -> None:
    """A file whose ids fit no label is an error that shows ids of both."""
    far = write_csd(tmp_path / "far.csd", {"other": (np.ones((2, 4), np.float32), [[0, 1], [1, 2]])})
    dataset = attrs.evolve(dirty, modalities={**dirty.modalities, "far": far})
    with pytest.raises(DataError, match=r"'far' \(far\.csd\) has nothing.*its ids are like 'other'.*'v0' and 'v1'"):
        open_store(dataset, Options(), tmp_path)


def test_words_are_not_features(dirty: Dataset, tmp_path: Path) -> None:
    """A modality of words has no mean of several steps; the error says which options go with it."""
    words = write_csd(tmp_path / "words.csd", {"v0": (np.array([[b"sp"]]), [[0, 1]])})
    spoken = attrs.evolve(dirty, modalities={"text": words})
    for options in (Options(downsample={"text": 2}), Options(align=10.0)):
        with pytest.raises(SettingsError, match=r"'text' \(words.csd\) holds words, of which there is no mean"):
            open_store(spoken, options, tmp_path)


def test_a_data_set_without_features_and_a_wrong_name_are_refused(dirty: Dataset, tmp_path: Path) -> None:
    """No modality at all is an error of the data; an option for an unknown one is an error of the settings."""
    with pytest.raises(DataError, match="labels but no features"):
        open_store(attrs.evolve(dirty, modalities={}), Options(), tmp_path)
    for options in (Options(max_steps={"fats": 3}), Options(downsample={"fats": 3})):
        with pytest.raises(SettingsError, match=r"'fats' is not a modality of Dirty\. Did you mean 'fast'"):
            open_store(dirty, options, tmp_path)


def assert_same(left: Store, right: Store) -> None:
    """Two stores hold the same samples."""
    assert (left.ids, left.videos, left.modalities) == (right.ids, right.videos, right.modalities)
    assert torch.equal(left.labels, right.labels)
    assert torch.equal(left.intervals, right.intervals)
    for name in left.modalities:
        assert torch.equal(left.values[name], right.values[name])
        assert torch.equal(left.step_times[name], right.step_times[name])
        np.testing.assert_array_equal(left.offsets[name], right.offsets[name])


@pytest.mark.parametrize("align", ["none", 0.8])
def test_has_is_whether_any_step_is_present(dirty: Dataset, tmp_path: Path, align: float) -> None:
    """`has` says of every sample what a look at each of its steps says."""
    store = open_store(dirty, Options(align=align), tmp_path)
    for name in store.modalities:
        due = [bool(store.present(name, row).any()) for row in range(len(store))]
        assert store.has(name).tolist() == due
        assert set(due) == {False, True}
    assert align == "none" or (store.lengths("fast") > 0).all()


def test_it_is_built_once_with_progress(dirty: Dataset) -> None:
    """The first opening counts and packs every video, the second does nothing; EMOTIWAVE_CACHE says where."""
    first, second = Recorder(), Recorder()
    store = open_store(dirty, Options(), monitor=first)
    assert store.path.parent == Path(os.environ["EMOTIWAVE_CACHE"]) / "stores"
    assert {title: bar[1] == bar[0] > 0 for title, bar in first.bars.items()} == {
        f"{work} {name}": True for name in dirty.modalities for work in ("Counting", "Packing")
    }
    assert_same(open_store(dirty, Options(), monitor=second), store)
    assert (second.bars, second.lines) == ({}, [])


def test_it_is_a_plain_safetensors_file(dirty: Dataset, tmp_path: Path) -> None:
    """Another reader finds the flat arrays with offsets, aligned for their types, and nothing else in the folder."""
    store = open_store(dirty, Options(), tmp_path)
    assert sorted(path.name for path in store.path.iterdir()) == ["arrays.safetensors", "store.json"]
    arrays = safetensors.numpy.load_file(store.path / "arrays.safetensors")
    assert set(arrays) == {"labels", "intervals"} | {
        f"{n}.{a}" for n in store.modalities for a in ("values", "offsets", "times")
    }
    for name in store.modalities:
        assert arrays[f"{name}.offsets"][-1] == len(arrays[f"{name}.values"])
        np.testing.assert_array_equal(arrays[f"{name}.values"], store.values[name])
    for tensor in (store.intervals, store.labels, *store.values.values()):
        assert tensor.data_ptr() % tensor.element_size() == 0


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the memory maps are read from /proc")
def test_it_is_memory_mapped_and_cannot_be_written_through(dirty: Dataset, tmp_path: Path) -> None:
    """The tensors are views of the file's map, and writing to one does not reach the file."""
    store = open_store(dirty, Options(), tmp_path)
    spans = [line.split()[0] for line in Path("/proc/self/maps").read_text().splitlines() if str(store.path) in line]
    bounds = [tuple(int(end, 16) for end in span.split("-")) for span in spans]
    for tensor in (store.labels, *store.values.values()):
        assert any(low <= tensor.data_ptr() < high for low, high in bounds)
    store.labels.fill_(7.0)
    monitor = Recorder()
    assert not (open_store(dirty, Options(), tmp_path, monitor).labels == 7.0).any()
    assert monitor.lines == []


def test_another_source_or_option_is_another_store(tiny: Path, tmp_path: Path) -> None:
    """Whatever changes the content changes the fingerprint; what does not, such as the folds, does not."""
    dataset = load_dataset(write_dataset(tmp_path, videos=4))
    key = fingerprint(dataset, Options())
    assert fingerprint(load_dataset(tmp_path), Options()) == key
    assert fingerprint(attrs.evolve(dataset, folds=None), Options()) == key
    others = [
        fingerprint(load_dataset(tiny), Options()),
        fingerprint(attrs.evolve(dataset, name="Other"), Options()),
        fingerprint(attrs.evolve(dataset, synthetic=True), Options()),
        fingerprint(attrs.evolve(dataset, targets=("sad",)), Options()),
        fingerprint(attrs.evolve(dataset, columns=("sad",)), Options()),
        fingerprint(attrs.evolve(dataset, modalities=dict(reversed(dataset.modalities.items()))), Options()),
        *(
            fingerprint(dataset, options)
            for options in (
                Options(unit="video"),
                Options(complete_only=True),
                Options(max_steps={"text": 3}),
                Options(max_steps={"audio": 3}),
                Options(downsample={"text": 3}),
                Options(align="words"),
                Options(align=2.0),
            )
        ),
    ]
    assert dataset.labels
    for path in (source.path for source in (*dataset.modalities.values(), dataset.labels)):
        status = path.stat()
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
        others.append(fingerprint(dataset, Options()))
        path.write_bytes(path.read_bytes() + b"\0")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        others.append(fingerprint(dataset, Options()))
    assert len({key, *others}) == 1 + len(others)


@pytest.mark.short_rows(1)
@pytest.mark.parametrize("name", ["arrays.safetensors", "store.json"])
def test_a_flipped_byte_is_noticed(dirty: Dataset, tmp_path: Path, name: str) -> None:
    """A byte that is changed anywhere in a store is noticed, said, and the store is built anew as it was."""
    store = open_store(dirty, Options(), tmp_path)
    path = store.path / name
    whole = path.read_bytes()
    for place in np.linspace(0, len(whole) - 2, 12).astype(int):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        monitor = Recorder()
        assert_same(open_store(dirty, Options(), tmp_path, monitor), store)
        assert len(monitor.lines) == 1
        assert "is damaged" in monitor.lines[0]
        assert path.read_bytes() == whole


@pytest.mark.full
def test_a_source_that_changed_behind_its_size_and_time_is_found_on_demand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EMOTIWAVE_VERIFY=1 compares the SHA-256 of the sources: one that changed is named, and the store built anew."""
    dataset, recorder = load_dataset(write_dataset(tmp_path)), Recorder()
    before = open_store(dataset, Options(), tmp_path / "stores", recorder).facts.sources
    path = dataset.modalities["audio"].path
    with h5py.File(path) as file:
        place = file["anything/data/v00/features"].id.get_offset()
    status, content = path.stat(), bytearray(path.read_bytes())
    content[place + 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    monkeypatch.setenv("EMOTIWAVE_VERIFY", "0")
    assert open_store(dataset, Options(), tmp_path / "stores", recorder).facts.sources == before
    assert recorder.lines == []
    monkeypatch.setenv("EMOTIWAVE_VERIFY", "1")
    after = open_store(dataset, Options(), tmp_path / "stores", recorder).facts.sources
    assert {name for name in before if before[name] != after[name]} == {"audio.csd"}
    assert len(recorder.lines) == 1
    assert "audio.csd changed, though size and time did not: it is built anew" in recorder.lines[0]
    assert open_store(dataset, Options(), tmp_path / "stores", recorder).facts.sources == after
    assert len(recorder.lines) == 1


def _foreign(path: Path) -> None:
    facts = json.loads((path / "store.json").read_text())
    (path / "store.json").write_text(json.dumps(facts | {"fingerprint": "0" * 32}))


@pytest.mark.short_rows(2)
@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "store.json").write_text("null"),
        lambda path: (path / "store.json").write_text('"text"'),
        lambda path: (path / "store.json").write_text("{}"),
        lambda path: (path / "store.json").write_text("{"),
        lambda path: (path / "store.json").write_bytes(b"\xff"),
        lambda path: (path / "arrays.safetensors").write_bytes(b""),
        lambda path: os.truncate(path / "arrays.safetensors", 200),
        lambda path: (path / "arrays.safetensors").unlink(),
        lambda path: (path / "store.json").unlink(),
        _foreign,
    ],
)
def test_a_damaged_or_foreign_store_is_built_anew(
    dirty: Dataset, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    """A store that is cut off, emptied, half there or of other data is replaced by a whole one."""
    path = open_store(dirty, Options(), tmp_path).path
    whole = {file.name: file.read_bytes() for file in path.iterdir()}
    damage(path)
    monitor = Recorder()
    open_store(dirty, Options(), tmp_path, monitor)
    assert "Packing fast" in monitor.bars
    assert {file.name: file.read_bytes() for file in path.iterdir()} == whole


def test_a_store_of_other_data_under_this_name_is_not_taken(dirty: Dataset, tiny: Path, tmp_path: Path) -> None:
    """A whole store that lies under another fingerprint is replaced, not opened."""
    mine = open_store(dirty, Options(), tmp_path)
    other = open_store(load_dataset(tiny), Options(), tmp_path)
    for file in mine.path.iterdir():
        file.write_bytes((other.path / file.name).read_bytes())
    assert open_store(dirty, Options(), tmp_path).ids == mine.ids


def test_what_killed_builds_have_left_is_taken_away(dirty: Dataset, tmp_path: Path) -> None:
    """Also of other stores, but not of one that somebody is building."""
    for key in ("dead", "alive"):
        (tmp_path / f"{key}.building-x").mkdir()
        (tmp_path / f"{key}.building-x" / "arrays.safetensors").write_bytes(b"half")
    with FileLock(tmp_path / "alive.lock"):
        open_store(dirty, Options(), tmp_path)
    assert [path.name for path in tmp_path.glob("*.building-*")] == ["alive.building-x"]


def test_a_file_in_the_place_of_a_store_is_named(dirty: Dataset, tmp_path: Path) -> None:
    """A leftover that cannot be removed is an error that says what to remove."""
    (tmp_path / fingerprint(dirty, Options())).write_text("mine")
    with pytest.raises(ResourceError, match="remove it by hand"):
        open_store(dirty, Options(), tmp_path)


def test_a_source_that_fails_leaves_nothing(dirty: Dataset, tmp_path: Path) -> None:
    """A build that breaks off on a damaged source is a DataError and leaves no half store."""
    path = tmp_path / "bad.csd"
    path.write_bytes(dirty.modalities["slow"].path.read_bytes())
    with h5py.File(path, "a") as file:
        group = file["anything/data/v6"]
        wide = np.ones((len(group["features"]), 9), np.float32)
        del group["features"]
        group["features"] = wide
    cache = tmp_path / "cache"
    with pytest.raises(DataError, match=r"bad.csd: 1 of 5 entries are of another form.*'v6' \(\[18, 9\] of float32\)"):
        open_store(attrs.evolve(dirty, modalities={"slow": path}), Options(), cache)
    assert [file.suffix for file in cache.iterdir() if file.is_dir()] == []


def test_a_full_disk_is_noticed_before_the_work(
    dirty: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Space that cannot be reserved is an error of the resources, before anything is packed."""

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    monitor = Recorder()
    with pytest.raises(ResourceError, match="No space left"):
        open_store(dirty, Options(), tmp_path, monitor)
    assert not any(title.startswith("Packing") for title in monitor.bars)
    assert not any(path.is_dir() for path in tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="Cannot write"):
        open_store(dirty, Options(), tmp_path / "file")


BUILD = """
import os, signal, sys, time
from pathlib import Path
from emotiwave_core.data.dataset import load_dataset
from emotiwave_core.data.prepare.store_key import Options
from emotiwave_core.data.store.store import open_store
from emotiwave_core.monitor import Monitor

folder, cache, gate, how = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]

class Telling(Monitor):
    def progress(self, title, total):
        print(title, flush=True)
        if how == "killed" and title == "Packing audio":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().progress(title, total)

(gate / str(os.getpid())).touch()
while how == "together" and len(list(gate.iterdir())) < 2:
    time.sleep(0.01)
print(len(open_store(load_dataset(folder), Options(), cache, Telling())))
"""


def start(folder: Path, cache: Path, gate: Path, how: str) -> "subprocess.Popen[str]":
    """Another process that opens the store."""
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", BUILD, str(folder), str(cache), str(gate), how]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths})


@pytest.mark.full
@pytest.mark.usefixtures("warm_children")
def test_two_runs_and_a_killed_one_leave_one_whole_store(tiny: Path, tmp_path: Path) -> None:
    """After a build that was killed, two runs that start together build the store once and clear the remains away."""
    cache, gate = tmp_path / "stores", tmp_path / "gate"
    gate.mkdir()
    killed = start(tiny, cache, tmp_path, "killed")
    assert "Packing audio" in killed.communicate(timeout=600)[0]
    assert killed.returncode == -9
    assert any(".building-" in path.name for path in cache.iterdir())
    runs = [start(tiny, cache, gate, "together") for _ in range(2)]
    said = [run.communicate(timeout=600)[0].split("\n") for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert sorted(len(lines) for lines in said) == [2, 8]  # one built (3 modalities counted and packed), one opened
    assert all(lines[-2] == "48" for lines in said)
    key = fingerprint(load_dataset(tiny), Options())
    assert sorted(path.name for path in cache.iterdir()) == [key, f"{key}.lock"]


@pytest.mark.full
def test_building_needs_memory_for_one_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the intervals that are kept, eight times as many videos do not raise the peak of memory by two videos."""
    monkeypatch.setattr(csd, "ROOM_FOR_TIMES", 0)
    video = (np.ones((1500, 60), np.float32), np.arange(3000.0).reshape(1500, 2))
    label = (np.eye(6, dtype=np.float32)[:1], [[0.0, 3000.0]])
    size, peaks = video[0].nbytes, []
    for count in (6, 48):
        ids = [f"v{number}" for number in range(count)]
        path = write_csd(tmp_path / f"{count}.csd", dict.fromkeys(ids, video))
        labels = write_csd(tmp_path / f"{count}l.csd", dict.fromkeys(ids, label), EMOTIONS)
        dataset = Dataset("Large", tmp_path, {"audio": path}, labels)
        tracemalloc.start()
        store = open_store(dataset, Options(), tmp_path / "stores")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert store.values["audio"].nbytes == count * size
    assert peaks[1] - peaks[0] < 2 * size
    assert peaks[0] < 6 * size  # a video is cut, cleaned and written, and each may be a copy
