"""Folds: from a file, from the SDK's Python file, or random; and no video in two of them."""

import json
from pathlib import Path

import pytest
from datasets import write_dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split
from sound_documents import SDK

from emotiwave_core.config.recipe import DataSettings
from emotiwave_core.data.corpus import open_corpus
from emotiwave_core.data.folds import FOLDS, Folds, random_folds, read_folds
from emotiwave_core.errors import DataError, SettingsError


def write(folder: Path, value: object) -> Path:
    """A JSON file."""
    path = folder / "folds.json"
    path.write_text(json.dumps(value))
    return path


def test_a_json_file_is_taken_as_it_is(tmp_path: Path) -> None:
    """Each fold has the ids of its list, in their order, and the source is the file."""
    path = write(tmp_path, {"test": ["-c"], "train": ["b", "a"], "valid": [], "unused": ["z"]})
    folds = read_folds(path)
    assert {fold: folds[fold] for fold in FOLDS} == {"train": ("b", "a"), "valid": (), "test": ("-c",)}
    assert folds.source == str(path)
    with pytest.raises(KeyError):
        folds["all"]


@pytest.mark.parametrize(
    ("lists", "where"),
    [
        ({"train": ["a", "b"], "valid": ["c"], "test": ["b"]}, "'b' in both 'train' and 'test'"),
        ({"train": ["a"], "valid": ["c", "c"], "test": ["b"]}, "'c' twice in 'valid'"),
    ],
)
def test_no_video_is_in_two_folds(tmp_path: Path, lists: dict[str, list[str]], where: str) -> None:
    """A file with a video in two folds, or twice in one, is refused by the video and the folds."""
    with pytest.raises(DataError, match=where):
        read_folds(write(tmp_path, lists))
    with pytest.raises(DataError, match=where):
        Folds(tuple(lists["train"]), tuple(lists["valid"]), tuple(lists["test"]), source="here")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not readable JSON"),
        ("{", "not readable JSON"),
        ("[" * 100_000, "not readable JSON"),
        ("[]", "must be a JSON object"),
        ("{}", "has the lists none"),
        ('{"train": [], "valid": []}', "has the lists train, valid; needed are train, valid and test, or fold0"),
        ('{"train": "a", "valid": [], "test": []}', "'train' is not a list of video ids"),
        ('{"train": [1], "valid": [], "test": []}', "'train' is not a list of video ids"),
        ('{"fold0": [], "fold1": []}', "has the lists fold0, fold1"),
        ('{"fold0": [], "fold1": [], "fold3": []}', "has the lists fold0, fold1, fold3"),
        ('{"fold0": [], "fold1": [], "fold2": [], "test": []}', "has the lists fold0"),
    ],
)
def test_each_fault_of_a_json_file_is_named(tmp_path: Path, text: str, reason: str) -> None:
    """Anything but lists of ids under the known names is refused."""
    path = tmp_path / "folds.json"
    path.write_text(text)
    with pytest.raises(DataError, match=reason):
        read_folds(path, rotation=0 if "fold" in text else None)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are refused, in JSON and in Python."""
    for name in ("folds.json", "folds.py"):
        (tmp_path / name).write_bytes(b"\xff\xfe")
        with pytest.raises(DataError, match="not readable"):
            read_folds(tmp_path / name)


@settings(deadline=None, max_examples=30)
@given(count=st.integers(3, 7), data=st.data())
def test_a_rotation_tests_every_video_once(
    tmp_path_factory: pytest.TempPathFactory, count: int, data: st.DataObject
) -> None:
    """Test is fold r, valid the next, train the rest; over all r each video is tested once and validated once."""
    lists = {f"fold{n}": [f"v{n}{m}" for m in range(data.draw(st.integers(0, 3)))] for n in range(count)}
    path = write(tmp_path_factory.mktemp("cv"), lists)
    everything = sorted(video for videos in lists.values() for video in videos)
    rotations = [read_folds(path, rotation) for rotation in range(count)]
    for number, folds in enumerate(rotations):
        assert list(folds.test) == lists[f"fold{number}"]
        assert list(folds.valid) == lists[f"fold{(number + 1) % count}"]
        assert sorted(folds.train + folds.valid + folds.test) == everything
        assert folds.source.endswith(f"rotation {number}")
    assert sorted(video for folds in rotations for video in folds.test) == everything


def test_a_rotation_must_fit_the_file(tmp_path: Path) -> None:
    """A rotation that is missing, too high, negative, or given for fixed folds is a fault of the settings."""
    path = write(tmp_path, {f"fold{n}": [str(n)] for n in range(3)})
    for rotation in (None, 3, -1):
        with pytest.raises(SettingsError, match=f"set data.rotation to 0 … 2, not {rotation}"):
            read_folds(path, rotation)
    with pytest.raises(SettingsError, match="has fixed folds"):
        read_folds(write(tmp_path, {fold: [] for fold in FOLDS}), 0)


def test_the_sdk_file_is_read_and_never_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lists come out of the Python file of the SDK, and none of its code runs."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "cmu_mosei_std_folds.py"
    path.write_text(SDK)
    folds = read_folds(path)
    assert {fold: folds[fold] for fold in FOLDS} == {"train": ("-a", "b", "c"), "valid": ("d",), "test": ("e",)}
    assert [path.name for path in tmp_path.iterdir()] == ["cmu_mosei_std_folds.py"]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("['d']", "list(os.listdir('/'))", "standard_valid_fold is not a plain list"),
        ("['d']", "[open('EXECUTED', 'w')]", "standard_valid_fold is not a plain list"),
        ("['d']", "{[]: 1}", "standard_valid_fold is not a plain list"),
        ("['d']", "('d',)", "'valid' is not a list of video ids"),
        ("['d']", "[1]", "'valid' is not a list of video ids"),
        ("['d']", "[" * 5000 + "]" * 5000, "not readable Python"),
        ("['d']", "['d'", "not readable Python"),
        ("valid_fold", "dev_fold", "has the lists test, train"),
        ("import os", "import os\0", "not readable Python"),
    ],
)
def test_each_fault_of_the_sdk_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, reason: str
) -> None:
    """Folds that are computed, or are no lists of ids, are refused, and still nothing runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folds.py").write_text(SDK.replace(old, new))
    with pytest.raises(DataError, match=reason):
        read_folds(tmp_path / "folds.py")
    assert not (tmp_path / "EXECUTED").exists()


@settings(deadline=None)
@given(st.sets(st.text(min_size=1), min_size=10, max_size=200), st.randoms(use_true_random=False))
def test_random_folds_are_two_nested_splits(videos: set[str], shuffle: object) -> None:
    """80/10/10 with seed 42 is scikit-learn's `train_test_split` twice over the sorted ids, whatever their order."""
    names = [*videos, *list(videos)[:3]]
    shuffle.shuffle(names)  # type: ignore[attr-defined]
    folds = random_folds(names, (0.8, 0.1, 0.1))
    train, rest = train_test_split(sorted(videos), test_size=0.2, random_state=42)
    valid, test = train_test_split(rest, test_size=0.5, random_state=42)
    assert (list(folds.train), list(folds.valid), list(folds.test)) == (train, valid, test)


@settings(deadline=None)
@given(count=st.integers(20, 300), weights=st.tuples(*[st.integers(1, 8)] * 3), seed=st.integers(0, 2**32 - 1))
def test_random_folds_have_their_shares(count: int, weights: tuple[int, int, int], seed: int) -> None:
    """Each video is in one fold, and each fold has its share to within rounding."""
    first, second, third = (weight / sum(weights) for weight in weights)
    videos = [f"v{n}" for n in range(count)]
    folds = random_folds(videos, (first, second, third), seed)
    assert sorted(folds.train + folds.valid + folds.test) == sorted(videos)
    for fold, ratio in zip(FOLDS, (first, second, third), strict=True):
        assert abs(len(folds[fold]) - ratio * count) < 2
    assert folds == random_folds(videos, (first, second, third), seed)
    assert folds.source.endswith(f"seed {seed}")


def test_too_few_videos_cannot_be_split() -> None:
    """Two videos cannot be in three folds, and the error says so."""
    with pytest.raises(DataError, match=r"2 videos cannot be split random by video, 0\.8/0\.1/0\.1, seed 42"):
        random_folds(["a", "b"], (0.8, 0.1, 0.1))


def test_what_does_not_fit_between_folds_and_data_is_said(tmp_path: Path) -> None:
    """Ids without data and data in no fold are counted by fold, and the latter are in none."""
    write_dataset(tmp_path, videos=8)
    lists = {"train": ["v00", "v01", "gone"], "valid": ["v02"], "test": ["v03", "lost", "too"]}
    (tmp_path / "folds.json").write_text(json.dumps(lists))
    corpus = open_corpus(tmp_path, DataSettings())
    assert corpus.notes()[-3:] == [
        "1 videos of the fold 'train' have no samples.",
        "2 videos of the fold 'test' have no samples.",
        "8 samples of 4 videos are in no fold and are not used.",
    ]
    used = {fold: [corpus.store.videos[row] for row in corpus.rows(fold)] for fold in FOLDS}
    assert used == {"train": ["v00", "v00", "v01", "v01"], "valid": ["v02", "v02"], "test": ["v03", "v03"]}


def test_the_settings_choose_the_folds(tmp_path: Path) -> None:
    """`auto` takes the data set's file, `random` splits by video, a name is a file of its folder; else an error."""
    write_dataset(tmp_path)
    cv = {f"fold{n}": [f"v{video:02d}" for video in range(n, 24, 4)] for n in range(4)}
    (tmp_path / "cv.json").write_text(json.dumps(cv))
    assert open_corpus(tmp_path, DataSettings()).folds == read_folds(tmp_path / "folds.json")
    rotated = open_corpus(tmp_path, DataSettings(folds="cv.json", rotation=2)).folds
    assert list(rotated.test) == cv["fold2"]
    split = open_corpus(tmp_path, DataSettings(folds="random", ratios=[0.5, 0.25, 0.25], split_seed=7)).folds
    assert split == random_folds([f"v{n:02d}" for n in range(24)], (0.5, 0.25, 0.25), 7)
    with pytest.raises(SettingsError, match=r"mine\.json is not there"):
        open_corpus(tmp_path, DataSettings(folds="mine.json"))
    with pytest.raises(SettingsError, match="no file of folds to rotate"):
        open_corpus(tmp_path, DataSettings(folds="random", rotation=1))
