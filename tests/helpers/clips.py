"""Recordings in files, made with PyAV: a made-up voice and a drawn face, in any container and form."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotiwave_core.testing.recordings import HEIGHT, WIDTH, drawn, voice

RATE = 16_000


def sound_of(seconds: float, rate: int = RATE) -> NDArray[np.float32]:
    """A voice [N] of so many seconds."""
    return voice(np.arange(round(seconds * rate)) / rate)


def write_wav(path: Path, channels: NDArray[np.float32], rate: int = RATE) -> Path:
    """Write sound [N] or [C, N] as 16-bit PCM, or what else the suffix says."""
    return write_clip(path, sound=channels, rate=rate)


def write_clip(
    path: Path,
    *,
    sound: NDArray[np.float32] | None = None,
    rate: int = RATE,
    pictures: list[NDArray[np.uint8]] | None = None,
    fps: int = 10,
    options: Mapping[str, Any] | None = None,
) -> Path:
    """Write a clip. options: `sound_at` and `picture_at`, seconds at which they start; `times`, of each picture."""
    import av

    more = dict(options or {})
    audio_codec = {".wav": "pcm_s16le", ".flac": "flac", ".opus": "libopus", ".webm": "libopus"}.get(path.suffix, "aac")
    with av.open(str(path), "w") as container:
        video = audio = None
        if pictures is not None:
            video = container.add_stream("mpeg4" if path.suffix != ".webm" else "libvpx", rate=fps)
            video.width, video.height, video.pix_fmt = pictures[0].shape[1], pictures[0].shape[0], "yuv420p"
            video.bit_rate = 2_000_000
            video.codec_context.time_base = Fraction(1, 1000)
        if sound is not None:
            layout = {1: "mono", 2: "stereo", 6: "5.1"}[1 if sound.ndim == 1 else len(sound)]
            audio = container.add_stream(audio_codec, rate=rate, layout=layout)
        if video is not None and pictures is not None:
            for number, picture in enumerate(pictures):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                at = more["times"][number] if "times" in more else more.get("picture_at", 0.0) + number / fps
                frame.pts, frame.time_base = round(at * 1000), Fraction(1, 1000)
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
        if audio is not None and sound is not None:
            for first, piece in _pieces(np.atleast_2d(sound), 1024):
                form = "s16" if audio_codec in ("pcm_s16le", "flac", "libopus") else "fltp"
                data = piece if form == "fltp" else (np.clip(piece, -1, 1) * 32767).astype(np.int16).T.reshape(1, -1)
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(data), format=form, layout=layout)
                frame.sample_rate = rate
                frame.pts, frame.time_base = first + round(more.get("sound_at", 0.0) * rate), Fraction(1, rate)
                container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path


def faces(seconds: float, fps: int = 10) -> list[NDArray[np.uint8]]:
    """Pictures of a drawn face that sways."""
    return [drawn((WIDTH / 2 + 10 * np.sin(number / fps), HEIGHT / 2)) for number in range(round(seconds * fps))]


def _pieces(channels: NDArray[np.float32], size: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
    for first in range(0, channels.shape[1], size):
        yield first, channels[:, first : first + size]
