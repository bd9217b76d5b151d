"""The words of a sample: cut as its steps are, decoded, without pauses."""

from pathlib import Path
from typing import Any

import attrs
import h5py
import numpy as np
import pytest
from datasets import EMOTIONS, Entry, write_csd

from emotiwave_core.data.dataset import Dataset, load_dataset
from emotiwave_core.data.prepare.options import Options
from emotiwave_core.data.prepare.segments import cut
from emotiwave_core.data.store.store import Store, open_store
from emotiwave_core.data.store.words import words_of
from emotiwave_core.data.synthetic.sample import write_sample
from emotiwave_core.errors import DataError

SAID = [b"late", b"sp", b"na\xc3\xafve", b"\xff", b"early"]
TIMES = [[3.5, 4.5], [2.0, 2.5], [2.5, 3.0], [1.0, 2.0], [0.0, 1.0]]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Two videos of two segments, of which `w` has no words."""
    steps = (np.ones((8, 2), np.float32), [[n / 2, n / 2 + 0.5] for n in range(8)])
    label = (np.eye(6, dtype=np.float32)[:2], [[0.0, 2.0], [2.0, 4.0]])
    audio = write_csd(tmp_path / "audio.csd", {"v": steps, "w": steps})
    labels = write_csd(tmp_path / "labels.csd", {"v": label, "w": label}, EMOTIONS)
    words = write_csd(tmp_path / "words.csd", {"v": (np.array(SAID)[:, None], TIMES)})
    return Dataset("Said", tmp_path, {"audio": audio}, labels, words=words)


def opened(dataset: Dataset, tmp_path: Path, **options: Any) -> Store:
    """The store of a data set."""
    return open_store(dataset, Options(**options), tmp_path / "stores")


def test_words_are_cut_as_steps_are(dataset: Dataset, tmp_path: Path) -> None:
    """A segment has the words that overlap it, in time order, without pauses; what is no UTF-8 is replaced."""
    store = opened(dataset, tmp_path)
    assert store.ids == ("v[0]", "v[1]", "w[0]", "w[1]")
    assert words_of(dataset, store, 0) == [(0.0, 1.0, "early"), (1.0, 2.0, "\ufffd")]
    assert words_of(dataset, store, 1) == [(2.5, 3.0, "naïve"), (3.5, 4.5, "late")]


def test_a_video_has_all_its_words(dataset: Dataset, tmp_path: Path) -> None:
    """With `unit = "video"` the words of all segments come, in time order."""
    store = opened(dataset, tmp_path, unit="video")
    assert [word.word for word in words_of(dataset, store, 0)] == ["early", "\ufffd", "naïve", "late"]


def test_nothing_is_said_where_nothing_is_written(dataset: Dataset, tmp_path: Path) -> None:
    """A video without an entry has no words, and a data set without a file of words has none at all."""
    store = opened(dataset, tmp_path)
    assert words_of(dataset, store, 2) == []
    assert words_of(attrs.evolve(dataset, words=None), store, 0) == []


def test_a_file_of_numbers_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    """Features under `words` are a fault of dataset.toml."""
    wrong = attrs.evolve(dataset, words=dataset.modalities["audio"])
    with pytest.raises(DataError, match=r"audio\.csd holds numbers, not words: `words` in dataset\.toml"):
        words_of(wrong, opened(dataset, tmp_path), 0)


def test_words_aligned_to_segments_are_whole(dataset: Dataset, tmp_path: Path) -> None:
    """The entry `v[1]` is the segment `v[1]` whatever its times say, and a neighbour's words are not its own."""
    entries: dict[str, Entry] = {"v[0]": (np.array([[b"one"]]), [[0, 4]]), "v[1]": (np.array([[b"two"]]), [[9, 10]])}
    aligned = attrs.evolve(dataset, words=write_csd(tmp_path / "aligned.csd", entries))
    store = opened(dataset, tmp_path)
    assert [[word.word for word in words_of(aligned, store, row)] for row in range(3)] == [["one"], ["two"], []]


def test_only_the_entry_of_the_sample_is_read(dataset: Dataset, tmp_path: Path) -> None:
    """Damage in another video's words is not noticed, in its own it is an error."""
    store = opened(dataset, tmp_path)
    assert dataset.words
    with h5py.File(dataset.words.path, "a") as file:
        file["anything/data/w/features"] = np.array([[b"x"]])  # and no intervals
    assert len(words_of(dataset, store, 0)) == 2
    with pytest.raises(DataError, match="'w' has no 'intervals'"):
        words_of(dataset, store, 2)


def test_the_sample_tells_its_words(tmp_path: Path) -> None:
    """The synthetic sample names its words, and a segment's are those that plain h5py finds in it."""
    write_sample(tmp_path / "sample", videos=15)
    dataset = load_dataset(tmp_path / "sample")
    del dataset.modalities["audio"], dataset.modalities["visual"]
    store = opened(dataset, tmp_path)
    with h5py.File(tmp_path / "sample" / "SYNTHETIC_Words.csd", locking=False) as file:
        for row in range(0, len(store), 5):
            entry = file["Words/data"][store.videos[row]]
            steps = cut(entry["intervals"][()], *store.intervals[row].tolist())
            said = [entry["features"][step, 0].decode() for step in steps]
            found = [word for _, _, word in words_of(dataset, store, row)]
            assert found == [word for word in said if word != "sp"] != []


def test_the_text_of_a_sample_may_be_its_words(tmp_path: Path) -> None:
    """With `words` the text is a modality of words, those that the data set names; every file is the same."""
    for name, words in (("vectors", False), ("words", True)):
        write_sample(tmp_path / name, videos=15, words=words)
    vectors, spoken = (tmp_path / name / "dataset.toml" for name in ("vectors", "words"))
    assert spoken.read_text() == vectors.read_text().replace("WordVectors", "Words")
    for file in (path.name for path in vectors.parent.iterdir() if path != vectors):
        assert (tmp_path / "words" / file).read_bytes() == (tmp_path / "vectors" / file).read_bytes(), file
    dataset = load_dataset(tmp_path / "words")
    del dataset.modalities["audio"], dataset.modalities["visual"]
    store = opened(dataset, tmp_path)
    with h5py.File(tmp_path / "words" / "SYNTHETIC_Words.csd", locking=False) as file:
        said = {word.decode() for entry in file["Words/data"].values() for word in entry["features"][:, 0]}
    assert set(store.words["text"]) <= said - {"sp"}
    assert len(store.words["text"]) > 10
