"""A run and all that can be asked of it: scores, predictions, explanations, a report, an export."""

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, overload

import attrs

from emotiwave_core.api.arguments import (
    FilePath,
    check_choice,
    check_fold,
    errors_of_ours,
    open_device,
    open_registry,
    optional_folder,
    part_tables,
    refuse_unread,
)
from emotiwave_core.errors import DataError, SettingsError
from emotiwave_core.monitor import Monitor, monitor_for_here

if TYPE_CHECKING:
    import torch
    from numpy.typing import ArrayLike

    from emotiwave_core.config.recipe import OnAlarm
    from emotiwave_core.data.dataset import Dataset
    from emotiwave_core.data.store.memory import ArraySample
    from emotiwave_core.explain.coalitions import Empty, Value
    from emotiwave_core.explain.input_predictor import InputPredictor, PredictionOptions
    from emotiwave_core.explain.recording import RecordingPrediction
    from emotiwave_core.export.exporting import Exported
    from emotiwave_core.parts.registry import Registry
    from emotiwave_core.predict.predictor import Prediction, Predictor
    from emotiwave_core.predict.recordings import RecordingReader
    from emotiwave_core.runs.explanation import ExplanationFile, SampleDetails
    from emotiwave_core.runs.export_manifest import Quantisation, Target
    from emotiwave_core.runs.protocol_scores import ProtocolScores
    from emotiwave_core.runs.scores import Scores


def open_run(
    folder: FilePath,
    /,
    *,
    device: "str | torch.device" = "auto",
    registry: "Registry | FilePath | None" = None,
    monitor: Monitor | None = None,
    strict: bool = False,
    on_alarm: "OnAlarm | None" = None,
) -> "Run":
    """Open the folder of a run. DataError where it holds none. The model is read when it is needed.

    device: where the run computes. registry: a registry.toml laid over the others, for parts of your own. strict:
    refuse (PluginError) a run whose parts have other code by now than in its training; without it that is told.
    on_alarm: "warn", "drop" or "ignore" in the place of the recipe's `model.on_alarm`, where a modality is unlike those
    of the training. Predictions, scores and protocols read a dropped one as missing; the run's own files stay as they
    are.
    """
    from emotiwave_core.runs.saved_model import refuse_changed_parts

    path, known = Path(folder), open_registry(registry)
    if not any((path / name).exists() for name in ("recipe.toml", "model.json")):
        raise DataError(f"{path} holds no trained model (model.json); give the folder of a run that has ended.")
    if strict:
        refuse_changed_parts(path, known)
    return Run(path, device, known, monitor, on_alarm)


@attrs.frozen(eq=False, slots=False, repr=False)
class Run:
    """The folder of a run, and all that can be asked of it. From `train`, `resume` or `open_run`."""

    folder: Path
    device: "str | torch.device"
    registry: "Registry"
    monitor: Monitor | None = None
    on_alarm: "OnAlarm | None" = None

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    def scores(self) -> "Scores":
        """Scores of the test fold as the run's last scoring left them: `scores()["text+audio"].macro_f1`.

        DataError where the run has none yet, or `scores.json` is damaged.
        """
        from emotiwave_core.runs.scores import read_scores

        return read_scores(self.folder)

    def evaluate(
        self,
        dataset: "Dataset | FilePath | None" = None,
        *,
        fold: str = "test",
        metric: "str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]] | None" = None,
    ) -> "Scores":
        """Score the run on every configuration, on a fold of its own data or of another labelled data set.

        fold: train, valid, test or all. On the test fold of its own data the run's scores, predictions and report are
        written anew; otherwise the folder stays as it is. metric: those of plugins, as for `train`; None: those of the
        run's recipe. DataError for data of another form.
        """
        from emotiwave_core.compute.runtime import Runtime
        from emotiwave_core.config.recipe import as_part
        from emotiwave_core.evaluate.evaluation import evaluate

        check_fold(fold)
        data, is_own = optional_folder(dataset), dataset is None and fold == "test" and self.on_alarm is None
        with errors_of_ours():
            runtime = Runtime(open_device(self.device), self._monitor)
            asked = None if metric is None else [as_part(table) for table in part_tables(metric)]
            return evaluate(
                self.folder,
                self.registry,
                runtime,
                data=data,
                fold=fold,
                write=is_own,
                metrics=asked,
                on_alarm=self.on_alarm,
            )

    def robustness(
        self,
        protocol: str,
        *,
        against: "Run | FilePath | None" = None,
        seed: int = 0,
        manifest: FilePath | None = None,
        dataset: "Dataset | FilePath | None" = None,
        fold: str = "test",
    ) -> "ProtocolScores":
        """Score the complete configuration at every level of a corruption: random, frames, blocks, noise, ….

        against: another run that meets the same corruption, for the effective robustness. seed: of the corruption;
        manifest: a file with one that was drawn before, instead of a seed. Scores and manifest are kept in the run's
        `protocols/` where it is the test fold of its own data. The result is `robustness("noise").curves["audio"]`
        with its levels, macro_f1 and areas, and `.to_dict()` gives it as JSON has it.
        """
        from emotiwave_core.compute.runtime import Runtime
        from emotiwave_core.evaluate.protocol import ProtocolRequest, evaluate_protocol

        check_fold(fold)
        request = ProtocolRequest(
            protocol=protocol,
            seed=seed,
            manifest=None if manifest is None else Path(manifest),
            against=against.folder if isinstance(against, Run) else None if against is None else Path(against),
            data=optional_folder(dataset),
            fold=fold,
            on_alarm=self.on_alarm,
        )
        is_own = dataset is None and fold == "test" and self.on_alarm is None
        with errors_of_ours():
            runtime = Runtime(open_device(self.device), self._monitor)
            return evaluate_protocol(self.folder, request, self.registry, runtime, write=is_own)

    @overload
    def predict(
        self,
        samples: None = None,
        /,
        *,
        times: "Mapping[str, ArrayLike] | None" = None,
        words: "ArrayLike | None" = None,
        interval: tuple[float, float] | None = None,
        **features: "ArrayLike | None",
    ) -> "Prediction": ...

    @overload
    def predict(self, samples: "Dataset | FilePath | Sequence[Mapping[str, Any]]", /) -> "list[Prediction]": ...

    @overload
    def predict(
        self,
        samples: FilePath,
        /,
        *,
        words: FilePath | None = None,
        asr: str | bool = False,
        window: float | None = None,
        hop: float | None = None,
    ) -> "RecordingPrediction": ...

    def predict(self, samples: Any = None, /, **sample: Any) -> "Prediction | list[Prediction] | RecordingPrediction":
        """Predict a sample of arrays, many of them, every sample of a data set, or a recording. Labels are not needed.

        One: `predict(text=array, audio=None)`, arrays [T, F] of the modalities that it has, in the width that the run
        reads; NaN and infinities are replaced as in training. times: {modality: [T, 2] seconds}, needed where the run
        aligns its data (data.align), and there words=[W, 2]; interval: (start, end) in seconds, else all of it.
        Many: a list of such samples as tables, `predict([{"text": array}, …])`.
        A modality of several streams takes each by name: `predict(**{"audio/clip": array})`.
        A data set: from `load_dataset`, or its folder; a modality that it lacks is absent in every sample.
        A recording: `predict("clip.mp4", words="clip.srt")`, with the keywords of `predict_recordings`.

        The model is read on the first call and kept, so that later ones are fast; several threads may ask at a time.
        DataError for arrays or data of another form and for a sample without any modality, SettingsError for a
        modality that the run does not know, PluginError where a part fails.
        """
        from emotiwave_core.data.dataset import Dataset
        from emotiwave_core.predict.prediction_inputs import is_recording

        if isinstance(samples, str | os.PathLike) and is_recording(Path(samples)):
            answers: list[RecordingPrediction] = self.predict_recordings(samples, **sample)
            return answers[0]
        if samples is not None and sample:
            raise SettingsError(
                f"predict takes many samples or the keywords of one, not both: leave out {min(sample)}=."
            )
        with errors_of_ours():
            if isinstance(samples, Dataset | str | os.PathLike):
                return list(self.predict_samples(samples))
            if samples is None:
                return self.predictor.predict_arrays([_array_sample(sample)])[0]
            if isinstance(samples, Mapping) or not all(isinstance(arrays, Mapping) for arrays in samples):
                raise SettingsError("Give one sample by keywords, predict(text=array), or many as a list of tables.")
            if not samples:
                return []
            return self.predictor.predict_arrays([_array_sample(dict(arrays)) for arrays in samples])

    def predict_recordings(
        self,
        recordings: "FilePath | Sequence[FilePath]",
        /,
        *,
        words: FilePath | None = None,
        asr: str | bool = False,
        window: float | None = None,
        hop: float | None = None,
        segments: FilePath | None = None,
        features: "Mapping[str, FilePath] | None" = None,
        extractors: "Sequence[str | Mapping[str, Any]]" = (),
        download: bool = False,
    ) -> "list[RecordingPrediction]":
        """Predict recordings, files of sound or video, by the extractors that made the run's features.

        words: the transcript of the one recording; else the one of its name that lies beside it. asr: True, or a
        model of Whisper, to hear what is said where there is none. window, hop: seconds of windows and from one to the
        next; segments: a table of start and end, or subtitles, whose stretches are asked about; else the whole is one
        segment. features: {modality: file} to take a modality from, whose entry has the recording's name. extractors:
        the run's extractors named anew, where a model lies in another folder now.

        A modality that is missing, silent or bad is left out, and `missing` says why; a segment that has none has no
        evidence, and nothing is decided of it. Models are loaded on the first call and kept.
        DataError for a recording that cannot be read, SettingsError for a model that is not here or another extractor
        than the run's.
        """
        is_one = isinstance(recordings, str | os.PathLike)
        paths = [Path(recordings)] if isinstance(recordings, str | os.PathLike) else [Path(path) for path in recordings]
        if words is not None and not is_one:
            raise SettingsError("words= is the transcript of one recording; of several, let each lie beside its own.")
        with errors_of_ours():
            options = _options(words, asr, window, hop, segments, features)
            predictor = self._input_predictor(options, extractors, download)
            return [predictor.recording(path) for path in paths]

    def predict_to(
        self,
        out: FilePath,
        inputs: "FilePath | Sequence[FilePath]",
        /,
        *,
        explain: bool = False,
        words: FilePath | None = None,
        asr: str | bool = False,
        window: float | None = None,
        hop: float | None = None,
        segments: FilePath | None = None,
        features: "Mapping[str, FilePath] | None" = None,
        extractors: "Sequence[str | Mapping[str, Any]]" = (),
        download: bool = False,
    ) -> "Written":
        """Predict recordings and data sets into a file, .jsonl, .csv or .parquet: a row for each segment or sample.

        inputs: recordings, folders of them, data sets, files of features; none where `features` names files. explain:
        Shapley values of the samples of data sets too; of recordings they are always there. The rest is as
        `predict_recordings`.

        Rows keep the order of the inputs. An input that cannot be used costs itself: a row with its `error`. Stopped,
        it goes on where it was when it is called again; until then the rows are in `out` + ".part". SettingsError for
        a file that is there already.
        """
        from emotiwave_core.predict.prediction_inputs import inputs_of

        paths = [Path(inputs)] if isinstance(inputs, str | os.PathLike) else [Path(path) for path in inputs]
        with errors_of_ours():
            given = inputs_of(paths, {name: Path(file) for name, file in (features or {}).items()})
            if not any(one.is_recording for one in given):
                refuse_unread(window=window, hop=hop, segments=segments, asr=asr or None)
            if words is not None and [one.is_recording for one in given] != [True]:
                raise SettingsError(
                    "words= is the transcript of one recording; let each of several lie beside its own."
                )
            options = _options(words, asr, window, hop, segments, features, explain)
            file = self._input_predictor(options, extractors, download).write(Path(out), self.folder, given)
        return Written(file.path, file.rows, file.done, file.failed)

    def predict_samples(self, dataset: "Dataset | FilePath", /, *, explain: bool = False) -> "Iterator[Prediction]":
        """Predict the samples of a data set, one after the other: memory stays flat, however many they are.

        dataset: as `predict` takes it, or a file of features of one modality. explain: with the Shapley value of each
        modality. Errors as `predict`.
        """
        from emotiwave_core.explain.input_predictor import PredictionOptions

        with errors_of_ours():
            known = _opened(dataset, self.predictor.model.features)
            yield from self._input_predictor(PredictionOptions(explain=explain)).samples(known)

    def enrol(
        self,
        clips: "Dataset | FilePath | Mapping[str, Any] | Sequence[FilePath | Mapping[str, Any]]",
        /,
        *,
        speaker: str | None = None,
    ) -> "Run":
        """The run for one speaker, of whom these are clips: for a run that reads features relative to their speaker.

        clips: recordings, folders of them, samples of arrays as `predict` takes them, or a data set, all of one person;
        labels are not needed, and what is usual for the person should be in them (neutral speech, or speech of every
        kind). Ask the result as any run: `run.enrol(["neutral.wav"]).predict("clip.wav")`, `Stream(run.enrol(…))`.

        speaker: of a data set with groups, the one whose clips are taken.

        SettingsError for a run that reads no features so, and for a speaker that the clips do not name; DataError for
        clips without anything that can be used.
        """
        from emotiwave_core.data.dataset import Dataset

        with errors_of_ours():
            predictor = self.predictor
            predictor.check_relative()
            given = [clips] if isinstance(clips, Dataset | str | os.PathLike | Mapping) else list(clips)
            arrays = [_array_sample(dict(clip)) for clip in given if isinstance(clip, Mapping)]
            opened = [clip for clip in given if isinstance(clip, Dataset)]
            named = [Path(clip) for clip in given if isinstance(clip, str | os.PathLike)]
            samples, datasets = self._input_predictor().clips(named) if named else ([], [])
            datasets = [*opened, *datasets]
            known = len(arrays) + len(opened) + len(named)
            if len(datasets) + bool(arrays or samples) != 1 or known < len(given):
                raise SettingsError(
                    "Clips of a speaker are recordings and arrays, or one data set: name one of the two."
                )
            store = (
                predictor.open_clips(datasets[0], self._monitor) if datasets else predictor.store_of(arrays + samples)
            )
            enrolled = attrs.evolve(self)
            enrolled.__dict__["predictor"] = predictor.enrolled(store, speaker)
            return enrolled

    def selective(self, max_risk: float, /) -> "Run":
        """The run that decides only where it errs rarely enough, and else says that it does not know.

        max_risk: the share of its decisions that may be wrong, from 0 to below 1, as on the validation fold: for each
        configuration by itself, from the risks in its model.json. A prediction that is not sure enough has `abstained`
        and decides nothing; its probabilities stay. Ask the result as any run: `run.selective(0.1).predict(…)`. On
        people of another kind than those of the validation fold the share of errors is another.

        SettingsError for a run of several labels or numbers.
        """
        with errors_of_ours():
            selective = attrs.evolve(self)
            selective.__dict__["predictor"] = self.predictor.selective(max_risk)
            return selective

    def _input_predictor(
        self,
        options: "PredictionOptions | None" = None,
        extractors: "Sequence[str | Mapping[str, Any]]" = (),
        download: bool = False,
    ) -> "InputPredictor":
        from emotiwave_core.explain.input_predictor import InputPredictor, PredictionOptions
        from emotiwave_core.runs.data_file import read_data

        reader = recording_reader(self, extractors, download)
        return InputPredictor(
            self.predictor, reader, read_data(self.folder), options or PredictionOptions(), self._monitor
        )

    @functools.cached_property
    def _readers(self) -> "dict[str, RecordingReader]":
        return {}

    @functools.cached_property
    def predictor(self) -> "Predictor":
        """The model in memory, read when it is first asked."""
        from emotiwave_core.predict.predictor import open_predictor

        return open_predictor(self.folder, self.registry, open_device(self.device), self.on_alarm)

    def explain(
        self,
        sample: str | None = None,
        *,
        value: "Value | None" = None,
        empty: "Empty" = "prior",
        dataset: "Dataset | FilePath | None" = None,
        fold: str = "test",
    ) -> "ExplanationFile | SampleDetails":
        """Say which modality decided: exact Shapley values over a fold, or of one sample with its occlusion windows.

        sample: an id as in predictions.csv. value: what is split over the modalities, the "probability" of a class
        (None) or its log-odds ("logit"); of a regression it is the predicted number. empty: what stands for no modality
        at all, the class frequencies or the mean number of training ("prior") or what the model says then ("zeros").
        Nothing in the folder is changed.
        """
        from emotiwave_core.explain.attribution import explain
        from emotiwave_core.explain.coalitions import Empty, Value
        from emotiwave_core.explain.records import explain_fold, explain_in_full
        from emotiwave_core.predict.trained import open_trained_run, restrict_to_sample

        check_fold(fold)
        if value is not None:
            check_choice("value", value, get_args(Value))
        check_choice("empty", empty, get_args(Empty))
        monitor, device = self._monitor, open_device(self.device)
        with errors_of_ours():
            folder, answer = optional_folder(dataset), self.on_alarm
            trained = open_trained_run(self.folder, self.registry, monitor, data=folder, fold=fold, on_alarm=answer)
            for note in trained.notes:
                monitor.say(f"Note: {note}")
            n = 0
            if sample is not None:
                trained, n = restrict_to_sample(trained, sample)
            explanation = explain(trained, trained.predict(device, monitor), value=value, empty=empty)
            if sample is None:
                return explain_fold(explanation, trained, device, monitor)
            return explain_in_full(explanation, trained, n, device, monitor)

    def report(self) -> Path:
        """Write `report.html`, its pictures and `model-card.md` anew, and return the page's path.

        DataError for a damaged run.
        """
        from emotiwave_core.report.page import write_report
        from emotiwave_core.runs.folder import adding_to

        with adding_to(self.folder):
            return write_report(self.folder)

    def export(
        self,
        to: "Target" = "onnx",
        *,
        quantise: "Quantisation | None" = None,
        out: FilePath | None = None,
    ) -> "Exported":
        """Write the whole model for programs without Emotiwave: one file and its `manifest.json` (docs/export.md).

        to: "onnx", which needs `emotiwave[onnx]`, or "torch-export". quantise: "int8" weights, of ONNX alone. out: the
        folder; else one beside the run's. The result has its `folder` and its `manifest`, which says how far the
        answers are from the run's. SettingsError for a folder that holds other files or a training that has not ended,
        PluginError for a part that cannot be exported.
        """
        from emotiwave_core.export.exporting import export
        from emotiwave_core.runs.export_manifest import Quantisation, Target

        check_choice("format", to, get_args(Target))
        if quantise is not None:
            check_choice("quantisation", quantise, get_args(Quantisation))
        folder = None if out is None else Path(out)
        with errors_of_ours():
            return export(self.folder, self.registry, self._monitor, to=to, quantise=quantise, out=folder)

    def resume(self) -> "Run":
        """Continue the training where it was stopped: `emotiwave.resume` of this folder."""
        from emotiwave_core.api.training import resume

        return resume(self.folder, device=self.device, registry=self.registry, monitor=self.monitor)

    @property
    def _monitor(self) -> Monitor:
        return self.monitor or monitor_for_here()


@attrs.frozen
class Written:
    """A file of answers."""

    path: Path
    rows: int
    inputs: int
    failed: int  # inputs that could not be used; their rows say why


def recording_reader(
    run: Run, extractors: "Sequence[str | Mapping[str, Any]]" = (), download: bool = False
) -> "RecordingReader":
    """The extractors of a run, which are opened once. Errors as `Run.predict_recordings`."""
    from emotiwave_core.extract.extractors import choose
    from emotiwave_core.predict.recordings import RecordingReader

    if (key := repr(extractors)) not in run._readers:
        chosen = choose(extractors, run.registry, None) if extractors else {}
        model = run.predictor.model
        run._readers[key] = RecordingReader(run.folder, model.features, run.registry, chosen, download, model.tokens)
    return run._readers[key]


def _array_sample(sample: dict[str, Any]) -> "ArraySample":
    """The keywords of `Run.predict` as a sample: those that are no modality, then the arrays."""
    from emotiwave_core.data.store.memory import ArraySample

    extras = {key: sample.pop(key, None) for key in ("times", "words", "interval")}
    return ArraySample(sample, **{key: value for key, value in extras.items() if value is not None})


def _options(
    words: FilePath | None,
    asr: str | bool,
    window: float | None,
    hop: float | None,
    segments: FilePath | None,
    features: "Mapping[str, FilePath] | None",
    explain: bool = False,
) -> "PredictionOptions":
    from emotiwave_core.explain.input_predictor import PredictionOptions
    from emotiwave_core.extract.extraction import ASR
    from emotiwave_core.predict.segments import Segmentation, read_segments

    return PredictionOptions(
        segmentation=Segmentation(window, hop, None if segments is None else read_segments(Path(segments))),
        words=None if words is None else Path(words),
        asr=ASR if asr is True else asr or None,
        features={name: Path(file) for name, file in (features or {}).items()},
        explain=explain,
    )


def _opened(dataset: "Dataset | FilePath", widths: Mapping[str, int]) -> "Dataset":
    from emotiwave_core.data.dataset import Dataset
    from emotiwave_core.predict.prediction_inputs import PredictionInput, inputs_of

    if isinstance(dataset, Dataset):
        return dataset
    path = Path(dataset)
    (given,) = [PredictionInput(path, False)] if path.is_dir() else inputs_of([path])
    return given.dataset(widths)
