"""Tables as tools and data sets write them: OpenFace, openSMILE, ARFF; MELD's, CREMA-D's and CH-SIMS's label files."""

from pathlib import Path

import numpy as np
import pytest
from file_damage import one_sentence, some_damage
from sound_tables import ARFF, CREMAD, MELD, OF_TOOLS, OPENFACE, SIMS, SMILE, VOTES

from emotiwave_core.data.formats.reader import Reader, Source, open_reader
from emotiwave_core.errors import DataError


def opened(folder: Path, text: str | bytes, name: str, *, labels: bool = False, **source: object) -> Reader:
    """The reader of a file with this content."""
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return open_reader(Source(folder / name, is_labels=labels, **source))  # type: ignore[arg-type]


def test_openface_frames_without_a_face_are_none(tmp_path: Path) -> None:
    """Frames without success or confidence are left out, their times stay, and one face of several is read."""
    file = opened(tmp_path, OPENFACE, "clip.csv")
    assert (file.name, file.keys, file.dimension_names) == ("openface", ("clip",), ["gaze_0_x", "AU01_r"])
    np.testing.assert_allclose(file.features("clip"), [[0.25, 1.5], [0.5, 2.5], [1, 4.5]])
    np.testing.assert_allclose(file.intervals("clip"), [[0, 0.04], [0.08, 0.12], [0.16, 0.2]])
    assert file.notes == (
        "clip.csv: 2 of 5 frames have no face (success 0 or confidence below 0.5), and are left out.",
        "clip.csv: 1 clips show several faces, such as 'clip'; the one that is there in most frames is read.",
    )


def test_a_folder_of_openface_is_one_modality(tmp_path: Path) -> None:
    """Other files of OpenFace beside the tables are left out; a table of other columns is unfit, by name."""
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.csv").write_text(OPENFACE)
        (tmp_path / f"{name}_of_details.txt").write_text("Input:clip")
    (tmp_path / "c.csv").write_text(OPENFACE.replace(", AU01_r", "", 1))
    file = open_reader(tmp_path)
    assert (file.name, file.keys, file.width) == ("openface", ("a", "b", "c"), 2)
    assert file.unfit() == {"c": "6 columns, without 'AU01_r'"}


def test_clips_in_tables_of_their_own(tmp_path: Path) -> None:
    """A folder of tables without ids is read by the names of the files, with times, at a rate, or with none."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text("time,f0,f1\n0,1,2\n0.5,3,4\n")
    file = open_reader(tmp_path)
    assert (file.name, file.keys, file.dimension_names) == ("clips", ("a", "b"), ["f0", "f1"])
    np.testing.assert_array_equal(file.intervals("b"), [[0, 0.5], [0.5, 1]])
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text("f0,f1\n1,2\n3,4\n")
    assert not open_reader(tmp_path).has_times
    file = open_reader(Source(tmp_path, rate=4.0))
    assert file.has_times
    np.testing.assert_array_equal(file.intervals("b"), [[0, 0.25], [0.25, 0.5]])
    (tmp_path / "labels.csv").write_text("id,label\na,1\n")
    assert list(open_reader(tmp_path).unfit()) == ["labels"]


@pytest.mark.parametrize(("name", "text"), [("t.csv", SMILE), ("t.arff", ARFF.replace("b, c.wav", "b.wav"))])
def test_opensmile_names_clips_in_quotes(tmp_path: Path, name: str, text: str) -> None:
    """Names lose quotes and suffix, and the class that openSMILE leaves open is no feature."""
    file = opened(tmp_path, text, name)
    assert file.keys == ("a", "b")
    assert file.dimension_names is not None
    assert "class" not in file.dimension_names
    np.testing.assert_allclose(file.intervals("a"), [[0, 0.01], [0.01, 0.02]])


def test_opensmile_of_one_clip_is_named_as_its_file(tmp_path: Path) -> None:
    """Where openSMILE was told no name, the file's own is the id; functionals are of the whole clip."""
    file = opened(tmp_path, "name;frameTime;F0\n'unknown';0.000000;1.5\n", "clip7.csv")
    assert (file.keys, file.has_times) == (("clip7",), False)
    assert opened(tmp_path, ARFF, "x.arff").keys == ("a", "b, c")


def test_meld_is_clips_of_dialogues(tmp_path: Path) -> None:
    """An utterance is diaD_uttU without times, a dialogue a group; the three files count from 0 and are told apart."""
    file = opened(tmp_path, MELD.encode("latin-1"), "train_sent_emo.csv", labels=True)
    assert (file.name, file.keys, file.has_times) == ("meld", ("dia0_utt0", "dia0_utt1", "dia1_utt0"), False)
    assert file.dimension_names == ["anger", "joy", "neutral"]
    assert file.label_kind == "classes"
    assert file.groups == {"dia0_utt0": "dia0", "dia0_utt1": "dia0", "dia1_utt0": "dia1"}
    assert any("Latin-1" in note for note in file.notes)
    for split in ("dev", "test"):
        (tmp_path / f"{split}_sent_emo.csv").write_text(MELD)
    file = open_reader(Source(tmp_path, is_labels=True))
    assert len(file.keys) == 9
    assert file.folds["valid"] == ("dev/dia0_utt0", "dev/dia0_utt1", "dev/dia1_utt0")
    assert file.groups["test/dia1_utt0"] == "test/dia1"
    sentiment = Source(tmp_path, is_labels=True, columns=("Sentiment",))
    assert open_reader(sentiment).dimension_names == ["negative", "neutral", "positive"]


def test_crema_d_is_told_by_its_names(tmp_path: Path) -> None:
    """The intended emotion and the actor stand in the name; the votes of people are other labels, and a tie is none."""
    file = opened(tmp_path, CREMAD, "SentenceFilenames.csv", labels=True)
    assert (file.name, file.keys[0]) == ("cremad", "1001_DFA_ANG_XX")
    assert file.dimension_names == ["anger", "happy", "neutral"]
    assert file.groups["1002_DFA_NEU_XX"] == "1002"
    assert opened(tmp_path, VOTES, "v.csv", labels=True).dimension_names == ["anger", "happy"]
    votes = opened(tmp_path, VOTES, "v.csv", labels=True, columns=("VoiceVote",))
    assert votes.dimension_names == ["anger"]
    assert np.isnan(votes.features("1001_IEO_HAP_LO")).all()
    with pytest.raises(DataError, match="'1003' is no clip of CREMA-D"):
        opened(tmp_path, CREMAD + "4,1003\n", "v.csv")


def test_ch_sims_is_a_regression_of_clips(tmp_path: Path) -> None:
    """Clips are named as in MMSA's features, videos are groups, `mode` tells folds, the sentiment is a number."""
    file = opened(tmp_path, SIMS, "label.csv", labels=True)
    assert (file.name, file.keys[1], file.label_kind) == ("chsims", "video_0001$_$0002", "regression")
    np.testing.assert_allclose(file.features("video_0001$_$0001"), [[-0.4]], rtol=1e-6)
    assert file.folds["test"] == ("video_0002$_$0001",)
    assert file.groups["video_0001$_$0001"] == "video_0001"
    each = opened(tmp_path, SIMS, "label.csv", labels=True, columns=("label_T", "label_V"))
    assert (each.dimension_names, each.label_kind) == (["label_T", "label_V"], "regression")
    classes = opened(tmp_path, SIMS, "label.csv", labels=True, columns=("annotation",))
    assert classes.dimension_names == ["Negative", "Neutral", "Positive"]


@pytest.mark.parametrize("name", OF_TOOLS)
def test_a_damaged_file_is_refused_or_read(tmp_path: Path, name: str) -> None:
    """Flipped and cut bytes end in one sentence that names the file, or in rows of the declared width."""

    def read(data: bytes) -> None:
        with opened(tmp_path, data, name, labels=name in ("meld.csv", "crema.csv", "s.csv")) as file:
            for key in file.keys:
                features, intervals = file.read(key)
                assert features.shape == (len(intervals), file.width)
            assert isinstance((file.notes, file.unfit(), file.groups, file.folds), tuple)

    for data in some_damage(OF_TOOLS[name].encode(), 40):
        one_sentence(lambda data=data: read(data), name)  # type: ignore[misc]
