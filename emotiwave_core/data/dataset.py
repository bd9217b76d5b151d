"""Data sets as folders, whose `dataset.toml`, or the standard file names of CMU-MOSEI, say which file is what."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import attrs

from emotiwave_core.errors import DataError, choices, short
from emotiwave_core.io.untrusted import is_file, is_folder, read_toml, why

# The files of CMU-MOSEI as its SDK names them; the first one that is there is taken.
STANDARD = {
    "text": ("CMU_MOSEI_TimestampedWordVectors.csd", "CMU_MOSEI_TimestampedGloveVectors.csd"),
    "audio": ("CMU_MOSEI_COVAREP.csd",),
    "visual": ("CMU_MOSEI_VisualOpenFace2.csd", "CMU_MOSEI_VisualFacet42.csd"),
}
STANDARD_LABELS = "CMU_MOSEI_Labels.csd"
STANDARD_WORDS = "CMU_MOSEI_TimestampedWords.csd"
STANDARD_FOLDS = ("folds.json", "cmu_mosei_std_folds.py")
MOST_MODALITIES = 10  # 1023 configurations
EMOTIONS = ("happy", "sad", "anger", "surprise", "disgust", "fear")


@attrs.frozen
class Dataset:
    """The files of a folder by what they are for."""

    name: str
    folder: Path
    modalities: dict[str, Path]
    labels: Path | None  # None: it can only be predicted
    targets: tuple[str, ...] | None = None  # the emotions, by name; None: all label columns but sentiment; (): none
    columns: tuple[str, ...] | None = None  # names of the label columns, for a file that does not tell them
    folds: Path | None = None
    words: Path | None = None  # the transcripts, word by word
    synthetic: bool = False

    def without_labels(self, modalities: Collection[str]) -> "Dataset":
        """The same samples with some of the modalities, to be predicted: labels are not read, whatever they are."""
        files = {name: path for name, path in self.modalities.items() if name in modalities}
        return attrs.evolve(self, modalities=files, targets=(), columns=None)


def load_dataset(folder: Path, labelled: bool = True) -> Dataset:
    """The data set of a folder. DataError where the folder or its `dataset.toml` is not right.

    A `labelled` one is for training and scoring, and refused without labels; predicting needs none.
    """
    if not is_folder(folder):
        raise DataError(f"{folder}: there is no such folder; give the folder that holds the data set's .csd files.")
    if (folder / "dataset.toml").is_file():
        return _described(folder, labelled)
    modalities = {
        modality: folder / name
        for modality, names in STANDARD.items()
        for name in [next((name for name in names if (folder / name).is_file()), None)]
        if name
    }
    labels = folder / STANDARD_LABELS if (folder / STANDARD_LABELS).is_file() else None
    if labels is None and (labelled or not modalities):
        files = ", ".join(sorted(path.name for path in folder.glob("*.csd"))) or "no .csd file"
        needed, tables = (
            (STANDARD_LABELS, "name, [modalities] and [labels]") if labelled else ("CMU-MOSEI's files", "[modalities]")
        )
        raise DataError(
            f"{folder} has neither a dataset.toml nor {needed} (there: {files}); write a dataset.toml with "
            f"{tables} as docs/data.md shows."
        )
    folds = next((folder / name for name in STANDARD_FOLDS if (folder / name).is_file()), None)
    return Dataset(
        "CMU-MOSEI",
        folder,
        modalities,
        labels,
        targets=EMOTIONS,
        folds=folds,
        words=_standard_words(folder),
    )


def _described(folder: Path, labelled: bool) -> Dataset:
    path = folder / "dataset.toml"
    try:
        table = read_toml(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not valid TOML: {why(error)}.") from error
    _known(path, "", table, {"name", "synthetic", "words", "modalities", "labels", "folds"})
    if labelled and "labels" not in table:
        raise DataError(
            f"{path}: the table [labels] is missing, and training and scoring need labels: name their file in it; "
            "predicting needs none."
        )
    labels = _table(path, table, "labels") if "labels" in table else {}
    _known(path, "labels.", labels, {"file", "targets", "columns"})
    folds = _table(path, table, "folds") if "folds" in table else {}
    _known(path, "folds.", folds, {"file"})
    modalities = _table(path, table, "modalities")
    if not modalities or any("+" in name or not name for name in modalities):
        raise DataError(f"{path}: [modalities] needs at least one `name = \"file.csd\"`, names without '+'.")
    if len(modalities) > MOST_MODALITIES:
        raise DataError(
            f"{path}: [modalities] has {len(modalities)}; at most {MOST_MODALITIES} can be scored in every combination."
        )
    synthetic = table.get("synthetic", False)
    if not isinstance(synthetic, bool):
        raise DataError(f"{path}: 'synthetic' is {short(synthetic)}, not true or false.")
    return Dataset(
        name=_text(path, "name", table.get("name", folder.resolve().name)),
        folder=folder,
        modalities={name: _file(path, f"modalities.{name}", value) for name, value in modalities.items()},
        labels=_file(path, "labels.file", labels.get("file")) if "labels" in table else None,
        targets=_names(path, "labels.targets", labels.get("targets")),
        columns=_names(path, "labels.columns", labels.get("columns")),
        folds=_file(path, "folds.file", folds["file"]) if "file" in folds else None,
        words=_file(path, "words", table["words"]) if "words" in table else _standard_words(folder),
        synthetic=synthetic,
    )


def _standard_words(folder: Path) -> Path | None:
    return folder / STANDARD_WORDS if (folder / STANDARD_WORDS).is_file() else None


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


def _file(path: Path, key: str, value: object) -> Path:
    file = path.parent / _text(path, key, value)
    if not is_file(file):
        raise DataError(f"{path}: '{key}' names {file}, which is not there.")
    return file


def _names(path: Path, key: str, value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not value or not all(isinstance(name, str) and name for name in value):
        raise DataError(f"{path}: '{key}' is {short(value)}, not a list of names.")
    if len(set(value)) != len(value):
        raise DataError(f"{path}: '{key}' names a column twice: {short(value)}.")
    return tuple(value)
