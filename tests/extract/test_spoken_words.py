"""Words of a recording: transcripts, the times that alignment gives them, and what happens where it cannot."""

from pathlib import Path

import numpy as np
import pytest

from emotiwave_core.data.formats.reader import Source
from emotiwave_core.data.formats.table import TableFile
from emotiwave_core.errors import DataError
from emotiwave_core.extract.label_table import read_label_table
from emotiwave_core.extract.transcripts import read_transcript, transcript_beside
from emotiwave_core.extract.words import Phrase, Transcript, _between, spread_words, timed_words
from emotiwave_core.testing.recordings import MadeUpRecording

SRT = (
    "\ufeff1\r\n00:00:00,500 --> 00:00:02,000\r\n<i>I did</i> not\r\nknow\r\n\r\n"
    "2\r\n00:00:02,000 --> 00:00:03,000\r\nthat\r\n"
)


def test_subtitles_are_sentences_with_times(tmp_path: Path) -> None:
    """SRT and VTT give sentences and their times, without markup; plain text has no times."""
    (tmp_path / "a.srt").write_text(SRT)
    due = (Phrase("I did not know", 0.5, 2.0), Phrase("that", 2.0, 3.0))
    assert read_transcript(tmp_path / "a.srt") == Transcript(due, "sentences")
    (tmp_path / "a.txt").write_text("I did\nnot know\n")
    assert read_transcript(tmp_path / "a.txt") == Transcript((Phrase("I did not know"),), "none")
    (tmp_path / "a.ctm").write_text("a 1 0.50 0.25 so 0.9\na 1 0.75 0.50 what 0.9\n")
    assert read_transcript(tmp_path / "a.ctm").times == "words"


def test_a_transcript_is_found_by_the_name_of_its_recording(tmp_path: Path) -> None:
    """Beside a recording its own transcript is taken, and no other file; two of them are refused."""
    for name in ("a.mp4", "ab.srt", "a.md", "a.json"):
        (tmp_path / name).write_text('{"rate": 5}')
    assert transcript_beside(tmp_path / "a.mp4") is None
    (tmp_path / "A.SRT").write_text(SRT)
    found = transcript_beside(tmp_path / "a.mp4")
    assert found is not None
    assert found.times == "sentences"
    (tmp_path / "a.txt").write_text("so what")
    with pytest.raises(DataError, match="has two transcripts"):
        transcript_beside(tmp_path / "a.mp4")


def test_words_that_have_times_keep_them() -> None:
    """A transcript with times of words is taken as it stands; none at all means that it is not known what is said."""
    said = Transcript((Phrase("so", 0.1, 0.3), Phrase("what", 0.3, 0.6)), "words")
    timed = timed_words(MadeUpRecording(), said, None, False)
    assert timed.words is not None
    assert [tuple(word) for word in timed.words] == [("so", 0.1, 0.3), ("what", 0.3, 0.6)]
    assert timed_words(MadeUpRecording(), None, None, False).words is None
    assert timed_words(MadeUpRecording(), Transcript((Phrase(""),), "none"), None, False).words == ()


def test_words_are_spread_by_their_letters() -> None:
    """The words of a sentence share its time by their letters, from its start to its end."""
    words = spread_words(Phrase("a bbb", 1.0, 3.0))
    assert [(word.text, word.start, word.end) for word in words] == [("a", 1.0, 1.5), ("bbb", 1.5, 3.0)]


def test_unknown_words_lie_between_their_neighbours() -> None:
    """A word that cannot be aligned takes the time that those around it leave."""
    placed = _between(["x", "so", "y", "z", "what"], {1: (1.0, 1.4), 4: (2.0, 2.5)}, 3.0)
    assert [round(value, 6) for _, *times in placed for value in times] == [0, 1, 1, 1.4, 1.4, 1.7, 1.7, 2, 2, 2.5]


@pytest.mark.slow
def test_words_are_aligned_the_same_way_again() -> None:
    """Alignment gives every word increasing times within the recording, whatever was aligned before."""
    pytest.importorskip("pocketsphinx")
    said = Transcript((Phrase("I did not know that you were happy today"),), "none")
    first = timed_words(MadeUpRecording(), said, None, False)
    timed_words(MadeUpRecording(5.0), Transcript((Phrase("dogs and kids"),), "none"), None, False)
    assert timed_words(MadeUpRecording(), said, None, False) == first
    if first.words is not None:  # the voice is made up
        times = np.array([word[1:] for word in first.words])
        assert (np.diff(times.ravel()) >= -1e-9).all()


def test_the_table_beside_recordings(tmp_path: Path) -> None:
    """Classes by name, or columns of numbers; segments, ids and transcripts; what is wrong is told with its line."""
    path = tmp_path / "labels.csv"
    path.write_text("file,id,label,start,end,transcript\na.mp4,x,sad,0,1.5,so what\nb.mp4,y,happy,,,\n")
    table = read_label_table(path)
    assert table.columns == ("happy", "sad")
    row = table.of_file("a.mp4")
    assert row is not None
    assert (row.id, row.values, row.start, row.end, row.transcript) == ("x", (0.0, 1.0), 0.0, 1.5, "so what")
    path.write_text("file,anger,joy\nc.wav,0.5,2\n")
    table = read_label_table(path)
    assert (table.columns, table.rows[0].id, table.rows[0].values) == (("anger", "joy"), "c", (0.5, 2.0))
    path.write_text("file,label,speaker,split\nc.wav,sad,ann,dev\n")
    assert [(row.group, row.fold) for row in read_label_table(path).rows] == [("ann", "valid")]
    path.write_text('file;start_ms;end_ms;label;transcript\nTAKES\\a.mp4;500;1500;3;"so; what"\n')
    (row,) = read_label_table(path).rows
    assert (row.file, row.start, row.end, row.transcript) == ("a.mp4", 0.5, 1.5, "so; what")
    assert read_label_table(path).columns == ("3",)  # classes may be numbered
    path.write_text("file,label,start\na,sad,\nb,,\n")
    assert [(row.values, row.start) for row in read_label_table(path).rows] == [((1.0,), None), ((0.0,), None)]
    for text, sentence in (
        ("file,label,split\na.mp4,sad,later\n", "row 1: 'later' is no fold"),
        ("", "first line is empty"),
        ("file,label\n", "and no row"),
        ("name2,label\na,b\n", "has no column 'file'"),
        ("file,words\na,b\n", "no column of labels"),
        ("file,label,start\na.mp4,sad,soon\n", "row 1, column 'start': 'soon' is no time"),
        ("file,anger,joy,age\na.mp4,1,0,30\n", "could be in .* take the others out"),
        ("file,anger\na.mp4,1\nb.mp4,\n", "row 2, column 'anger': there is no number"),
        ("file,label,start,end\na.mp4,sad,0,1\na.mp4,sad,3,2\n", "row 2: it ends at 2 s, before it starts at 3 s"),
        ("file,label\n,sad\n", "row 1, column 'file': it is empty"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=sentence):
            read_label_table(path)


@pytest.mark.full
def test_the_table_beside_recordings_says_what_the_table_of_a_data_set_says(tmp_path: Path) -> None:
    """Both read the same classes, numbers and groups out of one file."""
    path = tmp_path / "labels.csv"
    for text in ("file,emotion,speaker\na.wav,sad,ann\nb.wav,happy,bob\n", "file,anger,joy\na.wav,0.5,2\nb.wav,1,0\n"):
        path.write_text(text)
        ours, theirs = read_label_table(path), TableFile(Source(path, is_labels=True))
        assert list(ours.columns) == theirs.dimension_names
        assert ours.is_classes == (theirs.label_kind == "classes")
        assert {row.id: list(row.values) for row in ours.rows} == {
            key: theirs.features(key)[0].tolist() for key in theirs.keys
        }
        assert {row.id: row.group for row in ours.rows if row.group} == theirs.groups
