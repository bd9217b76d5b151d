"""Answers of a run as rows: one for each segment of a recording and each sample of a data set, or why there is none."""

from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from emotiwave_core.explain.recording import RecordingPrediction
from emotiwave_core.predict.predictor import UNLIKE, Prediction

TEXTS = ("input", "id", "decided", "abstained", "present", "missing", "alarms", "explained", "words", "error")


@attrs.frozen
class Answer:
    """The word of a run on a stretch of an input; where `error` says why it could not be used, the rest is empty."""

    input: str  # as it was named
    id: str = ""  # of the sample, or the recording's name
    start: float | None = None  # seconds
    end: float | None = None
    decided: tuple[str, ...] = ()
    confidence: float | None = None
    alarms: dict[str, float] = attrs.field(factory=dict)  # {modality: its distance from the training's, threshold 1}
    abstained: bool = False  # it is not sure enough to decide
    probabilities: dict[str, float] = attrs.field(factory=dict)  # of each class; empty without evidence
    numbers: dict[str, float] = attrs.field(factory=dict)  # of each target of a regression
    present: tuple[str, ...] = ()
    missing: dict[str, str] = attrs.field(factory=dict)  # {modality: why}
    explained: str | None = None
    shapley: dict[str, float] = attrs.field(factory=dict)  # {modality: its part in the value of `explained`}
    words: str = ""
    error: str | None = None

    def row(self, classes: Sequence[str], modalities: Sequence[str]) -> dict[str, Any]:
        """The answer as a flat row; `columns` has their names and order. Without evidence values are None."""
        missing = "; ".join(f"{modality}: {why}" for modality, why in self.missing.items())
        return {
            "input": self.input,
            "id": self.id,
            "start": self.start,
            "end": self.end,
            "decided": "+".join(self.decided),
            "confidence": self.confidence,
            "abstained": "yes" if self.abstained else "",
            **{f"p({name})": self.probabilities.get(name) for name in classes if not self.numbers},
            **{f"predicted({name})": self.numbers.get(name) for name in classes if self.numbers},
            "present": "+".join(self.present),
            "missing": missing,
            "alarms": "; ".join(f"{modality} {share:.2f}" for modality, share in self.alarms.items()),
            "explained": self.explained or "",
            **{f"shapley({modality})": self.shapley.get(modality) for modality in modalities},
            "words": self.words,
            "error": self.error or "",
        }


def columns(
    classes: Sequence[str], modalities: Sequence[str], is_regression: bool, is_selective: bool = False
) -> list[str]:
    """The names of a row's columns; `abstained` where a run was asked to decide only what it is sure of."""
    empty = Answer("", numbers=dict.fromkeys(classes, 0.0) if is_regression else {})
    return [name for name in empty.row(classes, modalities) if is_selective or name != "abstained"]


def answers_of_recording(given: str, recording: RecordingPrediction, name: str) -> Iterator[Answer]:
    """An answer for each segment of a recording."""
    for segment in recording.segments:
        yield Answer(
            input=given,
            id=name,
            start=segment.start,
            end=segment.end,
            decided=segment.decided,
            confidence=segment.confidence,
            alarms=segment.alarms,
            abstained=segment.abstained,
            probabilities=segment.probabilities,
            numbers=segment.numbers,
            present=segment.present,
            missing=segment.missing,
            explained=segment.explained,
            shapley=segment.shapley,
            words=segment.words,
        )


def answer_of_sample(given: str, sample: Prediction, modalities: Sequence[str]) -> Answer:
    """The answer about a sample of a data set."""
    start, end = sample.interval or (None, None)
    return Answer(
        input=given,
        id=sample.id or "",
        start=start,
        end=end,
        decided=sample.decided,
        confidence=sample.confidence,
        alarms=sample.alarms,
        abstained=sample.abstained,
        probabilities=sample.probabilities,
        numbers=sample.numbers,
        present=sample.present,
        missing={
            m: UNLIKE if m in sample.alarms else "the data have none" for m in modalities if m not in sample.present
        },
        explained=sample.explained,
        shapley=sample.shapley,
    )
