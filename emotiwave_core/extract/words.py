"""Words of a recording: as they are given, aligned to the sound, or heard by speech recognition."""

import functools
import re
from collections.abc import Sequence
from importlib import metadata
from typing import Any, Literal, NamedTuple

import attrs
import numpy as np

from emotiwave_core.errors import DataError, SettingsError
from emotiwave_core.extract.weights import ModelName, find_model, needed
from emotiwave_core.interfaces import Recording, SpokenWord

RATE = 16_000
MOST_SECONDS = 300.0  # of text without times: what is longer is aligned badly, and takes minutes
EDGE = 0.3  # seconds around a sentence in which its words are looked for
PIECE = 600  # seconds that are heard at once
LETTERS = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
Times = Literal["words", "sentences", "none"]


class Phrase(NamedTuple):
    """A stretch of a transcript; its times count only where the transcript has some."""

    text: str
    start: float = 0.0
    end: float = 0.0


@attrs.frozen
class Transcript:
    """A recording in words, as somebody has written it down."""

    phrases: tuple[Phrase, ...]  # words, sentences, or one text
    times: Times  # of what there are times

    def to_json(self) -> dict[str, Any]:
        """The same as JSON has it."""
        return {"phrases": [list(phrase) for phrase in self.phrases], "times": self.times}

    @classmethod
    def from_json(cls, table: dict[str, Any]) -> "Transcript":
        """A transcript from `to_json`."""
        return cls(tuple(Phrase(*phrase) for phrase in table["phrases"]), table["times"])


class TimedWords(NamedTuple):
    """The words of a recording with times, and where the times come from."""

    words: tuple[SpokenWord, ...] | None  # None: it is not known what is said
    source: str  # "transcript", "aligned by …", "heard by …", or why there are none
    problems: tuple[str, ...] = ()


def timed_words(recording: Recording, transcript: Transcript | None, asr: str | None, download: bool) -> TimedWords:
    """The words of a recording: of its transcript, aligned to the sound where it has no times of words.

    asr: a model of Whisper that listens where there is no transcript. Errors as `hear`.
    """
    if transcript is None:
        if asr is None or recording.facts["sound"] is None:
            return TimedWords(None, "there is no transcript")
        return hear(recording, asr, download)
    if transcript.times == "words":
        return TimedWords(tuple(SpokenWord(*phrase) for phrase in transcript.phrases), "transcript")
    if not any(LETTERS.search(phrase.text) for phrase in transcript.phrases):
        return TimedWords((), "transcript")
    return align(recording, transcript)


def align(recording: Recording, transcript: Transcript) -> TimedWords:
    """Times of words by forced alignment (pocketsphinx, US English). What cannot be aligned is spread, or has no words.

    PackageNotHere where pocketsphinx is not installed.
    """
    needed("pocketsphinx", "align")
    source = f"aligned by pocketsphinx {metadata.version('pocketsphinx')}, estimated"
    if recording.facts["sound"] is None:
        return _spread_all(transcript, "the recording has no sound to which words could be aligned")
    words: list[SpokenWord] = []
    problems: list[str] = []
    spread = 0
    for phrase, sound, begin in _phrases_with_sound(recording, transcript):
        found = _aligned(phrase.text, sound)
        if found is not None:
            words += [SpokenWord(text, begin + start, begin + end) for text, start, end in found]
        elif transcript.times == "sentences":
            spread += 1
            words += spread_words(phrase)
        else:
            return TimedWords(None, "its transcript has no times, and the words cannot be aligned to the sound")
    if spread:
        problems.append(f"the words of {spread} sentences cannot be aligned, and are spread over them")
    return TimedWords(tuple(words), source, tuple(problems))


def _phrases_with_sound(recording: Recording, transcript: Transcript) -> Any:
    """Each phrase with the sound in which it is said, and the second at which that begins; read once, in order."""
    limit = None if transcript.times == "sentences" else MOST_SECONDS
    blocks: list[Any] = []
    first = have = 0  # samples that were let go, and that are held
    stream = recording.sound(RATE)
    last = transcript.times == "none"
    for phrase in sorted(transcript.phrases, key=lambda one: one.start):
        begin = 0.0 if last else max(0.0, phrase.start - EDGE)
        end = np.inf if last else phrase.end + EDGE
        while first + have < end * RATE:
            block = next(stream, None)
            if block is None:
                break
            blocks.append(block)
            have += len(block)
            if limit is not None and have > limit * RATE:
                raise DataError(
                    f"its transcript has no times, and only the words of {MOST_SECONDS:.0f} s can be aligned: give "
                    "times of sentences, as in an .srt file"
                )
        sound = np.concatenate(blocks) if blocks else np.empty(0, np.float32)
        low = max(0, round(begin * RATE) - first)
        high = len(sound) if last else max(low, round(end * RATE) - first)
        yield phrase, sound[low:high], (first + low) / RATE
        keep = max(0, min(len(sound), round(max(0.0, phrase.start - EDGE) * RATE) - first))
        blocks, first, have = [sound[keep:]], first + keep, len(sound) - keep


@functools.cache
def _decoder() -> tuple[Any, str]:
    """The aligner, and its means of the spectrum before it has heard anything: it would adapt from clip to clip."""
    sphinx = needed("pocketsphinx", "align")
    decoder = sphinx.Decoder(samprate=RATE, loglevel="FATAL", lm=None)
    return decoder, decoder.get_cmn()


def _aligned(text: str, sound: Any) -> list[tuple[str, float, float]] | None:
    """The words of a text with seconds in its sound; None where they cannot be found in it.

    A word that the dictionary does not know takes the time between its neighbours.
    """
    words = text.split()
    spoken = [_as_spoken(word) for word in words]
    decoder, means = _decoder()
    known = [number for number, own in enumerate(spoken) if own and all(decoder.lookup_word(part) for part in own)]
    if not known or len(sound) < RATE // 20:
        return None
    flat = [part for number in known for part in spoken[number]]
    try:
        decoder.set_cmn(means)
        decoder.set_align_text(" ".join(flat))
        decoder.start_utt()
        decoder.process_raw((np.clip(sound, -1, 1) * 32767).astype(np.int16).tobytes(), full_utt=True)
        decoder.end_utt()
        segments = [(one.word, one.start_frame, one.end_frame) for one in decoder.seg() or []]
    except RuntimeError:
        return None
    said = [one for one in segments if one[0] not in ("<s>", "</s>", "<sil>", "(NULL)") and one[0][:1] not in "[+"]
    if len(said) != len(flat):
        return None
    times: dict[int, tuple[float, float]] = {}
    place = 0
    for number in known:
        own = said[place : place + len(spoken[number])]
        times[number] = (own[0][1] / 100, (own[-1][2] + 1) / 100)
        place += len(own)
    return _between(words, times, len(sound) / RATE)


def _as_spoken(word: str) -> list[str]:
    """A written word as the dictionary has it: in lower case, without marks; parts of one with a hyphen."""
    return [part.lower().replace("’", "'") for part in LETTERS.findall(word)]


def _between(words: Sequence[str], times: dict[int, tuple[float, float]], end: float) -> list[tuple[str, float, float]]:
    """All words with times: those that have none share the time between their neighbours."""
    placed = []
    for number, word in enumerate(words):
        if number in times:
            placed.append((word, *times[number]))
            continue
        before = max((known for known in times if known < number), default=None)
        after = min((known for known in times if known > number), default=None)
        low = times[before][1] if before is not None else 0.0
        high = times[after][0] if after is not None else end
        first, count = (-1 if before is None else before) + 1, (len(words) if after is None else after)
        share = max(0.0, high - low) / (count - first)
        placed.append((word, low + (number - first) * share, low + (number - first + 1) * share))
    return placed


def spread_words(phrase: Phrase) -> list[SpokenWord]:
    """The words of a phrase, each for as long as its letters are a share of all."""
    words = phrase.text.split()
    ends = np.cumsum([0, *(max(1, len(word)) for word in words)]) / max(1, sum(max(1, len(word)) for word in words))
    moments = phrase.start + ends * (phrase.end - phrase.start)
    return [SpokenWord(word, float(a), float(b)) for word, a, b in zip(words, moments, moments[1:], strict=False)]


def _spread_all(transcript: Transcript, reason: str) -> TimedWords:
    if transcript.times != "sentences":
        return TimedWords(None, reason)
    words = [word for phrase in transcript.phrases for word in spread_words(phrase)]
    return TimedWords(tuple(words), "spread over sentences, estimated", (reason,))


@functools.lru_cache(maxsize=1)
def _listener(model: str, download: bool) -> tuple[Any, str]:
    whisper = needed("faster_whisper", "asr")
    found = find_model(ModelName(model), download, ("model.bin",))
    try:
        loaded = whisper.WhisperModel(
            str(found.folder), device="cpu", compute_type="float32", cpu_threads=1, num_workers=1, local_files_only=True
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise SettingsError(f"{model} is not a Whisper model that faster-whisper reads: {error}") from error
    version = metadata.version("faster-whisper")
    return loaded, f"heard by {found.named} ({found.sha256[:16]}, faster-whisper {version}), estimated"


def hear(recording: Recording, model: str, download: bool) -> TimedWords:
    """The words that Whisper hears; silence is left out first, for in silence it hears "you".

    Errors as `find_model`; PackageNotHere where faster-whisper is not installed.
    """
    listener, source = _listener(model, download)
    words: list[SpokenWord] = []
    waiting: list[Any] = []
    begin = 0.0
    for block in [*recording.sound(RATE), None]:
        if block is not None:
            waiting.append(block)
        if waiting and (block is None or len(waiting) == PIECE):
            sound = np.concatenate(waiting)
            segments, _ = listener.transcribe(
                sound, vad_filter=True, word_timestamps=True, beam_size=5, temperature=0.0
            )
            for segment in segments:
                for word in segment.words or []:
                    start, end = begin + float(word.start), begin + float(word.end)
                    if words and not word.word.startswith(" "):  # the rest of a word, such as "-starter"
                        words[-1] = SpokenWord(words[-1].text + word.word, words[-1].start, end)
                    elif text := word.word.strip():
                        words.append(SpokenWord(text, start, end))
            begin += len(sound) / RATE
            waiting = []
    return TimedWords(tuple(words), source)
