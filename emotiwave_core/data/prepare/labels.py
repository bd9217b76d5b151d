"""Columns of a label file, and what their numbers mean: the names in the file decide, and the meaning is always said.

The labels of a store are [N, C], one column for each target. Of `intensities` an emotion is present above 0; `classes`
are one column for each class, 1 in the sample's own; of `multi` each is 0 or 1; of `regression` they are as they stand.
"""

import attrs
import numpy as np
from numpy.typing import NDArray

from emotiwave_core.data.dataset import EMOTIONS, Dataset
from emotiwave_core.data.formats.reader import LabelKind, Reader
from emotiwave_core.errors import DataError, choices

# The order in which CMU-MOSEI was published. A widespread notebook has the last two swapped.
MOSEI_COLUMNS = ("sentiment", *EMOTIONS)
MOST_CLASSES = 100  # of a column of whole numbers that is taken for classes without being told so
SCALES = ("sentiment", "valence", "arousal", "activation", "dominance")  # never emotions to be told apart

Numbers = NDArray[np.float32]


@attrs.frozen
class LabelColumns:
    """The columns of a label file."""

    names: tuple[str, ...]  # of all columns
    source: str  # where the names come from
    targets: tuple[str, ...]
    indices: tuple[int, ...]  # of the columns that hold the targets; one alone where it holds the number of the class
    kind: LabelKind = "intensities"
    kind_source: str = "no labels"  # how the kind is known
    numbers: tuple[float, ...] | None = None  # of the classes, where one column holds the number of the class
    notes: tuple[str, ...] = ()

    def values(self, rows: Numbers) -> Numbers:
        """Rows of the file [R, W] -> labels [R, C]; a number that is no class gives a row of NaN."""
        columns = rows[:, self.indices]
        if self.numbers is None:
            return columns
        is_class = columns == np.array(self.numbers, dtype=np.float32)
        return np.where(is_class.any(axis=1, keepdims=True), is_class, np.nan).astype(np.float32)


NO_COLUMNS = LabelColumns(names=(), source="no labels", targets=(), indices=())


def label_columns(dataset: Dataset, file: Reader, rows: Numbers) -> LabelColumns:
    """Find the target columns by name, and their meaning in `dataset.toml`, in the file or in the numbers [R, W].

    DataError where a target is not among the columns, or where the numbers are not what they are declared to be.
    """
    names, source, notes = _column_names(dataset, file)
    targets = dataset.targets or _default_targets(names)
    for target in targets:
        if target not in names:
            raise DataError(f"{file.path} has no label column '{target}'.{choices(target, names)}")
    indices = tuple(names.index(target) for target in targets)
    values = rows[:, indices]
    kind, kind_source = _kind(dataset, file, values[np.isfinite(values).all(axis=1)])
    columns = LabelColumns(names, source, targets, indices, kind, kind_source, None, notes)
    if kind == "classes" and len(targets) == 1:
        columns = _numbered(columns, dataset, file, values[:, 0])
    elif dataset.classes:
        raise DataError(
            f"{file.path}: 'labels.classes' in dataset.toml names the numbers of one column of classes, and there are "
            f'{len(targets)} target columns of kind "{kind}".'
        )
    return _checked(columns, file, values)


def _column_names(dataset: Dataset, file: Reader) -> tuple[tuple[str, ...], str, tuple[str, ...]]:
    """The names of all columns, where they come from, and notes on them."""
    notes: tuple[str, ...] = ()
    if file.dimension_names:
        source = "the names in the table" if file.picks_columns else "the file's 'dimension names'"
        names = tuple(file.dimension_names)
        if dataset.columns and dataset.columns != names and not file.picks_columns:
            notes = (
                f"dataset.toml gives the label columns as {_list(dataset.columns)}, "
                f"but the file says {_list(names)}: the file decides.",
            )
        elif set(names) == set(MOSEI_COLUMNS) and names != MOSEI_COLUMNS:
            notes = (f"The label columns are {_list(names)}, not in CMU-MOSEI's published order: the file decides.",)
    elif dataset.columns:
        names, source = dataset.columns, "'labels.columns' in dataset.toml"
    elif file.width in (len(MOSEI_COLUMNS), len(EMOTIONS)):
        names = MOSEI_COLUMNS if file.width == len(MOSEI_COLUMNS) else EMOTIONS
        source = "CMU-MOSEI's published order (the file has no 'dimension names')"
        notes = (f"{file.path.name} does not name its columns; {_list(names)} is assumed.",)
    else:
        raise DataError(
            f"{file.path} has {file.width} label columns without names; "
            "give them as `columns = [...]` under [labels] in dataset.toml."
        )
    if len(names) != file.width:
        raise DataError(f"{file.path} has {file.width} label columns, but {source} names {len(names)}.")
    if len(set(names)) != len(names):
        raise DataError(f"{file.path} names a label column twice: {_list(names)}.")
    return names, source, notes


def _default_targets(names: tuple[str, ...]) -> tuple[str, ...]:
    """All columns but those of a scale; where there are only such, these."""
    emotions = tuple(name for name in names if not name.lower().startswith(SCALES))
    return emotions or names


def _kind(dataset: Dataset, file: Reader, values: Numbers) -> tuple[LabelKind, str]:
    """The meaning of the target columns [R, C], and how it is known. Values that fit several are taken by the rules."""
    if dataset.kind:
        return dataset.kind, "'labels.kind' in dataset.toml"
    if file.label_kind:
        return file.label_kind, f"{file.path.name} says so"
    whole = bool((values == np.round(values)).all())
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if values.shape[1] == 1:
        count = len(np.unique(values))
        if whole and low >= 0 and 2 <= count <= MOST_CLASSES:
            return "classes", f"one column of {count} whole numbers from {low:g} to {high:g}"
        return "regression", f"one column of numbers from {low:g} to {high:g}"
    if low < 0:
        return "regression", f"{values.shape[1]} columns with numbers below 0"
    return "intensities", f"{values.shape[1]} columns of numbers from 0 up"


def _numbered(columns: LabelColumns, dataset: Dataset, file: Reader, numbers: NDArray[np.float32]) -> LabelColumns:
    """The classes of one column that holds their numbers [R]: the names given, else the numbers that occur."""
    present = np.unique(numbers[np.isfinite(numbers)])
    if dataset.classes:
        known = np.arange(len(dataset.classes), dtype=np.float32)
        strange = np.setdiff1d(present, known)
        if len(strange):
            raise DataError(
                f"{file.path}: '{columns.targets[0]}' holds the number {strange[0]:g}, and 'labels.classes' in "
                f"dataset.toml names 0 to {len(known) - 1} ({_list(dataset.classes)})."
            )
        return attrs.evolve(columns, targets=dataset.classes, numbers=tuple(known.tolist()))
    if (present != np.round(present)).any():
        raise DataError(
            f"{file.path}: '{columns.targets[0]}' is declared as classes and holds {present[present % 1 != 0][0]:g}, "
            'which is no whole number; `kind = "regression"` takes it as it stands.'
        )
    names = tuple(f"{number:.0f}" for number in present)
    note = (
        f"'{columns.targets[0]}' holds the number of the class; `classes = [...]` under [labels] in dataset.toml "
        f"names {_list(names)}."
    )
    return attrs.evolve(columns, targets=names, numbers=tuple(present.tolist()), notes=(*columns.notes, note))


def _checked(columns: LabelColumns, file: Reader, values: Numbers) -> LabelColumns:
    """The columns; DataError where the numbers cannot be what they are declared to be, or are of one class alone."""
    finite = values[np.isfinite(values).all(axis=1)]
    declared = f"{file.path}: the labels are {columns.kind} ({columns.kind_source}), and"
    if columns.kind == "multi" and not np.isin(finite, (0, 1)).all():
        raise DataError(f"{declared} hold {finite[~np.isin(finite, (0, 1))][0]:g}, which is neither 0 nor 1.")
    if columns.kind == "intensities" and finite.min(initial=0) < 0:
        raise DataError(f"{declared} hold {finite.min():g}, which is below 0.")
    if columns.kind == "classes" and columns.numbers is None:
        several = int(((finite > 0).sum(axis=1) > 1).sum())
        if several:
            raise DataError(f'{declared} {several} rows have two or more of them; `kind = "multi"` takes these.')
    if columns.kind == "classes" and len(columns.targets) < 2:
        raise DataError(f"{declared} there is only one, {_list(columns.targets)}: nothing to tell apart.")
    return columns


def tied(labels: Numbers) -> int:
    """The rows of intensities [N, C] with an emotion whose strongest ones are two or more."""
    strongest = labels.max(axis=1, initial=0, keepdims=True)
    return int((((strongest > 0) & (labels == strongest)).sum(axis=1) > 1).sum())


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
