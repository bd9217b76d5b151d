"""Transcripts as words with times: what the formats SRT, WebVTT, TextGrid, CTM, Whisper's JSON and plain text share."""

import re
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emotiwave_core.data.formats.reader import Reader, Source, counted_intervals
from emotiwave_core.data.formats.text import files_of, first_files, read_lenient
from emotiwave_core.errors import DataError, short

MOST_BYTES = 64 << 20  # of a transcript
MOST_WORDS = 1 << 18  # of one, which are 29 hours of speech
LONGEST_WORD = 200  # bytes: the words of an entry are stored as wide as the longest one
SILENCE = ("", "<eps>", "sil", "sp", "<sil>", "<p:>")  # how forced aligners write a pause: no word
_TIME = re.compile(r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})")


class Spoken(NamedTuple):
    """One word, and the seconds in which it is said."""

    start: float
    end: float
    word: str


class Script(NamedTuple):
    """The words of one transcript."""

    words: list[Spoken]
    spread: int = 0  # of them, those whose times are even parts of a longer cue's
    notes: tuple[str, ...] = ()


class Transcripts(Reader):
    """A transcript, or a folder of transcripts of one format, one file for each id; read when an entry is asked for.

    A folder is of the format whose files are in it, recordings and notes beside them left out. A transcript without
    a word is an entry of no steps. DataError for one that is damaged; in a folder it is `unfit`.
    """

    width = 1
    is_words = True
    root = "words"
    usual_role = "words"
    is_last_resort: ClassVar[bool] = False  # plain text: anything else in a folder goes before it

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """By the suffix; a folder where its transcripts are all of this format."""
        if not path.is_dir():
            return path.is_file() and path.name.lower().endswith(cls.suffixes) and cls._looks_right(path)
        kinds = {kind: None for file in first_files(path) if (kind := _kind_of(file)) is not None}
        if cls.is_last_resort:
            return list(kinds) == [cls] and all(_kind_of(file) is cls for file in first_files(path))
        return [kind for kind in kinds if not kind.is_last_resort] == [cls]

    @classmethod
    def _looks_right(cls, path: Path) -> bool:
        """True where the content of a file of the right name does not say that it is something else."""
        return True

    def __init__(self, source: Source) -> None:
        self.path, self.part = source.path, source.part
        self._files = files_of(source.path, self.suffixes)
        self._scripts: dict[str, Script | DataError] = {}
        self.keys: tuple[str, ...] = tuple(self._files)
        if not source.path.is_dir():
            self._script(self.keys[0])

    def close(self) -> None:
        """Nothing is open."""

    @abstractmethod
    def _read(self, path: Path, text: str) -> Script:
        """The words of one file. DataError where it is damaged."""

    def _script(self, key: str) -> Script:
        if key not in self._scripts:
            try:
                path = self._files[key]
                text, notes = read_lenient(path, MOST_BYTES)
                script = self._read(path, text)
                self._scripts[key] = _checked(script._replace(notes=notes + script.notes), path)
            except DataError as error:
                self._scripts[key] = error
        script_or_error = self._scripts[key]
        if isinstance(script_or_error, DataError):
            raise script_or_error
        return script_or_error

    def steps(self, key: str) -> int:
        """The number of words."""
        return len(self._script(key).words)

    def intervals(self, key: str) -> NDArray[np.float64]:
        """The intervals [T, 2] of the words, in seconds."""
        words = self._script(key).words
        if not self.has_times:
            return counted_intervals(len(words), None)
        return np.array([(word.start, word.end) for word in words], dtype=np.float64).reshape(-1, 2)

    def features(self, key: str, rows: slice = slice(None)) -> NDArray[Any]:
        """The words [T, 1], as bytes of UTF-8."""
        words = [word.word.encode("utf-8", "replace") for word in self._script(key).words[rows]]
        return np.array(words, dtype=bytes if words else "S1").reshape(-1, 1)

    def unfit(self) -> dict[str, str]:
        """The transcripts that are damaged."""
        return {key: str(error) for key in self.keys if (error := self._error(key)) is not None}

    def _error(self, key: str) -> DataError | None:
        try:
            self._script(key)
        except DataError as error:
            return error
        return None

    @property
    def metadata(self) -> dict[str, Any]:
        """The source of the times: of each word, of cues spread over their words, or none."""
        sound = [self._script(key) for key in self.keys if self._error(key) is None]
        spread = any(script.spread for script in sound)
        return {"word times": "none" if not self.has_times else "even parts of cues" if spread else "of each word"}

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """Sentences on encodings, on words whose times are guessed, and on transcripts without a word."""
        sound = {key: self._script(key) for key in self.keys if self._error(key) is None}
        notes = [note for script in sound.values() for note in script.notes]
        shown = notes[:3] + ([f"{len(notes) - 3} more transcripts have notes like these."] if len(notes) > 3 else [])
        words, spread = sum(len(script.words) for script in sound.values()), sum(s.spread for s in sound.values())
        if spread and self.has_times:
            shown.append(
                f"{self.path.name} has no times for {spread} of {words} words: each gets an even part of its cue."
            )
        empty = [key for key, script in sound.items() if not script.words]
        if empty:
            shown.append(f"{len(empty)} of {len(self.keys)} transcripts in {self.path.name} are empty: {_some(empty)}.")
        return tuple(shown)


def spread_words(start: float, end: float, text: str) -> list[Spoken]:
    """The words of a text, each an even part of the time from start to end."""
    words = text.split()
    edges = np.linspace(start, end, len(words) + 1).tolist()
    return [Spoken(edges[number], edges[number + 1], word) for number, word in enumerate(words)]


def seconds(text: str) -> float | None:
    """The seconds of a time such as `00:01:02,500`, `1:02.5`; None where it is none."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        return None
    hours, minutes, whole, fraction = match.groups()
    return int(hours or 0) * 3600.0 + int(minutes) * 60 + int(whole) + float(f"0.{fraction}")


def _checked(script: Script, path: Path) -> Script:
    """The script without pauses; DataError where a word or a time cannot be one."""
    if len(script.words) > MOST_WORDS:
        raise DataError(f"{path} has {len(script.words)} words, and at most {MOST_WORDS} are read of one transcript.")
    for word in script.words:
        if len(word.word.encode("utf-8", "replace")) > LONGEST_WORD:
            raise DataError(f"{path}: {short(word.word)} is no word: it has more than {LONGEST_WORD} bytes.")
        if not 0 <= word.end - word.start < np.inf:
            raise DataError(f"{path}: the word {short(word.word)} goes from {word.start:g} to {word.end:g} s.")
    return script._replace(words=[word for word in script.words if word.word not in SILENCE])


def _kind_of(path: Path) -> type[Transcripts] | None:
    """The format of a file, where it is a transcript."""
    kinds = [kind for kind in _kinds(Transcripts) if path.name.lower().endswith(kind.suffixes)]
    return next((kind for kind in kinds if kind._looks_right(path)), None)


def _kinds(base: Any) -> Sequence[type[Transcripts]]:
    return [kind for sub in base.__subclasses__() for kind in (sub, *_kinds(sub))]


def _some(names: Sequence[str]) -> str:
    return ", ".join(short(name) for name in names[:3]) + (", …" if len(names) > 3 else "")
