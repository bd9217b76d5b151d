"""Decodes media files, in a process of its own with limits: a stranger's file may crash a decoder, or never end.

`decoder.py` starts this module as a program. It takes requests, one JSON a line, and answers with messages: a line of
JSON and as many bytes as its `bytes` says. Each request is carried out in a fork of the process. Where one dies the
program ends with it, and its exit code says of what.
"""

import contextlib
import json
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

Sound = NDArray[np.float32]
Track = TypeVar("Track", AudioStream, VideoStream)

# Containers of recordings. A playlist or a script, such as ffconcat, would open other files, whatever its name says.
FORMATS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,asf,au,avi,caf,dv,eac3,flac,flv,gif,matroska,mov,mp3,mp4,mpeg,mpegts,mpegvideo,mxf,"
    "ogg,w64,wav,webm,wv"
)
MOST_CPU = 3600  # seconds of one pass over a file
MOST_MEMORY = 4 << 30  # bytes of address space
MOST_SECONDS = 12 * 3600  # of a recording
MOST_PIXELS = 8192 * 4320
MOST_TRACKS = 32
MOST_CHANNELS = 64
GAP = 0.05  # seconds: clocks of containers are rounded, and what is off by less is no gap
HOLD = 10.0  # seconds for which a picture stands where no other follows
CANCELLED = 0.01  # of a channel's energy: channels that leave less when they are mixed have opposite signs
WEIGHTS = {"LFE": 0.0, "FC": 1.0, "FL": 0.7, "FR": 0.7}  # of a channel of more than two, others 0.5


class Refused(Exception):  # noqa: N818 -- it is an answer
    """A file that cannot be used; the text goes on after its name."""


@contextlib.contextmanager
def opened(path: str) -> Iterator[InputContainer]:
    """Open a media file, and nothing else that it may name."""
    size = os.stat(path).st_size  # noqa: PTH116
    if not size:
        raise Refused("is empty (0 bytes)")
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file", "max_streams": str(10 * MOST_TRACKS)}
    try:
        container = av.open(f"file:{Path(path).absolute()}", options=options, metadata_errors="replace")
    except FFmpegError as error:
        raise Refused(f"is no recording that can be read, or is cut off ({error.strerror})") from error
    with container:
        if len(container.streams) > MOST_TRACKS:
            raise Refused(f"has {len(container.streams)} tracks, more than {MOST_TRACKS}")
        yield container


def sound_track(container: InputContainer) -> AudioStream | None:
    """The sound track that a player would play."""
    tracks = [track for track in container.streams.audio if track.codec_context is not None]
    return _chosen(tracks)


def picture_track(container: InputContainer) -> VideoStream | None:
    """The picture track that a player would show: no cover of an album."""
    covers = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails
    tracks = [
        track
        for track in container.streams.video
        if track.codec_context is not None and not (track.disposition & covers)
    ]
    return _chosen(tracks)


def _chosen(tracks: list[Track]) -> Track | None:
    """The first track that is marked as the default, else the first."""
    return next((track for track in tracks if track.disposition & Disposition.default), tracks[0] if tracks else None)


def facts_of(path: str) -> dict[str, Any]:
    """The facts that a file tells of itself; seconds from the container's start."""
    with opened(path) as container:
        start = start_of(container)
        sound, picture = sound_track(container), picture_track(container)
        if sound is None and picture is None:
            raise Refused("has neither sound nor pictures")
        problems = [
            f"it has {len(tracks)} {what} tracks, and only the {_place(tracks, chosen)} is used"
            for what, tracks, chosen in (
                ("sound", container.streams.audio, sound),
                ("picture", _pictures(container), picture),
            )
            if len(tracks) > 1
        ]
        return {
            "format": container.format.name,
            "seconds": None if container.duration is None else container.duration / 1e6,
            "sound": None if sound is None else _sound_facts(sound, start),
            "picture": None if picture is None else _picture_facts(picture, start),
            "problems": problems,
        }


def _pictures(container: InputContainer) -> list[VideoStream]:
    return [track for track in container.streams.video if not track.disposition & Disposition.attached_pic]


def _place(tracks: Any, chosen: Any) -> str:
    number = next(place for place, track in enumerate(tracks, start=1) if track.index == chosen.index)
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")


def _sound_facts(track: AudioStream, start: float) -> dict[str, Any]:
    return {
        "codec": track.codec_context.name,
        "rate": track.codec_context.sample_rate,
        "channels": track.codec_context.channels,
        "start": _start(track, start),
    }


def _picture_facts(track: VideoStream, start: float) -> dict[str, Any]:
    context = track.codec_context
    _check_size(context.width, context.height)
    return {
        "codec": context.name,
        "width": context.width,
        "height": context.height,
        "rate": float(track.average_rate) if track.average_rate else None,
        "start": _start(track, start),
    }


def _start(track: Any, start: float) -> float:
    return 0.0 if track.start_time is None else float(track.start_time * track.time_base) - start


def start_of(container: InputContainer) -> float:
    """The container's start in seconds, on the clock of its tracks."""
    return 0.0 if container.start_time is None else container.start_time / 1e6


def sound_blocks(path: str, rate: int, problems: list[str]) -> Iterator[Sound]:
    """Blocks of one second of the sound as one channel; sample 0 is the container's start, gaps are zero."""
    with opened(path) as container:
        track = sound_track(container)
        if track is None:
            raise Refused("has no sound track")
        if track.codec_context.channels > MOST_CHANNELS:
            raise Refused(f"has {track.codec_context.channels} channels, more than {MOST_CHANNELS}")
        channel = None
        if track.codec_context.channels > 1:
            channel = _audible_channel(path)
            if channel is not None:
                problems.append(f"its channels cancel each other when mixed: only channel {channel + 1} is heard")
        yield from in_blocks(_on_clock(container, track, (rate, channel), problems), rate)


def in_blocks(pieces: Iterator[Sound], rate: int) -> Iterator[Sound]:
    """Pieces of any length as blocks of one second, the last one shorter."""
    waiting: list[Sound] = []
    have = total = 0
    for piece in pieces:
        waiting.append(piece)
        have += len(piece)
        total += len(piece)
        if total > MOST_SECONDS * rate:
            raise Refused(f"lasts longer than {MOST_SECONDS // 3600} hours: cut it into shorter ones")
        if have >= rate:
            joined = np.concatenate(waiting)
            for begin in range(0, have - rate + 1, rate):
                yield joined[begin : begin + rate]
            waiting = [joined[have - have % rate :]]
            have %= rate
    if have:
        yield np.concatenate(waiting)


def _on_clock(
    container: InputContainer, track: AudioStream, wanted: tuple[int, int | None], problems: list[str]
) -> Iterator[Sound]:
    """The sound from the container's start: zeros where there is none, and nothing from before it."""
    rate, channel = wanted
    start = start_of(container)
    resampled = _Resampled(rate, channel)
    expected = 0.0  # seconds of the sound so far, by the samples that came in
    sent = 0  # samples that went out
    for frame in _frames(container, track, problems):
        time = expected if frame.time is None else frame.time - start
        if abs(time - expected) > GAP or (sent == 0 and resampled.empty and time > 0):
            for piece in resampled.rest():
                sent += len(piece)
                yield piece
            missing = round(time * rate) - sent
            if missing > MOST_SECONDS * rate:
                raise Refused(f"lasts longer than {MOST_SECONDS // 3600} hours: cut it into shorter ones")
            while missing > 0:
                zeros = np.zeros(min(missing, rate), np.float32)
                sent += len(zeros)
                missing -= len(zeros)
                yield zeros
            expected = max(time, expected)
            if time < -GAP:  # before the start
                time = 0.0
        expected += frame.samples / frame.sample_rate
        for piece in resampled.of(frame):
            sent += len(piece)
            yield piece
    yield from resampled.rest()


class _Resampled:
    """The sound of frames in another rate, as one channel."""

    def __init__(self, rate: int, channel: int | None) -> None:
        self.rate, self.channel = rate, channel
        self._resampler: AudioResampler | None = None
        self._form: tuple[Any, ...] = ()

    @property
    def empty(self) -> bool:
        """True before the first frame, and after the rest."""
        return self._resampler is None

    def of(self, frame: AudioFrame) -> Iterator[Sound]:
        """The sound that comes out when a frame goes in."""
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._resampler is None or form != self._form:
            yield from self.rest()
            self._form = form
            self._resampler = AudioResampler(format="fltp", layout=frame.layout, rate=self.rate)
        frame.pts = None
        for out in self._resampler.resample(frame):
            yield self._one_channel(out)

    def rest(self) -> Iterator[Sound]:
        """The sound that is still inside; what comes next has no past."""
        if self._resampler is not None:
            for out in self._resampler.resample(None):
                yield self._one_channel(out)
            self._resampler = None

    def _one_channel(self, frame: AudioFrame) -> Sound:
        channels = _channels(frame)
        if self.channel is not None:
            return np.array(channels[min(self.channel, len(channels) - 1)])
        return mixed(channels, [channel.name for channel in frame.layout.channels])


def _channels(frame: AudioFrame) -> Sound:
    """The channels [C, N] of a frame of `fltp`."""
    return np.asarray(frame.to_ndarray(), dtype=np.float32)


def mixed(channels: Sound, names: list[str]) -> Sound:
    """Channels [C, N] as one: the mean of two, and of more with the front and the middle before the rest."""
    if len(channels) == 1:
        return np.array(channels[0])
    weights = np.ones(len(channels)) if len(channels) == 2 else np.array([WEIGHTS.get(name, 0.5) for name in names])
    if len(weights) != len(channels) or not weights.any():
        weights = np.ones(len(channels))
    return np.asarray((weights / weights.sum()) @ channels, dtype=np.float32)


def _audible_channel(path: str) -> int | None:
    """The loudest channel, where next to nothing is left of the channels when they are mixed; else None."""
    energy: NDArray[np.float64] | None = None
    left = 0.0
    with opened(path) as container:
        track = sound_track(container)
        assert track is not None
        for frame in _frames(container, track, []):
            resampler = AudioResampler(format="fltp", layout=frame.layout, rate=frame.sample_rate)
            for out in [*resampler.resample(frame), *resampler.resample(None)]:
                channels = _channels(out)
                own = (channels.astype(np.float64) ** 2).sum(axis=1)
                if energy is None or len(energy) != len(own):
                    energy, left = np.zeros(len(own)), 0.0
                energy += own
                left += float((mixed(channels, [c.name for c in out.layout.channels]) ** 2).sum())
    if energy is None or left >= CANCELLED * energy.max():
        return None
    return int(energy.argmax()) if energy.max() > 0 else None


def _frames(container: InputContainer, track: Any, problems: list[str]) -> Iterator[Any]:
    """The decoded frames of a track; packets that cannot be decoded are counted and left out."""
    track.codec_context.thread_count = 1
    bad = good = 0
    reason = ""
    packets = container.demux(track)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            break
        except FFmpegError as error:  # the file is damaged from here on
            problems.append(f"its {track.type} is cut off ({error.strerror})")
            break
        try:
            for frame in packet.decode():
                good += 1
                yield frame
        except FFmpegError as error:
            bad, reason = bad + 1, error.strerror or "error"
    if bad:
        what = {"audio": "sound", "video": "picture"}[track.type]
        problems.append(f"{bad} packets of its {what} cannot be decoded ({reason})")
        if not good:
            raise Refused(f"has a {what} track of which nothing can be decoded ({reason})")


def pictures(path: str, rate: float, problems: list[str]) -> Iterator[tuple[float, float, NDArray[np.uint8]]]:
    """Start, end and upright picture [H, W, 3], `rate` times a second: what a viewer sees at k / rate seconds."""
    with opened(path) as container:
        track = picture_track(container)
        if track is None:
            raise Refused("has no pictures")
        start = start_of(container)
        typical = 1.0 / float(track.average_rate) if track.average_rate else 0.04
        shown: VideoFrame | None = None
        first = since = until = 0.0
        number = -1  # of the next moment k / rate
        sent = 0
        for frame in _frames(container, track, problems):
            time = until if frame.time is None else frame.time - start
            if shown is not None:
                time = max(time, since)
                while number / rate < min(time, since + HOLD) - 1e-6:
                    yield _shown_at(number, rate, shown)
                    number, sent = number + 1, sent + 1
            else:
                first = time
            if time > MOST_SECONDS:
                raise Refused(f"lasts longer than {MOST_SECONDS // 3600} hours: cut it into shorter ones")
            number = max(number, math.ceil(time * rate - 1e-6))
            length = float(frame.duration * frame.time_base) if frame.duration else typical
            shown, since, until = frame, time, time + min(length, HOLD)
        if shown is None:
            return
        while number / rate < until - 1e-6:
            yield _shown_at(number, rate, shown)
            number, sent = number + 1, sent + 1
        if not sent:  # shorter than the time between two moments
            yield first, until, upright(shown)


def _shown_at(number: int, rate: float, frame: VideoFrame) -> tuple[float, float, NDArray[np.uint8]]:
    return number / rate, (number + 1) / rate, upright(frame)


def upright(frame: VideoFrame) -> NDArray[np.uint8]:
    """The picture [H, W, 3] as it is meant to be seen."""
    _check_size(frame.width, frame.height)
    picture = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(picture, round(frame.rotation / 90) % 4))


def _check_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise Refused(f"has pictures of {width} x {height} pixels, more than {MOST_PIXELS // 1_000_000} million")


def send(header: dict[str, Any], content: bytes = b"") -> None:
    """Write one message to the process that asked."""
    line = json.dumps({**header, "bytes": len(content)}).encode() + b"\n"
    out = sys.stdout.buffer
    out.write(line)
    out.write(content)
    out.flush()


def answer(request: dict[str, Any]) -> None:
    """Carry out one request: `facts`, `sound` or `pictures`."""
    problems: list[str] = []
    try:
        if request["ask"] == "facts":
            send({"facts": facts_of(request["path"])})
        elif request["ask"] == "sound":
            for block in sound_blocks(request["path"], request["rate"], problems):
                send({}, block.tobytes())
        else:
            for start, end, picture in pictures(request["path"], request["rate"], problems):
                send({"start": start, "end": end, "shape": picture.shape}, picture.tobytes())
        send({"done": True, "problems": problems})
    except Refused as refusal:
        send({"refused": str(refusal)})
    except MemoryError:
        send({"refused": f"needs more than {MOST_MEMORY >> 30} GiB of memory to be decoded"})
    except BrokenPipeError:
        os._exit(0)  # nobody listens any more
    except Exception as error:
        what = getattr(error, "strerror", None) or str(error) or type(error).__name__
        send({"refused": f"cannot be decoded ({what})"})


def limit() -> None:
    """Limit what this process may use of time and memory; it writes no file."""
    import resource

    for what, most in (
        (resource.RLIMIT_CPU, MOST_CPU),
        (resource.RLIMIT_AS, MOST_MEMORY),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        with contextlib.suppress(ValueError, OSError):  # a lower one is set already
            resource.setrlimit(what, (most, most))


def serve() -> None:
    """Carry out requests until the input ends, each in a fork where the system has that."""
    av.logging.set_level(av.logging.PANIC)
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if not hasattr(os, "fork"):
            answer(request)
            continue
        child = os.fork()
        if not child:
            limit()
            answer(request)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code:
            os._exit(128 - code if code < 0 else code)


if __name__ == "__main__":
    serve()
