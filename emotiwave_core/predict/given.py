"""The inputs of a prediction, as a user names them: recordings, folders of them, data sets and files of features."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from emotiwave_core.data.dataset import Dataset, load_dataset
from emotiwave_core.data.formats.reader import Source, contents_of, open_reader
from emotiwave_core.data.formats.text import MEDIA
from emotiwave_core.data.formats.transcripts import Transcripts
from emotiwave_core.data.recognise import DESCRIPTION, known_reader, recognise
from emotiwave_core.errors import DataError
from emotiwave_core.extract.clips import recordings_in


@attrs.frozen
class Given:
    """One input: a recording, or a data set that is still to be opened."""

    path: Path
    is_recording: bool
    features: tuple[Path, ...] = ()  # the files of a data set that has no folder of its own

    def dataset(self, widths: Mapping[str, int]) -> Dataset:
        """The data set. widths: {modality: width} of the run, by which files of features are told apart."""
        if not self.features:
            return load_dataset(self.path, labelled=False)
        return features_dataset(self.path, {modality_of(path, widths): path for path in self.features})


def inputs_of(paths: Sequence[Path]) -> list[Given]:
    """The inputs in their order; a folder of recordings is each of them, and files of features are one data set.

    DataError for a file of no known format.
    """
    inputs: list[Given] = []
    features = tuple(path for path in paths if not path.is_dir() and _is_features(path))
    for path in paths:
        if path.is_dir():
            inputs += _in_folder(path)
        elif is_recording(path):
            inputs.append(Given(path, True))
        elif path in features:
            if path == features[0]:
                inputs.append(Given(path, False, features))
        else:
            inputs.append(Given(path, False))
    return inputs


def _in_folder(folder: Path) -> Iterator[Given]:
    is_dataset = (folder / DESCRIPTION).is_file() or recognise(folder).modalities or recognise(folder).whole
    recordings = [] if is_dataset else recordings_in(folder)
    yield from [Given(path, True) for path in recordings] or [Given(folder, False)]


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
            raise DataError(f"{path} holds words, and the run reads features of them.")
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
