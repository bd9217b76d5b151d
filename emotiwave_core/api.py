"""Functions of the Python face, `import emotiwave as ew`; the command line calls the same ones.

Paths may be texts. Errors are those of `emotiwave_core.errors`, with the sentence that the command line prints. Nothing
heavy is imported before it is needed. Progress goes to the `monitor`; without one, a notebook and a terminal get a bar,
and a pipe nothing.
"""

import contextlib
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, overload

import attrs

from emotiwave_core.compute.torchrun import ALONE, Processes
from emotiwave_core.errors import DataError, SettingsError, choices, is_out_of_memory, out_of_memory
from emotiwave_core.monitor import Monitor, monitor_for_here

if TYPE_CHECKING:
    import torch
    from numpy.typing import ArrayLike

    from emotiwave_core.compare.comparison import Comparison
    from emotiwave_core.compare.search import Search
    from emotiwave_core.config.recipe import OnAlarm, Recipe
    from emotiwave_core.data.dataset import Dataset
    from emotiwave_core.data.store.memory import ArraySample
    from emotiwave_core.explain.coalitions import Empty, Value
    from emotiwave_core.explain.input_predictor import InputPredictor, PredictionOptions
    from emotiwave_core.explain.recording import RecordingPrediction
    from emotiwave_core.export.exporting import Exported
    from emotiwave_core.parts.check.in_process import CheckedPart
    from emotiwave_core.parts.registry import Registry
    from emotiwave_core.predict.predictor import Prediction, Predictor
    from emotiwave_core.predict.recordings import RecordingReader
    from emotiwave_core.runs.explanation import ExplanationFile, SampleDetails
    from emotiwave_core.runs.export_manifest import Quantisation, Target
    from emotiwave_core.runs.protocol_scores import ProtocolScores
    from emotiwave_core.runs.scores import Scores

FilePath = str | os.PathLike[str]


def load_dataset(folder: FilePath) -> "Dataset":
    """Open a data set: a folder with a `dataset.toml` or with files that explain themselves, or a file with all of it.

    docs/data.md shows every form. The files are read when a run needs them. DataError where it is not a data set.
    """
    from emotiwave_core.data import dataset

    return dataset.load_dataset(Path(folder), labelled=False)


def load_sample(monitor: Monitor | None = None) -> "Dataset":
    """Open the synthetic sample, which is written into the user's cache on first use; its scores say nothing of people.

    ResourceError where the cache cannot be written.
    """
    from emotiwave_core.data.synthetic.sample import cached_sample

    return load_dataset(cached_sample(monitor or monitor_for_here()))


def dataset(
    features: "Mapping[str, Sequence[ArrayLike | None]] | Any",
    *,
    labels: "Sequence[str | float] | ArrayLike | Mapping[str, ArrayLike] | None" = None,
    targets: Sequence[str] | None = None,
    ids: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    times: "Mapping[str, Sequence[ArrayLike]] | None" = None,
    folds: "Sequence[str] | Mapping[str, Sequence[str]] | None" = None,
    name: str = "arrays",
) -> "Dataset":
    """Make a data set of arrays: N samples, for each modality N arrays [T, F] or [F], None where a sample lacks it.

    For a modality of words they are N lists of words.

    It is written into the user's cache, once for the same arrays, and is then like any other: to train on, score,
    predict and resume.

    labels: N names of classes, N numbers (whole ones from 0 up are classes, others a scale), or [N, C] intensities, 0
    and 1, or scales with `targets`, the names of the columns; also {target: N numbers}, or a DataFrame of them. None:
    it can only be predicted. targets: with numbers of classes, the names of 0, 1, ….
    ids: N different texts; `video[0]`, `video[1]`, … are segments of a video. groups: N speakers, actors or dialogues.
    times: {modality: N arrays [T, 2] seconds}. folds: N times train, valid or test, or {fold: ids}.
    features may be a pandas DataFrame with all of this, a row for each sample: columns id, group or speaker, fold or
    split, `label` or a `label_NAME` for each target, and arrays in the cells of all modalities.

    DataError for what does not fit together, ResourceError where the cache cannot be written.
    """
    from emotiwave_core.data.arrays import ArrayDataset, from_frame

    given: dict[str, Any] = {"labels": labels, "targets": targets, "ids": ids, "groups": groups, "folds": folds}
    told: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    of_features = {"features": features} if isinstance(features, Mapping) else from_frame(features)
    return ArrayDataset(**{**of_features, **told}, times=times, name=name).load()


def write_csd(
    path: FilePath,
    features: "Mapping[str, ArrayLike]",
    intervals: "Mapping[str, ArrayLike]",
    *,
    columns: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Write a `.csd` file, whole or not at all, and return its path; docs/csd.md says what is in one.

    features: {id: [T, F] numbers, or T words}. intervals: {id: [T, 2] seconds}. columns: names of the F columns.
    metadata: texts or tables by name. DataError for arrays that do not fit, ResourceError where it cannot be written.
    """
    from emotiwave_core.data.formats.csd_writer import checked_entries
    from emotiwave_core.data.formats.csd_writer import write_csd as write

    target = Path(path)
    write(target, target.stem, checked_entries(features, intervals, columns), columns, metadata)
    return target


def train(
    dataset: "Dataset | FilePath",
    /,
    recipe: "str | os.PathLike[str] | Mapping[str, Any] | Recipe" = "default",
    *,
    encoder: str | Mapping[str, Any] | None = None,
    fusion: str | Mapping[str, Any] | None = None,
    dropout: str | Mapping[str, Any] | None = None,
    augmentation: "str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]] | None" = None,
    objective: str | Mapping[str, Any] | None = None,
    metric: "str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]] | None" = None,
    watch: Sequence[str] = (),
    seed: int | None = None,
    out: FilePath | None = None,
    device: "str | torch.device" = "auto",
    registry: "Registry | FilePath | None" = None,
    monitor: Monitor | None = None,
    processes: Processes = ALONE,
    test: bool = True,
    **settings: Mapping[str, Any],
) -> "Run":
    """Train a model, score it on every configuration, write a report, and return the run.

    dataset: from `load_dataset`, or its folder.
    recipe: a name that `recipes()` lists, a `.toml` file, or a table; what follows is laid over it.
    encoder: `"NAME:option=value"` or a table with a `name`, for all modalities; or one of these for each modality,
    `{"text": "bilstm", "*": "mean"}`. fusion, dropout: likewise, one part.
    augmentation, metric: likewise, one or a list of them.
    objective: `"NAME:option=value"`, or settings of the recipe's table.
    watch: plugins that watch the run, besides those of the recipe. seed: of weights, order and dropout.
    settings: tables of the recipe, such as training={"epochs": 5} or data={"folds": "random"}; docs/reference.md
    lists them.
    out: the run's folder, new or empty; else `runs/RECIPE-N`. device: auto, cpu, cuda or cuda:N.
    registry: a registry.toml laid over the others. processes: those that torchrun has started. test: False ends when
    the training has, before the test fold is read; `resume(out)` reads it later.

    Stopped by Ctrl-C, or by the stop button of a cell, it keeps all steps that are done: `resume(out)` goes on.

    SettingsError for a name or value that is not valid, DataError for data that cannot be used, PluginError for a part
    that fails, ResourceError where memory, disk or device fall short, DivergedError for a loss that is not finite.
    """
    from emotiwave_core.compute.distributed import SINGLE
    from emotiwave_core.compute.runtime import Runtime
    from emotiwave_core.runs.folder import next_folder
    from emotiwave_core.train import run as engine

    registry, here = _registry(registry), monitor or monitor_for_here()
    chosen = _recipe(recipe, registry, encoder, fusion, dropout, augmentation, objective, metric, watch, seed, settings)
    data = _dataset_folder(dataset)
    target = Path(out) if out is not None else next_folder(chosen.name)
    try:
        with _errors_of_ours(), _told_how_to_resume(target, here if monitor is None else None):
            runtime = Runtime(processes.device or _device(device), here, processes.group or SINGLE, test)
            engine.start(chosen, data, target, registry, runtime, processes.job)
    finally:
        with contextlib.suppress(OSError):
            target.rmdir()  # only where nothing has been written
    return Run(target, device, registry, monitor)


def resume(
    folder: FilePath,
    /,
    *,
    dataset: "Dataset | FilePath | None" = None,
    device: "str | torch.device" = "auto",
    registry: "Registry | FilePath | None" = None,
    monitor: Monitor | None = None,
    processes: Processes = ALONE,
    test: bool = True,
) -> "Run":
    """Continue a run that was stopped at any point: it ends as if it had not been.

    dataset: its data, where they have moved; DataError where they are others. SettingsError where the folder holds no
    run, or its recipe was edited since; otherwise as `train`.
    """
    from emotiwave_core.compute.distributed import SINGLE
    from emotiwave_core.compute.runtime import Runtime
    from emotiwave_core.train import run as engine

    target, registry, here = Path(folder), _registry(registry), monitor or monitor_for_here()
    with _errors_of_ours(), _told_how_to_resume(target, here if monitor is None else None):
        runtime = Runtime(processes.device or _device(device), here, processes.group or SINGLE, test)
        engine.resume(target, registry, runtime, data=_optional_folder(dataset))
    return Run(target, device, registry, monitor)


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

    path, known = Path(folder), _registry(registry)
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

        _check_fold(fold)
        data, is_own = _optional_folder(dataset), dataset is None and fold == "test" and self.on_alarm is None
        with _errors_of_ours():
            runtime = Runtime(_device(self.device), self._monitor)
            asked = None if metric is None else [as_part(table) for table in _part_tables(metric)]
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

        _check_fold(fold)
        request = ProtocolRequest(
            protocol=protocol,
            seed=seed,
            manifest=None if manifest is None else Path(manifest),
            against=against.folder if isinstance(against, Run) else None if against is None else Path(against),
            data=_optional_folder(dataset),
            fold=fold,
            on_alarm=self.on_alarm,
        )
        is_own = dataset is None and fold == "test" and self.on_alarm is None
        with _errors_of_ours():
            runtime = Runtime(_device(self.device), self._monitor)
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
        with _errors_of_ours():
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
        with _errors_of_ours():
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
        with _errors_of_ours():
            given = inputs_of(paths, {name: Path(file) for name, file in (features or {}).items()})
            if not any(one.is_recording for one in given):
                _refuse_unread(window=window, hop=hop, segments=segments, asr=asr or None)
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

        with _errors_of_ours():
            known = _opened(dataset, self.predictor.model.features)
            yield from self._input_predictor(PredictionOptions(explain=explain)).samples(known)

    def enrol(self, clips: "Dataset | FilePath | Sequence[FilePath | Mapping[str, Any]]", /) -> "Run":
        """The run for one speaker, of whom these are clips: for a run that reads features relative to their speaker.

        clips: recordings, folders of them, samples of arrays as `predict` takes them, or a data set, all of one person;
        labels are not needed, and what is usual for the person should be in them (neutral speech, or speech of every
        kind). Ask the result as any run: `run.enrol(["neutral.wav"]).predict("clip.wav")`, `Stream(run.enrol(…))`.

        SettingsError for a run that reads no features so, DataError for clips without anything that can be used.
        """
        from emotiwave_core.data.dataset import Dataset

        with _errors_of_ours():
            predictor = self.predictor
            predictor.check_relative()
            given = [clips] if isinstance(clips, Dataset | str | os.PathLike) else list(clips)
            arrays = [_array_sample(dict(clip)) for clip in given if isinstance(clip, Mapping)]
            opened = [clip for clip in given if isinstance(clip, Dataset)]
            named = [Path(clip) for clip in given if isinstance(clip, str | os.PathLike)]
            samples, datasets = self._input_predictor().clips(named) if named else ([], [])
            datasets = [*opened, *datasets]
            if len(datasets) + bool(arrays or samples) != 1:
                raise SettingsError(
                    "Clips of a speaker are recordings and arrays, or one data set: name one of the two."
                )
            store = (
                predictor.open_clips(datasets[0], self._monitor) if datasets else predictor.store_of(arrays + samples)
            )
            enrolled = attrs.evolve(self)
            enrolled.__dict__["predictor"] = predictor.enrolled(store)
            return enrolled

    def selective(self, max_risk: float, /) -> "Run":
        """The run that decides only where it errs rarely enough, and else says that it does not know.

        max_risk: the share of its decisions that may be wrong, from 0 to below 1, as on the validation fold: for each
        configuration by itself, from the risks in its model.json. A prediction that is not sure enough has `abstained`
        and decides nothing; its probabilities stay. Ask the result as any run: `run.selective(0.1).predict(…)`. On
        people of another kind than those of the validation fold the share of errors is another.

        SettingsError for a run of several labels or numbers.
        """
        with _errors_of_ours():
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

        return open_predictor(self.folder, self.registry, _device(self.device), self.on_alarm)

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

        _check_fold(fold)
        if value is not None:
            _check_choice("value", value, get_args(Value))
        _check_choice("empty", empty, get_args(Empty))
        monitor, device = self._monitor, _device(self.device)
        with _errors_of_ours():
            folder, answer = _optional_folder(dataset), self.on_alarm
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

        _check_choice("format", to, get_args(Target))
        if quantise is not None:
            _check_choice("quantisation", quantise, get_args(Quantisation))
        folder = None if out is None else Path(out)
        with _errors_of_ours():
            return export(self.folder, self.registry, self._monitor, to=to, quantise=quantise, out=folder)

    def resume(self) -> "Run":
        """Continue the training where it was stopped: `emotiwave.resume` of this folder."""
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


def recipes(registry: "Registry | FilePath | None" = None) -> dict[str, dict[str, Any]]:
    """Recipes by name, each the table of what it sets beside the defaults; any of them is a `recipe` for `train`."""
    known = _registry(registry)
    return {name: known.recipe(name) for name in known.recipes}


@attrs.frozen
class PartInfo:
    """A part that is known: installed, of a local file, or named in a registry.toml."""

    kind: str
    name: str
    state: str  # installed, local, shadowed, disabled, missing, broken or untrusted
    provider: str  # the distribution and its version, or a file
    summary: str  # the first line of its docstring, or why it does not load
    options: dict[str, Any]  # by name, with their defaults


def parts(kind: str | None = None, registry: FilePath | None = None) -> list[PartInfo]:
    """Parts that are known, of one kind ("encoder", "fusion", "dropout", "objective", "metric", …) or of all.

    Each is loaded once, in a process of its own, so that a broken one is listed as broken. SettingsError for another
    kind.
    """
    from emotiwave_core.parts.survey import survey

    path = None if registry is None else Path(registry)
    known = _registry(path)
    if kind is not None and kind not in known.names:
        raise SettingsError(f"There is no kind of part '{kind}'.{choices(kind, known.names)}")
    fields = [field.name for field in attrs.fields(PartInfo)]
    rows = (row for row in survey(known, path) if kind in (None, row["kind"]))
    return [PartInfo(**{name: row[name] for name in fields}) for row in rows]


def check(part: type, /, **options: Any) -> "CheckedPart":
    """Hold the class of a part to the contract of its kind, in this process; options go to its constructor.

    `print` of the result tells every law; `holds` is true where none is broken. SettingsError for a class that is no
    part, PluginError where its constructor fails. A part that may hang is better checked by `emotiwave plugins check`.
    """
    from emotiwave_core.parts.check.in_process import check_class

    return check_class(part, options)


@attrs.frozen
class Extraction:
    """A data set that was made of recordings."""

    folder: Path  # of the data set: give it to `train` or to a run's `predict`
    failed: dict[str, str]  # {id: why}, of the recordings that gave nothing
    missing: dict[str, int]  # {modality: number}, of the recordings that lack one
    labelled: bool  # a table of labels was there
    identities: dict[str, dict[str, Any]]  # {modality: all that decides on its numbers}


def extract(
    recordings: "FilePath | Sequence[FilePath]",
    /,
    extractors: "str | Sequence[str | Mapping[str, Any]]" = "light",
    *,
    out: FilePath,
    labels: FilePath | None = None,
    words: FilePath | None = None,
    asr: str | bool = False,
    face: str | None = None,
    download: bool = False,
    workers: int | None = None,
    executor: str = "local",
    address: str | None = None,
    slurm: Mapping[str, str] | None = None,
    registry: FilePath | None = None,
    monitor: Monitor | None = None,
) -> Extraction:
    """Make a data set of recordings: features by extractors, words, labels and a dataset.toml, in the folder `out`.

    recordings: folders or files of sound or video. extractors: a set such as "light" or "paper", `"NAME:option=value"`,
    `"MODALITY=NAME"`, several of these, or tables {modality: part}.
    labels: a table (docs/recordings.md); else the `labels.csv` in the first folder. words: a folder of transcripts;
    else those beside the recordings. asr: True, or a model of Whisper, to hear what is said where there is none.
    face: the person to follow: largest, first, centre, or a number from the left.
    download: fetch models that are not on this machine. workers: processes; else one for each processor that there is
    memory for. executor, address, slurm: where they are, as in `compare`.

    Stopped, it goes on where it was when it is called again. One recording that cannot be used costs itself: `failed`
    and extraction.json say why. DataError where none can, SettingsError for a name or model that is not there,
    PluginError where a package is not installed.
    """
    from emotiwave_core.execute.executor import Execution
    from emotiwave_core.extract import clips, dataset_files, extraction
    from emotiwave_core.extract import extractors as chosen

    here, known = monitor or monitor_for_here(), _registry(registry)
    paths = [Path(recordings)] if isinstance(recordings, str | os.PathLike) else [Path(path) for path in recordings]
    found = clips.find_clips(paths, *(None if path is None else Path(path) for path in (labels, words)))
    for note in found.notes:
        here.say(f"Note: {note}")
    request = extraction.Request(
        extractors=chosen.choose([extractors] if isinstance(extractors, str) else extractors, known, face),
        out=Path(out),
        registry_file=None if registry is None else Path(registry),
        asr=extraction.ASR if asr is True else asr or None,
        download=download,
        execution=Execution(executor, workers, "cpu", address, dict(slurm or {})).checked(),
    )
    extracted, identities = extraction.extract_clips(found.clips, request, here)
    extraction.write_report(request.out, extracted, identities)
    extraction.check_usable(extracted)
    dataset_files.write_dataset(request.out, extracted, identities, found.labels)
    return Extraction(
        folder=request.out,
        failed={one.clip.id: one.failure for one in extracted if one.failure is not None},
        missing=dict(extraction.missing_counts(extracted)),
        labelled=found.labels is not None,
        identities=identities,
    )


def compare(
    dataset: "Dataset | FilePath",
    recipes: "Mapping[str, str | Mapping[str, Any]]",
    /,
    *,
    out: FilePath,
    seeds: "int | Sequence[int]" = 5,
    folds: str | None = None,
    specialists: Sequence[str] = (),
    baseline: bool = False,
    jobs: int | None = None,
    executor: str = "local",
    address: str | None = None,
    slurm: Mapping[str, str] | None = None,
    device: str = "auto",
    registry: FilePath | None = None,
    monitor: Monitor | None = None,
) -> "Comparison":
    """Train every recipe with every seed on every fold, and test the differences from the first recipe in pairs.

    recipes: {row: recipe}, each a name, a `.toml` file, `"RECIPE,fusion=mean,training.epochs=5"`, or a table. seeds:
    how many, from 0 up, or which ones. folds: a file of folds in the data set's folder, each of which is tested on
    once. specialists: rows beside which a row of specialists stands, one run for each configuration. baseline: a row
    `linear`, for each configuration a logistic (of numbers a ridge) regression over means and deviations of the
    features. jobs: processes side by side, each with one thread; else one for each GPU, or for each processor that
    there is memory for.
    executor: local, ray or slurm (docs/scaling.md). address: of a Ray cluster to join, auto or HOST:PORT; else one of
    this machine is started. slurm: options of Slurm, such as {"partition": "gpu"}.

    Runs lie in `out`/runs and are of the usual kind. Those that are done are not done again, those that were cut go on.
    A run that fails costs itself: its row says why. `out` gets comparison.json, .html, .tex and figures.
    Errors in a recipe come before any run; DataError where no run of the first row has ended.
    """
    from emotiwave_core.compare.compare import ComparisonPlan
    from emotiwave_core.compare.compare import compare as carried_out
    from emotiwave_core.compare.jobs import Runs
    from emotiwave_core.execute.executor import Execution

    setting = Runs(
        data=_dataset_folder(dataset).resolve(),
        out=Path(out),
        registry_file=None if registry is None else Path(registry).resolve(),
        execution=Execution(executor, jobs, device, address, dict(slurm or {})).checked(),
    )
    chosen = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    plan = ComparisonPlan(dict(recipes), chosen, folds, tuple(specialists), baseline)
    with _errors_of_ours():
        return carried_out(plan, setting, _registry(registry), monitor or monitor_for_here())


def compare_runs(runs: Sequence[FilePath], /, *, out: FilePath, monitor: Monitor | None = None) -> "Comparison":
    """Compare runs that have ended, without training any: those of one recipe are a row, whatever their seed and fold.

    The rows are compared with that of the first run, as in `compare`, and `out` gets the same files. SettingsError for
    runs on other data or of another task; DataError where a run has not ended, or its data are no longer there.
    """
    from emotiwave_core.compare.existing import compare_existing

    with _errors_of_ours():
        return compare_existing([Path(run) for run in runs], Path(out), monitor or monitor_for_here())


def tune(
    dataset: "Dataset | FilePath",
    recipe: "str | Mapping[str, Any]" = "default",
    /,
    *,
    space: Sequence[str],
    out: FilePath,
    trials: int = 30,
    seed: int = 0,
    prune: bool = True,
    jobs: int | None = None,
    executor: str = "local",
    address: str | None = None,
    slurm: Mapping[str, str] | None = None,
    device: str = "auto",
    registry: FilePath | None = None,
    monitor: Monitor | None = None,
) -> "Search":
    """Search for the best recipe by its validation score; the test fold is never read.

    space: `"training.learning_rate=log(1e-4,1e-2)"`, `"encoder.hidden_size=[32,64]"`, `"dropout.p=uniform(0,0.5)"`,
    `"encoder.layers=int(1,3)"`, `'fusion=["concat", "gated"]'`. trials: how many in all; a search that was stopped
    goes on, in the same `out`, until there are so many. seed: of the search. prune: stop trials whose validation is
    below the median of others at the same epoch. jobs: trials side by side, for which a search is repeatable; needed
    with an executor other than local. executor, address, slurm: as of `compare`.

    Trials are drawn by optuna (TPE). `out` gets winner.toml, trials.csv, a figure, and the runs: `train(dataset,
    "OUT/winner.toml")` then reads the test fold, once. Errors in recipe and space come before any run.
    """
    from emotiwave_core.compare.jobs import Runs
    from emotiwave_core.compare.space import read_space
    from emotiwave_core.compare.tune import SearchPlan
    from emotiwave_core.compare.tune import tune as searched
    from emotiwave_core.execute.executor import Execution

    known = _registry(registry)
    table, source = known.recipe_table(recipe) if isinstance(recipe, str) else (dict(recipe), "The recipe")
    setting = Runs(
        data=_dataset_folder(dataset).resolve(),
        out=Path(out),
        registry_file=None if registry is None else Path(registry).resolve(),
        execution=Execution(executor, jobs, device, address, dict(slurm or {})),
    )
    with _errors_of_ours():
        plan = SearchPlan(table, source, read_space(space), trials, seed, prune)
        return searched(plan, setting, known, monitor or monitor_for_here())


def _registry(registry: "Registry | FilePath | None") -> "Registry":
    from emotiwave_core.parts.registry import Registry, load_registry

    if isinstance(registry, Registry):
        return registry
    return load_registry(None if registry is None else Path(registry))


def _device(device: "str | torch.device") -> "torch.device":
    from emotiwave_core.compute.device import find_device

    return find_device(str(device))


def _dataset_folder(dataset: "Dataset | FilePath") -> Path:
    """The folder of a data set that was opened, or of a path."""
    from emotiwave_core.data.dataset import Dataset

    return dataset.folder if isinstance(dataset, Dataset) else Path(dataset)


def _optional_folder(dataset: "Dataset | FilePath | None") -> Path | None:
    return None if dataset is None else _dataset_folder(dataset)


def _refuse_unread(**options: Any) -> None:
    """SettingsError for an option that is about recordings, where there is none."""
    for name, value in options.items():
        if value is not None:
            raise SettingsError(f"{name} is about recordings, and there is none among the inputs: leave it out.")


def _check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    """SettingsError for a word that is none of those allowed."""
    if value not in allowed:
        raise SettingsError(f"There is no {name} '{value}'.{choices(str(value), allowed)}")


def _check_fold(fold: str) -> None:
    from emotiwave_core.data.folds import FOLDS

    _check_choice("fold", fold, [*FOLDS, "all"])


def _array_sample(sample: dict[str, Any]) -> "ArraySample":
    """The keywords of `Run.predict` as a sample: those that are no modality, then the arrays."""
    from emotiwave_core.data.store.memory import ArraySample

    extras = {key: sample.pop(key, None) for key in ("times", "words", "interval")}
    return ArraySample(sample, **{key: value for key, value in extras.items() if value is not None})


def _recipe(
    recipe: "str | os.PathLike[str] | Mapping[str, Any] | Recipe",
    registry: "Registry",
    encoder: str | Mapping[str, Any] | None,
    fusion: str | Mapping[str, Any] | None,
    dropout: str | Mapping[str, Any] | None,
    augmentation: "str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]] | None",
    objective: str | Mapping[str, Any] | None,
    metric: "str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]] | None",
    watch: Sequence[str],
    seed: int | None,
    settings: Mapping[str, Mapping[str, Any]],
) -> "Recipe":
    """The recipe with what a call of `train` lays over it."""
    from emotiwave_core.config.flags import override
    from emotiwave_core.config.recipe import Recipe

    table: dict[str, Any]
    if isinstance(recipe, Recipe):
        table, source = recipe.to_table(), f"The recipe '{recipe.name}'"
    elif isinstance(recipe, Mapping):
        table, source = dict(recipe), "The recipe"
    else:
        table, source = registry.recipe_table(os.fspath(recipe))
    if isinstance(objective, str):
        override(table, objective=objective)
    elif objective is not None:
        settings = {**settings, "objective": objective}
    for name, values in settings.items():
        if not isinstance(values, Mapping):
            raise SettingsError(f"{name}= is a table of the recipe, such as training={{'epochs': 5}}, not {values!r}.")
        table[name] = {**table.get(name, {}), **values}
    if encoder is not None:
        table["encoder"] = _encoder_table(encoder)
    table |= {name: _part_table(part) for name, part in (("fusion", fusion), ("dropout", dropout)) if part is not None}
    if augmentation is not None:
        table["augmentation"] = _part_tables(augmentation)
    if metric is not None:
        table["metric"] = _part_tables(metric)
    if watch:
        table["watch"] = [*table.get("watch", []), *watch]
    if seed is not None:
        table["seed"] = seed
    return Recipe.from_table(table, source)


def _part_table(part: str | Mapping[str, Any]) -> dict[str, Any]:
    from emotiwave_core.config.flags import parse_part

    return parse_part(part) if isinstance(part, str) else dict(part)


def _part_tables(parts: "str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]]") -> list[dict[str, Any]]:
    """The tables of one part, or of several."""
    return [_part_table(part) for part in ([parts] if isinstance(parts, str | Mapping) else parts)]


def _encoder_table(encoder: str | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(encoder, str) or "name" in encoder:
        return _part_table(encoder)
    return {modality: _part_table(part) for modality, part in encoder.items()}


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


@contextlib.contextmanager
def _errors_of_ours() -> Iterator[None]:
    """Turn an error of memory, torch's or Python's, into a ResourceError that says what to do."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise out_of_memory(error) from error
        raise


@contextlib.contextmanager
def _told_how_to_resume(folder: Path, monitor: Monitor | None) -> Iterator[None]:
    """Say how to go on where a training is stopped that can be resumed."""
    try:
        yield
    except KeyboardInterrupt:
        if monitor is not None and (folder / "recipe.toml").exists():
            monitor.say(f"Stopped. Continue with: emotiwave.resume({str(folder)!r})")
        raise
