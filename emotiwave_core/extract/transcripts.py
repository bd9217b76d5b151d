"""Transcripts in files."""

import re
from pathlib import Path

from emotiwave_core.errors import DataError
from emotiwave_core.extract.words import Phrase, Transcript
from emotiwave_core.io.untrusted import read_text, why

SUFFIXES = (".srt", ".vtt", ".txt")
CUE = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{2})[.,](\d{1,3})\s*-->\s*(?:(\d+):)?(\d{1,2}):(\d{2})[.,](\d{1,3})")
MARKUP = re.compile(r"<[^>]*>|\{\\[^}]*\}")


def read_transcript(path: Path) -> Transcript:
    """Read subtitles, whose times are those of sentences, or plain text. DataError where it cannot be used."""
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be used: {why(error)}.") from error
    if path.suffix == ".txt":
        return Transcript((Phrase(" ".join(text.split())),), "none")
    phrases = []
    for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n").replace("\r", "\n")):
        match = CUE.search(block)
        if match is None:
            continue
        said = " ".join(MARKUP.sub("", block[match.end() :].partition("\n")[2]).split())
        numbers = [int(number or 0) for number in match.groups()]
        start, end = (h * 3600 + m * 60 + s + ms / 1000 for h, m, s, ms in (numbers[:4], numbers[4:]))
        phrases.append(Phrase(said, start, max(start, end)))
    return Transcript(tuple(phrases), "sentences")
