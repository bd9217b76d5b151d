"""A long recording: packed in blocks whose size changes nothing, in memory that its features do not fill."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from datasets import write_csd
from hypothesis import given, settings
from hypothesis import strategies as st

from emotiwave_core.data.dataset import Dataset, load_dataset
from emotiwave_core.data.formats.numpy_arrays import NumpyArrays
from emotiwave_core.data.formats.reader import Source
from emotiwave_core.data.prepare import align, packing, segments
from emotiwave_core.data.prepare.align import average, grouped
from emotiwave_core.data.prepare.options import Options
from emotiwave_core.data.store.store import open_store

OPTIONS = (
    Options(),
    Options(unit="video", downsample={"audio": 3}),
    Options(align="words", max_steps={"text": 3, "audio": 3, "visual": 3}),
    Options(align=7.0),
)


@pytest.mark.full
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("few", [2, 7])
def test_the_size_of_the_blocks_changes_nothing(
    few: int, options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store is the same to the byte whether its rows are read a few at a time or all, as they overlap or lack one."""
    folder = _odd(tmp_path)
    whole = open_store(load_dataset(folder), options, tmp_path / "whole").path
    monkeypatch.setattr(packing, "ROOM", 16 * few)
    monkeypatch.setattr(packing, "NEAR", 16)
    monkeypatch.setattr(segments, "MOST_SAMPLES", few)
    for module in (align, segments):
        monkeypatch.setattr(module, "MOST_PAIRS", few)
    blocks = open_store(load_dataset(folder), options, tmp_path / "blocks").path
    for name in ("arrays.safetensors", "store.json"):
        assert (whole / name).read_bytes() == (blocks / name).read_bytes(), name


def _odd(folder: Path) -> Path:
    """Segments and rows in no order that overlap: zeros at the ends, NaN, infinities, -0.0, rows without times."""
    random = np.random.default_rng(7)

    def entry(rows: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        features = random.normal(size=(rows, width)).astype(np.float32)
        for value in (-0.0, np.nan, np.inf):
            features[random.random(features.shape) < 0.1] = value
        features[-rows // 3 :] = 0
        start = random.uniform(-1, 12, rows)
        times = np.stack([start, start + random.choice([0.0, 0.2, 1.0, 5.0], rows)], axis=1)
        times[random.random(rows) < 0.1] = np.nan
        return features, times

    for name, width in (("text", 3), ("audio", 4), ("visual", 2)):
        write_csd(folder / f"{name}.csd", {video: entry(40, width) for video in "abc"})
    start = random.uniform(-1, 12, (3, 9))
    labels = {
        v: (random.integers(0, 3, (9, 2)), np.stack([s, s + 3], axis=1)) for v, s in zip("abd", start, strict=True)
    }
    write_csd(folder / "labels.csd", labels, ["happy", "sad"])
    (folder / "dataset.toml").write_text(
        'name = "odd"\n[labels]\nfile = "labels.csd"\n[modalities]\n'
        + "".join(f'{name} = "{name}.csd"\n' for name in ("text", "audio", "visual"))
    )
    return folder


@pytest.mark.full
@pytest.mark.parametrize("options", [Options(), Options(align=20.0)])
def test_memory_grows_with_the_times_of_a_recording_and_not_with_its_features(options: Options, tmp_path: Path) -> None:
    """Of one recording twice as long, packing holds at most 64 bytes more a row, whose features are 256."""
    peaks = [_peak(_one(tmp_path / f"{rows}", rows), options, tmp_path) for rows in (60_000, 120_000)]
    assert peaks[1] - peaks[0] <= 64 * 60_000


@pytest.mark.full
def test_memory_grows_little_with_the_labels(tmp_path: Path) -> None:
    """Each label row takes at most 600 bytes while its store is built, whatever the steps that it cuts."""
    peaks = [_peak(_one(tmp_path / f"{rows}", rows, 1), Options(), tmp_path) for rows in (40_000, 80_000)]
    assert peaks[1] - peaks[0] <= 600 * 40_000


def _one(folder: Path, rows: int, rows_a_label: int = 1000) -> Dataset:
    folder.mkdir()
    edges = np.arange(rows + 1) / 100
    times = np.stack([edges[:-1], edges[1:]], axis=1)
    write_csd(folder / "audio.csd", {"one": (np.ones((rows, 64), np.float32), times)})
    cut = np.stack([edges[:-1:rows_a_label], edges[rows_a_label::rows_a_label]], axis=1)
    write_csd(folder / "labels.csd", {"one": (np.ones((len(cut), 2), np.float32), cut)}, ["happy", "sad"])
    return Dataset("one", folder, {"audio": Source(folder / "audio.csd")}, Source(folder / "labels.csd"))


def _peak(dataset: Dataset, options: Options, folder: Path) -> int:
    with pytest.MonkeyPatch.context() as patch:
        for name, size in (("ROOM", 1 << 20), ("LARGE", 1 << 40)):  # blocks that a small file is many of, in one thread
            patch.setattr(packing, name, size)
        for module in (align, segments):
            patch.setattr(module, "MOST_PAIRS", 1 << 12)
        tracemalloc.start()
        try:
            open_store(dataset, options, folder / f"{dataset.folder.name}-store")
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 7), min_size=1, max_size=6), st.integers(1, 4))
def test_samples_are_grouped_together_as_each_alone(counts: list[int], k: int) -> None:
    """Each k rows of several samples make the steps, and the means, that they make of one sample after the other."""
    edges = np.arange(sum(counts) + 1.0)
    intervals, features = np.stack([edges[:-1], edges[1:]], axis=1), np.arange(sum(counts), dtype=np.float32)[:, None]
    together = grouped(intervals, np.arange(sum(counts)), k, np.array(counts))
    ends = np.cumsum(counts)
    alone = [grouped(intervals, np.arange(end - count, end), k) for end, count in zip(ends, counts, strict=True)]
    for field, found in together._asdict().items():
        np.testing.assert_array_equal(found, np.concatenate([getattr(one, field) for one in alone]))
    np.testing.assert_array_equal(
        average(features, together), np.concatenate([average(features, one) for one in alone])
    )


def test_some_rows_of_an_array_are_those_of_the_whole(tmp_path: Path) -> None:
    """Rows of a plain, a Fortran-ordered and a packed array are those of all of it, and a file cut off is refused."""
    values = np.arange(30, dtype=np.float32).reshape(10, 3)
    np.save(tmp_path / "plain.npy", values)
    np.save(tmp_path / "fortran.npy", np.asfortranarray(values))
    np.savez_compressed(tmp_path / "packed.npz", values)
    with NumpyArrays(Source(tmp_path)) as file:
        for key in ("plain", "fortran", "packed"):
            for rows in (slice(2, 5), slice(0, 10), slice(9, 40), slice(3, 3), slice(None)):
                np.testing.assert_array_equal(file.features(key, rows), values[rows])
