"""Answers about recordings: what a run says of each segment, how sure it is, and which modality it owes it to."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import attrs
import numpy as np

from emotiwave_core.data.corpus import all_samples
from emotiwave_core.data.facts import FoldFacts
from emotiwave_core.data.loading.loader import open_loader
from emotiwave_core.data.store.memory import ArraySample, store_of_arrays
from emotiwave_core.errors import DataError
from emotiwave_core.explain.attribution import prior_of, values_of
from emotiwave_core.explain.coalitions import Array, sample_values
from emotiwave_core.explain.shapley import shapley
from emotiwave_core.interfaces import SpokenWord
from emotiwave_core.model.objective import Regression
from emotiwave_core.predict.predictions import predict
from emotiwave_core.predict.predictor import Prediction, Predictor
from emotiwave_core.predict.recordings import ExtractedRecording, Segmentation
from emotiwave_core.runs.data_file import DATA, DataFile

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
    whole = segmentation.window is None
    segments = []
    for start, end in segmentation.of(recording.seconds):
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
    """The answer of a run about each segment. shares: with the Shapley value of each modality.

    PluginError where a probability is not finite.
    """
    usable = [segment.sample for segment in segments if segment.sample is not None]
    predicted = iter(predictor.predict_arrays(usable) if usable else [])
    explained = iter(_explain(predictor, usable, data) if usable and shares else [])
    answers = []
    for start, end, sample, said, missing in segments:
        if sample is None:
            answers.append(SegmentPrediction(start, end, {}, (), None, (), {}, words=said, missing=missing))
            continue
        prediction = next(predicted)
        name, parts = next(explained, (None, {}))
        empty = [modality for modality in predictor.model.modalities if modality not in prediction.present]
        answers.append(
            SegmentPrediction(
                start=start,
                end=end,
                probabilities=prediction.probabilities,
                decided=prediction.decided,
                confidence=None if prediction.numbers else confidence_of(prediction, predictor.objective.multi),
                present=prediction.present,
                shapley={modality: value for modality, value in parts.items() if modality in prediction.present},
                explained=name,
                words=said,
                numbers=prediction.numbers,
                missing={m: missing.get(m, f"it has nothing from {start:.2f} s to {end:.2f} s") for m in empty},
            )
        )
    return answers


def confidence_of(prediction: Prediction, multi: bool) -> float:
    """The probability of the decided class; of several labels the mean of what is given to each one's decision."""
    values = prediction.probabilities
    if not multi:
        return values[prediction.decided[0]]
    return float(np.mean([value if name in prediction.decided else 1.0 - value for name, value in values.items()]))


def _explain(
    predictor: Predictor, samples: Sequence[ArraySample], data: DataFile | None
) -> list[tuple[str, dict[str, float]]]:
    """Of each sample the class or target that is explained, and each modality's exact Shapley value of its answer.

    They begin at the class frequencies of the training fold, or at its mean.
    """
    model, objective, recipe = predictor.model, predictor.objective, predictor.recipe
    store = store_of_arrays(samples, model.features, recipe.data)
    predictions = predict(
        model,
        objective,
        open_loader(store, predictor.device),
        all_samples(store),
        batch_size=recipe.training.batch_size,
        precision=recipe.training.precision,
    )
    present = np.stack([store.has(modality) for modality in model.modalities], axis=1)
    prior, complete = _prior(predictor, data), predictions.answers[-1]
    phi = shapley(sample_values(predictions.answers, prior, present))  # [M, N, C]
    if isinstance(objective, Regression):
        distances = np.abs(complete - prior) / objective.deviation.cpu().double().numpy()
    else:
        distances = complete if predictor.thresholds is None else complete - predictor.thresholds
    return [
        (objective.classes[c], dict(zip(model.modalities, phi[:, n, c].tolist(), strict=True)))
        for n, c in enumerate(distances.argmax(axis=1))
    ]


def _prior(predictor: Predictor, data: DataFile | None) -> Array:
    """Probabilities [C] of the classes in the run's training fold, as its loss weighs them; of a regression the means.

    DataError where the run does not tell them.
    """
    objective = predictor.objective
    if isinstance(objective, Regression):
        return values_of(objective, "number", np.zeros(len(objective.classes)))
    try:
        train = (data.folds or {}).get("train") if data is not None else None
        if not isinstance(train, FoldFacts):
            raise LookupError("the training has not ended")
        counts = np.array([train.classes[name] for name in objective.classes])
    except LookupError as error:
        raise DataError(
            f"The run does not tell the class frequencies of its training ({DATA}: {error}): resume it to its end, or "
            "`emotiwave evaluate` it."
        ) from error
    logits = prior_of(predictor.recipe.objective, objective.multi, counts, train.used)
    return values_of(objective, "probability", logits)
