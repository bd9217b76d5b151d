"""Whisper's JSON, as openai-whisper, faster-whisper, WhisperX and OpenAI's interface write it: segments, and words."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emotiwave_core.data.formats.transcripts import Script, Spoken, Transcripts, spread_words
from emotiwave_core.errors import DataError, short
from emotiwave_core.io.untrusted import open_file, parse_json

_LOOKED_AT = 1 << 16  # bytes of a JSON


class WhisperFile(Transcripts):
    """A JSON of Whisper, or a folder of them. Segments without words are spread over their time."""

    name = "whisper"
    suffixes = (".json", ".whisper.json")

    @classmethod
    def _looks_right(cls, path: Path) -> bool:
        try:
            with open_file(path) as file:
                head = file.read(_LOOKED_AT)
        except (OSError, ValueError):
            return False
        first = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
        return first == b"{" and b'"text"' in head and (b'"segments"' in head or b'"words"' in head)

    def _read(self, path: Path, text: str) -> Script:
        try:
            table = parse_json(text.encode("utf-8", "replace"), lenient=True)
        except ValueError as error:
            raise DataError(f"{path} cannot be read: {error}.") from error
        segments = table.get("segments") if isinstance(table, dict) else None
        if isinstance(table, dict) and isinstance(table.get("words"), list):
            return Script(_words(path, table["words"], None, None))
        if not isinstance(segments, list) or not all(isinstance(segment, dict) for segment in segments):
            raise DataError(f"{path} has no list `segments` or `words`, so it is no transcript of Whisper.")
        words, spread = list[Spoken](), 0
        for segment in segments:
            start, end = _time(path, segment, "start"), _time(path, segment, "end")
            if isinstance(segment.get("words"), list):
                words += _words(path, segment["words"], start, end)
                continue
            if not isinstance(segment.get("text"), str) or start is None or end is None:
                raise DataError(f"{path}: the segment {short(segment)} lacks start, end or text.")
            own = spread_words(start, end, segment["text"])
            words, spread = words + own, spread + len(own)
        return Script(words, spread)


def _words(path: Path, entries: list[Any], start: float | None, end: float | None) -> list[Spoken]:
    """The words of a segment. One without times (WhisperX gives numerals none) fills the gap between its neighbours."""
    read = []
    for entry in entries:
        said = entry.get("word", entry.get("text")) if isinstance(entry, dict) else None
        if not isinstance(said, str):
            raise DataError(f"{path}: {short(entry)} is no word.")
        read.append((_time(path, entry, "start"), _time(path, entry, "end"), "_".join(said.split())))
    words = list[Spoken]()
    for number, (first, last, said) in enumerate(read):
        first = first if first is not None else (words[-1].end if words else start)
        after = (time for later in read[number + 1 :] for time in later[:2] if time is not None)
        if last is None and (last := next(after, end)) is not None and first is not None:
            last = max(first, last)
        if first is None or last is None:
            raise DataError(f"{path}: the word {short(said)} has no times, and neither have its neighbours.")
        words.append(Spoken(first, last, said))
    return words


def _time(path: Path, table: Mapping[str, Any], key: str) -> float | None:
    value = table.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"{path}: '{key}' is {short(value)}, not a number of seconds.")
    return float(value)
