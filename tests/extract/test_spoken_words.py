"""Words of a recording: transcripts, the times that alignment gives them, and what happens where it cannot."""

from pathlib import Path

import numpy as np
import pytest

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
    for text, sentence in (
        ("file,label,split\na.mp4,sad,later\n", "line 2: 'later' is no fold"),
        ("", "has no row"),
        ("name2,label\na,b\n", "has no column 'file'"),
        ("file,words\na,b\n", "no column 'label'"),
        ("file,label,start\na.mp4,sad,soon\n", "line 2: 'start' is 'soon'"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=sentence):
            read_label_table(path)
