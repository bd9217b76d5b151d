"""Transcripts that lie beside recordings, in any format of words that is known."""

from itertools import groupby, pairwise
from pathlib import Path

import numpy as np

from emotiwave_core.data.formats.reader import open_reader
from emotiwave_core.data.formats.transcripts import Transcripts
from emotiwave_core.data.recognise import known_reader
from emotiwave_core.errors import DataError
from emotiwave_core.extract.words import Phrase, Transcript

TOUCHING = 1e-6  # seconds


def transcript_beside(recording: Path, folder: Path | None = None) -> Transcript | None:
    """The transcript of a recording's name, in its own folder or another one. DataError where there are two."""
    stem = recording.stem.lower()
    named = [
        path for path in sorted((folder or recording.parent).iterdir()) if path.name.lower().startswith(f"{stem}.")
    ]
    there = [path for path in named if path.name != recording.name and _is_transcript(path, stem)]
    if len(there) > 1:
        raise DataError(f"{recording} has two transcripts, {there[0].name} and {there[1].name}: move one away.")
    return read_transcript(there[0]) if there else None


def _is_transcript(path: Path, stem: str) -> bool:
    """True where a file is the stem, a known suffix and no more, and its content does not say that it is else."""
    kind = known_reader(path)
    if kind is None or not issubclass(kind, Transcripts):
        return False
    return path.name.lower() in {f"{stem}{suffix}" for suffix in kind.suffixes}


def read_transcript(path: Path) -> Transcript:
    """Read a transcript: words with times, sentences with times, or text without any. DataError where it is damaged."""
    kind = known_reader(path)
    if kind is None or not issubclass(kind, Transcripts):
        raise DataError(
            f"{path} is no transcript of a known format (SRT, WebVTT, TextGrid, CTM, Whisper's JSON, text)."
        )
    with open_reader(path) as file:
        key = path.stem if path.stem in file.keys else file.keys[0]
        if len(file.keys) > 1 and key != path.stem:
            raise DataError(f"{path} holds {len(file.keys)} transcripts, and none is named '{path.stem}'.")
        said = [str(word[0].decode("utf-8", "replace")) for word in file.features(key)]
        times, of_what = file.intervals(key), file.metadata["word times"]
    if of_what == "none":
        return Transcript((Phrase(" ".join(said)),), "none")
    words = [Phrase(word, float(start), float(end)) for word, (start, end) in zip(said, times, strict=True)]
    if of_what == "of each word":
        return Transcript(tuple(words), "words")
    return Transcript(tuple(_sentences(words)), "sentences")


def _sentences(words: list[Phrase]) -> list[Phrase]:
    """Words that are even parts of sentences, as sentences: neighbours that touch and are equally long."""
    numbers = np.cumsum(
        [0]
        + [
            abs(now.start - before.end) > TOUCHING
            or abs((now.end - now.start) - (before.end - before.start)) > TOUCHING
            for before, now in pairwise(words)
        ]
    )
    sentences = []
    for _, group in groupby(zip(numbers, words, strict=False), key=lambda pair: int(pair[0])):
        own = [word for _, word in group]
        sentences.append(Phrase(" ".join(word.text for word in own), own[0].start, own[-1].end))
    return sentences
