"""Transcripts: the same words and times whatever the format, as the tools write it; what is damaged is refused."""

import json
from pathlib import Path

import pytest
from file_damage import one_sentence, some_damage
from sound_tables import CTM, SRT, TEXTGRID, TRANSCRIPTS, VTT, WITH_TIMES, WORDS

from emotiwave_core.data.formats.reader import Reader, Source, open_reader
from emotiwave_core.errors import DataError


def opened(folder: Path, name: str, content: bytes) -> Reader:
    """The reader of a file with this content."""
    (folder / name).write_bytes(content)
    return open_reader(folder / name)


def words(file: Reader, key: str | None = None) -> list[tuple[float, float, str]]:
    """The words of an entry with their times."""
    features, intervals = file.read(key or file.keys[0])
    return [(*times.tolist(), word.decode()) for times, word in zip(intervals, features[:, 0], strict=True)]


@pytest.mark.parametrize("name", WITH_TIMES)
def test_every_format_with_times_tells_the_same(tmp_path: Path, name: str) -> None:
    """Words, times and the pause between two of them are those that the file has; of silence nothing is read."""
    with opened(tmp_path, name, WITH_TIMES[name]) as file:
        assert file.is_words
        assert words(file) == WORDS
        assert file.notes == ()
        assert file.metadata["word times"] == "of each word"


def test_a_cue_is_spread_over_its_words(tmp_path: Path) -> None:
    """A word of SRT lasts as long as the others of its cue, tags are no words, and that times are guessed is said."""
    for content in (SRT.encode(), b"\xef\xbb\xbf" + SRT.replace("\n", "\r\n").encode(), SRT.encode("utf-16")):
        with opened(tmp_path, "a.srt", content) as file:
            assert words(file) == [(0.0, 0.5, "Kids"), (0.5, 1.0, "are"), (1.0, 1.5, "talking"), (2.0, 3.0, "Hallo")]
            assert file.notes == ("a.srt has no times for 4 of 4 words: each gets an even part of its cue.",)
            assert file.metadata["word times"] == "even parts of cues"


def test_plain_text_has_words_and_no_times(tmp_path: Path) -> None:
    """The words are there, and that nobody may take their places for seconds is told."""
    with opened(tmp_path, "a.txt", b"Kids are  talking\n") as file:
        assert file.features("a")[:, 0].tolist() == [b"Kids", b"are", b"talking"]
        assert not file.has_times


def test_latin_1_is_told_and_damaged_utf_8_is_refused(tmp_path: Path) -> None:
    """Text of an older encoding is read and said; one broken byte among UTF-8 is not taken for that."""
    with opened(tmp_path, "a.srt", SRT.replace("Hallo", "Déjà").encode("latin-1")) as file:
        assert words(file)[-1] == (2.0, 3.0, "Déjà")
        assert "not UTF-8, and is read as Latin-1" in file.notes[0]
    broken = SRT.replace("Hallo", "Déjà").encode().replace("à".encode(), b"\xc3")
    with pytest.raises(DataError, match=r"a\.srt is not readable as utf-8: byte \d+ is damaged"):
        opened(tmp_path, "a.srt", broken)


def test_an_empty_transcript_is_told(tmp_path: Path) -> None:
    """Of a folder the transcripts without a word are entries without a step, and are named."""
    for name, content in (("a.srt", SRT.encode()), ("b.srt", b""), ("c.srt", b"\n\n")):
        (tmp_path / name).write_bytes(content)
    with open_reader(tmp_path) as file:
        assert file.keys == ("a", "b", "c")
        assert [file.steps(key) for key in file.keys] == [4, 0, 0]
        assert file.read("b").features.shape == (0, 1)
        assert file.notes[-1] == f"2 of 3 transcripts in {tmp_path.name} are empty: 'b', 'c'."


def test_captions_that_roll_up_are_said_once(tmp_path: Path) -> None:
    """A line that stays on the screen while the next one comes is read where it is spoken, and not again."""
    rolling = (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\n \nKids<00:00:00.500><c> are</c><00:00:01.000><c> talking</c>\n\n"
        "00:00:01.500 --> 00:00:01.510\nKids are talking\n \n\n"
        "00:00:01.510 --> 00:00:02.000\nKids are talking\nby<00:00:01.700><c> the</c>\n"
    )
    with opened(tmp_path, "a.vtt", rolling.encode()) as file:
        assert [word for _, _, word in words(file)] == ["Kids", "are", "talking", "by", "the"]


def test_a_folder_is_one_source_and_names_what_is_damaged(tmp_path: Path) -> None:
    """Files beside them are left out, folders within give ids their path only where names repeat, and faults count."""
    for place in ("a/one.srt", "b/one.srt", "b/two.srt"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text(SRT)
    (tmp_path / "a/one.wav").touch()
    (tmp_path / "README.md").write_text("hello")
    with open_reader(tmp_path) as file:
        assert file.keys == ("a/one", "b/one", "b/two")
    (tmp_path / "a/one.srt").rename(tmp_path / "a/three.srt")
    (tmp_path / "b/two.srt").write_text("1\nnothing\n")
    with open_reader(tmp_path) as file:
        assert file.keys == ("three", "one", "two")
        assert list(file.unfit()) == ["two"]
        assert "line 1: no line of times" in file.unfit()["two"]


def test_a_folder_of_two_formats_is_refused(tmp_path: Path) -> None:
    """Where it is not clear which files are meant the reader must be named, and then is taken."""
    (tmp_path / "a.srt").write_text(SRT)
    (tmp_path / "b.vtt").write_text(VTT)
    with pytest.raises(DataError, match="of no known format"):
        open_reader(tmp_path)
    with open_reader(Source(tmp_path, reader="webvtt")) as file:
        assert file.keys == ("b",)


def test_a_ctm_holds_many_ids(tmp_path: Path) -> None:
    """Each id has its own words, in the order of time."""
    with opened(tmp_path, "all.ctm", (CTM + "b 1 2.0 0.5 too\nb 2 1.0 0.5 me\n").encode()) as file:
        assert file.keys == ("a", "b")
        assert words(file, "b") == [(1.0, 1.5, "me"), (2.0, 2.5, "too")]


def test_the_tier_of_a_textgrid_is_chosen(tmp_path: Path) -> None:
    """The tier called words is read, or the one that is named; where it is not clear the tiers are listed."""
    path = tmp_path / "a.TextGrid"
    path.write_text(TEXTGRID)
    with open_reader(Source(path, part="phones")) as file:
        assert words(file) == [(0.0, 1.0, "K"), (1.0, 2.0, '"1')]
    path.write_text(TEXTGRID.replace('"words"', '"orthography"'))
    with pytest.raises(DataError, match=r"has the tiers 'phones', 'orthography': say which one"):
        open_reader(path)


def test_whisper_gives_a_numeral_the_gap(tmp_path: Path) -> None:
    """A word without times, as WhisperX writes numerals, fills its gap; a segment without words is spread."""
    gap = [{"word": "on", "start": 0.0, "end": 0.5}, {"word": "42"}, {"word": "go", "start": 1.0, "end": 1.5}]
    segments = [{"start": 0, "end": 1.5, "text": "on 42 go", "words": gap}, {"start": 2, "end": 3, "text": "so it"}]
    with opened(tmp_path, "a.json", json.dumps({"text": "", "segments": segments}).encode()) as file:
        assert words(file) == [(0, 0.5, "on"), (0.5, 1, "42"), (1, 1.5, "go"), (2, 2.5, "so"), (2.5, 3, "it")]
        assert file.notes == ("a.json has no times for 2 of 5 words: each gets an even part of its cue.",)


@pytest.mark.short_rows(3)
@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_a_damaged_transcript_is_refused_or_read(tmp_path: Path, name: str) -> None:
    """Flipped and cut bytes end in one sentence, or in words with times that go forward."""

    def read(data: bytes) -> None:
        with opened(tmp_path, name, data) as file:
            for key in file.keys:
                features, intervals = file.read(key)
                assert features.shape == (len(intervals), 1)
                assert (intervals[:, 1] >= intervals[:, 0]).all()
            assert isinstance(file.notes, tuple)

    for data in some_damage(TRANSCRIPTS[name], 40):
        one_sentence(lambda data=data: read(data), name)  # type: ignore[misc]


def test_a_word_without_end_is_refused(tmp_path: Path) -> None:
    """No word is so long that all of an entry would be stored as wide as it."""
    with pytest.raises(DataError, match="no word: it has more than 200 bytes"):
        opened(tmp_path, "a.txt", b"x" * 201)
