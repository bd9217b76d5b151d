"""Answers about many inputs, in a file: in order, whole, and going on where they were stopped."""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import faces, sound_of, write_clip, write_wav
from senses import train_run
from typed_commands import typed_commands

import emotiwave as ew
from emotiwave_core.explain.input_predictor import InputPredictor
from emotiwave_core.explain.timeline import page
from emotiwave_core.predict import predictor
from emotiwave_core.predict.prediction_inputs import inputs_of

pytest.importorskip("av")
SRT = "1\n00:00:00,200 --> 00:00:00,800\nI did\n\n2\n00:00:01,000 --> 00:00:01,600\nnot know\n"


@pytest.fixture(scope="module")
def senses(tmp_path_factory: pytest.TempPathFactory) -> ew.Run:
    """A run of three modalities that knows its extractors."""
    return train_run(tmp_path_factory.mktemp("senses"))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two good recordings, one that is torn, and a silent one."""
    folder = tmp_path_factory.mktemp("recordings") / "clips"
    folder.mkdir()
    write_clip(folder / "a.mp4", sound=sound_of(2.0), pictures=faces(2.0))
    (folder / "a.srt").write_text(SRT)
    (folder / "b.mp4").write_bytes(b"torn")
    write_wav(folder / "c.wav", np.zeros(8000, np.float32))
    write_wav(folder / "d.wav", sound_of(1.0))
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_each_input_has_its_rows_in_order(senses: ew.Run, clips: Path, tmp_path: Path) -> None:
    """Windows of each recording follow each other; what is torn or silent says why, and costs nothing else."""
    written = senses.predict_to(tmp_path / "a.csv", clips, window=1.0)
    assert (written.rows, written.inputs, written.failed) == (5, 4, 1)
    rows = rows_of(tmp_path / "a.csv")
    assert [(row["id"], row["start"], row["end"]) for row in rows] == [
        ("a", "0.0", "1.0"),
        ("a", "1.0", "2.0"),
        ("b", "", ""),
        ("c", "0.0", "0.5"),
        ("d", "0.0", "1.0"),
    ]
    first = senses.predict_recordings(clips / "a.mp4", window=1.0)[0].segments[0]
    assert float(rows[0]["p(short)"]) == first.probabilities["short"]
    assert float(rows[0]["shapley(audio)"]) == first.shapley["audio"]
    assert (rows[0]["decided"], rows[0]["present"]) == ("+".join(first.decided), "text+audio+visual")
    assert "is no recording" in rows[2]["error"]
    assert (rows[3]["decided"], "audio: the sound is silent" in rows[3]["missing"]) == ("", True)
    assert rows[4]["present"] == "audio"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv"]


@pytest.mark.full
def test_the_formats_say_the_same(senses: ew.Run, clips: Path, tmp_path: Path) -> None:
    """JSON Lines, CSV and Parquet hold the same rows, numbers to the digit."""
    parquet = pytest.importorskip("pyarrow.parquet")
    for suffix in ("csv", "jsonl", "parquet"):
        senses.predict_to(tmp_path / f"a.{suffix}", [clips / "a.mp4", clips / "b.mp4"], window=1.0)
    rows = rows_of(tmp_path / "a.csv")
    table = parquet.read_table(tmp_path / "a.parquet").to_pylist()
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert len(rows) == len(table) == len(lines) == 3
    for row, other, line in zip(rows, table, lines, strict=True):
        assert row == {name: "" if value is None else str(value) for name, value in other.items()}
        assert row["p(long)"] == str(line["probabilities"].get("long", ""))
        assert row["error"] == (line["error"] or "")


def test_what_was_stopped_goes_on(senses: ew.Run, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped within its third input, the same call asks about no input twice and gives the same file."""
    senses.predict_to(tmp_path / "whole.csv", clips, window=1.0)
    asked: list[str] = []
    answers = InputPredictor.answers

    def stopped(self: InputPredictor, given: Any) -> Iterator[Any]:
        asked.append(given.path.name)
        yield from answers(self, given)
        if given.path.name == "c.wav" and asked.count("c.wav") == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(InputPredictor, "answers", stopped)
    with pytest.raises(KeyboardInterrupt):
        senses.predict_to(tmp_path / "b.csv", clips, window=1.0)
    part = tmp_path / "b.csv.part"
    assert not (tmp_path / "b.csv").exists()
    with pytest.raises(ew.SettingsError, match="other inputs or settings"):
        senses.predict_to(tmp_path / "b.csv", clips, window=0.5)
    part.write_bytes(part.read_bytes() + b'{"input": "torn by a kill')
    written = senses.predict_to(tmp_path / "b.csv", clips, window=1.0)
    assert asked == ["a.mp4", "b.mp4", "c.wav", "c.wav", "d.wav"]
    assert written.failed == 1
    assert (tmp_path / "b.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert not part.exists()
    with pytest.raises(ew.SettingsError, match="is there already"):
        senses.predict_to(tmp_path / "b.csv", clips, window=1.0)


def test_a_data_set_is_rows_too(senses: ew.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples have their ids, intervals and Shapley values, which sum to the probability less the class frequency."""
    data = senses.folder.parent / "data"
    senses.predict_to(tmp_path / "a.csv", data, explain=True)
    rows = rows_of(tmp_path / "a.csv")
    whole = list(senses.predict_samples(data, explain=True))
    assert [row["id"] for row in rows] == [sample.id for sample in whole]
    for row, sample in zip(rows, whole, strict=True):
        assert float(row["p(long)"]) == sample.probabilities["long"]
        value = sample.probabilities[str(sample.explained)]
        assert value - sum(sample.shapley.values()) == pytest.approx(0.5, abs=1e-6)
        assert sample.confidence == max(sample.probabilities.values())
        assert float(row["end"]) > float(row["start"]) == 0.0
    monkeypatch.setattr(predictor, "CHUNK", 1)  # chunks of a batch alone
    assert list(senses.predict_samples(data, explain=True)) == whole


def test_files_of_features_are_one_data_set(senses: ew.Run, tmp_path: Path) -> None:
    """A file is the modality whose width or name it has; what could be two is asked for; words are not features."""
    data = senses.folder.parent / "data"
    both = {row.id: row for row in senses.predict(data)}
    senses.predict_to(tmp_path / "a.csv", [data / "audio.csd", data / "visual.csd"])
    rows = rows_of(tmp_path / "a.csv")
    assert [row["present"] for row in rows] == ["audio+visual"] * len(both)
    senses.predict_to(tmp_path / "t.csv", data / "text.csd")
    assert {row["present"] for row in rows_of(tmp_path / "t.csv")} == {"text"}
    shutil.copy(data / "audio.csd", tmp_path / "unnamed.csd")
    senses.predict_to(tmp_path / "u.csv", tmp_path / "unnamed.csd")
    (row,) = rows_of(tmp_path / "u.csv")
    assert "say which one it is by --features audio=" in row["error"]
    for number, files in enumerate(([], [data / "text.csd"])):
        senses.predict_to(tmp_path / f"n{number}.csv", files, features={"audio": tmp_path / "unnamed.csd"})
    assert {row["present"] for row in rows_of(tmp_path / "n0.csv")} == {"audio"}
    assert {row["present"] for row in rows_of(tmp_path / "n1.csv")} == {"text+audio"}
    senses.predict_to(tmp_path / "d.csv", [data / "audio.csd"], features={"audio": tmp_path / "unnamed.csd"})
    assert "both hold 'audio'" in rows_of(tmp_path / "d.csv")[0]["error"]


def test_an_option_that_nothing_would_read_is_refused(senses: ew.Run, tmp_path: Path) -> None:
    """Windows of a data set, and files of features beside one that says itself which file is what."""
    data = senses.folder.parent / "data"
    with pytest.raises(ew.SettingsError, match="window is about recordings"):
        senses.predict_to(tmp_path / "a.csv", data, window=1.0)
    with pytest.raises(ew.SettingsError, match="leave out --features"):
        senses.predict_to(tmp_path / "a.csv", data, features={"audio": data / "audio.csd"})
    assert not list(tmp_path.iterdir())


def test_a_folder_is_a_data_set_or_recordings(senses: ew.Run, clips: Path) -> None:
    """A folder of recordings is each of them; one with features is a data set."""
    assert [given.path.name for given in inputs_of([clips])] == ["a.mp4", "b.mp4", "c.wav", "d.wav"]
    (given,) = inputs_of([senses.folder.parent / "data"])
    assert not given.is_recording


@pytest.mark.full
def test_segments_of_a_file_are_asked_about(senses: ew.Run, clips: Path, tmp_path: Path) -> None:
    """A table or subtitles name the stretches; other recordings' are left out; milliseconds are told, not cut."""
    table = tmp_path / "segments.csv"
    table.write_text("file,start,end\na.mp4,0.5,1.5\nother,0,1\na,1,2\n")
    (answer,) = senses.predict_recordings(clips / "a.mp4", segments=table).__iter__()
    assert [(segment.start, segment.end) for segment in answer.segments] == [(0.5, 1.5), (1.0, 2.0)]
    (windows,) = senses.predict_recordings([clips / "a.mp4"], window=1.0, hop=0.5)
    assert answer.segments[0].probabilities == pytest.approx(windows.segments[1].probabilities, abs=1e-6)
    (answer,) = senses.predict_recordings([clips / "a.mp4"], segments=clips / "a.srt")
    assert [(segment.start, segment.end) for segment in answer.segments] == [(0.2, 0.8), (1.0, 1.6)]
    for text, sentence in (
        ("start,end\n0,1000\n", "end after a.mp4, which has 2.0 s, such as one at 1000.0 s"),
        ("file,start,end\nother,0,1\n", "has no segment of a.mp4"),
        ("start,end\n2,1\n", "no time from 2.0 to 1.0"),
        ("file,label\na,b\n", "no columns `start` and `end`"),
    ):
        table.write_text(text)
        with pytest.raises(ew.DataError, match=sentence):
            senses.predict_recordings(clips / "a.mp4", segments=table)
    with pytest.raises(ew.SettingsError, match="not both"):
        senses.predict_recordings(clips / "a.mp4", segments=clips / "a.srt", window=1.0)


def test_the_command_ends_with_3_where_an_input_is_bad(
    senses: ew.Run, clips: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """`predict --out` writes all rows, says how many inputs failed, and ends with exit code 3; else with 0."""
    predict = typed_commands(
        capfd, "predict", str(senses.folder), "--registry", f"{senses.folder.parent}/registry.toml"
    )
    bad = predict(clips, "--out", tmp_path / "a.jsonl")
    assert (bad.code, "1 of 4 inputs cannot be used; their rows say why." in bad.err) == (3, True)
    assert "4 rows about 4 inputs:" in bad.out
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 4
    good = predict(clips / "d.wav")
    assert (good.code, "Decided: " in good.out) == (0, True)
    assert predict(clips / "d.wav", senses.folder.parent / "data").code == 2  # together they have one table: --out


def test_the_timeline_is_a_page_without_script(senses: ew.Run, clips: Path, tmp_path: Path) -> None:
    """Names are text, nothing is loaded, and segments without evidence say why."""
    hostile = tmp_path / "<img src=x onerror=alert(1)>.wav"
    shutil.copy(clips / "d.wav", hostile)
    (answer,) = senses.predict_recordings([hostile], window=0.5)
    text = page(answer)
    assert "<img src=x" not in text
    assert "&lt;img src=x" in text
    assert "<script" not in text
    assert "default-src &#39;none&#39;" in text or "default-src 'none'" in text
    (silent,) = senses.predict_recordings([clips / "c.wav"])
    assert "no evidence: " in page(silent)
