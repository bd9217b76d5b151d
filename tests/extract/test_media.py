"""Recordings in files are decoded right, or what is wrong is said: sound, pictures, and files that mean harm."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from clips import faces, sound_of, write_clip, write_wav
from short_suite import in_short

from emotiwave_core.errors import DataError
from emotiwave_core.extract.decoder import Decoder
from emotiwave_core.extract.recording import MediaFile

pytest.importorskip("av")
RATE = 16_000


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    """A process that decodes."""
    with Decoder() as decoder:
        yield decoder


def heard(path: Path, decoder: Decoder, rate: int = RATE) -> np.ndarray:
    """All of the sound of a file."""
    blocks = list(MediaFile(path, decoder).sound(rate))
    assert all(len(block) == rate for block in blocks[:-1])
    return np.concatenate(blocks)


def refused(path: Path, decoder: Decoder) -> str | None:
    """The sentence with which a file is refused; None where all of it is read, and makes sense."""
    try:
        recording = MediaFile(path, decoder)
        if recording.facts["sound"] is not None:
            assert all(np.isfinite(block).all() for block in recording.sound(RATE))
        if recording.facts["picture"] is not None:
            times = [frame.start for frame in recording.frames(5)]
            assert times == sorted(times)
    except DataError as error:
        return str(error)
    return None


def test_sound_is_what_was_written(tmp_path: Path, decoder: Decoder) -> None:
    """The samples of a .wav come out as they were put in, at its own rate."""
    sound = sound_of(2.5)
    assert np.abs(heard(write_wav(tmp_path / "a.wav", sound), decoder) - sound).max() < 1e-4


@pytest.mark.parametrize("suffix", in_short([".flac", ".mp4", ".mkv", ".opus", ".webm"], ".mp4"))
def test_sound_keeps_its_length_and_its_loudness(tmp_path: Path, decoder: Decoder, suffix: str) -> None:
    """Whatever the container and codec, sound is as long and as loud as what was written, up to the codec."""
    sound = sound_of(2.0, 48_000)
    got = heard(write_wav(tmp_path / f"a{suffix}", sound, 48_000), decoder)
    assert abs(len(got) / RATE - 2.0) < 0.05
    assert np.sqrt((got**2).mean()) == pytest.approx(np.sqrt((sound**2).mean()), rel=0.1)


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_a_rate_is_changed_without_a_shift(tmp_path: Path, decoder: Decoder, rate: int) -> None:
    """A tone of 200 Hz written at any rate is that tone at 16 kHz, in phase."""
    times = np.arange(2 * rate) / rate
    got = heard(
        write_wav(tmp_path / "a.wav", (0.5 * np.sin(2 * np.pi * 200 * times)).astype(np.float32), rate), decoder
    )
    due = 0.5 * np.sin(2 * np.pi * 200 * np.arange(len(got)) / RATE)
    assert np.abs(got - due)[RATE // 10 : -RATE // 10].max() < 0.02


def test_stereo_is_the_mean_and_antiphase_is_heard(tmp_path: Path, decoder: Decoder) -> None:
    """Two channels are mixed; where they cancel each other one of them is heard, and that is said."""
    sound = sound_of(1.5)
    both = write_wav(tmp_path / "both.wav", np.stack([sound, 0.5 * sound]))
    assert np.abs(heard(both, decoder) - 0.75 * sound).max() < 1e-4
    recording = MediaFile(write_wav(tmp_path / "anti.wav", np.stack([0.9 * sound, -0.9 * sound])), decoder)
    assert np.abs(np.concatenate(list(recording.sound(RATE))) - 0.9 * sound).max() < 1e-4
    assert recording.problems == ["its channels cancel each other when mixed: only channel 1 is heard"]


def test_late_sound_is_preceded_by_zeros(tmp_path: Path, decoder: Decoder) -> None:
    """Sample 0 is the container's start: sound that starts 0.7 s after the picture has 0.7 s of zeros before it."""
    clip = write_clip(tmp_path / "a.mkv", sound=sound_of(1.0), pictures=faces(2.0), options={"sound_at": 0.7})
    got = heard(clip, decoder)
    first = np.flatnonzero(np.abs(got) > 0.01)[0] / RATE
    assert first == pytest.approx(0.7, abs=0.06)
    assert not got[: round(0.6 * RATE)].any()


def test_pictures_come_at_their_moments(tmp_path: Path, decoder: Decoder) -> None:
    """At k / rate seconds the picture is the last one that was shown by then, also where their times are uneven."""
    times = [0.0, 0.1, 0.45, 0.5, 1.05]
    pictures = [np.full((48, 64, 3), 40 * (number + 1), np.uint8) for number in range(len(times))]
    clip = write_clip(tmp_path / "a.mkv", pictures=pictures, options={"times": times})
    frames = list(MediaFile(clip, decoder).frames(5))
    assert [round(frame.start, 3) for frame in frames] == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    levels = [round(float(frame.picture.mean()) / 40) - 1 for frame in frames]
    assert levels == [0, 1, 1, 3, 3, 3]
    assert all(frame.picture.shape == (48, 64, 3) for frame in frames)


def test_a_late_picture_has_no_frame_before_it(tmp_path: Path, decoder: Decoder) -> None:
    """Before the first picture there is none: nothing is made up."""
    clip = write_clip(tmp_path / "a.mkv", sound=sound_of(2.0), pictures=faces(1.0), options={"picture_at": 0.85})
    frames = list(MediaFile(clip, decoder).frames(5))
    assert frames[0].start == pytest.approx(1.0)
    assert frames[-1].end <= 2.01


def test_a_track_that_is_not_there_is_said(tmp_path: Path, decoder: Decoder) -> None:
    """A file without pictures, or without sound, has facts that say so, and asking for them is an error."""
    silent = MediaFile(write_clip(tmp_path / "a.mp4", pictures=faces(0.5)), decoder)
    deaf = MediaFile(write_wav(tmp_path / "b.wav", sound_of(0.5)), decoder)
    assert (silent.facts["sound"], deaf.facts["picture"]) == (None, None)
    with pytest.raises(DataError, match="has no sound track"):
        next(silent.sound(RATE))
    with pytest.raises(DataError, match="has no pictures"):
        next(deaf.frames(5))


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("empty.mp4", b"", r"is empty \(0 bytes\)"),
        ("page.mp4", b"<html><body>404 not found</body></html>", "is no recording"),
        ("script.mp4", b"ffconcat version 1.0\nfile secret.wav\n", "is no recording"),
        ("list.mp4", b"#EXTM3U\n#EXTINF:1,\nsecret.wav\n#EXT-X-ENDLIST\n", "is no recording"),
        ("sdp.mp4", b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n", "is no recording"),
    ],
)
def test_what_is_no_recording_opens_no_other_file(
    tmp_path: Path, decoder: Decoder, name: str, content: bytes, sentence: str
) -> None:
    """Scripts and playlists that name another file are refused in one sentence, whatever their suffix."""
    write_wav(tmp_path / "secret.wav", sound_of(0.5))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=sentence):
        MediaFile(tmp_path / name, decoder)


def test_damage_is_an_answer(tmp_path: Path, decoder: Decoder) -> None:
    """Each copy of a clip that is cut off or has wrong bytes gives a stream or one sentence, and never a crash here."""
    clip = write_clip(tmp_path / "a.mp4", sound=sound_of(0.6), pictures=faces(0.6)).read_bytes()
    random = np.random.default_rng(0)
    for number in range(6):
        damaged = bytearray(clip[: random.integers(1, len(clip))] if number % 3 == 0 else clip)
        for place in random.integers(0, len(damaged), 1 + 5 * (number % 4)):
            damaged[place] = random.integers(256)
        path = tmp_path / "damaged.mp4"
        path.write_bytes(bytes(damaged))
        refusal = refused(path, decoder)
        assert refusal is None or (refusal.startswith(str(path)) and "\n" not in refusal)


def test_a_decoder_that_dies_costs_one_file(tmp_path: Path) -> None:
    """Where the process that decodes is killed, the file at hand is an error, and the next one is read."""
    clip = write_wav(tmp_path / "a.wav", sound_of(3.0))
    with Decoder() as decoder:
        recording = MediaFile(clip, decoder)
        blocks = decoder.sound(clip, RATE, [])
        next(blocks)
        assert len(list(MediaFile(clip, decoder).sound(RATE))) == 3  # a second pass beside it has a process of its own
        blocks.close()  # the rest is not wanted
        decoder._idle[0].process.send_signal(signal.SIGSEGV)
        decoder._idle[0].process.wait()
        with pytest.raises(DataError, match="its decoder has crashed"):
            list(recording.sound(RATE))
        assert len(list(recording.sound(RATE))) == 3
    assert not decoder._idle


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["nasty", "talking"])
def test_real_files_give_a_stream_or_a_sentence(folder: str, decoder: Decoder) -> None:
    """Every file of a folder of real and nasty recordings (EMOTIWAVE_MEDIA) is decoded, or refused in one sentence."""
    if "EMOTIWAVE_MEDIA" not in os.environ:
        pytest.skip("EMOTIWAVE_MEDIA names no folder of recordings")
    paths = sorted((Path(os.environ["EMOTIWAVE_MEDIA"]) / folder).iterdir())
    refusals = {path.name for path in paths if refused(path, decoder) is not None}
    assert refusals <= {"html_error_page.mp4", "truncated_no_moov.mp4", "zero_bytes.mp4", "zero_bytes.wav"}
