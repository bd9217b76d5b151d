"""Data sets: which file is what, as a folder's `dataset.toml` says it, or as files are recognised without one."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, get_args

import attrs

from emotiwave_core.data.formats.reader import LabelKind, Source, contents_of, reader_of
from emotiwave_core.data.recognise import DESCRIPTION, Recognition, recognise
from emotiwave_core.errors import DataError, choices, short
from emotiwave_core.io.untrusted import is_file, is_folder, read_toml, why
from emotiwave_core.modalities import SEPARATOR, by_modality, misnamed

# The files of CMU-MOSEI as its SDK names them; the first one that is there is taken.
STANDARD = {
    "text": ("CMU_MOSEI_TimestampedWordVectors.csd", "CMU_MOSEI_TimestampedGloveVectors.csd"),
    "audio": ("CMU_MOSEI_COVAREP.csd",),
    "visual": ("CMU_MOSEI_VisualOpenFace2.csd", "CMU_MOSEI_VisualFacet42.csd"),
}
STANDARD_LABELS = ("CMU_MOSEI_Labels.csd", "CMU_MOSEI_LabelsEmotions.csd")  # the second one is of 2018
STANDARD_WORDS = "CMU_MOSEI_TimestampedWords.csd"
STANDARD_FOLDS = ("folds.json", "cmu_mosei_std_folds.py")
MOST_MODALITIES = 10  # 1023 configurations
EMOTIONS = ("happy", "sad", "anger", "surprise", "disgust", "fear")


def _optional_source(value: Source | Path | None) -> Source | None:
    return Source(value) if isinstance(value, Path) else value


def _labels(value: Source | Path | None) -> Source | None:
    source = _optional_source(value)
    return source and attrs.evolve(source, is_labels=True)


def _sources(value: Mapping[str, Source | Path]) -> dict[str, Source]:
    return {name: Source(source) if isinstance(source, Path) else source for name, source in value.items()}


@attrs.frozen
class Groups:
    """The groups that are not split between folds: a column of a table, or a field of the ids."""

    source: Source | None = None  # whose reader tells the groups
    separator: str = ""  # else: the ids, split by this,
    field: int = 0  # and of the fields this one, the first being 1, the last -1


@attrs.frozen
class Dataset:
    """The files of a data set by what they are for."""

    name: str
    folder: Path  # where it was loaded from: a folder, or the one file that holds all of it
    modalities: dict[str, Source] = attrs.field(converter=_sources)  # by stream: `audio`, or `audio/clip`
    labels: Source | None = attrs.field(converter=_labels)  # None: it can only be predicted
    targets: tuple[str, ...] | None = None  # the emotions, by name; None: all label columns but sentiment; (): none
    columns: tuple[str, ...] | None = None  # names of the label columns, for a file that does not tell them
    kind: LabelKind | None = None  # what the labels mean; None: the file tells, or their numbers
    classes: tuple[str, ...] | None = None  # names of the numbers 0, 1, 2, … of a column of classes
    folds: Source | None = attrs.field(default=None, converter=_optional_source)
    words: Source | None = attrs.field(default=None, converter=_optional_source)  # the transcripts, word by word
    groups: Groups | None = None
    synthetic: bool = False
    notes: tuple[str, ...] = ()  # on how it was recognised

    @property
    def base(self) -> Path:
        """The folder that its files are in."""
        return self.folder if self.folder.is_dir() else self.folder.parent

    def with_modalities(self, known: Collection[str]) -> "Dataset":
        """The same samples with those of the streams that a model knows. DataError where it has none of them.

        What is left out, and what is lacking, is said in the notes.
        """
        files = {name: source for name, source in self.modalities.items() if name in known}
        if not files:
            raise DataError(
                f"{self.folder} has the modalities {', '.join(self.modalities) or 'none'}, and the model reads "
                f"{', '.join(known)}: name at least one of them under [modalities] in its dataset.toml."
            )
        notes = list(self.notes)
        if further := [name for name in self.modalities if name not in known]:
            notes.append(f"The model does not know {_names_of(further)}, which is left out.")
        if lacking := [name for name in known if name not in files]:
            notes.append(f"{self.name} has no {_names_of(lacking)}, which is absent in every sample.")
        return attrs.evolve(self, modalities=files, notes=tuple(notes))

    def without_labels(self) -> "Dataset":
        """The same samples, to be predicted: labels are not read, whatever they are."""
        return attrs.evolve(self, targets=(), columns=None, kind=None, classes=None)


def _names_of(modalities: Collection[str]) -> str:
    return ", ".join(f"'{name}'" for name in modalities)


def load_dataset(path: Path, labelled: bool = True) -> Dataset:
    """The data set of a folder, or of a file that holds all of one. DataError where it is not right.

    A `labelled` one is for training and scoring, and refused without labels; predicting needs none.
    """
    if is_file(path):
        return _of_file(path, labelled)
    if not is_folder(path):
        raise DataError(f"{path}: there is no such file or folder; give the folder that holds the data set's files.")
    if (path / DESCRIPTION).is_file():
        return _described(path, labelled)
    if any((path / name).is_file() for files in (*STANDARD.values(), STANDARD_LABELS) for name in files):
        return _standard(path, labelled)
    return _recognised(path, labelled)


def _of_file(path: Path, labelled: bool) -> Dataset:
    """The data set of one file, such as a pickle of MMSA."""
    contents = contents_of(path)
    if contents is None:
        raise DataError(
            f"{path} is not a data set of its own, but at most one file of one: give the folder that it is in, with a "
            f"{DESCRIPTION} as docs/data.md shows."
        )
    if labelled and contents.labels is None:
        raise DataError(f"{path} has no labels, and training and scoring need some; predicting needs none.")
    return Dataset(
        name=contents.name,
        folder=path,
        modalities={name: Source(path, part) for name, part in contents.modalities.items()},
        labels=Source(path, contents.labels) if contents.labels is not None else None,
        folds=Source(path, contents.labels) if contents.has_folds else None,
        words=Source(path, contents.words) if contents.words is not None else None,
        notes=contents.notes,
    )


def _standard(folder: Path, labelled: bool) -> Dataset:
    """The data set of CMU-MOSEI's files under their usual names."""
    modalities = {
        modality: path for modality, names in STANDARD.items() if (path := _first_file(folder, names)) is not None
    }
    labels = _first_file(folder, STANDARD_LABELS)
    if labels is None and (labelled or not modalities):
        files = ", ".join(sorted(path.name for path in folder.glob("*.csd"))) or "no .csd file"
        needed, tables = (
            (STANDARD_LABELS[0], "name, [modalities] and [labels]")
            if labelled
            else ("CMU-MOSEI's files", "[modalities]")
        )
        raise DataError(
            f"{folder} has neither a dataset.toml nor {needed} (there: {files}); write a dataset.toml with "
            f"{tables} as docs/data.md shows."
        )
    folds = _first_file(folder, STANDARD_FOLDS)
    return Dataset(
        "CMU-MOSEI",
        folder,
        modalities,
        labels,
        targets=EMOTIONS,
        folds=folds,
        words=_standard_words(folder),
    )


def _recognised(folder: Path, labelled: bool) -> Dataset:
    """The data set of a folder whose files tell by their names and content what they are for."""
    try:
        recognised = recognise(folder)
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {why(error)}.") from error
    if recognised.whole is not None:
        return attrs.evolve(_of_file(recognised.whole, labelled), notes=recognised.notes)
    if recognised.doubts or (labelled and recognised.labels is None):
        raise _unclear(folder, recognised)
    return Dataset(
        name=folder.resolve().name,
        folder=folder,
        modalities=recognised.modalities,
        labels=recognised.labels,
        folds=recognised.folds,
        words=recognised.words,
        notes=recognised.notes,
    )


def _unclear(folder: Path, recognised: Recognition) -> DataError:
    reason = "; ".join(recognised.doubts) or "no file has a name or columns of labels, and training needs some"
    there = sorted(path.name for path in folder.iterdir())
    files = ", ".join(there[:12]) + (", …" if len(there) > 12 else "") or "nothing"
    return DataError(
        f"{folder} is no data set that explains itself: {reason} (there: {files}); write a {DESCRIPTION} as "
        f"docs/data.md shows, which `emotiwave data init {folder}` begins."
    )


def _first_file(folder: Path, names: Collection[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _described(folder: Path, labelled: bool) -> Dataset:
    path = folder / "dataset.toml"
    try:
        table = read_toml(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not valid TOML: {why(error)}.") from error
    _known(path, "", table, {"name", "synthetic", "words", "modalities", "labels", "folds", "groups"})
    if labelled and "labels" not in table:
        raise DataError(
            f"{path}: the table [labels] is missing, and training and scoring need labels: name their file in it; "
            "predicting needs none."
        )
    labels = _table(path, table, "labels") if "labels" in table else {}
    folds = _table(path, table, "folds") if "folds" in table else {}
    _known(path, "folds.", folds, set(_SOURCE))
    synthetic = table.get("synthetic", False)
    if not isinstance(synthetic, bool):
        raise DataError(f"{path}: 'synthetic' is {short(synthetic)}, not true or false.")
    sources = _streams(path, _table(path, table, "modalities"))
    label_source = _source(path, "labels", labels, _MEANING) if "labels" in table else None
    _check_leak(path, sources, label_source)
    return Dataset(
        name=_text(path, "name", table.get("name", folder.resolve().name)),
        folder=folder,
        modalities=sources,
        labels=label_source,
        targets=_names(path, "labels.targets", labels.get("targets")),
        columns=_names(path, "labels.columns", labels.get("columns")),
        kind=_kind(path, labels.get("kind")),
        classes=_names(path, "labels.classes", labels.get("classes")),
        folds=_source(path, "folds", folds) if "folds" in table else _told_folds(label_source),
        words=_source(path, "words", table["words"]) if "words" in table else _standard_words(folder),
        groups=_groups(path, _table(path, table, "groups")) if "groups" in table else None,
        synthetic=synthetic,
    )


def _standard_words(folder: Path) -> Source | None:
    path = folder / STANDARD_WORDS
    return Source(path) if path.is_file() else None


_SOURCE = ("file", "part", "rate", "reader", "columns")
_MEANING = ("targets", "kind", "classes")  # of [labels]


def _streams(path: Path, modalities: dict[str, Any]) -> dict[str, Source]:
    """The sources of the modalities by stream: a table without the keys of a source names several, by what each is."""
    if not modalities or any("+" in name or SEPARATOR in name or not name for name in modalities):
        raise DataError(
            f"{path}: [modalities] needs at least one `name = \"file.csd\"`, names without '+' and '{SEPARATOR}'; "
            'several files of one modality are `name = {one = "file.csd", other = "file.csd"}`.'
        )
    streams: dict[str, Source] = {}
    for name, value in modalities.items():
        if isinstance(value, dict) and value and not set(value) & set(_SOURCE):
            streams |= {
                f"{name}{SEPARATOR}{stream}": _source(path, f"modalities.{name}.{stream}", source)
                for stream, source in value.items()
            }
        else:
            streams[name] = _source(path, f"modalities.{name}", value)
    check_names(streams, f"{path}: [modalities]")
    return streams


def check_names(streams: Collection[str], where: str) -> None:
    """DataError where these cannot be the streams of a data set."""
    if problem := misnamed(streams):
        raise DataError(f"{where}: {problem}.")
    if (count := len(by_modality(streams))) > MOST_MODALITIES:
        raise DataError(f"{where} has {count}; at most {MOST_MODALITIES} can be scored in every combination.")


def _source(path: Path, key: str, value: object, further: Collection[str] = ()) -> Source:
    """A source: the name of a file, or a table with it and `further` keys."""
    table = value if isinstance(value, dict) else {"file": value}
    _known(path, f"{key}.", table, {*_SOURCE, *further})
    inner = key if not isinstance(value, dict) else f"{key}.file"
    file = path.parent / _text(path, inner, table.get("file"))
    if not is_file(file) and not is_folder(file):
        raise DataError(f"{path}: '{inner}' names {file}, which is not there.")
    rate = table.get("rate")
    if rate is not None and (isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < 1e9):
        raise DataError(f"{path}: '{key}.rate' is {short(rate)}, not a number of steps a second.")
    part, reader = (_text(path, f"{key}.{name}", table[name]) if name in table else None for name in ("part", "reader"))
    columns = _names(path, f"{key}.columns", table.get("columns"))
    return Source(file, part, None if rate is None else float(rate), reader, columns)


def _told_folds(labels: Source | None) -> Source | None:
    """The label file, where it tells the folds too."""
    return labels if labels is not None and reader_of(labels).tells_folds(labels.path) else None


def _check_leak(path: Path, modalities: Mapping[str, Source], labels: Source | None) -> None:
    """DataError where the columns of labels could be among the features of the same table."""
    for name, source in modalities.items():
        if labels is not None and source.path == labels.path and labels.columns and not source.columns:
            raise DataError(
                f"{path}: 'modalities.{name.replace(SEPARATOR, '.')}' reads the table of [labels], and its labels must "
                f"not be among the features: name these as `{name.rpartition(SEPARATOR)[2]} = "
                f'{{file = "{source.path.name}", columns = [...]}}`.'
            )


def _groups(path: Path, table: dict[str, Any]) -> Groups:
    """Groups of a table's column, `file` (its reader tells them), or of the ids, by `separator` and `field`."""
    if "file" in table:
        return Groups(_source(path, "groups", table))
    _known(path, "groups.", table, {"separator", "field"})
    field = table.get("field")
    if isinstance(field, bool) or not isinstance(field, int) or field == 0:
        raise DataError(
            f"{path}: [groups] needs the `file` that tells them, or `separator` and `field` of the ids (1 is the first "
            f"field, -1 the last); 'groups.field' is {short(field)}."
        )
    return Groups(None, _text(path, "groups.separator", table.get("separator")), field)


def _kind(path: Path, value: object) -> LabelKind | None:
    if value is not None and value not in get_args(LabelKind):
        raise DataError(f"{path}: 'labels.kind' is {short(value)}.{choices(str(value), get_args(LabelKind))}")
    return value  # type: ignore[return-value]


def _known(path: Path, prefix: str, table: Mapping[str, Any], keys: set[str]) -> None:
    for key in table:
        if key not in keys:
            raise DataError(f"{path}: unknown key '{prefix}{key}'.{choices(key, keys)}")


def _table(path: Path, table: dict[str, Any], key: str) -> dict[str, Any]:
    value = table.get(key)
    if not isinstance(value, dict):
        raise DataError(f"{path}: the table [{key}] is missing.")
    return value


def _text(path: Path, key: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise DataError(f"{path}: '{key}' is {short(value)}, not a text.")
    return value


def _names(path: Path, key: str, value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not value or not all(isinstance(name, str) and name for name in value):
        raise DataError(f"{path}: '{key}' is {short(value)}, not a list of names.")
    if len(set(value)) != len(value):
        raise DataError(f"{path}: '{key}' names a column twice: {short(value)}.")
    return tuple(value)
