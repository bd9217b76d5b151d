"""A recording as a run reads it: extracted by the extractors that made the run's features, and cut into segments."""

import functools
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from emotiwave_core.data.formats.reader import open_reader
from emotiwave_core.data.prepare.segments import cut
from emotiwave_core.data.store.memory import ArraySample
from emotiwave_core.errors import DataError, PackageNotHere, SettingsError, choices
from emotiwave_core.extract.decoder import Decoder
from emotiwave_core.extract.extractors import LACKS, OpenExtractor, difference, open_extractor, part_of_identity
from emotiwave_core.extract.recording import MediaFile
from emotiwave_core.extract.words import Transcript, timed_words
from emotiwave_core.interfaces import Missing, Recording, SpokenWord, Stream
from emotiwave_core.monitor import SILENT, Monitor
from emotiwave_core.parts.registry import Registry
from emotiwave_core.parts.resolved import ResolvedPart
from emotiwave_core.runs.model_file import TrainedInput, read_model_file

NO_TRANSCRIPT = LACKS["words"]


@attrs.frozen(eq=False)
class ExtractedRecording:
    """The streams of a recording by modality, and why others are missing."""

    file: Path
    seconds: float
    streams: dict[str, Stream]
    missing: dict[str, str]
    words: tuple[SpokenWord, ...] | None
    problems: tuple[str, ...]
    spoken: tuple[str, ...] = ()  # the streams that are its words

    def sample(self, start: float, end: float, whole: bool) -> ArraySample | None:
        """The recording, or a segment of it, as the model takes it; None where it has nothing there."""
        rows = {
            name: np.arange(len(stream.intervals)) if whole else cut(stream.intervals, start, end)
            for name, stream in self.streams.items()
        }
        features: dict[str, Any] = {name: stream.features[rows[name]] for name, stream in self.streams.items()}
        times = {name: stream.intervals[rows[name]] for name, stream in self.streams.items()}
        said: NDArray[np.float64] | None = None
        if self.words is not None:
            said = np.array([word[1:] for word in self.words], dtype=np.float64).reshape(-1, 2)
            own = np.arange(len(said)) if whole else cut(said, start, end)
            said = said[own]
            features |= {name: [self.words[row].text for row in own] for name in self.spoken}
            times |= dict.fromkeys(self.spoken, said)
        if not any(map(len, features.values())):
            return None
        return ArraySample(
            features={name: values for name, values in features.items() if len(values)},
            times={name: own for name, own in times.items() if len(own)},
            words=said,
            interval=None if whole else (start, end),
        )


class RecordingReader:
    """Extracts what a run reads of recordings. Models are loaded once, when they are needed."""

    def __init__(
        self,
        run: Path,
        modalities: Mapping[str, int],
        registry: Registry,
        chosen: Mapping[str, ResolvedPart],
        download: bool = False,
        spoken: Collection[str] = (),
    ) -> None:
        """modalities: {modality: width} of the run. spoken: those whose encoders read words. chosen: extractors that
        are named anew, such as one that has moved.

        SettingsError for a modality that the run has not.
        """
        for modality in chosen:
            if modality not in modalities:
                raise SettingsError(f"The run does not read '{modality}'.{choices(modality, modalities)}")
        self.run, self.modalities, self.registry, self.download = run, dict(modalities), registry, download
        self.chosen, self.spoken = dict(chosen), tuple(spoken)
        self._open: dict[str, OpenExtractor | str] = {}
        self._one_at_a_time = threading.Lock()
        inputs = read_model_file(run).data.inputs
        self.identities = {name: _identity(inputs.get(name)) for name in modalities}

    def extractor(self, modality: str) -> OpenExtractor | str:
        """The extractor of a modality; or why there is none: the run does not know how its features were made.

        SettingsError where another one than the run's is named, or where its model is not here.
        """
        if modality not in self._open:
            self._open[modality] = self._find(modality)
        return self._open[modality]

    def _find(self, modality: str) -> OpenExtractor | str:
        identity = self.identities[modality]
        if identity is None and modality not in self.chosen:
            return "the run's features were not made by an extractor that it knows; --features gives it some of a file"
        part = self.chosen.get(modality) or part_of_identity(identity or {}, self.registry)
        try:
            opened = open_extractor(modality, part, self.download)
        except PackageNotHere as error:
            return str(error)
        if identity is not None and (differs := difference(identity, opened.identity)):
            raise SettingsError(
                f"The features of '{modality}' would be made in another way than those that {self.run} was trained on: "
                f"{differs}. Use the same extractor and weights, or train again."
            )
        if opened.extractor.width != self.modalities[modality]:
            raise SettingsError(
                f"{opened.who} gives {opened.extractor.width} features, and the run reads "
                f"{self.modalities[modality]} of '{modality}'."
            )
        return opened

    def read(
        self,
        file: Path,
        transcript: Transcript | None = None,
        asr: str | None = None,
        features: Mapping[str, Path] | None = None,
        monitor: Monitor = SILENT,
    ) -> ExtractedRecording:
        """All that the run reads of a recording. What fails of one modality is a reason why it is missing.

        features: files to take modalities from, whose entry is the recording's name without its suffix. DataError
        where the recording cannot be read.
        """
        recording = MediaFile(file, self.decoder)
        timed = timed_words(recording, transcript, asr, self.download)
        recording.words = timed.words
        features = features or {}
        self._check_given(features)
        given = {m: stream_of_file(path, file.stem, self.modalities[m]) for m, path in features.items()}
        streams, missing, problems = self.streams(recording, given, file.name, monitor)
        missing = {m: timed.source if why == NO_TRANSCRIPT else why for m, why in missing.items()}
        problems = [*timed.problems, *problems]
        problems += [problem for problem in dict.fromkeys(recording.problems) if problem not in problems]
        ends = [float(stream.intervals[:, 1].max()) for stream in streams.values()]
        seconds = max([recording.seconds or 0.0, *ends])
        return ExtractedRecording(file, seconds, streams, missing, timed.words, tuple(problems), self.spoken)

    def streams(
        self, recording: Recording, given: Mapping[str, Stream | Missing], name: str, monitor: Monitor = SILENT
    ) -> tuple[dict[str, Stream], dict[str, str], list[str]]:
        """The streams of a recording by modality, why others are missing, and problems.

        given: those of modalities that are not extracted. name: of the recording, for progress.
        """
        self._check_given(given)
        streams: dict[str, Stream] = {}
        missing: dict[str, str] = {}
        problems = []
        with monitor.progress(f"Reading {name}", len(self.modalities)) as advance:
            for modality in self.modalities:
                if modality in self.spoken:
                    if not recording.words:
                        missing[modality] = NO_TRANSCRIPT if recording.words is None else "no word is said"
                    advance()
                    continue
                answer = given[modality] if modality in given else self._extracted(modality, recording)
                if isinstance(answer, Missing):
                    missing[modality] = answer.reason
                else:
                    streams[modality] = answer
                    problems += [f"{modality}: {problem}" for problem in answer.problems]
                advance()
        return streams, missing, problems

    def _check_given(self, given: Collection[str]) -> None:
        """SettingsError where a modality of words is given as features."""
        if words := [modality for modality in given if modality in self.spoken]:
            raise SettingsError(
                f"'{words[0]}' of a recording is what is said in it, and no features: give a transcript (--words)."
            )

    def _extracted(self, modality: str, recording: Recording) -> Stream | Missing:
        extractor = self.extractor(modality)
        if isinstance(extractor, str):
            return Missing(extractor)
        try:
            with self._one_at_a_time:
                return extractor.extract(recording)
        except DataError as error:
            return Missing(str(error).rstrip("."))

    @functools.cached_property
    def decoder(self) -> Decoder:
        """The processes that decode files. PackageNotHere where PyAV is not installed."""
        return Decoder()

    def close(self) -> None:
        """End the processes that decode."""
        if "decoder" in vars(self):
            self.decoder.close()


def _identity(trained: TrainedInput | None) -> dict[str, Any] | None:
    """The extractor of the features that a run was trained on; None where the data did not tell one by name."""
    identity = None if trained is None else trained.extractor
    return dict(identity) if identity and "name" in identity else None


def stream_of_file(path: Path, own: str, width: int) -> Stream | Missing:
    """Features of a recording that stand in a file. DataError where they are of another width, or cannot be read."""
    with open_reader(path) as file:
        if own not in file.keys:
            return Missing(f"{path.name} has no entry '{own}'")
        if file.is_words or file.width != width:
            what = "words" if file.is_words else f"{file.width} features"
            raise DataError(f"{path} holds {what}, and the run reads {width} features.")
        features, intervals = file.read(own)
    return Stream(features, intervals) if len(features) else Missing(f"the entry '{own}' of {path.name} is empty")
