"""WebVTT subtitles. A time within a cue, `<00:00:01.000>`, is when the words after it begin."""

import re
from collections.abc import Iterator
from pathlib import Path

from emotiwave_core.data.formats.srt import Cue, blocks_of, cues_of, plain
from emotiwave_core.data.formats.transcripts import Script, Spoken, Transcripts, seconds, spread_words
from emotiwave_core.errors import DataError

_WITHIN = re.compile(r"<((?:\d{1,4}:)?\d{1,2}:\d{2}\.\d{3})>")
_NO_CUES = ("NOTE", "STYLE", "REGION")


class WebVttFile(Transcripts):
    """A WebVTT file, or a folder of them."""

    name = "webvtt"
    suffixes = (".vtt",)

    def _read(self, path: Path, text: str) -> Script:
        if not text.startswith("WEBVTT"):
            raise DataError(f"{path} does not begin with WEBVTT, so it is no WebVTT file, or is damaged.")
        blocks = list(blocks_of(text, spaces=""))[1:]
        cues = list(cues_of(path, ((n, block) for n, block in blocks if not block[0].startswith(_NO_CUES))))
        has_times = any(_WITHIN.search(line) for cue in cues for line in cue.lines)
        words, spread = list[Spoken](), 0
        for cue in _without_repeats(cues) if has_times else cues:
            for start, end, piece in _pieces(path, cue):
                own = spread_words(start, end, plain(piece))
                spread += len(own) if len(own) > 1 or not has_times else 0
                words += own
        return Script(words, spread)


def _pieces(path: Path, cue: Cue) -> Iterator[tuple[float, float, str]]:
    """The parts of a cue between the times within it, each with its seconds."""
    first, *rest = _WITHIN.split(" ".join(cue.lines))
    times = [cue.start, *(seconds(time) for time in rest[::2]), cue.end]
    edges = [time for time in times if time is not None]
    if edges != sorted(edges):
        raise DataError(f"{path}: the times within the cue at {cue.start:g} s go back, or leave it.")
    return zip(edges[:-1], edges[1:], [first, *rest[1::2]], strict=True)


def _without_repeats(cues: list[Cue]) -> Iterator[Cue]:
    """The cues without the lines that stay on the screen from the cue before, as captions that roll up have them."""
    shown: set[str] = set()
    end = -1.0
    for cue in cues:
        texts = [plain(line).strip() for line in cue.lines]
        new = [
            line
            for line, text in zip(cue.lines, texts, strict=True)
            if _WITHIN.search(line) or not (text in shown and cue.start <= end + 0.05)
        ]
        yield cue._replace(lines=new)
        shown, end = set(texts), cue.end
