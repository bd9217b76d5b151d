"""Data sets of arrays, and data sets written anew: what is trained on is what was handed over."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import write_dataset
from pickled_data import CLASSES, mmsa, write_pickle

import emotiwave as ew
from emotiwave_core.cli import exit_code_of
from emotiwave_core.config.recipe import DataSettings
from emotiwave_core.data.corpus import Corpus, open_corpus
from emotiwave_core.data.dataset import Dataset
from emotiwave_core.data.formats.csd import CsdFile

N = 24
TEXT = [np.random.default_rng(n).normal(size=(3 + n % 4, 5)) for n in range(N)]
AUDIO: list[Any] = [None if n % 8 == 3 else np.ones(4) * (n + 1) for n in range(N)]
NAMES = [CLASSES[n % 3] for n in range(N)]
FOLDS = ["train"] * 12 + ["valid"] * 6 + ["test"] * 6


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOTIWAVE_CACHE", str(tmp_path / "cache"))


def opened(dataset: Dataset) -> Corpus:
    """As a run opens it."""
    return open_corpus(dataset.folder, DataSettings(max_steps=1000))


def test_arrays_are_a_data_set() -> None:
    """Values, absence, labels, groups, folds and ids are those that were handed over; nothing is written twice."""
    given: dict[str, Any] = {"labels": NAMES, "folds": FOLDS, "groups": [f"actor{n // 6}" for n in range(N)]}
    data = ew.dataset({"text": TEXT, "audio": AUDIO}, ids=[f"clip{n}" for n in range(N)], **given)
    corpus = opened(data)
    store = corpus.store
    assert sorted(store.ids) == sorted(f"clip{n}" for n in range(N))
    for row, key in enumerate(store.ids):
        n = int(key.removeprefix("clip"))
        assert torch.equal(store.sequence("text", row), torch.from_numpy(TEXT[n].astype(np.float32)))
        assert store.has("audio")[row] == (AUDIO[n] is not None)
        assert store.targets[int(store.labels[row].argmax())] == NAMES[n]
        assert store.facts.groups is not None
        assert store.facts.groups[row] == f"actor{n // 6}"
        fold = next(fold for fold in ("train", "valid", "test") if row in corpus.rows(fold))
        assert fold == FOLDS[n]
    again = ew.dataset({"text": TEXT, "audio": AUDIO}, ids=[f"clip{n}" for n in range(N)], **given)
    assert again.folder == data.folder
    assert ew.dataset({"text": TEXT, "audio": AUDIO}, **given).folder != data.folder


def test_times_are_kept() -> None:
    """Seconds that are handed over are those of the steps."""
    times = [np.stack([np.arange(len(a)), np.arange(len(a)) + 0.5], axis=1) for a in TEXT]
    data = ew.dataset({"text": TEXT}, labels=NAMES, times={"text": times})
    with CsdFile(data.folder / "text.csd") as file:
        assert file.has_times
        assert np.array_equal(file.intervals(file.keys[1]), times[1])


@pytest.mark.short_rows(2)
@pytest.mark.parametrize(
    ("labels", "targets", "kind", "told"),
    [
        (NAMES, None, "classes", tuple(sorted(CLASSES))),
        ([n % 3 for n in range(N)], CLASSES, "classes", CLASSES),
        ([n % 3 - 0.5 for n in range(N)], ["valence"], "regression", ("valence",)),
        (np.eye(3)[[n % 3 for n in range(N)]], CLASSES, "classes", CLASSES),
        ([[1, n % 2, 0.0] for n in range(N)], CLASSES, "multi", CLASSES),
        ([[1, n % 2, 0.5] for n in range(N)], CLASSES, "intensities", CLASSES),
        ({"sad": [1.5] * N, "glad": [0.5] * N}, None, "intensities", ("sad", "glad")),
    ],
)
def test_labels_of_each_form(labels: Any, targets: Any, kind: str, told: tuple[str, ...]) -> None:
    """What labels mean is recognised by their form, and written down."""
    store = opened(ew.dataset({"text": TEXT}, labels=labels, targets=targets)).store
    assert (store.facts.label_kind, store.targets) == (kind, told)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"labels": ["a", "b"]}, "labels has 2 entries, and there are 24 samples"),
        ({"ids": ["a"] * N}, "The id 'a' stands twice"),
        ({"ids": ["a/b", *"bcdefghijklmnopqrstuvwx"]}, "'a/b' cannot be the id of a sample"),
        ({"labels": np.eye(3)[[n % 3 for n in range(N)]]}, "labels have 3 columns: name them by targets="),
        ({"labels": NAMES, "targets": ["Neutral"]}, "labels hold 'Negative', which targets= does not name"),
        ({"folds": ["trian"] * N}, "There is no fold 'trian'. Did you mean 'train'?"),
        ({"groups": ["a"]}, "'groups' has 1 entries, and 'text' has 24"),
        ({"times": {"text": [np.ones((1, 2))] * N}}, r"times of 'text' of 'sample00' have the shape \[1, 2\]"),
    ],
)
def test_what_does_not_fit_is_a_sentence(given: dict[str, Any], sentence: str) -> None:
    """A wrong number, name or shape is a DataError that says which."""
    with pytest.raises(ew.DataError, match=sentence):
        ew.dataset({"text": TEXT}, **given)


def test_a_frame_is_a_data_set() -> None:
    """A DataFrame, here one that only has its columns and cells, is read by the names of its columns."""

    class Frame:
        """Columns by name."""

        def __init__(self, **columns: Any) -> None:
            self._of, self.columns = columns, list(columns)

        def __getitem__(self, name: str) -> Any:
            return self._of[name]

    ids = [f"c{n}" for n in range(N)]
    absent = [float("nan") if array is None else array for array in AUDIO]
    table = Frame(id=ids, label=NAMES, split=FOLDS, speaker=ids, text=TEXT, audio=absent, note=ids)
    corpus = opened(ew.dataset(table))
    assert sorted(corpus.store.ids) == sorted(ids)
    assert corpus.store.modalities == ("text", "audio")
    assert int(corpus.store.has("audio").sum()) == N - 3
    assert [len(corpus.rows(fold)) for fold in ("train", "valid", "test")] == [12, 6, 6]


def same(one: Corpus, other: Corpus) -> None:
    """Two corpora with the same samples, values, labels and folds."""
    assert one.store.ids == other.store.ids
    assert one.store.modalities == other.store.modalities
    assert all(torch.equal(one.store.values[name], other.store.values[name]) for name in one.store.modalities)
    assert torch.equal(one.store.labels, other.store.labels)
    assert one.store.facts.label_kind == other.store.facts.label_kind
    assert one.store.facts.groups == other.store.facts.groups
    assert one.folds.sha256 == other.folds.sha256


@pytest.mark.full
def test_a_data_set_of_csd_is_the_same_when_it_is_converted(tmp_path: Path) -> None:
    """Written anew, its samples, values, labels and folds are what they were."""
    (tmp_path / "tiny").mkdir()
    folder = write_dataset(tmp_path / "tiny")
    out = tmp_path / "out"
    assert exit_code_of(["data", "convert", str(folder), "--to", "csd", "--out", str(out)]) == 0
    same(open_corpus(folder, DataSettings()), open_corpus(out, DataSettings()))
    assert exit_code_of(["data", "convert", str(folder), "--to", "csd", "--out", str(out)]) == 2


@pytest.mark.full
def test_a_pickle_is_the_same_when_it_is_converted(tmp_path: Path) -> None:
    """A format without times stays one: the file that is written says that its steps are counted."""
    write_pickle(tmp_path / "a.pkl", mmsa())
    files = "".join(f'{name} = {{file = "a.pkl", part = "{name}"}}\n' for name in ("text", "audio", "vision"))
    labels = '[labels]\nfile = "a.pkl"\npart = "annotations"\n[folds]\nfile = "a.pkl"\npart = "annotations"\n'
    (tmp_path / "dataset.toml").write_text(f"[modalities]\n{files}{labels}")
    assert exit_code_of(["data", "convert", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    with CsdFile(tmp_path / "out" / "audio.csd") as file:
        assert not file.has_times
    same(open_corpus(tmp_path, DataSettings()), open_corpus(tmp_path / "out", DataSettings()))


def test_write_csd_writes_what_is_read(tmp_path: Path) -> None:
    """Numbers and words by id come back, with columns and metadata; what does not fit is refused, and not written."""
    times = {"a": [[0, 1], [1, 2]]}
    path = ew.write_csd(tmp_path / "a.csd", {"a": [[1, 2], [3, 4]]}, times, columns=["x", "y"], metadata={"k": 1})
    with CsdFile(path) as file:
        assert file.features("a").tolist() == [[1, 2], [3, 4]]
        assert (file.dimension_names, file.metadata["k"], file.has_times) == (["x", "y"], 1, True)
    with CsdFile(ew.write_csd(tmp_path / "w.csd", {"a": ["so", "ß"]}, times)) as file:
        assert file.features("a")[:, 0].tolist() == [b"so", "ß".encode()]
    for features in ({"a": [1, 2]}, {"b": [[1], [2]]}, {"a": [[1], [2], [3]]}, {"a": [[1, 2], [3, 4]], "b": [[1]]}):
        with pytest.raises(ew.DataError):
            ew.write_csd(tmp_path / "c.csd", features, times | ({"b": [[0, 1]]} if len(features) > 1 else {}))
    with pytest.raises(ew.DataError, match=r"'a/b' cannot stand in a \.csd file"):
        ew.write_csd(tmp_path / "c.csd", {"a/b": [[1]]}, {"a/b": [[0, 1]]})
    assert sorted(file.name for file in tmp_path.glob("*.csd")) == ["a.csd", "w.csd"]
    assert not [file for file in tmp_path.iterdir() if file.name.endswith(".part")]


@pytest.mark.full
def test_a_zero_byte_is_no_part_of_a_name() -> None:
    """A group that NumPy would take for another one is a sentence: two are never read, or counted, as one."""
    data = ew.dataset({"text": TEXT}, labels=NAMES, folds=FOLDS, groups=["g", "g\0"] * (N // 2))
    with pytest.raises(ew.DataError, match=r"has the id or group 'g\\x00', which holds a zero byte: rename it"):
        opened(data)
