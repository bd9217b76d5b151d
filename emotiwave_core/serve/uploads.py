"""Uploads: a recording comes into a file that is removed whatever happens, and is answered by a process for media."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
from starlette.datastructures import FormData, UploadFile

from emotiwave_core.data.formats.text import MEDIA
from emotiwave_core.serve.limits import wrong

PREFIX = "emotiwave-serve-"
TRANSCRIPTS = (".srt", ".vtt", ".textgrid", ".ctm", ".json", ".txt")
FIELDS = ("file", "transcript", "window", "hop")
MOST_TEXT = 1 << 20  # bytes of a field, and of a transcript


@attrs.frozen
class Upload:
    """A form with a recording."""

    file: UploadFile
    transcript: UploadFile | str | None
    window: float | None
    hop: float | None


def read_form(form: FormData) -> Upload:
    """The parts of a form. Refusal where the recording is missing or a part is not known."""
    for name in form:
        if name not in FIELDS:
            raise wrong(f"The form has a field {name[:60]!r}; known are {', '.join(FIELDS)}.")
    file, transcript = form.get("file"), form.get("transcript")
    if not isinstance(file, UploadFile) or not file.size:
        raise wrong("The form has no recording, or an empty one: send it as the field 'file'.")
    if isinstance(transcript, UploadFile) and (transcript.size or 0) > MOST_TEXT:
        raise wrong(f"A transcript may have {MOST_TEXT >> 20} MiB.")
    return Upload(file, transcript or None, _seconds(form, "window"), _seconds(form, "hop"))


def _seconds(form: FormData, name: str) -> float | None:
    value = form.get(name)
    if value in (None, ""):
        return None
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise wrong(f"'{name}' is to be a number of seconds.") from None


@contextlib.contextmanager
def folder_of_uploads() -> Iterator[Path]:
    """The folder of a server's uploads; those that a killed server has left are removed first."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(ValueError, OSError):
            if not _is_alive(int(left.name.removeprefix(PREFIX).partition("-")[0])):
                shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextlib.contextmanager
def on_disk(upload: Upload, folder: Path) -> Iterator[dict[str, Any]]:
    """The request about an upload to a process for media, while its files are there. It blocks."""
    with tempfile.TemporaryDirectory(dir=folder) as own:
        path = _written(upload.file, Path(own) / "recording", tuple(MEDIA))
        words: Path | None = None
        if isinstance(upload.transcript, str):
            words = Path(own) / f"transcript{_suffix(upload.transcript)}"
            words.write_text(upload.transcript, encoding="utf-8")
        elif upload.transcript is not None:
            words = _written(upload.transcript, Path(own) / "transcript", TRANSCRIPTS)
        transcript = None if words is None else str(words)
        yield {
            "ask": "recording",
            "path": str(path),
            "transcript": transcript,
            "window": upload.window,
            "hop": upload.hop,
        }


def _suffix(text: str) -> str:
    """The suffix of a transcript that came as text: subtitles have arrows between their times."""
    return ".vtt" if text.startswith("WEBVTT") else ".srt" if "-->" in text else ".txt"


def _written(file: UploadFile, path: Path, suffixes: tuple[str, ...]) -> Path:
    """The file of a part, with the suffix of its name where that is known; nothing else of the name is used."""
    suffix = Path(file.filename or "").suffix.lower()
    target = path.with_suffix(suffix if suffix in suffixes else "")
    with target.open("wb") as out:
        shutil.copyfileobj(file.file, out)
    return target
