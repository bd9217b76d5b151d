"""Predictions about inputs of any kind, recordings and data sets, with one set of options."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from emotiwave_core.data.dataset import Dataset
from emotiwave_core.data.store.memory import ArraySample
from emotiwave_core.errors import DataError, NotFinite
from emotiwave_core.explain.answers import Answer, answer_of_sample, answers_of_recording
from emotiwave_core.explain.answers_file import AnswersFile, Work
from emotiwave_core.explain.recording import RecordingPrediction, predict_recording
from emotiwave_core.explain.shares import shares_of
from emotiwave_core.extract.clips import transcript_of
from emotiwave_core.io.atomic import files_in, sha256_of
from emotiwave_core.monitor import SILENT, Monitor
from emotiwave_core.objectives.regression import Regression
from emotiwave_core.predict.prediction_inputs import PredictionInput, inputs_of
from emotiwave_core.predict.predictor import Prediction, Predictor
from emotiwave_core.predict.recordings import RecordingReader
from emotiwave_core.predict.segments import Segmentation
from emotiwave_core.runs.data_file import DataFile
from emotiwave_core.runs.model_file import MODEL


@attrs.frozen
class PredictionOptions:
    """The options of a prediction."""

    segmentation: Segmentation = attrs.field(factory=Segmentation)
    words: Path | None = None  # the transcript of the one recording; else the one beside each
    asr: str | None = None  # a model of Whisper, where there is no transcript
    features: dict[str, Path] = attrs.field(factory=dict)  # {modality: file} to take a modality of recordings from
    explain: bool = False  # samples of data sets too with the Shapley values of their modalities

    def to_json(self) -> dict[str, Any]:
        """All that changes an answer, files by their content."""
        named = self.segmentation.named
        return {
            "window": self.segmentation.window,
            "hop": self.segmentation.hop,
            "segments": None if named is None else sha256_of(named.path),
            "words": None if self.words is None else sha256_of(self.words),
            "asr": self.asr,
            "features": {modality: sha256_of(path) for modality, path in sorted(self.features.items())},
            "explain": self.explain,
        }


@attrs.frozen(eq=False)
class InputPredictor:
    """A run's model and extractors."""

    predictor: Predictor
    reader: RecordingReader
    data: DataFile | None  # the run's data.json, whose class frequencies Shapley values start from
    options: PredictionOptions
    monitor: Monitor = SILENT

    def recording(self, path: Path) -> RecordingPrediction:
        """The answer about a recording. Errors as `RecordingReader.read` and `predict_recording`."""
        options = self.options
        transcript = transcript_of(path, options.words)
        read = self.reader.read(path, transcript, options.asr, options.features, self.monitor)
        return predict_recording(self.predictor, read, options.segmentation, self.data)

    def clips(self, paths: Sequence[Path]) -> tuple[list[ArraySample], list[Dataset]]:
        """Recordings as whole samples, and data sets. DataError where nothing in a recording can be used."""
        samples, datasets = [], []
        for given in inputs_of(paths):
            if given.is_recording:
                samples.append(self._clip(given.path))
            else:
                datasets.append(given.dataset(self.predictor.model.features))
        return samples, datasets

    def _clip(self, path: Path) -> ArraySample:
        read = self.reader.read(path, transcript_of(path, None), self.options.asr, {}, self.monitor)
        sample = read.sample(0.0, read.seconds, whole=True)
        if sample is None:
            raise DataError(
                f"{path} has nothing that the run reads: {'; '.join(dict.fromkeys(read.missing.values()))}."
            )
        return sample

    def samples(self, dataset: Dataset) -> Iterator[Prediction]:
        """The answers about all samples of a data set, some thousand in memory at a time."""
        store = self.predictor.open_dataset(dataset, self.monitor)
        for samples, predictions in self.predictor.predict_store(store, self.monitor):
            if not self.options.explain:
                yield from predictions
                continue
            shares = shares_of(self.predictor, store, samples, self.data)
            for prediction, (name, parts, _) in zip(predictions, shares, strict=True):
                own = {modality: value for modality, value in parts.items() if modality in prediction.present or value}
                yield attrs.evolve(prediction, explained=name, shapley=own)

    def answers(self, given: PredictionInput) -> Iterator[Answer]:
        """The rows about an input."""
        if given.is_recording:
            yield from answers_of_recording(str(given.path), self.recording(given.path), given.path.stem)
            return
        widths = self.predictor.model.features
        for sample in self.samples(given.dataset(widths)):
            yield answer_of_sample(str(given.path), sample, self.predictor.model.modalities)

    def write(self, out: Path, run: Path, inputs: Sequence[PredictionInput]) -> AnswersFile:
        """Write the answers to all inputs into a file; an input that cannot be used is a row that says why.

        Stopped, it goes on where it was. Errors as `AnswersFile`.
        """
        objective = self.predictor.objective
        work = Work(
            run=sha256_of(run / MODEL),
            settings={
                **self.options.to_json(),
                "identities": _identities(self.reader),
                "speaker": None if self.predictor.speaker is None else self.predictor.speaker.sha256,
                **({} if self.predictor.least is None else {"least": self.predictor.least}),
            },
            inputs=[_stamp(given) for given in inputs],
            classes=list(objective.classes),
            modalities=list(self.predictor.model.modalities),
            is_regression=isinstance(objective, Regression),
            is_selective=self.predictor.least is not None,
        )
        file = AnswersFile(out, work)
        try:
            with self.monitor.progress("Predicting", len(inputs)) as advance:
                for number, given in enumerate(inputs):
                    if number >= file.done:
                        self._write_one(file, given)
                    advance()
            file.finish()
        finally:
            file.close()
        return file

    def _write_one(self, file: AnswersFile, given: PredictionInput) -> None:
        try:
            file.add(self.answers(given))
        except (DataError, NotFinite) as error:
            self.monitor.say(str(error))
            file.add([Answer(input=str(given.path), id=given.path.stem, error=str(error))])
            file.input_done(failed=True)
        else:
            file.input_done()


def _identities(reader: RecordingReader) -> Mapping[str, Any]:
    return {name: repr(part.settings) for name, part in reader.chosen.items()}


def _stamp(given: PredictionInput) -> list[Any]:
    """An input by its name and what it was when it was first asked about."""
    try:
        named = [*given.features, *given.named.values()]
        stats = [path.stat() for path in named or files_in(given.path)]
    except OSError:
        return [str(given.path)]
    return [str(given.path), *(value for one in stats for value in (one.st_size, one.st_mtime_ns))]
