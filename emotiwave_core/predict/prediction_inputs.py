"""The inputs of a prediction, as a user names them: recordings, folders of them, data sets and files of features."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from emotiwave_core.data.dataset import Dataset, load_dataset
from emotiwave_core.data.formats.reader import Source, contents_of, open_reader
from emotiwave_core.data.formats.text import MEDIA
from emotiwave_core.data.formats.transcripts import Transcripts
from emotiwave_core.data.recognise import DESCRIPTION, known_reader, recognise
from emotiwave_core.errors import DataError, SettingsError, choices
from emotiwave_core.extract.clips import recordings_in


@attrs.frozen
class PredictionInput:
    """One input: a recording, or a data set that is still to be opened."""

    path: Path
    is_recording: bool
    features: tuple[Path, ...] = ()  # the files of a data set that has no folder of its own
    named: dict[str, Path] = attrs.field(factory=dict)  # {modality: file}, further ones, by name

    def dataset(self, widths: Mapping[str, int]) -> Dataset:
        """The data set. widths: {modality: width} of the run, by which files of features are told apart."""
        if not self.features and not self.named:
            return load_dataset(self.path, labelled=False)
        files = dict(self.named)
        for path in self.features:
            modality = modality_of(path, widths)
            if modality in files:
                raise DataError(f"{files[modality]} and {path} both hold '{modality}': leave one of them out.")
            files[modality] = path
        if unknown := [modality for modality in files if modality not in widths]:
            raise SettingsError(f"The run does not read '{unknown[0]}'.{choices(unknown[0], widths)}")
        return features_dataset(self.path, files)


def inputs_of(paths: Sequence[Path], named: Mapping[str, Path] | None = None) -> list[PredictionInput]:
    """The inputs in their order; a folder of recordings is each of them, and files of features are one data set.

    named: {modality: file} of features. Without any path they are a data set; they go into that of other files of
    features, or else each recording takes its own from them. SettingsError where nothing would read them.
    """
    inputs = _inputs_of(paths, named or {})
    takes = [one for one in inputs if one.is_recording or one.features or one.named]
    if named and not takes:
        raise SettingsError(f"{inputs[0].path} says itself which file is what: leave out --features.")
    return inputs


def _inputs_of(paths: Sequence[Path], named: Mapping[str, Path]) -> list[PredictionInput]:
    features = tuple(path for path in paths if not path.is_dir() and _is_features(path))
    if not paths and named:
        return [PredictionInput(next(iter(named.values())), False, (), dict(named))]
    inputs: list[PredictionInput] = []
    for path in paths:
        if path.is_dir():
            inputs += _in_folder(path)
        elif is_recording(path):
            inputs.append(PredictionInput(path, True))
        elif path in features:
            if path == features[0]:
                inputs.append(PredictionInput(path, False, features, dict(named)))
        else:
            inputs.append(PredictionInput(path, False))
    return inputs


def _in_folder(folder: Path) -> Iterator[PredictionInput]:
    is_dataset = (folder / DESCRIPTION).is_file() or recognise(folder).modalities or recognise(folder).whole
    recordings = [] if is_dataset else recordings_in(folder)
    yield from [PredictionInput(path, True) for path in recordings] or [PredictionInput(folder, False)]


def is_recording(path: Path) -> bool:
    """True for a file of sound or video, by its name."""
    return path.suffix.lower() in MEDIA and not path.is_dir()


def _is_features(path: Path) -> bool:
    """True for a file that holds one modality, and is no data set of its own."""
    if is_recording(path) or not path.is_file() or contents_of(path) is not None:
        return False
    reader = known_reader(path)
    return reader is not None and not issubclass(reader, Transcripts)


def modality_of(path: Path, widths: Mapping[str, int]) -> str:
    """The modality whose width the features of a file have. DataError where none or several have it."""
    with open_reader(path) as file:
        if file.is_words:
            raise DataError(
                f"{path} holds words. Where an encoder of the run reads words, say of which modality they are "
                f"(--features text={path.name}); else the run reads features of them."
            )
        fitting = [modality for modality, width in widths.items() if width == file.width]
        named = [modality for modality in fitting if modality in path.stem.lower()]
        width = file.width
    if len(named or fitting) == 1:
        return (named or fitting)[0]
    listed = ", ".join(f"{own} of {modality}" for modality, own in widths.items())
    if not fitting:
        raise DataError(f"{path} holds {width} features, and the run reads {listed}.")
    raise DataError(
        f"{path} holds {width} features, as {' and '.join(fitting)} do: say which one it is by --features "
        f"{fitting[0]}={path}."
    )


def features_dataset(folder: Path, files: Mapping[str, Path]) -> Dataset:
    """A data set without labels of files of features, {modality: file}: each entry is a sample, whole."""
    names = ", ".join(f"{path.name} as {modality}" for modality, path in files.items())
    return Dataset(
        name=folder.stem,
        folder=folder,
        modalities={modality: Source(path) for modality, path in files.items()},
        labels=None,
        notes=(f"Taken are {names}.",),
    )
