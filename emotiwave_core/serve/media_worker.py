"""Answers about media, in a process of its own: what a stranger's file crashes or fills is this one alone.

`media.py` starts this module as a program. The first line that it reads is the task; each further one a request, with
as many bytes behind it as its `bytes` says. It answers each with a line. What plugins print is no answer.
"""

import contextlib
import io
import json
import os
import signal
import sys
import tempfile
import warnings
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import attrs
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from emotiwave_core import api
from emotiwave_core.errors import (
    DataError,
    EmotiwaveError,
    ModelNotHere,
    PassedOver,
    SettingsError,
    is_out_of_memory,
    short,
)
from emotiwave_core.explain.recording import SegmentPrediction
from emotiwave_core.monitor import SILENT
from emotiwave_core.serve.stream import LiveStream

MOST_MEMORY = 8 << 30  # bytes of data of this process, where it computes on the CPU
MOST_PIXELS = 1280 * 720  # of a picture of a stream
MOST_WINDOW = 30.0  # seconds of a stream's window, which is held in memory
MOST_CHANNELS = 8
SAMPLES = {"f32": "<f4", "s16": "<i2"}  # forms of sound
HELLO = "1\n00:00:00,100 --> 00:00:00,900\nhello\n"


class MediaWork:
    """A run, and what it is asked about recordings."""

    def __init__(self, task: dict[str, Any]) -> None:
        warnings.simplefilter("ignore", PassedOver)  # the server itself has said what is passed over
        self.run = api.open_run(task["run"], device=task["device"], registry=task["registry"], monitor=SILENT)
        self.asr = task["asr"]
        self.live: LiveStream | None = None
        self.names = (str(self.run.folder.resolve()), str(self.run.folder))

    def warm(self) -> None:
        """Load every model, by answering about a second of silence. EmotiwaveError for one that is not here."""
        with tempfile.TemporaryDirectory() as folder:
            path, words = Path(folder) / "hello.wav", Path(folder) / "hello.srt"
            words.write_text(HELLO)
            with wave.open(str(path), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(16_000)
                file.writeframes(bytes(32_000))
            self.run.predict_recordings([path])

    def recording(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer about a file, as `RecordingPrediction.to_dict` has it."""
        (prediction,) = self.run.predict_recordings(
            [request["path"]] if request["transcript"] is None else request["path"],
            words=request["transcript"],
            asr=self.asr,
            window=request["window"],
            hop=request["hop"],
        )
        return {"answer": prediction.to_dict()}

    def start(self, request: dict[str, Any]) -> dict[str, Any]:
        """Begin a stream."""
        sent = request["sent"]
        settings = {name: sent[name] for name in ("window", "hop", "patience") if sent.get(name) is not None}
        if not all(_is_number(value) for value in settings.values()):
            raise SettingsError("window, hop and patience are numbers of seconds.")
        if settings.get("window", 0.0) > MOST_WINDOW:
            raise SettingsError(f"A window of a stream may have {MOST_WINDOW:.0f} s.")
        self.live = LiveStream(self.run, **settings)
        return {"answers": []}

    def push(self, request: dict[str, Any], content: bytes) -> dict[str, Any]:
        """Take in a message of a stream: the predictions that are due. `sent` is its header."""
        assert self.live is not None, "it has been started"
        sent = request["sent"]
        try:
            answers = _pushed(self.live, sent, content)
        except (TypeError, ValueError, KeyError, OverflowError) as error:
            raise DataError(f"The message of type {short(sent.get('type'))} has another form.") from error
        return {"answers": [attrs.asdict(answer) for answer in answers]}

    def end(self, _: dict[str, Any]) -> dict[str, Any]:
        """Forget a stream."""
        problems = [] if self.live is None else list(self.live.problems)
        self.live = None
        return {"problems": problems}

    def public(self, text: str, request: dict[str, Any]) -> str:
        """A text without the names of the server's files."""
        for key in ("transcript", "path"):
            if request.get(key):
                text = text.replace(request[key], "the transcript" if key == "transcript" else "the recording")
        for name in self.names:
            text = text.replace(name, "the run")
        return text


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _pushed(live: LiveStream, sent: dict[str, Any], content: bytes) -> list[SegmentPrediction]:
    """The predictions that are due when a message has come. TypeError and the like where it has another form."""
    kind = sent["type"]
    if kind == "sound":
        return live.push_sound(_sound(sent, content), sent["rate"], sent.get("at"))
    if kind == "frame":
        return live.push_frame(_picture(content), float(sent["at"]))
    if kind == "words":
        return live.push_words(sent["words"], sent.get("until"))
    if kind == "features":
        features = np.asarray(sent["features"], dtype=np.float32)
        return live.push_features(sent["modality"], features, np.asarray(sent["times"], dtype=np.float64))
    if kind == "advance":
        return live.advance(float(sent["to"]))
    return live.finish()


def _sound(sent: dict[str, Any], content: bytes) -> NDArray[Any]:
    """Sound [N, channels]."""
    channels = sent.get("channels", 1)
    if not isinstance(channels, int) or not 1 <= channels <= MOST_CHANNELS:
        raise DataError(f"Sound has 1 to {MOST_CHANNELS} channels, not {short(channels)}.")
    return np.frombuffer(content, SAMPLES[sent.get("format", "f32")]).reshape(-1, channels)


def _picture(content: bytes) -> NDArray[np.uint8]:
    """The picture [H, W, 3] of a JPEG or PNG; its size is looked at before it is decoded."""
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
            if image.width * image.height > MOST_PIXELS:
                raise DataError(f"The picture has {image.width} x {image.height} pixels, more than {MOST_PIXELS:,}.")
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError("The picture is no JPEG or PNG that can be read.") from error


def answer(work: MediaWork, request: dict[str, Any], content: bytes) -> str:
    """The line that answers a request."""
    try:
        table = work.push(request, content) if request["ask"] == "push" else getattr(work, request["ask"])(request)
        return work.public(json.dumps(table), request)
    except (DataError, SettingsError) as error:
        if isinstance(error, ModelNotHere):
            return json.dumps({"internal": str(error)})
        sentence = work.public(str(error), request)
        return json.dumps({"refused": sentence[:1].upper() + sentence[1:]})
    except Exception as error:
        if is_out_of_memory(error):
            return json.dumps({"refused": "There is not the memory for this: send a shorter one."})
        return json.dumps({"internal": f"{type(error).__name__}: {error}"})


@contextlib.contextmanager
def _answers() -> Iterator[BinaryIO]:
    """Send answers to what was stdout; what anything prints goes to stderr."""
    sys.stdout.flush()
    with os.fdopen(os.dup(1), "wb") as stream:
        os.dup2(2, 1)
        yield stream


def _stop(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)  # so that what decodes for this process is ended, too


def limit(device: str) -> None:
    """Limit what this process may use, and keep from it what is the server's to answer."""
    import resource

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    limits = [(resource.RLIMIT_CORE, 0), *([(resource.RLIMIT_DATA, MOST_MEMORY)] if device == "cpu" else [])]
    for what, most in limits:
        with contextlib.suppress(ValueError, OSError):  # a lower one is set already
            resource.setrlimit(what, (most, most))


def main() -> None:
    """Carry out requests until the input ends."""
    stdin = sys.stdin.buffer
    task = json.loads(stdin.readline())["task"]
    limit(task["device"])

    import torch

    torch.set_num_threads(1)
    with _answers() as out:
        try:
            work = MediaWork(task)
            if task["reads"]:
                work.warm()
        except EmotiwaveError as error:
            out.write(json.dumps({"failed": str(error)}).encode() + b"\n")
            return
        out.write(b'{"ready": true}\n')
        out.flush()
        for line in stdin:
            request = json.loads(line)
            out.write(answer(work, request, stdin.read(request["bytes"])).encode() + b"\n")
            out.flush()


if __name__ == "__main__":
    main()
