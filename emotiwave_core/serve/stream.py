"""Answers about what is being said and shown: sound, pictures and words as they come, a prediction at each hop."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from emotiwave_core.api import Run, recording_reader
from emotiwave_core.data.loading.speakers import HeardSpeaker
from emotiwave_core.data.store.memory import ArraySample
from emotiwave_core.errors import DataError, SettingsError, choices, short
from emotiwave_core.explain.recording import Segment, SegmentPrediction, predict_segments
from emotiwave_core.extract.extractors import LACKS
from emotiwave_core.interfaces import Missing, SpokenWord, Stream
from emotiwave_core.predict.predictor import Predictor
from emotiwave_core.predict.recordings import ExtractedRecording
from emotiwave_core.runs.data_file import read_data
from emotiwave_core.serve.live_recording import (
    FeatureBuffer,
    RecentPictures,
    SoundBuffer,
    WindowRecording,
    checked_picture,
    one_channel,
)

LONGEST_GAP = 3600.0  # seconds between what comes: beyond it clocks are not the same
LONGEST_WINDOW = 600.0  # seconds
MOST_DUE = 60  # answers to one push
MOST_PROBLEMS = 100  # sentences that are kept
MOST_WORDS = 10_000  # in a window
NOTHING_CAME = {
    LACKS["sound"]: "no sound came",
    LACKS["picture"]: "no picture came",
    LACKS["words"]: "no words came",
}


def _heard_speaker(predictor: Predictor) -> HeardSpeaker:
    """A speaker of whom nothing has been heard. SettingsError for a run that knows no speakers, or this one."""
    predictor.check_relative()
    if predictor.speaker is not None:
        raise SettingsError("The speaker is enrolled, and would be learned anew: leave adapt=True or the clips out.")
    return HeardSpeaker(predictor.model.features, predictor.model.statistics)


class LiveStream:
    """A run that watches: push what comes, on one clock in seconds, and get a prediction for each window that is full.

    Windows end at `hop`, 2 `hop`, … seconds after the first moment that came, and are `window` seconds long; the first
    ones are shorter. A window is answered when all that has been coming reaches its end. What is late is waited for
    until the others are `patience` seconds further, then left out; a source that was left out is not waited for again
    until it comes. A modality without anything in the window is missing, and the answer says why.

    Memory holds the last window alone. One thread uses a stream; several streams of a run may be used at a time.
    """

    def __init__(
        self,
        run: Run,
        *,
        window: float = 4.0,
        hop: float = 1.0,
        patience: float = 0.5,
        shares: bool = True,
        adapt: bool = False,
        extractors: Sequence[str | Mapping[str, Any]] = (),
        download: bool = False,
    ) -> None:
        """shares: tell the Shapley value of each modality. extractors, download: as `Run.predict_recordings`.

        adapt: read features relative to the one speaker of the stream, by the windows so far that do not overlap, each
        of them a clip (`HeardSpeaker`). SettingsError where the run does not read features so, or knows the speaker
        already, and for seconds that make no windows.
        """
        for name, value, lowest in (("window", window, 0.05), ("hop", hop, 0.05), ("patience", patience, 0.0)):
            if not lowest <= value <= LONGEST_WINDOW:
                raise SettingsError(f"{name} is {value} seconds; give {lowest} to {LONGEST_WINDOW:.0f}.")
        self.window, self.hop, self.patience, self.shares = window, hop, patience, shares
        self.problems: deque[str] = deque(maxlen=MOST_PROBLEMS)  # the last sentences on what is wrong with what came
        self._predictor = run.predictor
        self._heard, self._heard_until = _heard_speaker(self._predictor) if adapt else None, -np.inf
        if self._heard is not None:
            self._predictor = self._predictor.of_speaker(self._heard.standardisation())
        self._reader = recording_reader(run, extractors, download)
        self._data = read_data(run.folder)
        self._origin: float | None = None  # seconds of the first moment
        self._clock = 0.0  # the furthest moment that came
        self._answered = 0  # hops
        self._sound: SoundBuffer | None = None
        self._pictures: RecentPictures | None = None
        self._words: list[SpokenWord] | None = None
        self._features: dict[str, FeatureBuffer] = {}
        self._known: dict[str, float] = {}  # {source: the moment up to which it is known}, of those that are waited for
        self._is_finished = False

    def push_sound(self, samples: ArrayLike, rate: int, at: float | None = None) -> list[SegmentPrediction]:
        """Take in sound [N] or [N, channels] of `rate` samples a second; the answers that are due now.

        Floats in -1..1 or integers. at: the time of the first sample; else it joins on to the last one. Where it
        comes later than that, the gap is silence. DataError for what is no sound, and where the rate changes.
        """
        sound = one_channel(samples, rate)
        start = at if at is not None else self._clock if self._sound is None else self._sound.end
        self._check_time(start)
        self._begin(start)
        if self._sound is None:
            self._sound = SoundBuffer(rate, start, self.window + self.hop + self.patience)
        if rate != self._sound.rate:
            raise DataError(
                f"The sound had {self._sound.rate} samples a second, and now has {rate}: begin a new stream."
            )
        answers: list[SegmentPrediction] = []
        if start - self._sound.end > self._sound.longest_gap:
            answers += self._reached("sound", start)
        block = max(1, round(min(self.hop, 1.0) * rate))
        for first in range(0, len(sound), block):  # so that a long push needs no more memory than short ones
            self._note(self._sound.push(sound[first : first + block], None if at is None else at + first / rate))
            answers += self._reached("sound", self._sound.end)
        return answers

    def push_frame(self, picture: ArrayLike, at: float) -> list[SegmentPrediction]:
        """Take in a picture [H, W, 3], upright, red, green and blue in 0..255; the answers that are due now.

        It stands until the next one, for half a second at most. DataError for what is no picture.
        """
        checked = checked_picture(picture)
        self._check_time(at)
        self._begin(at)
        if self._pictures is None:
            self._pictures = RecentPictures(2.0 * self._frame_rate())
        self._note(self._pictures.push(checked, at))
        return self._reached("picture", at)

    def push_words(
        self, words: Iterable[tuple[str, float, float]], until: float | None = None
    ) -> list[SegmentPrediction]:
        """Take in words (text, start, end); the answers that are due now.

        until: the moment up to which all words are known, also where nobody speaks; else the end of the last word.
        DataError for times that are none.
        """
        said = [SpokenWord(str(text), float(start), float(end)) for text, start, end in words]
        for word in said:
            if not word.start <= word.end:
                raise DataError(f"The word {word.text!r} has no time from {word.start} to {word.end} s.")
        moments = [word.end for word in said] + ([] if until is None else [until])
        for moment in [*moments, *(word.start for word in said)]:
            self._check_time(moment)
        if said:
            self._begin(min(word.start for word in said))
        for word in said:
            if word.end <= self._oldest:
                self._note(f"words: {short(word.text)} of {word.start:.2f} s came too late and is left out")
        self._words = sorted([*(self._words or []), *said], key=lambda word: word.start)[-MOST_WORDS:]
        return self._reached("words", max(moments)) if moments and self._origin is not None else []

    def push_features(self, modality: str, features: ArrayLike, times: ArrayLike) -> list[SegmentPrediction]:
        """Take in features [T, F] of a modality that were extracted elsewhere; the answers that are due now.

        times: [T, 2], start and end of each step. SettingsError for a modality that the run has not, DataError for
        arrays of another form.
        """
        widths = self._reader.modalities
        if modality not in widths:
            raise SettingsError(f"The run does not read '{modality}'.{choices(modality, widths)}")
        values, spans = np.asarray(features, dtype=np.float32), np.asarray(times, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != widths[modality] or spans.shape != (len(values), 2):
            raise DataError(
                f"'{modality}' takes features [T, {widths[modality]}] and times [T, 2], not {list(values.shape)} and "
                f"{list(spans.shape)}."
            )
        if not len(values):
            return []
        for moment in (float(spans.min()), float(spans.max())):
            self._check_time(moment)
        self._begin(float(spans.min()))
        self._features.setdefault(modality, FeatureBuffer(widths[modality])).push(values, spans)
        return self._reached(modality, float(spans.max()))

    def advance(self, to: float) -> list[SegmentPrediction]:
        """Say that time has passed without anything coming; the answers that are due now."""
        self._check_time(to)
        return self._reached(None, to) if self._origin is not None else []

    def finish(self) -> list[SegmentPrediction]:
        """Answer about what has come and was not answered about. Nothing may be pushed afterwards."""
        self._is_finished = True
        if self._origin is None:
            return []
        self._known = {}
        answers = self._due()
        rest = self._clock - (self._origin + self._answered * self.hop)
        return [*answers, self._answer(self._clock)] if rest > 1e-6 else answers

    @property
    def _oldest(self) -> float:
        """The moment before which nothing is of use: the start of the next window."""
        return (self._origin or 0.0) + (self._answered + 1) * self.hop - self.window

    def _frame_rate(self) -> float:
        """The most pictures a second that an extractor of the run looks at."""
        opened = [self._reader.extractor(modality) for modality in self._reader.modalities]
        rates = [
            one.extractor.rate or 1.0 for one in opened if not isinstance(one, str) and "picture" in one.extractor.needs
        ]
        return max(rates, default=1.0)

    def _check_time(self, moment: float) -> None:
        """DataError for a moment that cannot be on the stream's clock."""
        if self._is_finished:
            raise SettingsError("The stream is finished: begin a new one.")
        if not np.isfinite(moment):
            raise DataError(f"The time {moment} is no number of seconds.")
        if self._origin is not None and abs(moment - self._clock) > LONGEST_GAP:
            raise DataError(
                f"The time {moment:.1f} s is more than an hour from {self._clock:.1f} s, where the stream is: give all "
                "times in seconds of one clock, or begin a new stream."
            )

    def _begin(self, moment: float) -> None:
        if self._origin is None:
            self._origin = self._clock = moment

    def _note(self, problem: str | None) -> None:
        if problem is not None:
            self.problems.append(problem)

    def _reached(self, source: str | None, moment: float) -> list[SegmentPrediction]:
        """Note that a source is known up to a moment; the answers that are due then."""
        if source is not None:
            self._known[source] = max(moment, self._known.get(source, moment))
        self._clock = max(self._clock, moment)
        return self._due()

    def _due(self) -> list[SegmentPrediction]:
        """The answers for all windows that have come, or are waited for no longer."""
        assert self._origin is not None, "something has come"
        waiting = int((self._clock - self._origin) / self.hop + 1e-9) - self._answered
        if waiting > MOST_DUE:
            self._answered += waiting - MOST_DUE
            self._note(f"{waiting - MOST_DUE} windows are left out, since nothing came for so long")
        answers: list[SegmentPrediction] = []
        while (end := self._origin + (self._answered + 1) * self.hop) <= self._clock + 1e-9:
            late = [source for source, known in self._known.items() if known < end - 1e-6]
            if late and self._clock < end + self.patience:
                break
            for source in late:
                del self._known[source]
                self._note(f"{source}: nothing up to {end:.2f} s has come in time")
            answers.append(self._answer(end))
            self._answered += 1
        self._forget(self._oldest)
        return answers

    def _forget(self, before: float) -> None:
        for buffer in (self._sound, self._pictures, *self._features.values()):
            if buffer is not None:
                buffer.forget(before)
        if self._words is not None:
            self._words = [word for word in self._words if word.end > before]

    def _answer(self, end: float) -> SegmentPrediction:
        """The answer about the window that ends at a moment."""
        assert self._origin is not None, "something has come"
        start = max(self._origin, end - self.window)
        recording = self._recording(start, end)
        given: dict[str, Stream | Missing] = {
            modality: buffer.between(start, end) or Missing("no features came")
            for modality, buffer in self._features.items()
        }
        streams, missing, _ = self._reader.streams(recording, given, "stream")
        span = f"from {start:.2f} s to {end:.2f} s"
        missing = {name: f"{NOTHING_CAME[why]} {span}" if why in NOTHING_CAME else why for name, why in missing.items()}
        words, spoken = recording.words, self._reader.spoken
        window = ExtractedRecording(Path("stream"), end - start, streams, missing, words, (), spoken)
        said = " ".join(word.text for word in words or ())
        sample = window.sample(0.0, end - start, whole=False)
        if self._heard is not None and sample is not None:
            self._hear(self._heard, sample, start, end)
        segment = Segment(start, end, sample, said, missing)
        return predict_segments(self._predictor, [segment], self._data, self.shares)[0]

    def _hear(self, heard: HeardSpeaker, sample: ArraySample, start: float, end: float) -> None:
        """Count a whole window as a clip of the speaker, where it begins after the last one that was counted."""
        if end - start > self.window - 1e-6 and start > self._heard_until - 1e-6:
            self._heard_until = end
            self._predictor = self._predictor.of_speaker(heard.hear(self._predictor.store_of([sample])))

    def _recording(self, start: float, end: float) -> WindowRecording:
        samples = None if self._sound is None else self._sound.between(start, end)
        words: list[SpokenWord] | None = None
        if self._words is not None:
            inside = [word for word in self._words if word.end > start and word.start < end]
            words = [SpokenWord(word.text, word.start - start, word.end - start) for word in inside]
        return WindowRecording(
            end - start,
            None if samples is None or self._sound is None else (samples, self._sound.rate),
            [] if self._pictures is None else self._pictures.between(start, end),
            None if words is None else tuple(words),
        )
