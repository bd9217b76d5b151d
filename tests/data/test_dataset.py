"""`dataset.toml` and the standard names of CMU-MOSEI: which file of a folder is what."""

from pathlib import Path

import pytest
from sound_documents import GOOD

from emotiwave_core.data.dataset import EMOTIONS, load_dataset
from emotiwave_core.data.formats.reader import Source
from emotiwave_core.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files that GOOD names (what is in them is not looked at)."""
    (tmp_path / "sub").mkdir()
    for name in ("a.csd", "sub/b.csd", "l.csd", "w.csd", "folds.json"):
        (tmp_path / name).touch()
    return tmp_path


def describe(folder: Path, text: str) -> Path:
    """The folder with this dataset.toml."""
    (folder / "dataset.toml").write_text(text, encoding="utf-8")
    return folder


def test_everything_that_is_described_is_read(folder: Path) -> None:
    """Each key of dataset.toml arrives, modalities in the order of the file."""
    dataset = load_dataset(describe(folder, GOOD))
    assert (dataset.name, dataset.synthetic, list(dataset.modalities)) == ("Mine", True, ["voice", "face"])
    assert dataset.modalities["face"] == Source(folder / "sub/b.csd")
    assert (dataset.labels, dataset.folds) == (
        Source(folder / "l.csd", columns=("sad", "happy")),
        Source(folder / "folds.json"),
    )
    assert dataset.words == Source(folder / "w.csd")
    assert (dataset.targets, dataset.columns) == (("happy", "sad"), ("sad", "happy"))


def test_what_is_left_out_has_a_default(folder: Path) -> None:
    """A modality and labels are enough: the name is the folder's, and nothing else is assumed."""
    dataset = load_dataset(describe(folder, '[modalities]\nvoice = "a.csd"\n[labels]\nfile = "l.csd"\n'))
    assert (dataset.name, dataset.targets, dataset.columns, dataset.folds) == (folder.name, None, None, None)
    assert not dataset.synthetic
    assert dataset.words is None


def test_the_standard_words_are_known_beside_a_description(folder: Path) -> None:
    """CMU-MOSEI's transcripts are known by name, also where dataset.toml names none; what it names wins."""
    (folder / "CMU_MOSEI_TimestampedWords.csd").touch()
    assert load_dataset(describe(folder, GOOD)).words == Source(folder / "w.csd")
    silent = load_dataset(describe(folder, GOOD.replace('words = "w.csd"\n', "")))
    assert silent.words == Source(folder / "CMU_MOSEI_TimestampedWords.csd")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('name = "Mine"', "name = Mine", "not valid TOML"),
        ('name = "Mine"', "name = 3", "'name' is 3, not a text"),
        ('name = "Mine"', 'name = ""', "'name' is '', not a text"),
        ('name = "Mine"', 'nmae = "Mine"', "unknown key 'nmae'. Did you mean 'name'"),
        ("synthetic = true", 'synthetic = "no"', "'synthetic' is 'no', not true or false"),
        ('"w.csd"', '"v.csd"', "'words' names .*v.csd, which is not there"),
        ('"w.csd"', "3", "'words' is 3, not a text"),
        ("[modalities]", "[modality]", "unknown key 'modality'. Did you mean 'modalities'"),
        ('[modalities]\nvoice = "a.csd"\nface = "sub/b.csd"', "", r"table \[modalities\] is missing"),
        ('[modalities]\nvoice = "a.csd"\nface = "sub/b.csd"', "[modalities]", "needs at least one"),
        ('voice = "a.csd"', '"voice+face" = "a.csd"', "names without '\\+'"),
        ('voice = "a.csd"', '"" = "a.csd"', "names without '\\+'"),
        ('voice = "a.csd"', '" labels" = "a.csd"', "' labels' is no name: .* no space at its ends"),
        ('voice = "a.csd"', 'voice = ["a.csd"]', r"'modalities.voice' is \['a.csd'\], not a text"),
        ('voice = "a.csd"', 'voice = "A.csd"', "'modalities.voice' names .*A.csd, which is not there"),
        ('voice = "a.csd"', 'voice = {file = "a.csd", rate = 0}', "'modalities.voice.rate' is 0, not a number"),
        ('voice = "a.csd"', 'voice = {part = "a"}', "'modalities.voice.file' is None, not a text"),
        ('file = "l.csd"', "", "'labels.file' is None, not a text"),
        ('file = "l.csd"', 'file = "m.csd"', "'labels.file' names .*m.csd, which is not there"),
        ('file = "l.csd"', 'file = "l.csd"\ntarget = ["happy"]', "unknown key 'labels.target'"),
        ('["happy", "sad"]', '"happy"', "'labels.targets' is 'happy', not a list of names"),
        ('["happy", "sad"]', "[]", r"'labels.targets' is \[\], not a list"),
        ('["happy", "sad"]', "[1, 2]", "not a list of names"),
        ('["happy", "sad"]', '["sad", "sad"]', "names a column twice"),
        ('["sad", "happy"]', '["sad", "sad"]', "'labels.columns' names a column twice"),
        ('"folds.json"', '"cv.json"', "'folds.file' names .*cv.json, which is not there"),
        ('[folds]\nfile = "folds.json"', "[folds]\nseed = 3", "unknown key 'folds.seed'"),
    ],
)
def test_each_fault_is_named(folder: Path, old: str, new: str, reason: str) -> None:
    """A fault in dataset.toml is refused with the file, the key and what is wrong with it."""
    assert old in GOOD
    with pytest.raises(DataError, match=f"dataset.toml.*{reason}"):
        load_dataset(describe(folder, GOOD.replace(old, new)))


def test_a_description_that_is_not_text_is_refused(folder: Path) -> None:
    """dataset.toml in another encoding than UTF-8 is refused."""
    (folder / "dataset.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(DataError, match="not valid TOML"):
        load_dataset(folder)


def test_the_standard_names_need_no_description(tmp_path: Path) -> None:
    """The files of CMU-MOSEI are known by name; the first of two is taken, and words are not a modality."""
    names = [
        "CMU_MOSEI_Labels.csd",
        "CMU_MOSEI_TimestampedWords.csd",
        "CMU_MOSEI_TimestampedWordVectors.csd",
        "CMU_MOSEI_TimestampedGloveVectors.csd",
        "CMU_MOSEI_VisualFacet42.csd",
        "cmu_mosei_std_folds.py",
    ]
    for name in names:
        (tmp_path / name).touch()
    dataset = load_dataset(tmp_path)
    assert {name: path.name for name, path in dataset.modalities.items()} == {
        "text": "CMU_MOSEI_TimestampedWordVectors.csd",
        "visual": "CMU_MOSEI_VisualFacet42.csd",
    }
    assert dataset.words == Source(tmp_path / "CMU_MOSEI_TimestampedWords.csd")
    assert dataset.targets == EMOTIONS == ("happy", "sad", "anger", "surprise", "disgust", "fear")
    assert dataset.folds == Source(tmp_path / "cmu_mosei_std_folds.py")
    (tmp_path / "folds.json").touch()
    assert load_dataset(tmp_path).folds == Source(tmp_path / "folds.json")


def test_a_folder_that_says_nothing_is_refused(tmp_path: Path) -> None:
    """Without a description and without the standard labels the error lists the files and says what to write."""
    with pytest.raises(DataError, match=r"there: nothing\).*write a dataset.toml"):
        load_dataset(tmp_path)
    (tmp_path / "mine.csd").touch()
    with pytest.raises(DataError, match=r"there: mine.csd\)"):
        load_dataset(tmp_path)
    with pytest.raises(DataError, match="no such file or folder"):
        load_dataset(tmp_path / "none")
