"""Recordings of a speaker as enrolled clips: what they change, by which way they are named, and what they cannot be."""

from pathlib import Path

import numpy as np
import pytest
from clips import sound_of, write_wav
from senses import train_run

import emotiwave as ew
from emotiwave_core.errors import Notice

pytest.importorskip("av")
pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def relative(tmp_path_factory: pytest.TempPathFactory) -> ew.Run:
    """A run that knows its extractors and reads features relative to their speaker."""
    plain = train_run(tmp_path_factory.mktemp("relative"))
    data = plain.folder.parent / "data"
    with (data / "dataset.toml").open("a") as file:
        file.write('[groups]\nseparator = "v"\nfield = -1\n')
    recipe = {"model": {"standardise": "own"}, "data": {"ratios": [0.5, 0.25, 0.25]}, "training": {"epochs": 1}}
    out, registry = plain.folder.parent / "own", plain.folder.parent / "registry.toml"
    return ew.train(data, recipe, encoder="mean", out=out, device="cpu", registry=registry)


def test_a_louder_microphone_changes_nothing_for_who_is_enrolled(relative: ew.Run, tmp_path: Path) -> None:
    """Clip and enrolment both at a tenth: one answer for whom many clips are known, two for a stranger."""
    shape = 0.3 + 0.7 * np.abs(np.sin(np.linspace(0, 9, 16_000))).astype(np.float32)
    folders = {}
    for name, gain in (("loud", 1.0), ("soft", 0.1)):
        folders[name] = tmp_path / name
        folders[name].mkdir()
        for number in range(40):
            write_wav(folders[name] / f"{number}.wav", gain * np.roll(shape, 300 * number) * sound_of(2.0, 8000), 8000)
    clip = {name: folder / "3.wav" for name, folder in folders.items()}
    with pytest.warns(Notice, match="no clip is known"):
        stranger = [relative.predict(clip[name]).segments[0].probabilities["short"] for name in clip]
    known = [relative.enrol(folders[n]).predict(clip[n]).segments[0].probabilities["short"] for n in clip]
    assert abs(known[0] - known[1]) < 0.2 * abs(stranger[0] - stranger[1])


def test_clips_that_cannot_be_a_speaker_are_refused(relative: ew.Run, tmp_path: Path) -> None:
    """Silence, nothing, a data set beside recordings, and a run that knows no speakers: one sentence each."""
    silent = write_wav(tmp_path / "silent.wav", np.zeros(8000, np.float32))
    loud = write_wav(tmp_path / "loud.wav", sound_of(1.0))
    with pytest.raises(ew.DataError, match=r"silent\.wav has nothing that the run reads: .*the sound is silent"):
        relative.enrol(silent)
    for none in ([], [loud, relative.folder.parent / "data"]):
        with pytest.raises(ew.SettingsError, match="name one of the two"):
            relative.enrol(none)
    plain = ew.open_run(relative.folder.parent / "run", registry=relative.folder.parent / "registry.toml")
    with pytest.raises(ew.SettingsError, match="does not read features relative to their speaker"):
        plain.enrol(loud)


def test_a_stream_that_adapts_has_enrolled_what_it_has_heard(relative: ew.Run) -> None:
    """Its answers are those of the run with the windows so far enrolled, and not those about a stranger."""
    random = np.random.default_rng(0)
    windows = [5.0 + random.normal(size=(8, 2)).astype(np.float32) for _ in range(4)]
    starts = np.arange(32) / 8
    live = ew.Stream(relative, window=1.0, hop=0.5, adapt=True, shares=False)
    answers = live.push_features("audio", np.concatenate(windows), np.stack([starts, starts + 1 / 8], axis=1))
    whole = {answer.end: answer.probabilities for answer in answers}
    for heard, window in enumerate(windows, start=1):
        known = relative.enrol([{"audio": each} for each in windows[:heard]]).predict(audio=window)
        assert whole[float(heard)] == pytest.approx(known.probabilities, abs=1e-6)
    with pytest.warns(Notice, match="no clip is known"):
        stranger = relative.predict(audio=windows[-1])
    assert whole[4.0] != pytest.approx(stranger.probabilities, abs=1e-4)
    between = relative.enrol([{"audio": windows[0]}]).predict(audio=np.concatenate(windows)[4:12])
    assert whole[1.5] == pytest.approx(between.probabilities, abs=1e-6)


def test_a_stream_adapts_to_nobody_who_is_enrolled_and_for_no_plain_run(relative: ew.Run) -> None:
    """Both are one sentence."""
    speaker = relative.enrol([{"audio": np.ones((8, 2), np.float32)}])
    with pytest.raises(ew.SettingsError, match="The speaker is enrolled"):
        ew.Stream(speaker, adapt=True)
    plain = ew.open_run(relative.folder.parent / "run", registry=relative.folder.parent / "registry.toml")
    with pytest.raises(ew.SettingsError, match="does not read features relative to their speaker"):
        ew.Stream(plain, adapt=True)
