"""Data sets in one pickle: those of MMSA and MMSA-FET, and those of MultiBench and the Multimodal Transformer.

`pickle_content` knows their layout. This is one part of such a file, opened: a modality, or labels.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotiwave_core.data.formats.pickle_content import (
    FOLDS,
    GROUP,
    HEADS,
    LABELS,
    MODALITIES,
    Clip,
    clips_of,
    content_of,
    count_of,
    is_one_array,
    opened,
    plain,
    read_items,
    row_of_numbers,
    texts,
    unusable,
    without_padding,
)
from emotiwave_core.data.formats.pickle_files import PickledArray, written_pickle
from emotiwave_core.data.formats.reader import Contents, LabelKind, Reader, Source, counted_intervals, split_key
from emotiwave_core.errors import DataError, choices, short
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.io.untrusted import starts_with

ORDER = ("negative", "weakly negative", "neutral", "weakly positive", "positive")


class PickledDataset(Reader):
    """A part of a pickle of MMSA or MultiBench: a modality, or labels.

    DataError where it is damaged, or holds anything but data.
    """

    name = "pickle"
    suffixes = (".pkl", ".pickle")

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """By its name, or by the first bytes of a pickle."""
        return super().recognises(path) or (path.is_file() and any(starts_with(path, head) for head in HEADS))

    @classmethod
    def contents(cls, path: Path) -> Contents | None:
        """The modalities, the labels and the folds."""
        if not cls.recognises(path):
            return None
        content = content_of(path)
        labels = content.labels
        notes = list(content.notes)
        if others := [part for part in labels[1:] if part in LABELS]:
            notes.append(
                f"The labels are '{labels[0]}'; there are also {' and '.join(others)}: `part` under [labels] of a "
                "dataset.toml chooses."
            )
        return Contents(
            name=path.stem,
            modalities={MODALITIES[part]: part for part in content.modalities},
            labels=labels[0] if labels else None,
            has_folds=all(content.folds.values()) and len(content.folds) == len(set(FOLDS.values())),
            notes=tuple(notes),
        )

    @classmethod
    def example(cls, folder: Path, steps: int) -> Source:
        """Write two clips for each fold, on which the laws of readers are tried."""
        content = {
            fold: {"id": [f"{fold}{GROUP}0", f"{fold}{GROUP}1"], "audio": np.ones((2, steps, 3), dtype="<f4")}
            for fold in ("train", "valid", "test")
        }
        (folder / "example.pkl").write_bytes(written_pickle(content))
        return Source(folder / "example.pkl", "audio")

    def __init__(self, source: Source) -> None:
        self.path, self.part, self.rate = source.path, source.part or "", source.rate
        self.has_times = source.rate is not None
        self._content = content = content_of(source.path)
        parts = [*content.modalities, *content.labels]
        if self.part not in parts:
            names = f"{short(source.part)} is none" if source.part else "none is named"
            raise DataError(
                f"{self.path} holds several things, and of these {names}: `{{file = …, part = …}}` in dataset.toml "
                f"tells which.{choices(self.part, parts)}"
            )
        self.root = self.part
        self.is_words = False
        self._is_label = self.part in content.labels
        self._file = opened(source.path)
        self._wholes: dict[str, NDArray[Any]] = {}
        try:
            self._columns, self.label_kind = self._labels() if self._is_label else ((), None)
            self.keys = tuple(key for key, clip in content.clips.items() if self._has(clip))
            if not self.keys:
                raise DataError(f"{self.path}: '{self.part}' holds nothing for any id.")
            self.width = self._usual_width()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def dimension_names(self) -> list[str] | None:
        """The names of label columns, where they are known."""
        return list(self._columns) if len(self._columns) == self.width else None

    @property
    def groups(self) -> Mapping[str, str]:
        """The video of each clip, in ids such as MMSA's `VIDEO$_$CLIP`."""
        return {split_key(key)[0]: key.rpartition(GROUP)[0] for key in self._content.clips if GROUP in key[1:]}

    @property
    def folds(self) -> Mapping[str, tuple[str, ...]]:
        """The ids of train, valid and test."""
        return self._content.folds

    def steps(self, key: str) -> int:
        """The number of steps of an entry, without its padding."""
        start, stop = self._bounds(key)
        return stop - start

    def intervals(self, key: str) -> NDArray[np.float64]:
        """The steps, counted by the rate or as seconds; padding in front of them counts, for all modalities have it."""
        start, stop = self._bounds(key)
        return counted_intervals(stop, self.rate)[start:]

    def features(self, key: str, rows: slice = slice(None)) -> NDArray[Any]:
        """The features of an entry without its padding, or the label columns of a clip [1, C]."""
        form = self._form(self._clip(key))
        if form != self.width:
            raise DataError(f"{self.path}: '{self.part}' of {key!r} has {form} columns; most ids have {self.width}.")
        start, stop = self._bounds(key)
        return self._sequence(key)[start:stop][rows]

    def unfit(self) -> dict[str, str]:
        """The entries of another width than most."""
        forms = ((key, self._form(self._clip(key))) for key in self.keys)
        return {key: f"{form} columns" for key, form in forms if form != self.width}

    def _clip(self, key: str) -> Clip:
        if key not in self._content.clips:
            raise DataError(f"{self.path} has no id {short(key)}.")
        return self._content.clips[key]

    def _has(self, clip: Clip) -> bool:
        table = self._content.tables[clip.fold]
        if self.part not in table:
            return False
        value = table[self.part]
        rows = count_of(value)
        if rows != self._content.rows[clip.fold]:
            count = self._content.rows[clip.fold]
            raise DataError(f"{self.path}: '{self.part}' of '{clip.fold}' has {rows} rows, and there are {count} ids.")
        return is_one_array(value) or clips_of(value)[clip.row] is not None

    def _usual_width(self) -> int:
        if self._is_label:
            return self._form(self._clip(self.keys[0]))
        widths = Counter(self._form(self._clip(key)) for key in self.keys)
        width = widths.most_common(1)[0][0]
        if not width:
            raise DataError(f"{self.path}: '{self.part}' has no column of numbers.")
        return width

    def _form(self, clip: Clip) -> int:
        """The columns of a clip, 0 where they are no numbers."""
        if self._is_label:
            return int(self._sequence_of(clip).shape[1])
        value = self._content.tables[clip.fold][self.part]
        one = value if is_one_array(value) else clips_of(value)[clip.row]
        if not isinstance(one, PickledArray) or one.dtype.kind not in "fiub":
            return 0
        shape = one.shape[1:] if one is value else one.shape
        return shape[-1] if 1 <= len(shape) <= 2 else 0

    def _sequence(self, key: str) -> NDArray[np.float32]:
        return self._sequence_of(self._clip(key))

    def _sequence_of(self, clip: Clip) -> NDArray[np.float32]:
        """All rows of a clip, [T, F] float32."""
        if self._is_label:
            values = self._label_rows(clip.fold)[clip.row][None]
        else:
            table = self._content.tables[clip.fold]
            value = table[self.part]
            one = clips_of(value)[clip.row] if not is_one_array(value) else value
            values = self._numbers(one, f"{clip.fold}.{self.part}", clip.row if one is value else None)
        with np.errstate(over="ignore", invalid="ignore"):  # beyond float32 is infinite, and counted as such later
            return np.atleast_2d(np.asarray(values, dtype=np.float32))

    def _numbers(self, array: PickledArray, name: str, row: int | None) -> NDArray[Any]:
        try:
            if row is None:
                return array.values(self._file)
            if array.is_in_rows:
                return array.row(self._file, row)
            if name not in self._wholes:
                self._wholes[name] = array.values(self._file)
            return np.asarray(self._wholes[name][row])
        except (OSError, ValueError) as error:
            raise unusable(self.path, error) from error

    def _bounds(self, key: str) -> tuple[int, int]:
        """The first step of an entry that is no padding, and the one after the last; looked up once in a process."""
        clip = self._clip(key)
        if self._is_label:
            return 0, 1
        value = self._content.tables[clip.fold][self.part]
        if not is_one_array(value):
            array = clips_of(value)[clip.row]
            return 0, (array.shape[0] if isinstance(array, PickledArray) and len(array.shape) == 2 else 1)
        if len(value.shape) == 2:
            return 0, 1
        known = self._content.bounds.setdefault(self.part, {})
        if key not in known:
            length = self._content.length(self._file, clip, self.part)
            known[key] = without_padding(self._sequence_of(clip), length)
        return known[key]

    def _labels(self) -> tuple[tuple[str, ...], LabelKind | None]:
        """The names of the label columns, () where nothing tells them, and what the labels are."""
        if self.part.startswith("regression_labels"):
            return ("sentiment",), "regression"
        if names := self._class_names:
            return tuple(names.values()), "classes"
        if self.part != "labels":
            return (self.part,), "classes"
        rows = [self._label_rows(fold) for fold in self._content.tables if self.part in self._content.tables[fold]]
        every = np.concatenate(rows) if len({values.shape[1] for values in rows}) == 1 else np.empty((0, 0))
        if every.shape[1] != 1:
            return (), None
        counted = bool((every == np.round(every)).all()) and every.min(initial=0) >= 0
        return ("label" if counted else "sentiment",), None

    @cached_property
    def _class_names(self) -> dict[Any, str]:
        """The names of classes by what stands for them in this part: themselves, or numbers of `annotations`."""
        if self.part not in ("annotations", "classification_labels"):
            return {}
        pairs = set()
        for table in self._content.tables.values():
            if self.part not in table or "annotations" not in table:
                return {}
            named = self._texts_of(table["annotations"])
            known = self._items_of(table[self.part])
            pairs |= {(plain(value), name) for value, name in zip(known, named, strict=False)}
        names = dict(pairs)
        if len(names) != len(pairs) or len(set(names.values())) != len(pairs) or len(pairs) > 100:
            return {}
        places = {name: ORDER.index(name.lower()) if name.lower() in ORDER else len(ORDER) for name in names.values()}
        return dict(sorted(names.items(), key=lambda pair: (places[pair[1]], pair[1])))

    def _label_rows(self, fold: str) -> NDArray[Any]:
        """The labels of a fold, [N, C], of classes with names 1 in their own column."""
        if fold not in self._wholes:
            value = self._content.tables[fold][self.part]
            items = self._items_of(value)
            if names := self._class_names:
                columns = {known: column for column, known in enumerate(names)}
                rows = np.zeros((len(items), len(columns)), dtype=np.float32)
                known = [plain(item) for item in items]
                rows[np.arange(len(items)), [columns[one] for one in known]] = 1.0
            else:
                rows = self._label_numbers(fold, items)
            self._wholes[fold] = rows
        return self._wholes[fold]

    def _label_numbers(self, fold: str, items: Sequence[Any]) -> NDArray[Any]:
        try:
            rows = [row_of_numbers(item) for item in items]
        except ValueError as error:
            raise DataError(f"{self.path}: '{self.part}' of '{fold}' {error}.") from error
        if len({len(row) for row in rows}) > 1:
            raise DataError(f"{self.path}: '{self.part}' of '{fold}' has rows of different lengths.")
        return np.array(rows, dtype=np.float64).reshape(len(rows), -1)

    def _texts_of(self, value: Any) -> list[str]:
        try:
            return texts([plain(item) for item in self._items_of(value)])
        except ValueError as error:
            raise unusable(self.path, error) from error

    def _items_of(self, value: Any) -> Sequence[Any]:
        try:
            return read_items(value, self._file)
        except (OSError, ValueError) as error:
            raise unusable(self.path, error) from error


@hookimpl
def register_readers(register: Callable[[str, type[Reader]], None]) -> None:
    """Offer `pickle`."""
    register("pickle", PickledDataset)
