"""Columns of a label file by emotion: the names in the file decide."""

import attrs

from emotiwave_core.data.dataset import EMOTIONS, Dataset
from emotiwave_core.data.formats.reader import Reader
from emotiwave_core.errors import DataError, choices

# The order in which CMU-MOSEI was published. A widespread notebook has the last two swapped.
MOSEI_COLUMNS = ("sentiment", *EMOTIONS)


@attrs.frozen
class LabelColumns:
    """The columns of a label file."""

    names: tuple[str, ...]  # of all columns
    source: str  # where the names come from
    targets: tuple[str, ...]
    indices: tuple[int, ...]  # of the targets, in their order
    notes: tuple[str, ...] = ()


NO_COLUMNS = LabelColumns(names=(), source="no labels", targets=(), indices=())


def label_columns(dataset: Dataset, file: Reader) -> LabelColumns:
    """Find the target columns by name. DataError where a target is not among them or nothing tells the names."""
    if file.is_words:
        raise DataError(f"{file.path} holds words, not labels: name the label file under [labels] in dataset.toml.")
    notes = []
    if file.dimension_names:
        names, source = tuple(file.dimension_names), "the file's 'dimension names'"
        if dataset.columns and dataset.columns != names:
            notes.append(
                f"dataset.toml gives the label columns as {_list(dataset.columns)}, "
                f"but the file says {_list(names)}: the file decides."
            )
        elif set(names) == set(MOSEI_COLUMNS) and names != MOSEI_COLUMNS:
            notes.append(f"The label columns are {_list(names)}, not in CMU-MOSEI's published order: the file decides.")
    elif dataset.columns:
        names, source = dataset.columns, "'labels.columns' in dataset.toml"
    elif file.width == len(MOSEI_COLUMNS):
        names, source = MOSEI_COLUMNS, "CMU-MOSEI's published order (the file has no 'dimension names')"
        notes.append(f"{file.path.name} does not name its columns; {_list(names)} is assumed.")
    else:
        raise DataError(
            f"{file.path} has {file.width} label columns without names; "
            "give them as `columns = [...]` under [labels] in dataset.toml."
        )
    if len(names) != file.width:
        raise DataError(f"{file.path} has {file.width} label columns, but {source} names {len(names)}.")
    if len(set(names)) != len(names):
        raise DataError(f"{file.path} names a label column twice: {_list(names)}.")
    targets = dataset.targets or tuple(name for name in names if not name.lower().startswith("sentiment"))
    if not targets:
        raise DataError(f"{file.path} has only {_list(names)}: no emotion column to learn.")
    for target in targets:
        if target not in names:
            raise DataError(f"{file.path} has no label column '{target}'.{choices(target, names)}")
    return LabelColumns(names, source, targets, tuple(names.index(target) for target in targets), tuple(notes))


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(names)
