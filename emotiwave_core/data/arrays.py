"""Data sets of arrays in memory, written once into the user's cache as files that every command can read."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from emotiwave_core.data.dataset import Dataset, check_names, load_dataset
from emotiwave_core.data.folds import FOLDS
from emotiwave_core.data.formats.reader import Entry, counted_intervals, split_key
from emotiwave_core.data.written import CsdContent, WrittenDataset
from emotiwave_core.errors import DataError, choices, short
from emotiwave_core.io.atomic import cache_folder, out_of_space

Array = NDArray[Any]


@attrs.frozen
class ArrayDataset:
    """Samples of arrays, N of them, as they are handed over in Python. DataError for what does not fit."""

    features: Mapping[str, Sequence[Any]]  # {stream: N arrays [T, F] or [F], None where a sample lacks it}
    labels: Any = None  # N names or numbers, an array [N, C], or a table of columns
    targets: Sequence[str] | None = None  # of the columns of labels, or of the numbers of classes
    ids: Sequence[str] | None = None
    groups: Sequence[str] | None = None
    times: Mapping[str, Sequence[Any]] | None = None  # {stream: N arrays [T, 2] seconds}
    folds: Any = None  # N names of folds, or {fold: ids}
    name: str = "arrays"

    def load(self) -> Dataset:
        """The data set of these arrays; its folder lies in the cache under a digest of all of them."""
        written = self._written()
        folder = cache_folder() / "datasets" / self._digest()
        with out_of_space(folder.parent):
            folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if not (folder / "dataset.toml").exists():
                _write(written, folder)
        return load_dataset(folder, labelled=False)

    @property
    def samples(self) -> int:
        """N, by the first modality."""
        return len(next(iter(self.features.values()))) if self.features else 0

    def _written(self) -> WrittenDataset:
        if not self.samples:
            raise DataError("A data set of arrays needs features={modality: [an array for each sample]}.")
        check_names(self.features, "features")
        for name, given in {**self.features, "ids": self.ids, "groups": self.groups}.items():
            if given is not None and len(given) != self.samples:
                first = next(iter(self.features))
                raise DataError(f"'{name}' has {len(given)} entries, and '{first}' has {self.samples}.")
        ids = self._ids()
        labels, about = self._labels(ids)
        modalities = {name: self._content(name, ids) for name in self.features}
        grouped = {split_key(key)[0]: str(group) for key, group in zip(ids, self.groups or (), strict=False)}
        if labels is not None:
            labels = attrs.evolve(labels, groups=grouped)
        else:
            modalities = {name: attrs.evolve(content, groups=grouped) for name, content in modalities.items()}
        return WrittenDataset(self.name, modalities, labels, about_labels=about, folds=self._folds(ids))

    def _ids(self) -> list[str]:
        if self.ids is None:
            return [f"sample{number:0{len(str(self.samples))}}" for number in range(self.samples)]
        ids = [str(key) for key in self.ids]
        if len(set(ids)) != len(ids):
            twice = next(key for key in ids if ids.count(key) > 1)
            raise DataError(f"The id {short(twice)} stands twice in ids=; each sample has its own.")
        if wrong := [key for key in ids if not key or key == "." or "/" in key or "\0" in key]:
            raise DataError(f"{short(wrong[0])} cannot be the id of a sample: it is empty, or holds a '/'.")
        return ids

    def _content(self, name: str, ids: list[str]) -> CsdContent:
        times = (self.times or {}).get(name)
        if times is not None and len(times) != self.samples:
            raise DataError(f"times of '{name}' has {len(times)} entries, and there are {self.samples} samples.")
        arrays = {key: _sequence(name, key, array) for key, array in zip(ids, self.features[name], strict=True)}
        present = {key: array for key, array in arrays.items() if array is not None}
        if not present:
            raise DataError(f"No sample has '{name}': leave it out.")
        spans = dict(zip(ids, times or (), strict=False))
        return CsdContent(_entries(name, present, spans), None, times is not None)

    def _labels(self, ids: list[str]) -> tuple[CsdContent | None, dict[str, Any]]:
        """The labels as a file [1, C] for each sample, and what they are, as dataset.toml has it."""
        if self.labels is None:
            return None, {}
        rows, columns, about = _label_rows(self.labels, self.targets)
        if len(rows) != self.samples:
            raise DataError(f"labels has {len(rows)} entries, and there are {self.samples} samples.")
        interval = counted_intervals(1, None)
        entries = ((key, Entry(row[None], interval)) for key, row in zip(ids, rows, strict=True))
        return CsdContent(entries, columns, has_times=False), about

    def _folds(self, ids: list[str]) -> dict[str, list[str]] | None:
        """The videos of each fold."""
        if self.folds is None:
            return None
        lists: dict[str, list[str]] = {fold: [] for fold in FOLDS}
        if isinstance(self.folds, Mapping):
            pairs = [(str(key), str(fold)) for fold, keys in self.folds.items() for key in keys]
        else:
            if len(self.folds) != self.samples:
                raise DataError(f"folds has {len(self.folds)} entries, and there are {self.samples} samples.")
            pairs = list(zip(ids, map(str, self.folds), strict=True))
        for key, fold in pairs:
            if fold not in lists:
                raise DataError(f"There is no fold {short(fold)}.{choices(fold, FOLDS)}")
            lists[fold].append(split_key(key)[0])
        return {fold: list(dict.fromkeys(videos)) for fold, videos in lists.items()}

    def _digest(self) -> str:
        """A digest of everything that was handed over."""
        digest = hashlib.sha256()
        for what, values in [*self.features.items(), *((f"times {m}", t) for m, t in (self.times or {}).items())]:
            digest.update(json.dumps(what).encode())
            for value in values:
                array = None if value is None else np.ascontiguousarray(value)
                digest.update(b"none" if array is None else f"{array.shape} {array.dtype}".encode() + array.tobytes())
        rows = None if self.labels is None else _label_rows(self.labels, self.targets)
        told = [self.name, self.ids, self.groups, self._folds(self._ids()), rows and [rows[0].tolist(), *rows[1:]]]
        digest.update(json.dumps(told, default=str).encode())
        return digest.hexdigest()[:32]


def from_frame(frame: Any, modalities: Sequence[str] | None = None) -> dict[str, Any]:
    """The arguments of ArrayDataset in a pandas DataFrame with a row for each sample.

    Columns: id, group (or speaker), fold (or split), `label`, or `label_NAME` for each target, and a column of arrays
    for each modality: those named, else all whose cells are arrays.
    """
    columns = [str(column) for column in frame.columns]
    found = modalities or [name for name in columns if any(_is_array(cell) for cell in frame[name])]
    if not found:
        raise DataError(f"No column of the table holds arrays; it has {', '.join(columns) or 'none'}.")
    given: dict[str, Any] = {"features": {name: [_cell(cell) for cell in frame[name]] for name in found}}
    for role, names in {"ids": ("id",), "groups": ("group", "speaker"), "folds": ("fold", "split")}.items():
        if column := next((name for name in names if name in columns), None):
            given[role] = [str(cell) for cell in frame[column]]
    targets = [name for name in columns if name.startswith("label_")]
    if "label" in columns:
        given["labels"] = list(frame["label"])
    elif targets:
        given["labels"] = np.array([[float(cell) for cell in frame[name]] for name in targets]).T
        given["targets"] = [name.removeprefix("label_") for name in targets]
    return given


def _is_array(cell: Any) -> bool:
    return isinstance(cell, np.ndarray | list)


def _cell(cell: Any) -> Any:
    """The array of a cell; None where it has none, which pandas also writes as NaN."""
    return cell if _is_array(cell) else None


def _sequence(name: str, key: str, array: Any) -> NDArray[Any] | None:
    """An array [T, F] float32, of [F] a single step, or words [T, 1]; None where there is nothing."""
    if array is None:
        return None
    if isinstance(array, list | tuple) and array and all(isinstance(word, str) for word in array):
        return np.array([[word.encode("utf-8", "replace")] for word in array])
    try:
        values = np.asarray(array)
        with np.errstate(over="ignore", invalid="ignore"):
            values = np.atleast_2d(values.astype(np.float32))
    except (ValueError, TypeError) as error:
        raise DataError(f"'{name}' of {short(key)} is no array of numbers.") from error
    if values.ndim != 2 or not values.shape[1]:
        raise DataError(f"'{name}' of {short(key)} has the shape {list(np.shape(array))}, not [steps, features].")
    return values if len(values) else None


def _entries(name: str, arrays: Mapping[str, NDArray[Any]], spans: Mapping[str, Any]) -> Iterator[tuple[str, Entry]]:
    for key, values in arrays.items():
        if key not in spans:
            yield key, Entry(values, counted_intervals(len(values), None))
            continue
        intervals = np.asarray(spans[key], dtype=np.float64)
        if intervals.shape != (len(values), 2):
            due = f"[{len(values)}, 2] seconds"
            raise DataError(f"times of '{name}' of {short(key)} have the shape {list(intervals.shape)}, not {due}.")
        yield key, Entry(values, intervals)


def _label_rows(labels: Any, targets: Sequence[str] | None) -> tuple[Array, list[str], dict[str, Any]]:
    """The labels [N, C] float32, the names of their columns, and their kind."""
    if hasattr(labels, "columns") or isinstance(labels, Mapping):
        names = [str(column) for column in (labels.columns if hasattr(labels, "columns") else labels)]
        return _label_rows(np.array([list(labels[name]) for name in names], dtype=np.float64).T, targets or names)
    values = np.asarray(labels)
    plain = values.tolist() if values.ndim == 1 and values.dtype.kind in "OUS" else [0]
    if all(isinstance(label, str | bytes) or label is None for label in plain):
        return _named(plain, targets)
    try:
        numbers = values.astype(np.float32)
    except (ValueError, TypeError) as error:
        raise DataError("labels are neither names of classes nor numbers.") from error
    if numbers.ndim == 1 or numbers.shape[1:] == (1,):
        return _single(numbers.reshape(-1), targets)
    if numbers.ndim != 2:
        raise DataError(f"labels have the shape {list(numbers.shape)}; they are [N] or [N, targets].")
    if targets is None or len(targets) != numbers.shape[1]:
        raise DataError(f"labels have {numbers.shape[1]} columns: name them by targets=[…], one for each.")
    known = numbers[np.isfinite(numbers).all(axis=1)]
    kind = "regression" if (known < 0).any() else "intensities"
    if np.isin(known, (0, 1)).all():
        kind = "classes" if (known.sum(axis=1) == 1).all() else "multi"
    return numbers, list(targets), {"targets": list(targets), "kind": kind}


def _named(labels: list[Any], targets: Sequence[str] | None) -> tuple[Array, list[str], dict[str, Any]]:
    """Names of classes as a column for each; a sample without one is NaN."""
    texts = [label.decode() if isinstance(label, bytes) else label for label in labels]
    names = list(targets) if targets is not None else sorted({text for text in texts if text is not None})
    if strange := next((text for text in texts if text is not None and text not in names), None):
        raise DataError(f"labels hold {short(strange)}, which targets= does not name.{choices(strange, names)}")
    rows = np.array([[np.nan if text is None else float(text == name) for name in names] for text in texts])
    return rows.astype(np.float32), names, {"targets": names, "kind": "classes"}


def _single(numbers: Array, targets: Sequence[str] | None) -> tuple[Array, list[str], dict[str, Any]]:
    """One number for each sample: that of its class where all are whole and none is below 0, else a scale."""
    known = numbers[np.isfinite(numbers)]
    if len(known) and (known == np.round(known)).all() and known.min() >= 0 and len(np.unique(known)) > 1:
        classes = {} if targets is None else {"classes": list(targets)}
        return numbers[:, None], ["label"], {"targets": ["label"], "kind": "classes", **classes}
    if targets is not None and len(targets) != 1:
        raise DataError(f"labels are one number for each sample, and targets= names {len(targets)}.")
    names = list(targets or ["label"])
    return numbers[:, None], names, {"targets": names, "kind": "regression"}


def _write(written: WrittenDataset, folder: Path) -> None:
    """Write whole or not at all."""
    with out_of_space(folder):
        building = Path(tempfile.mkdtemp(prefix=f"{folder.name}.building-", dir=folder.parent))
    try:
        written.write(building)
        with out_of_space(folder):
            shutil.rmtree(folder, ignore_errors=True)
            building.chmod(0o755)
            building.replace(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
