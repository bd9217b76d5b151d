"""Answers about recordings: what a run says of each segment, how sure it is, and which modality it owes it to."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import attrs

from emotiwave_core.data.corpus import all_samples
from emotiwave_core.data.store.memory import ArraySample
from emotiwave_core.explain.shares import Shares, shares_of
from emotiwave_core.interfaces import SpokenWord
from emotiwave_core.predict.predictor import UNLIKE, Predictor
from emotiwave_core.predict.recordings import ExtractedRecording
from emotiwave_core.predict.segments import Segmentation
from emotiwave_core.runs.data_file import DataFile

NO_EVIDENCE = "no evidence"


@attrs.frozen
class SegmentPrediction:
    """A stretch of a recording; where there is no evidence, nothing is decided of it."""

    start: float  # seconds
    end: float
    probabilities: dict[str, float]  # of each class, in the run's order; empty without evidence, and of a regression
    decided: tuple[str, ...]  # one class; of a multi-label run each above its threshold, which may be none
    confidence: float | None  # the probability that is given to what is decided; of several labels their mean
    present: tuple[str, ...]  # the modalities that are there
    shapley: dict[str, float]  # {modality: its part in the probability of `explained`, beyond the class frequencies}
    explained: str | None = None  # the decided class; of several labels or targets the one furthest from nothing
    words: str = ""  # that are said
    numbers: dict[str, float] = attrs.field(factory=dict)  # of each target of a regression
    missing: dict[str, str] = attrs.field(factory=dict)  # {modality that is not there: why}
    configurations: dict[str, dict[str, float]] = attrs.field(factory=dict)  # {`text+audio`: the answer from these}
    alarms: dict[str, float] = attrs.field(factory=dict)  # {modality: its distance from the training's, threshold 1}
    abstained: bool = False  # it is not sure enough to decide (`Run.selective`)

    @property
    def has_evidence(self) -> bool:
        """True where there is something to predict from."""
        return bool(self.present)


@attrs.frozen
class RecordingPrediction:
    """A recording, segment by segment. The first segment is all of it, unless windows were asked for."""

    file: str
    seconds: float
    segments: tuple[SegmentPrediction, ...]
    missing: dict[str, str]  # {modality: why it is missing}
    problems: tuple[str, ...]  # what else is wrong with the recording
    words: tuple[SpokenWord, ...] | None  # None: it is not known what is said

    @property
    def has_evidence(self) -> bool:
        """True where any segment has something to predict from."""
        return any(segment.has_evidence for segment in self.segments)

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON can hold it."""
        table = attrs.asdict(attrs.evolve(self, words=None))
        words = None if self.words is None else [word._asdict() for word in self.words]
        return {**table, "words": words, "evidence": self.has_evidence}


class Segment(NamedTuple):
    """A stretch of a recording that is asked about."""

    start: float  # seconds
    end: float
    sample: ArraySample | None  # None: nothing can be used
    words: str  # that are said
    missing: dict[str, str]  # {modality: why it is missing}, of those that are known to be


def predict_recording(
    predictor: Predictor, recording: ExtractedRecording, segmentation: Segmentation, data: DataFile | None
) -> RecordingPrediction:
    """The answer of a run about a recording. data: its data.json, whose class frequencies Shapley values start from.

    PluginError where a probability is not finite.
    """
    whole = segmentation.is_whole
    segments = []
    for start, end in segmentation.of(recording.file, recording.seconds):
        said = " ".join(word.text for word in recording.words or () if whole or (word.end > start and word.start < end))
        segments.append(Segment(start, end, recording.sample(start, end, whole), said, recording.missing))
    return RecordingPrediction(
        file=str(recording.file),
        seconds=recording.seconds,
        segments=tuple(predict_segments(predictor, segments, data)),
        missing=recording.missing,
        problems=recording.problems,
        words=recording.words,
    )


def predict_segments(
    predictor: Predictor, segments: Sequence[Segment], data: DataFile | None, shares: bool = True
) -> list[SegmentPrediction]:
    """The answer of a run about each segment of one recording. shares: with the Shapley value of each modality.

    PluginError where a probability is not finite.
    """
    segments = _with_evidence(predictor, segments)
    usable = [segment.sample for segment in segments if segment.sample is not None]
    predicted = iter(predictor.predict_arrays(usable, one_video=True) if usable else [])
    explained = iter(_shares(predictor, usable, data) if usable and shares else [])
    answers = []
    for start, end, sample, said, missing in segments:
        if sample is None:
            answers.append(SegmentPrediction(start, end, {}, (), None, (), {}, words=said, missing=missing))
            continue
        prediction = next(predicted)
        name, parts, subsets = next(explained, (None, {}, {}))
        empty = [modality for modality in predictor.model.modalities if modality not in prediction.present]
        answers.append(
            SegmentPrediction(
                start=start,
                end=end,
                probabilities=prediction.probabilities,
                decided=prediction.decided,
                confidence=prediction.confidence,
                present=prediction.present,
                shapley={m: value for m, value in parts.items() if m in prediction.present or value},
                explained=name,
                words=said,
                numbers=prediction.numbers,
                missing={
                    m: UNLIKE
                    if m in prediction.alarms
                    else missing.get(m, f"it has nothing from {start:.2f} s to {end:.2f} s")
                    for m in empty
                },
                configurations=subsets,
                alarms=prediction.alarms,
                abstained=prediction.abstained,
            )
        )
    return answers


def _with_evidence(predictor: Predictor, segments: Sequence[Segment]) -> list[Segment]:
    """The same; what has zeros or no number alone has nothing that can be used."""
    given = [segment.sample for segment in segments if segment.sample is not None]
    told = iter(predictor.have_evidence(given) if given else [])
    names = predictor.model.modalities
    checked = []
    for one in segments:
        if one.sample is not None and not next(told):
            nothing = dict.fromkeys(names, f"it has nothing from {one.start:.2f} s to {one.end:.2f} s")
            one = one._replace(sample=None, missing=nothing | one.missing)
        checked.append(one)
    return checked


def _shares(predictor: Predictor, samples: Sequence[ArraySample], data: DataFile | None) -> list[Shares]:
    store = predictor.store_of(samples, one_video=True)
    return shares_of(predictor, store, all_samples(store), data)
