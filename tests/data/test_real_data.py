"""Real `.csd` files, where they lie beside the checkout: the facts that are published or were counted by hand."""

import functools
import json
from pathlib import Path
from typing import Any

import attrs
import h5py
import numpy as np
import pytest

from emotiwave_core.data.dataset import EMOTIONS, load_dataset
from emotiwave_core.data.folds import FOLDS, read_folds
from emotiwave_core.data.formats.csd import CsdFile
from emotiwave_core.data.formats.reader import Source
from emotiwave_core.data.inspect import inspect_file, inspect_folder
from emotiwave_core.data.prepare.labels import MOSEI_COLUMNS
from emotiwave_core.data.prepare.options import Options
from emotiwave_core.data.prepare.segments import Samples, Unit, read_samples
from emotiwave_core.data.store.store import open_store
from emotiwave_core.errors import DataError, SettingsError

inspected = functools.cache(inspect_folder)


@functools.cache
def samples_of(folder: Path, unit: Unit) -> Samples:
    """The samples of a folder, read once."""
    return read_samples(load_dataset(folder), unit)


@pytest.mark.full
def test_mosei_segments_by_official_fold(real_data: Path) -> None:
    """CMU-MOSEI has 23,259 segments of 3,293 videos: 16,327 / 1,871 / 4,662 by official fold and 399 in none."""
    facts = inspected(real_data / "mosei")
    assert facts["files"]["CMU_MOSEI_Labels.csd"]["steps"] == 23_259
    assert facts["folds"]["videos"] == {"train": 2249, "valid": 300, "test": 678}
    assert facts["folds"]["rows"] == {"train": 16_327, "valid": 1871, "test": 4662}
    assert (facts["folds"]["videos_in_no_fold"], facts["folds"]["rows_in_no_fold"]) == (68, 399)
    assert {fold: len(ids) for fold, ids in facts["folds"]["ids_without_labels"].items()} == {
        "train": 0,
        "valid": 0,
        "test": 2,
    }


def test_mosei_classes(real_data: Path) -> None:
    """The strongest emotion of the segments is as counted; 3,486 of those called happy have no emotion at all."""
    labels = inspected(real_data / "mosei")["files"]["CMU_MOSEI_Labels.csd"]["labels"]
    counted = {"happy": 14_567, "sad": 3782, "anger": 2730, "disgust": 1291, "fear": 452, "surprise": 437}
    assert labels["argmax"] == counted
    assert (labels["no_emotion"], labels["rows"], tuple(labels["columns"])) == (3486, 23_259, MOSEI_COLUMNS)
    assert labels["notes"] == []


def test_mosei_intervals(real_data: Path) -> None:
    """239 segments start below 0, the lowest at -0.488, and segments overlap in 2,329 videos."""
    facts = inspected(real_data / "mosei")["files"]["CMU_MOSEI_Labels.csd"]
    assert (facts["intervals"]["below 0"], facts["intervals"]["ids with overlaps"]) == (239, 2329)
    assert facts["lowest_start"] == pytest.approx(-0.488, abs=5e-4)


@pytest.mark.full
def test_mosei_samples(real_data: Path) -> None:
    """Samples hold the same segments: as many, with the same classes and folds, and as a plain loop reads them."""
    folder = real_data / "mosei"
    samples = samples_of(folder, "segment")
    assert len(samples.ids) == len(set(samples.ids)) == 23_259
    assert samples.columns.targets == EMOTIONS
    assert np.bincount(samples.labels.argmax(axis=1)).tolist() == [14_567, 3782, 2730, 437, 1291, 452]
    assert int((~(samples.labels > 0).any(axis=1)).sum()) == 3486
    assert int((samples.intervals[:, 0] < 0).sum()) == 239
    folds = read_folds(folder / "folds.json")
    in_fold = {fold: sum(video in set(folds[fold]) for video in samples.videos) for fold in ("valid", "test")}
    assert in_fold == {"valid": 1871, "test": 4662}
    with h5py.File(folder / "CMU_MOSEI_Labels.csd") as file:
        for row in range(0, 23_259, 997):
            entry = file["All Labels/data"][samples.videos[row]]
            number = int(samples.ids[row][:-1].rpartition("[")[2])
            assert samples.labels[row].tolist() == entry["features"][number, 1:].tolist()
            assert samples.intervals[row].tolist() == entry["intervals"][number].tolist()


def test_mosi_words(real_data: Path) -> None:
    """The words of CMU-MOSI are 51,056 in 93 ids, 16.2 % of them the pause `sp`; the file names no columns."""
    facts = inspect_file(real_data / "csd_samples/real/CMU_MOSI_ModifiedTimestampedWords.csd", None, None)
    assert (facts["ids"], facts["steps"], facts["kind"], facts["columns"]) == (93, 51_056, "words", None)
    assert round(100 * facts["pauses"] / facts["steps"], 1) == 16.2


def test_mosi_labels(real_data: Path) -> None:
    """The opinions of CMU-MOSI are 2,199 rows of one column, a sentiment: no emotion, but a number."""
    path = real_data / "csd_samples/real/CMU_MOSI_Opinion_Labels.csd"
    facts = inspect_file(path, None, None)
    assert (facts["ids"], facts["steps"], facts["columns"]) == (93, 2199, ["sentiment score"])
    assert (facts["intervals"]["of zero length"], facts["root"]) == (1, "Opinion Segment Labels")
    dataset = load_dataset(real_data / "mosei")
    with pytest.raises(DataError, match="no label column 'happy'"):
        read_samples(attrs.evolve(dataset, labels=path), "segment")
    columns = read_samples(attrs.evolve(dataset, labels=path, targets=None), "segment").columns
    assert (columns.targets, columns.kind) == (("sentiment score",), "regression")


@pytest.mark.parametrize(
    ("name", "size"),
    [("Labels", 57), ("TimestampedWords", 168), ("TimestampedWordVectors", 0)],
)
def test_failed_downloads_are_refused_by_name(real_data: Path, name: str, size: int) -> None:
    """Real failed downloads that bear the `.csd` name are refused with their name and size."""
    path = real_data / f"csd_samples/broken/CMU_MOSEI_{name}.csd"
    with pytest.raises(DataError, match=rf"CMU_MOSEI_{name}\.csd \({size} bytes\) is not an HDF5 file"):
        CsdFile(path)
    facts: dict[str, Any] = inspected(path.parent)["files"][path.name]
    assert (facts["bytes"], "failed download" in facts["error"]) == (size, True)


@pytest.mark.full
def test_mosei_words_are_words(real_data: Path) -> None:
    """The transcripts of CMU-MOSEI are a modality of words, which an encoder of features refuses with what to use."""
    dataset = load_dataset(real_data / "mosei_text")
    dataset.modalities["text"] = Source(real_data / "mosei_text/CMU_MOSEI_TimestampedWords.csd")
    store = open_store(dataset, Options())
    assert len(store) == 6514  # that have a word
    assert "people" in store.words["text"]
    with pytest.raises(SettingsError, match=r"CMU_MOSEI_TimestampedWords\.csd\) holds words.*--encoder text=hashed"):
        store.with_tokens({})


@pytest.mark.full
def test_ravdess_clips(real_data: Path) -> None:
    """RAVDESS has 1,440 clips of one row each, 1,152 of them with an emotion, 192 of each."""
    samples = samples_of(real_data / "ravdess", "segment")
    assert len(samples.ids) == len(set(samples.videos)) == 1440
    emotional = (samples.labels > 0).any(axis=1)
    assert int(emotional.sum()) == 1152
    assert np.bincount(samples.labels[emotional].argmax(axis=1)).tolist() == [192] * 6


def test_ravdess_folds_are_of_different_actors(real_data: Path) -> None:
    """No actor (the last number of an id) is in two folds, fixed or rotated, and every clip is tested once."""
    folder = real_data / "ravdess"
    count = len(json.loads((folder / "cv.json").read_text()))
    rotations = [read_folds(folder / "cv.json", rotation) for rotation in range(count)]
    for folds in (read_folds(folder / "folds.json"), *rotations):
        actors = [{video[-2:] for video in folds[fold]} for fold in FOLDS]
        assert len(set.union(*actors)) == sum(map(len, actors)) == 24
        assert sum(len(folds[fold]) for fold in FOLDS) == 1440
    assert sorted(video for folds in rotations for video in folds.test) == sorted(samples_of(folder, "segment").videos)


@pytest.mark.full
def test_ravdess_store(real_data: Path) -> None:
    """Of a clip the store holds every step of the audio, as plain h5py reads it."""
    dataset = load_dataset(real_data / "ravdess")
    del dataset.modalities["text"], dataset.modalities["visual"]
    store = open_store(dataset, Options())
    assert (len(store), store.features, store.facts.modalities["audio"].missing) == (1440, {"audio": 74}, 0)
    assert int(store.lengths("audio").sum()) == 107_424
    with h5py.File(dataset.modalities["audio"].path) as file:
        for row in range(0, 1440, 97):
            clip = file["audio74/data"][store.videos[row]]["features"]
            np.testing.assert_array_equal(store.sequence("audio", row), clip)
