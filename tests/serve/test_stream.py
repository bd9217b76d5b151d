"""Streams: what came in time is answered as the same stretch of a recording is; what did not come is said."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from senses import train_run

import emotiwave as ew
from emotiwave_core.api import recording_reader
from emotiwave_core.explain.recording import SegmentPrediction
from emotiwave_core.interfaces import SpokenWord
from emotiwave_core.serve.live_recording import SoundBuffer, WindowRecording, one_channel
from emotiwave_core.testing.recordings import SAID, drawn, voice

RATE = 8000
WINDOW, HOP = 1.0, 0.5


@pytest.fixture(scope="module")
def watching(tmp_path_factory: pytest.TempPathFactory) -> ew.Run:
    """A run of three modalities that knows its extractors."""
    return train_run(tmp_path_factory.mktemp("senses"))


def sound(seconds: float, start: float = 0.0, rate: int = RATE) -> NDArray[np.float32]:
    """A voice."""
    return voice(start + np.arange(round(seconds * rate)) / rate)


def frame(at: float) -> NDArray[np.uint8]:
    """A drawn face that sways."""
    return drawn((80 + 10 * np.sin(at), 60))


def words(seconds: float) -> list[SpokenWord]:
    """A word each quarter of a second."""
    return [SpokenWord(SAID[n % len(SAID)], n / 4, n / 4 + 0.2) for n in range(int(seconds * 4))]


def play(
    live: "ew.Stream", seconds: float, *, lacks: tuple[str, ...] = (), camera: tuple[float, float] = (0.0, 1e9)
) -> Iterator[SegmentPrediction]:
    """Push tenths of a second of all that is not lacking; the camera is on from and to these seconds."""
    said = words(seconds)
    for tick in range(round(seconds * 10)):
        start = tick / 10
        if "words" not in lacks:
            yield from live.push_words(
                [word for word in said if start < word.end - 1e-9 <= start + 0.1], until=start + 0.1
            )
        if "picture" not in lacks and camera[0] <= start < camera[1]:
            yield from live.push_frame(frame(start), start)
        if "sound" not in lacks:
            yield from live.push_sound(sound(0.1, start), RATE)
    yield from live.finish()


def test_a_window_is_answered_as_a_recording_of_it(watching: ew.Run) -> None:
    """Each window has the probabilities that the same sound, pictures and words have, handed over as arrays."""
    live = ew.Stream(watching, window=WINDOW, hop=HOP)
    answers = list(play(live, 2.0))
    assert [(answer.start, answer.end) for answer in answers] == [(0.0, 0.5), (0.0, 1.0), (0.5, 1.5), (1.0, 2.0)]
    reader = recording_reader(watching)
    for answer in answers:
        span = round((answer.end - answer.start) * 10)
        window = WindowRecording(
            answer.end - answer.start,
            (sound(2.0)[round(answer.start * RATE) : round(answer.end * RATE)], RATE),
            [(n / 10, frame(answer.start + n / 10)) for n in range(span)],
            tuple(
                SpokenWord(w.text, w.start - answer.start, w.end - answer.start)
                for w in words(2.0)
                if w.end > answer.start and w.start < answer.end
            ),
        )
        streams, missing, _ = reader.streams(window, {}, "window")
        assert not missing
        expected = watching.predict(**{modality: stream.features for modality, stream in streams.items()})
        assert answer.probabilities == pytest.approx(expected.probabilities, abs=1e-6)
        assert answer.present == ("text", "audio", "visual")
        assert set(answer.shapley) == set(answer.present)


def test_the_size_of_the_pieces_changes_nothing(watching: ew.Run) -> None:
    """Sound in one piece or in pieces of 10 ms, and a stereo or an integer one, give the same answers."""
    whole = sound(2.0)
    at_once = ew.Stream(watching, window=WINDOW, hop=HOP).push_sound(whole, RATE)
    live = ew.Stream(watching, window=WINDOW, hop=HOP)
    piece = RATE // 100
    bit_by_bit = [one for n in range(200) for one in live.push_sound(whole[n * piece : (n + 1) * piece], RATE)]
    stereo = ew.Stream(watching, window=WINDOW, hop=HOP).push_sound(np.stack([whole, whole], axis=1), RATE)
    assert at_once == bit_by_bit == stereo
    assert len(at_once) == 4
    assert one_channel((whole * 32768).astype(np.int16), RATE) == pytest.approx(whole, abs=1 / 32768)


def test_what_never_came_is_missing_with_its_reason(watching: ew.Run) -> None:
    """Without a camera, without words, without sound: the others answer, and each answer says what did not come."""
    for source, modality in (("sound", "audio"), ("picture", "visual"), ("words", "text")):
        live = ew.Stream(watching, window=WINDOW, hop=HOP, shares=False)
        answers = list(play(live, 1.5, lacks=(source,)))
        assert len(answers) == 3
        assert all(modality not in answer.present and len(answer.present) == 2 for answer in answers)
        assert answers[1].missing == {modality: f"no {source} came from 0.00 s to 1.00 s"}
    assert answers[0].shapley == {}


def test_a_camera_goes_off_and_on_again(watching: ew.Run) -> None:
    """The face counts while its pictures are in the window, and no window waits twice for a camera that is off."""
    live = ew.Stream(watching, window=WINDOW, hop=HOP, patience=0.3)
    answers = list(play(live, 2.0, camera=(0.0, 0.95)))
    sees = {answer.end: "visual" in answer.present for answer in answers}
    assert sees == {0.5: True, 1.0: True, 1.5: True, 2.0: True}  # the last picture stands half a second
    for tick in range(20, 60):  # dark, then light again from 4 s on
        live = live if tick > 20 else ew.Stream(watching, window=WINDOW, hop=HOP, patience=0.3)
        if tick == 20:
            live.push_frame(frame(2.0), 2.0)
        if tick >= 40:
            answers += live.push_frame(frame(tick / 10), tick / 10)
        answers += live.push_sound(sound(0.1, tick / 10), RATE, at=tick / 10 if tick == 20 else None)
    sees = {round(answer.end, 1): "visual" in answer.present for answer in answers if answer.end > 2.1}
    assert sees == {2.5: True, 3.0: True, 3.5: False, 4.0: False, 4.5: True, 5.0: True, 5.5: True}
    assert [problem for problem in live.problems if "picture" in problem] == [
        "picture: nothing up to 2.50 s has come in time"
    ]


def test_late_streams_are_waited_for_so_long_and_no_longer(watching: ew.Run) -> None:
    """A window waits `patience` seconds for pictures that are behind; then it is answered without them."""
    live = ew.Stream(watching, window=WINDOW, hop=HOP, patience=0.4)
    live.push_frame(frame(0.0), 0.0)
    assert live.push_sound(sound(0.8), RATE) == []
    (early,) = live.push_frame(frame(0.5), 0.5)
    assert early.end == 0.5
    (late,) = live.push_sound(sound(0.6, 0.8), RATE)
    assert (late.end, "picture: nothing up to 1.00 s has come in time" in live.problems) == (1.0, True)


def test_gaps_of_the_clock_are_silence_and_said(watching: ew.Run) -> None:
    """Sound that starts later than the last one ended has a gap of zeros; what comes twice is left out; it is said."""
    buffer = SoundBuffer(10, 2.0, longest_gap=100.0)
    assert buffer.push(np.ones(10, np.float32), None) is None
    assert "0.50 s are missing from 3.00 s" in str(buffer.push(np.ones(5, np.float32), 3.5))
    assert "0.50 s from 3.50 s on came a second time" in str(buffer.push(2 * np.ones(10, np.float32), 3.5))
    assert buffer.between(2.0, 9.0) == pytest.approx(np.array([1.0] * 10 + [0.0] * 5 + [1.0] * 5 + [2.0] * 5))
    assert buffer.between(1.5, 2.2) == pytest.approx(np.array([0.0] * 5 + [1.0] * 2))
    assert buffer.between(6.0, 7.0) is None
    buffer.forget(3.5)
    assert (buffer.start, len(buffer.samples)) == (3.5, 10)
    live = ew.Stream(watching, window=WINDOW, hop=HOP)
    live.push_sound(sound(0.4), RATE)
    live.push_sound(sound(0.4), RATE, at=1.0)
    assert list(live.problems) == ["sound: 0.60 s are missing from 0.40 s on"]


def test_a_long_pause_costs_neither_memory_nor_a_flood_of_answers(watching: ew.Run) -> None:
    """After half an hour of nothing the stream goes on with a few answers, and says how many it left out."""
    live = ew.Stream(watching, window=WINDOW, hop=HOP)
    live.push_sound(sound(1.0), RATE)
    answers = live.push_sound(sound(1.0), RATE, at=1800.0)
    assert len(answers) <= 64
    assert any("windows are left out" in problem for problem in live.problems)
    assert live._sound is not None
    assert len(live._sound.samples) < 10 * RATE
    assert answers[-1].end == 1801.0
    assert "audio" in answers[-1].present


def test_the_clock_is_one(watching: ew.Run) -> None:
    """Times of two clocks, no times, and times of a finished stream are refused, and the stream goes on as it was."""
    live = ew.Stream(watching, window=WINDOW, hop=HOP)
    live.push_sound(sound(0.2), RATE)
    for push in (
        lambda: live.push_frame(frame(0), time.time()),
        lambda: live.push_frame(frame(0), float("nan")),
        lambda: live.push_words([("late", 0.3, 1e9)]),
        lambda: live.push_words([("odd", 2.0, 1.0)]),
        lambda: live.push_sound(sound(0.1), RATE * 2),
        lambda: live.push_sound(100 * np.ones(10), RATE),
        lambda: live.push_sound(np.full(10, np.nan), RATE),
        lambda: live.push_sound(np.ones((2, 2, 2)), RATE),
        lambda: live.push_frame(np.zeros((10, 10), np.uint8), 0.2),
        lambda: live.push_frame(np.zeros((10, 10, 3)), 0.2),
        lambda: live.push_features("audio", np.ones((3, 7)), np.ones((3, 2))),
    ):
        with pytest.raises(ew.DataError):
            push()
    with pytest.raises(ew.SettingsError, match="does not read 'voice'"):
        live.push_features("voice", np.ones((3, 2)), np.ones((3, 2)))
    assert live._clock == pytest.approx(0.2)
    (last,) = live.finish()
    assert last.end == pytest.approx(0.2)
    with pytest.raises(ew.SettingsError, match="finished"):
        live.push_sound(sound(0.1), RATE)
    with pytest.raises(ew.SettingsError, match=r"hop is 0\.0 seconds"):
        ew.Stream(watching, hop=0.0)


def test_features_of_elsewhere_stand_for_a_modality(watching: ew.Run) -> None:
    """Features that are pushed are predicted as arrays are, and no extractor is asked for that modality."""
    values = np.random.default_rng(1).random((10, 2)).astype(np.float32)
    starts = np.arange(10) / 10
    live = ew.Stream(watching, window=WINDOW, hop=WINDOW)
    (answer,) = live.push_features("audio", values, np.stack([starts, starts + 0.1], axis=1))
    assert answer.probabilities == pytest.approx(watching.predict(audio=values).probabilities, abs=1e-6)
    assert answer.missing["visual"] == "no picture came from 0.00 s to 1.00 s"


def test_nothing_gives_no_evidence(watching: ew.Run) -> None:
    """Silence alone, and time that passes without anything, are no evidence, and nothing is decided."""
    live = ew.Stream(watching, window=WINDOW, hop=HOP)
    assert live.advance(5.0) == []
    answers = live.push_sound(np.zeros(RATE), RATE) + live.advance(3.0)
    assert [answer.end for answer in answers] == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    assert not any(answer.has_evidence for answer in answers)
    assert answers[0].missing["audio"] == "the sound is silent"
    assert answers[-1].missing["audio"] == "no sound came from 2.00 s to 3.00 s"


def test_sound_of_another_rate_is_resampled() -> None:
    """A sine at 44.1 kHz is the same sine at 16 kHz; the length stays."""
    rate = 44_100
    tone = np.sin(2 * np.pi * 440 * np.arange(rate) / rate).astype(np.float32)
    recording = WindowRecording(1.0, (tone, rate), [], None)
    (heard,) = recording.sound(16_000)
    expected = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    assert heard.shape == (16_000,)
    assert heard[200:-200] == pytest.approx(expected[200:-200], abs=2e-3)


def test_streams_of_one_run_do_not_mix(watching: ew.Run, tmp_path: Path) -> None:
    """Two streams that are pushed in turn give what each gives alone."""

    def one_by_one(gain: float) -> list[SegmentPrediction]:
        return ew.Stream(watching, window=WINDOW, hop=HOP).push_sound(gain * sound(2.0), RATE)

    first, second = (ew.Stream(watching, window=WINDOW, hop=HOP) for _ in range(2))
    mixed: tuple[list[SegmentPrediction], list[SegmentPrediction]] = ([], [])
    for tick in range(20):
        piece = sound(0.1, tick / 10)
        mixed[0].extend(first.push_sound(piece, RATE))
        mixed[1].extend(second.push_sound(np.float32(0.25) * piece, RATE))
    for together, alone in zip(mixed, (one_by_one(1.0), one_by_one(0.25)), strict=True):
        for one, other in zip(together, alone, strict=True):
            assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)
