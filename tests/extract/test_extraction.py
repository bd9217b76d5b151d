"""From recordings to a data set, to a run, to an answer: whole, stopped, with bad clips among the good ones."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import faces, sound_of, write_clip, write_wav
from loud import with_loud_extractor
from training import small, start

import emotiwave as ew
from emotiwave_core.data.formats.reader import open_reader
from emotiwave_core.errors import ModelNotHere
from emotiwave_core.execute import local
from emotiwave_core.execute.executor import Execution
from emotiwave_core.execute.job import Job, JobAnswer
from emotiwave_core.extract import extraction
from emotiwave_core.extract.clips import MediaClip, find_clips
from emotiwave_core.extract.dataset_files import write_dataset
from emotiwave_core.extract.extraction import Extracted, Request
from emotiwave_core.extract.extractors import OpenExtractor, choose
from emotiwave_core.extract.worker import Worker
from emotiwave_core.parts.registry import load_registry

pytest.importorskip("av")
EMOTIONS = ("calm", "angry")
COUNT = 8


class InProcess:
    """Stands for a slot, so that a test need not start a process that extracts."""

    def __init__(self, environment: Any = None) -> None:
        self.worker: Worker | None = None

    def do(self, job: Job) -> JobAnswer:
        """Extract from a clip."""
        assert job.program.opening is not None
        worker = self.worker = self.worker or Worker(json.loads(job.program.opening))
        opening = json.dumps({"identities": {one.modality: one.identity for one in worker.extractors}})
        return JobAnswer(
            line=None if job.line is None else json.dumps(worker.clip(json.loads(job.line))), opening=opening
        )

    def stop(self) -> None:
        """Nothing runs beside."""

    def end(self, patience: float) -> None:
        """End the process that decodes."""
        if self.worker is not None:
            self.worker.decoder.close()


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Extract in this process."""
    monkeypatch.setattr(local, "Slot", InProcess)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of two emotions, loud and quiet, with a table; and a registry.toml with an extractor beside the folder."""
    folder = tmp_path_factory.mktemp("recordings")
    with_loud_extractor(folder)
    clips = folder / "clips"
    clips.mkdir()
    rows = ["file,label"]
    for number in range(COUNT):
        loud = number % 2
        write_wav(clips / f"c{number:02}.wav", (0.2 + 0.8 * loud) * sound_of(0.5 + 0.1 * (number % 3)))
        rows.append(f"c{number:02}.wav,{EMOTIONS[loud]}")
    (clips / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def extracted(recordings: Path, out: Path, **options: Any) -> ew.Extraction:
    """The clips as a data set."""
    return ew.extract(
        recordings / "clips", "loud", out=out, registry=recordings / "registry.toml", workers=1, **options
    )


def test_a_data_set_is_made_of_recordings(recordings: Path, tmp_path: Path, in_process: None) -> None:
    """Each clip has its features, its label and its whole length; the file tells who made it."""
    made = extracted(recordings, tmp_path)
    assert (made.failed, made.missing, made.labelled) == ({}, {}, True)
    with open_reader(tmp_path / "audio.csd") as file:
        assert sorted(file.keys) == [f"c{number:02}" for number in range(COUNT)]
        assert file.metadata["extractor"] == made.identities["audio"]
        assert file.steps("c00") == 5
        assert file.steps("c02") == 7
    with open_reader(tmp_path / "labels.csd") as file:
        assert file.dimension_names == ["angry", "calm"]
        features, intervals = file.read("c01")
        assert features.tolist() == [[1.0, 0.0]]
        assert intervals == pytest.approx(np.array([[0.0, 0.6]]), abs=0.01)
    assert ew.load_dataset(tmp_path).targets == ("angry", "calm")


@pytest.mark.full
def test_streams_that_are_finished_are_not_made_again(
    recordings: Path, tmp_path: Path, in_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second extraction asks no extractor; another option of the extractor makes all of them anew."""
    extracted(recordings, tmp_path)
    before = (tmp_path / "audio.csd").read_bytes()
    asked: list[Any] = []
    extract = OpenExtractor.extract
    monkeypatch.setattr(OpenExtractor, "extract", lambda self, one: (asked.append(one), extract(self, one))[1])
    extracted(recordings, tmp_path)
    assert asked == []
    assert (tmp_path / "audio.csd").read_bytes() == before
    ew.extract(recordings / "clips", "loud:step=0.05", out=tmp_path, registry=recordings / "registry.toml", workers=1)
    assert len(asked) == len({path.read_bytes() for path in (recordings / "clips").glob("*.wav")})


def test_a_bad_clip_costs_itself(recordings: Path, tmp_path: Path, in_process: None) -> None:
    """Damaged, silent and good clips: the data set holds the good ones, and extraction.json says what is wrong."""
    clips = tmp_path / "clips"
    clips.mkdir()
    write_wav(clips / "good.wav", sound_of(1.0))
    write_wav(clips / "silent.wav", np.zeros(16_000, np.float32))
    (clips / "torn.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    write_clip(clips / "mute.mp4", pictures=faces(0.4))
    made = ew.extract(clips, "loud", out=tmp_path / "out", registry=recordings / "registry.toml", workers=1)
    assert set(made.failed) == {"silent", "torn", "mute"}
    assert made.failed["silent"] == "audio: the sound is silent"
    assert made.failed["mute"] == "audio: it has no sound track"
    report = json.loads((tmp_path / "out" / "extraction.json").read_text())
    assert report["failed"] == made.failed
    assert [row["id"] for row in report["clips"]] == ["good", "mute", "silent", "torn"]
    (clips / "good.wav").unlink()
    with pytest.raises(ew.DataError, match="None of 3 recordings gives anything"):
        ew.extract(clips, "loud", out=tmp_path / "out", registry=recordings / "registry.toml", workers=1)


@pytest.mark.full
def test_an_array_of_slurm_extracts_the_same(recordings: Path, tmp_path: Path, in_process: None) -> None:
    """Carried out elsewhere, an extraction gives the bytes of one in processes here, and leaves nothing else."""
    pytest.importorskip("submitit", reason="the extra [slurm] is not installed")
    made = extracted(recordings, tmp_path / "a")
    array = extracted(recordings, tmp_path / "b", executor="slurm", slurm={"cluster": "debug"})
    assert (array.failed, array.identities) == (made.failed, made.identities)
    for name in ("audio.csd", "labels.csd"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert {path.name for path in (tmp_path / "b").iterdir()} == {path.name for path in (tmp_path / "a").iterdir()}


def test_a_clip_that_gives_no_answer_says_why() -> None:
    """Its worker died, is lost, or lacks a model on its machine: one sentence, with the clip."""
    clip = MediaClip("a", Path("a.mp4"))
    failed = json.dumps({"failed": "ModelNotHere", "sentence": "There is no model."})
    for answer, sentence in (
        (JobAnswer(-11), "a.mp4: the process that read it has died (exit code -11)."),
        (JobAnswer(0, opening=failed), "a.mp4: There is no model."),
        (JobAnswer(lost="its worker is lost"), "a.mp4: its worker is lost."),
    ):
        assert extraction._result(clip, answer)["error"] == sentence
    with pytest.raises(ModelNotHere, match="no model"):
        extraction._identities(JobAnswer(opening=failed))
    with pytest.raises(ew.PluginError, match="exit code 1: no such module"):
        extraction._identities(JobAnswer(1, said="Traceback\nno such module\n"))


@pytest.mark.full
def test_what_stands_in_dataset_toml_stays(recordings: Path, tmp_path: Path, in_process: None) -> None:
    """A modality and folds that the user has added are still there after another extraction."""
    extracted(recordings, tmp_path)
    (tmp_path / "faces.csd").write_bytes((tmp_path / "audio.csd").read_bytes())
    text = (tmp_path / "dataset.toml").read_text().replace("[modalities]", '[modalities]\nvisual = "faces.csd"')
    (tmp_path / "dataset.toml").write_text(text)
    extracted(recordings, tmp_path)
    assert set(ew.load_dataset(tmp_path).modalities) == {"audio", "visual"}


def test_two_recordings_of_one_name_are_refused(tmp_path: Path) -> None:
    """An id stands for one recording."""
    write_wav(tmp_path / "a.wav", sound_of(0.2))
    write_wav(tmp_path / "a.flac", sound_of(0.2))
    with pytest.raises(ew.DataError, match="would both have the id 'a'"):
        find_clips([tmp_path])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ew.DataError, match="no recording is there"):
        find_clips([tmp_path / "empty"])


@pytest.fixture(scope="module")
def mine(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> ew.Run:
    """A run on the data set of the clips."""
    folder = tmp_path_factory.mktemp("mine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "Slot", InProcess)
        extracted(recordings, folder / "data")
    recipe = small(encoder={"name": "mean", "width": 4}, training={"epochs": 2}, data={"ratios": [0.5, 0.25, 0.25]})
    start(recipe, folder / "data", folder / "run")
    return ew.open_run(folder / "run", registry=recordings / "registry.toml")


def test_a_recording_is_predicted_as_its_data_set_is(mine: ew.Run, recordings: Path) -> None:
    """To six digits, for a batch rounds otherwise: as the same clip in the data set that was extracted."""
    rows = {row.id: row for row in mine.predict(mine.folder.parent / "data")}
    for number in (0, 3, 5):
        answer = mine.predict(recordings / "clips" / f"c{number:02}.wav")
        (segment,) = answer.segments
        row = rows[f"c{number:02}[0]"]
        assert segment.probabilities == pytest.approx(row.probabilities, abs=5e-7)
        assert segment.decided == row.decided
        assert segment.confidence == max(segment.probabilities.values())


def test_shapley_values_are_what_lies_between_prior_and_probability(mine: ew.Run, recordings: Path) -> None:
    """With one modality its value is the probability of the decided class less the frequency of that class."""
    (segment,) = mine.predict(recordings / "clips" / "c01.wav").segments
    assert segment.explained in segment.decided
    prior = segment.probabilities[str(segment.explained)] - segment.shapley["audio"]
    assert 0.0 < prior < 1.0


def test_windows_are_cut_as_segments_are(mine: ew.Run, recordings: Path, tmp_path: Path) -> None:
    """Windows go from the start to the end; one window as long as the recording is the recording."""
    clip = write_wav(tmp_path / "long.wav", sound_of(2.0))
    answer = mine.predict(clip, window=1.0, hop=0.5)
    assert [(segment.start, segment.end) for segment in answer.segments] == [(0.0, 1.0), (0.5, 1.5), (1.0, 2.0)]
    assert answer.segments[0].probabilities != answer.segments[2].probabilities
    whole, one = mine.predict(clip), mine.predict(clip, window=2.0)
    assert one.segments[0].probabilities == whole.segments[0].probabilities
    with pytest.raises(ew.SettingsError, match="hop needs a window"):
        mine.predict(clip, hop=1.0)


def test_nothing_usable_is_no_evidence(mine: ew.Run, tmp_path: Path) -> None:
    """A silent recording gets no guess, and the reason; a silent stretch of another one likewise."""
    silent = mine.predict(write_wav(tmp_path / "silent.wav", np.zeros(16_000, np.float32)))
    assert (silent.has_evidence, silent.segments[0].decided, silent.segments[0].probabilities) == (False, (), {})
    assert silent.missing == {"audio": "the sound is silent"}
    assert json.loads(json.dumps(silent.to_dict()))["evidence"] is False
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no media")
    with pytest.raises(ew.DataError, match="is no recording"):
        mine.predict(bad)


def test_features_made_another_way_are_refused(mine: ew.Run, recordings: Path) -> None:
    """An extractor with another option than the run's is refused, with the option that differs."""
    with pytest.raises(ew.SettingsError, match=r"options\.step is 0\.2, not 0\.1"):
        mine.predict_recordings(recordings / "clips" / "c00.wav", extractors=["loud:step=0.2"])
    with pytest.raises(ew.SettingsError, match="The run does not read 'voice'"):
        mine.predict_recordings(recordings / "clips" / "c00.wav", extractors=["voice=loud"])


def test_a_request_names_its_parts(recordings: Path, tmp_path: Path, in_process: None) -> None:
    """The pieces can be used one by one, as the face does."""
    registry = load_registry(recordings / "registry.toml")
    request = Request(
        choose(["quiet"], registry, None), tmp_path, recordings / "registry.toml", execution=Execution(jobs=1)
    )
    found = find_clips([recordings / "clips"])
    results, identities = extraction.extract_clips(found.clips, request)
    assert all(isinstance(one, Extracted) and one.failure is None for one in results)
    write_dataset(tmp_path, results, identities, None)
    assert ew.load_dataset(tmp_path).labels is None


@pytest.mark.slow
def test_a_killed_extraction_goes_on(recordings: Path, tmp_path: Path) -> None:
    """Killed at some point and asked again, an extraction in parallel processes gives the same files."""
    program = [sys.executable, "-m", "emotiwave_core.cli", "extract", str(recordings / "clips"), "--with", "loud"]
    registry = ["--registry", str(recordings / "registry.toml"), "--workers", "2"]
    first = subprocess.Popen([*program, *registry, "--out", str(tmp_path / "a")], stderr=subprocess.DEVNULL)
    streams = tmp_path / "a" / ".streams"
    end = time.monotonic() + 600
    while time.monotonic() < end and first.poll() is None and len(list(streams.glob("*.npy"))) < 4:
        time.sleep(0.01)
    first.kill()
    first.wait()
    assert not (tmp_path / "a" / "dataset.toml").exists()
    for out in ("a", "b"):
        subprocess.run(
            [*program, *registry, "--out", str(tmp_path / out)], check=True, capture_output=True, timeout=600
        )
    for name in ("audio.csd", "labels.csd"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


@pytest.mark.slow
def test_the_command_line_says_what_came(recordings: Path, tmp_path: Path) -> None:
    """`extract` and `predict` as programs: exit code 3 where a clip is bad, one sentence, and the data set is there."""
    clips = tmp_path / "clips"
    clips.mkdir()
    write_wav(clips / "good.wav", sound_of(1.0))
    (clips / "torn.mp4").write_bytes(b"torn")
    program = [sys.executable, "-m", "emotiwave_core.cli", "extract", str(clips), "--with", "loud", "--out"]
    more = [str(tmp_path / "out"), "--registry", str(recordings / "registry.toml")]
    ended = subprocess.run([*program, *more], capture_output=True, text=True, timeout=600, env=os.environ, check=False)
    assert ended.returncode == 3
    assert "1 recording gave nothing, such as torn" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert (tmp_path / "out" / "audio.csd").is_file()
