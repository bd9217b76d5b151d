"""Data sets without a dataset.toml: what their files tell is taken and said, and what they do not tell is an error."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from datasets import write_csd
from training import REGISTRY

from emotiwave_core import api
from emotiwave_core.cli import emotiwave
from emotiwave_core.data.dataset import load_dataset
from emotiwave_core.data.formats.reader import Source
from emotiwave_core.errors import DataError, SettingsError

EMOTIONS = ("anger", "joy")


def write_clips(folder: Path, clips: int = 24, column: str = "split") -> Path:
    """A data set as people have it: OpenFace and openSMILE tables, subtitles, and a table of labels."""
    random = np.random.default_rng(0)
    labels, audio = [f"file,speaker,{column},emotion,text"], ["name;frameTime;F0;loudness"]
    for place in ("openface", "subtitles"):
        (folder / place).mkdir(parents=True)
    for number in range(clips):
        name, emotion = f"clip{number:02d}", number % 2
        fold = ("train", "train", "train", "train", "valid", "valid", "test", "test")[number % 8]
        labels.append(f'{name}.mp4,s{number % 8},{fold},{EMOTIONS[emotion]},"so, well"')
        rows = ["frame, face_id, timestamp, confidence, success, AU01_r, AU12_r"]
        for frame in range(6):
            values = random.normal(size=3) / 4 + emotion
            audio.append(f"'{name}.wav';{frame / 10};{values[0]:.3f};{values[1]:.3f}")
            rows.append(f"{frame + 1}, 0, {frame / 10}, 0.98, {int(frame > 0)}, {values[1]:.3f}, {values[2]:.3f}")
        (folder / f"openface/{name}.csv").write_text("\n".join(rows) + "\n")
        (folder / f"subtitles/{name}.srt").write_text("1\n00:00:00,000 --> 00:00:00,600\nso, well\n")
    (folder / "labels.csv").write_text("\n".join(labels) + "\n")
    (folder / "egemaps.csv").write_text("\n".join(audio) + "\n")
    (folder / "README.md").write_text("clips")
    (folder / "notes.csv").write_text("a,b\n1,2\n")
    (folder / "words.csv").write_text("file,transcript\nclip00.mp4,well\n")
    return folder


def test_a_folder_in_the_usual_form_explains_itself(tmp_path: Path) -> None:
    """Names and formats tell which file is what, a column tells the folds, and all of it is said."""
    folder = write_clips(tmp_path / "mine")
    dataset = load_dataset(folder)
    assert dataset.name == "mine"
    assert dataset.modalities == {"audio": Source(folder / "egemaps.csv"), "visual": Source(folder / "openface")}
    assert dataset.labels == dataset.folds == Source(folder / "labels.csv")
    assert dataset.words == Source(folder / "subtitles")
    assert dataset.notes == (
        "Without a dataset.toml, by their names and content are taken: egemaps.csv as audio, labels.csv as labels, "
        "openface as visual, subtitles as words, labels.csv as folds.",
        "Not used, for nothing tells what it is for: notes.csv, words.csv.",
    )
    (folder / "folds.json").write_text(json.dumps({"train": [], "valid": [], "test": []}))
    assert load_dataset(folder).folds == Source(folder / "folds.json")


def test_files_of_other_data_sets_are_known_by_their_words(tmp_path: Path) -> None:
    """The names of CMU-MOSI's files tell what they are, as those of CMU-MOSEI do."""
    numbers = {"v": ([[1.0, 2.0]], [[0, 1]])}
    for name in ("CMU_MOSI_COVAREP", "CMU_MOSI_VisualFacet_4.1", "CMU_MOSI_TimestampedWordVectors_1.1"):
        write_csd(tmp_path / f"{name}.csd", numbers)
    write_csd(tmp_path / "CMU_MOSI_Opinion_Labels.csd", {"v": ([[1.0]], [[0, 1]])}, ["sentiment"])
    write_csd(tmp_path / "CMU_MOSI_TimestampedWords.csd", {"v": (np.array([[b"so"]]), [[0, 1]])})
    dataset = load_dataset(tmp_path)
    assert list(dataset.modalities) == ["text", "audio", "visual"]
    assert dataset.labels == Source(tmp_path / "CMU_MOSI_Opinion_Labels.csd")
    assert dataset.words == Source(tmp_path / "CMU_MOSI_TimestampedWords.csd")


def test_what_is_not_clear_is_refused_in_one_sentence(tmp_path: Path) -> None:
    """Two files for one modality, no labels or no modality: the error names the files and the way out."""
    folder = write_clips(tmp_path / "mine")
    (folder / "labels.csv").rename(folder / "kept")
    with pytest.raises(DataError, match=r"columns of labels, and training needs some .there: README.md, .*data init"):
        load_dataset(folder)
    assert load_dataset(folder, labelled=False).labels is None
    (folder / "kept").rename(folder / "labels.csv")
    (folder / "audio.csv").write_bytes((folder / "egemaps.csv").read_bytes())
    with pytest.raises(DataError, match=r"'audio' could be 'audio\.csv' or 'egemaps\.csv' .both: .*there: "):
        load_dataset(folder)
    (tmp_path / "none").mkdir()
    (tmp_path / "none/table.csv").write_text("id,f1\na,1\n")
    with pytest.raises(DataError, match=r"no file or folder has a name that tells a modality.*there: table.csv"):
        load_dataset(tmp_path / "none")


def test_a_labelled_table_is_never_its_own_feature(tmp_path: Path) -> None:
    """A modality of the table of labels needs its columns named where those of the labels are."""
    (tmp_path / "t.csv").write_text("id,a,b,f1\nx,1,0,2\ny,0,1,3\n")
    text = '[modalities]\naudio = "t.csv"\n[labels]\nfile = "t.csv"\ncolumns = ["a", "b"]\n'
    (tmp_path / "dataset.toml").write_text(text)
    with pytest.raises(DataError, match=r"'modalities\.audio' reads the table of \[labels\]"):
        load_dataset(tmp_path)
    (tmp_path / "dataset.toml").write_text(text.replace('"t.csv"', '{file = "t.csv", columns = ["f1"]}', 1))
    dataset = load_dataset(tmp_path)
    assert dataset.modalities["audio"].columns == ("f1",)
    assert dataset.labels is not None
    assert dataset.labels.columns == ("a", "b")


def test_init_writes_what_is_recognised(tmp_path: Path) -> None:
    """The dataset.toml that is written names the same sources, tells why in comments, and is never written over."""
    folder = write_clips(tmp_path / "mine")
    before = load_dataset(folder)
    result = CliRunner().invoke(emotiwave, ["data", "init", str(folder)])
    assert (result.exit_code, result.stdout.strip()) == (0, str(folder / "dataset.toml"))
    text = (folder / "dataset.toml").read_text()
    assert "# opensmile: 24 ids, 2 columns" in text
    assert 'kind = "classes"  # labels.csv says so' in text
    assert "# Not used, for nothing tells what it is for: notes.csv, words.csv." in text
    assert tomllib.loads(text)["labels"]["targets"] == list(EMOTIONS)
    after = load_dataset(folder)
    assert (after.modalities, after.labels, after.words) == (before.modalities, before.labels, before.words)
    assert after.folds == before.folds
    again = CliRunner().invoke(emotiwave, ["data", "init", str(folder)])
    assert isinstance(again.exception, SettingsError)
    assert (folder / "dataset.toml").read_text() == text


def test_init_says_what_it_could_not_know(tmp_path: Path) -> None:
    """What no file tells stands in comments and on stderr, and the command leaves with 3."""
    folder = write_clips(tmp_path / "mine")
    (folder / "labels.csv").rename(folder / "annotations.csv")
    (folder / "annotations.csv").write_text("id,mood,weather\nclip00,good,bad\n")
    (folder / "audio.csv").write_bytes((folder / "egemaps.csv").read_bytes())
    result = CliRunner().invoke(emotiwave, ["data", "init", str(folder)])
    assert result.exit_code == 3
    text = (folder / "dataset.toml").read_text()
    for sentence in ("'audio' could be 'audio.csv' or 'egemaps.csv'", "the labels could be in 'mood', 'weather'"):
        assert sentence in result.stderr
        assert sentence in text.replace("\n# ", " ")
    assert tomllib.loads(text)["labels"] == {"file": "annotations.csv"}
    (tmp_path / "empty").mkdir()
    result = CliRunner().invoke(emotiwave, ["data", "init", str(tmp_path / "empty")])
    assert isinstance(result.exception, DataError)
    assert not list((tmp_path / "empty").iterdir())


def test_anything_is_inspected(tmp_path: Path) -> None:
    """A file of any known form is told; a folder of one form is told too, and is no data set."""
    folder = write_clips(tmp_path / "mine")
    for name, format_name, code in (("labels.csv", "table", 0), ("egemaps.csv", "opensmile", 0), ("openface", "", 3)):
        result = CliRunner().invoke(emotiwave, ["data", "inspect", str(folder / name)])
        assert result.exit_code == code, result.stdout
        assert f"{name}  not used by the data set" in result.stdout
        assert format_name in result.stdout
    result = CliRunner().invoke(emotiwave, ["data", "inspect", str(folder)])
    assert result.exit_code == 0
    assert "openface: 24 of 144 frames have no face" in result.stdout
    result = CliRunner().invoke(emotiwave, ["data", "inspect", str(folder / "README.md")])
    assert result.exit_code == 3


def test_tables_are_trained_scored_and_predicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run on what people have learns what is planted in it, scores it, and predicts it without the labels."""
    monkeypatch.setenv("EMOTIWAVE_CACHE", str(tmp_path / "cache"))
    folder = write_clips(tmp_path / "mine")
    run = api.train(
        folder,
        {"training": {"epochs": 6, "learning_rate": 0.05, "batch_size": 8}},
        encoder="mean",
        fusion="mean",
        out=tmp_path / "run",
        registry=REGISTRY,
    )
    assert run.scores()["audio+visual"].macro_f1 > 0.9
    assert run.evaluate(folder, fold="all")["audio"].macro_f1 > 0.9
    notes = json.loads((tmp_path / "run/data.json").read_text())["notes"]
    assert any("24 of 144 frames have no face" in note for note in notes)
    assert any("labels from 'emotion' (2 classes)" in note for note in notes)
    (folder / "labels.csv").unlink()
    predictions = run.predict(folder)
    assert len(predictions) == 24
    assert [prediction.decided[0] for prediction in predictions][:2] == list(EMOTIONS)


def test_one_table_is_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CSV with features, labels and folds is all that a run needs."""
    monkeypatch.setenv("EMOTIWAVE_CACHE", str(tmp_path / "cache"))
    rows = ["id,speaker,split,emotion,f1,f2"]
    for number in range(24):
        fold = "train" if number % 8 < 4 else "valid" if number % 8 < 6 else "test"
        rows.append(f"c{number},s{number % 8},{fold},{EMOTIONS[number % 2]},{number % 2},{1 - number % 2}")
    (tmp_path / "audio.csv").write_text("\n".join(rows) + "\n")
    dataset = load_dataset(tmp_path / "audio.csv")
    assert dataset.modalities == {"audio": Source(tmp_path / "audio.csv", "features")}
    run = api.train(
        tmp_path / "audio.csv",
        {"training": {"epochs": 4, "learning_rate": 0.05, "batch_size": 8}},
        encoder="mean",
        fusion="mean",
        out=tmp_path / "run",
        registry=REGISTRY,
    )
    assert run.scores()["audio"].macro_f1 > 0.9
    assert run.evaluate()["audio"].macro_f1 > 0.9
