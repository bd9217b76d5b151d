"""Writing a data set as a folder of `.csd` files, with folds.json and dataset.toml: of another one, or of arrays."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import tomli_w

from emotiwave_core.data.dataset import Dataset
from emotiwave_core.data.folds import FOLDS, read_lists
from emotiwave_core.data.formats.csd_writer import write_csd
from emotiwave_core.data.formats.reader import Entry, Reader, Source, open_reader
from emotiwave_core.data.prepare.labels import LabelColumns, label_columns
from emotiwave_core.errors import DataError, SettingsError
from emotiwave_core.io.atomic import out_of_space, write_json, write_text
from emotiwave_core.modalities import SEPARATOR
from emotiwave_core.monitor import SILENT, Monitor

COUNTED = {"times": "counted"}  # metadata: the intervals are numbers of steps, and no seconds


@attrs.frozen
class CsdContent:
    """The content of a `.csd` file that is to be written."""

    entries: Iterable[tuple[str, Entry]]
    columns: Sequence[str] | None = None
    has_times: bool = True
    metadata: Mapping[str, Any] = attrs.Factory(dict)
    groups: Mapping[str, str] = attrs.Factory(dict)  # {video: group}

    def write(self, path: Path) -> None:
        """Write the file. ResourceError where it cannot be written."""
        told = {**self.metadata, **({} if self.has_times else COUNTED)}
        if self.groups:
            told["groups"] = dict(self.groups)
        write_csd(path, path.stem, self.entries, self.columns, told)


@attrs.frozen
class WrittenDataset:
    """All that a data set's folder holds: its files by role, and what dataset.toml says of them."""

    name: str
    modalities: Mapping[str, CsdContent]  # by stream
    labels: CsdContent | None = None
    words: CsdContent | None = None
    about_labels: Mapping[str, Any] = attrs.Factory(dict)  # targets, kind, classes
    folds: Mapping[str, Sequence[str]] | None = None
    groups: Mapping[str, Any] | None = None  # separator and field of the ids
    synthetic: bool = False

    def write(self, folder: Path, monitor: Monitor = SILENT) -> None:
        """Write into an empty folder; dataset.toml comes last, when all the rest is there."""
        labels = {} if self.labels is None else {"labels": self.labels}
        words = {} if self.words is None else {"words": self.words}
        contents = {**self.modalities, **labels, **words}
        names = {
            role: f"{role if _is_plain(role) else f'modality{number}'}.csd" for number, role in enumerate(contents)
        }
        with monitor.progress("Writing", len(contents)) as step:
            for role, content in contents.items():
                content.write(folder / names[role])
                step()
        table: dict[str, Any] = {"name": self.name}
        if self.synthetic:
            table["synthetic"] = True
        if words:
            table["words"] = names["words"]
        table["modalities"] = {}
        for stream in self.modalities:
            modality, slash, part = stream.partition(SEPARATOR)
            if slash:
                table["modalities"].setdefault(modality, {})[part] = names[stream]
            else:
                table["modalities"][stream] = names[stream]
        if labels:
            table["labels"] = {"file": names["labels"], **self.about_labels}
        if self.folds is not None:
            write_json(folder / "folds.json", {fold: list(videos) for fold, videos in self.folds.items()})
            table["folds"] = {"file": "folds.json"}
        if self.groups is not None:
            table["groups"] = dict(self.groups)
        elif self.labels is None and (grouped := next((m for m, c in self.modalities.items() if c.groups), None)):
            table["groups"] = {"file": names[grouped]}
        write_text(folder / "dataset.toml", tomli_w.dumps(table))


def _is_plain(name: str) -> bool:
    """True where a modality's name can be that of a file as it stands."""
    return name.isascii() and name.replace("_", "").replace("-", "").isalnum()


def convert(dataset: Dataset, out: Path, monitor: Monitor = SILENT) -> list[str]:
    """Write a data set anew as `.csd` files, and return notes on what is not taken along.

    Features, times, labels, words, groups and folds are those of the readers. SettingsError for a folder that holds
    something, ResourceError where it cannot be written.
    """
    with out_of_space(out):
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise SettingsError(f"{out} is not empty; choose a new folder.")
    notes: list[str] = []
    labels: CsdContent | None = None
    about: dict[str, Any] = {}
    if dataset.labels is not None:
        labels, about = _labels(dataset, dataset.labels)
    modalities = {name: _content(source, notes) for name, source in dataset.modalities.items()}
    groups = None
    if dataset.groups is not None and dataset.groups.source is None:
        groups = {"separator": dataset.groups.separator, "field": dataset.groups.field}
    elif dataset.groups is not None and dataset.groups.source is not None:
        with open_reader(dataset.groups.source) as file:
            told = dict(file.groups)
        labels = labels and attrs.evolve(labels, groups=told)
        modalities = modalities if labels else {name: attrs.evolve(c, groups=told) for name, c in modalities.items()}
    written = WrittenDataset(
        name=dataset.name,
        modalities=modalities,
        labels=labels,
        words=None if dataset.words is None else _content(dataset.words, notes),
        about_labels=about,
        folds=None if dataset.folds is None else _lists(dataset.folds),
        groups=groups,
        synthetic=dataset.synthetic,
    )
    written.write(out, monitor)
    return notes


def _lists(source: Source) -> dict[str, tuple[str, ...]]:
    lists = read_lists(source)
    return {fold: lists[fold] for fold in FOLDS} if set(FOLDS) <= set(lists) else lists


def _content(source: Source, notes: list[str]) -> CsdContent:
    """The content of a file, read entry by entry while it is written."""
    with open_reader(source) as file:
        unfit = file.unfit()
        if unfit:
            notes.append(f"{len(unfit)} of {len(file.keys)} entries of {source.name} are of another form and left out.")
        if not file.has_times:
            notes.append(f"{source.name} has no times: the file that is written says that its steps are counted.")
        if file.is_words and not file.has_times:
            raise DataError(f"{file.path} holds words without times, which .csd files cannot hold.")
        columns, has_times, metadata = file.dimension_names, file.has_times, _maker(file)
    return CsdContent(_entries(source, set(unfit)), columns, has_times, metadata)


def _maker(file: Reader) -> dict[str, Any]:
    """Metadata that say who made the features, and how."""
    extractor = file.metadata.get("extractor")
    return {"extractor": extractor} if isinstance(extractor, dict) else {}


def _entries(source: Source, unfit: set[str]) -> Iterator[tuple[str, Entry]]:
    with open_reader(source) as file:
        for key in file.keys:
            if key not in unfit:
                yield key, file.read(key)


def _labels(dataset: Dataset, source: Source) -> tuple[CsdContent, dict[str, Any]]:
    """The label file with all of its columns, and what dataset.toml says of them."""
    with open_reader(source) as file:
        every = np.concatenate([file.features(key) for key in file.keys])
        columns = label_columns(dataset, file, every)
        groups, has_times = dict(file.groups), file.has_times
    return CsdContent(_entries(source, set()), columns.names, has_times, groups=groups), _about(dataset, columns)


def _about(dataset: Dataset, columns: LabelColumns) -> dict[str, Any]:
    about: dict[str, Any] = {"kind": columns.kind}
    about["targets"] = [columns.names[index] for index in columns.indices]
    return about | ({"classes": list(dataset.classes)} if dataset.classes else {})
