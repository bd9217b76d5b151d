"""SRT subtitles: cues of a number, a line of times and lines of text. Each word gets an even part of its cue."""

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from emotiwave_core.data.formats.text import lines_of
from emotiwave_core.data.formats.transcripts import Script, Transcripts, seconds, spread_words
from emotiwave_core.errors import DataError, short

_TAG = re.compile(r"<[^<>]{0,200}>|\{\\[^{}]{0,200}\}")


class Cue(NamedTuple):
    """One subtitle: its seconds, and its lines as they stand."""

    start: float
    end: float
    lines: list[str]


class SrtFile(Transcripts):
    """A SubRip file, or a folder of them."""

    name = "srt"
    suffixes = (".srt",)

    def _read(self, path: Path, text: str) -> Script:
        words = []
        for cue in cues_of(path, blocks_of(text)):
            words += spread_words(cue.start, cue.end, plain(" ".join(cue.lines)))
        return Script(words, spread=len(words))


def blocks_of(text: str, spaces: str = " \t") -> Iterator[tuple[int, list[str]]]:
    """The blocks of lines between blank lines, which may hold `spaces`, each with the number of its first line."""
    block: list[str] = []
    for number, line in enumerate([*lines_of(text), ""], 1):
        if line.strip(spaces):
            block.append(line)
        elif block:
            yield number - len(block), block
            block = []


def cues_of(path: Path, blocks: Iterator[tuple[int, list[str]]]) -> Iterator[Cue]:
    """The cues of some blocks. DataError for one without a line of times, and for times that go back."""
    for number, block in blocks:
        timing = next((place for place, line in enumerate(block[:2]) if "-->" in line), None)
        if timing is None:
            raise DataError(
                f"{path}, line {number}: no line of times such as `00:00:01,000 --> 00:00:02,000` follows, but "
                f"{short(block[0])}."
            )
        before, _, after = block[timing].partition("-->")
        start, end = seconds(before), seconds((after.split() or [""])[0])
        if start is None or end is None or end < start:
            raise DataError(f"{path}, line {number + timing}: {short(block[timing])} are no times of a cue.")
        yield Cue(start, end, block[timing + 1 :])


def plain(text: str) -> str:
    """Text without the tags that format it."""
    return html.unescape(_TAG.sub("", text))
