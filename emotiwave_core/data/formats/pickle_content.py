"""Layout of the data sets in one pickle, by MMSA and MMSA-FET, and by MultiBench and the Multimodal Transformer.

{train, valid, test: {id, text, audio, vision, …}}, of which each part is an array [N, T, F], or N arrays [T, F].
MMSA (`aligned_50.pkl`, `unaligned_50.pkl`) has ids `VIDEO$_$CLIP`, `audio_lengths` and `vision_lengths`, and labels as
`regression_labels`, `classification_labels` and `annotations`; MultiBench (`mosei_senti_data.pkl`, `mosei_raw.pkl`) has
ids [N, 3] of video, start and end, and `labels` [N, 1, 1] or [N, 1, 7].
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emotiwave_core.data.formats.pickle_files import PickledArray, value_of_pickle
from emotiwave_core.data.formats.reader import split_key
from emotiwave_core.errors import DataError, short
from emotiwave_core.io.untrusted import open_file, why

FOLDS = {"train": "train", "valid": "valid", "val": "valid", "dev": "valid", "test": "test"}
MODALITIES = {"text": "text", "audio": "audio", "vision": "visual", "visual": "visual"}
LABELS = ("regression_labels", "labels", "classification_labels", "annotations")
LABELS_OF_ONE = ("regression_labels_T", "regression_labels_A", "regression_labels_V")
GROUP = "$_$"  # between the video and the clip in an id of MMSA
HEADS = tuple(b"\x80" + bytes([protocol]) for protocol in (2, 3, 4, 5))

Table = dict[str, Any]


class Clip(NamedTuple):
    """The place of a clip in a pickle."""

    fold: str
    row: int


class PickleContent:
    """All of a pickle that is looked at once: its tables by fold, and the clips by key."""

    def __init__(self, path: Path, root: Any) -> None:
        self.path = path
        self.tables = _tables(path, root)
        first = next(iter(self.tables.values()))
        self.modalities = [part for part in MODALITIES if any(part in table for table in self.tables.values())]
        self.labels = [part for part in (*LABELS, *LABELS_OF_ONE) if part in first]
        self.rows = {fold: _rows(path, fold, table) for fold, table in self.tables.items()}
        self.notes: list[str] = []
        self.clips: dict[str, Clip] = {}
        self.bounds: dict[str, dict[str, tuple[int, int]]] = {}
        self._lengths: dict[str, Sequence[Any]] = {}
        with opened(path) as file:
            self._name_clips(file)
        self.folds = {
            fold: tuple(dict.fromkeys(split_key(key)[0] for key, clip in self.clips.items() if clip.fold == fold))
            for fold in self.tables
        }

    def _name_clips(self, file: BinaryIO) -> None:
        """Give each clip its key: the id that the file has for it, numbered where the file has it twice."""
        ids = {fold: self._ids(file, fold) for fold in self.tables}
        videos = Counter(video for names in ids.values() for video in {split_key(name)[0] for name in names})
        twice = 0
        for fold, names in ids.items():
            for row, name in enumerate(names):
                video, number = split_key(name)
                key = f"{video}{GROUP}{number}" if number is not None and videos[video] > 1 else name
                count = 1
                while key in self.clips:
                    count += 1
                    key = f"{name}#{count}"
                twice += count > 1
                self.clips[key] = Clip(fold, row)
        if twice:
            self.notes.append(f"{twice} ids stand in the file twice; the second of each is called `ID#2`.")

    def _ids(self, file: BinaryIO, fold: str) -> list[str]:
        """The ids of a fold. Of MultiBench's (video, start, end) the clips of a video are numbered by their start."""
        if "id" not in self.tables[fold]:
            return [f"{fold}_{row}" for row in range(self.rows[fold])]
        try:
            items = read_items(self.tables[fold]["id"], file)
            if all(isinstance(item, str | bytes) for item in items):
                return texts(items)
            fields = [texts([plain(field) for field in _flat(item)]) for item in items]
            if not all(fields):
                raise ValueError("an id in it is empty")
        except (OSError, ValueError) as error:
            raise unusable(self.path, error) from error
        if all(len(row) == 1 for row in fields):
            return [row[0] for row in fields]
        by_video: dict[str, list[tuple[float, int]]] = {}
        for row, (video, *times) in enumerate(fields):
            by_video.setdefault(video, []).append((_number(times), row))
        places = {row: k for clips in by_video.values() for k, (_, row) in enumerate(sorted(clips))}
        return [f"{row[0]}{GROUP}{places[number]}" for number, row in enumerate(fields)]

    def length(self, file: BinaryIO, clip: Clip, part: str) -> int | None:
        """The steps of a clip in a modality, where the file tells them: in numbers, or of words as a mask for BERT."""
        table = self.tables[clip.fold]
        name = f"{clip.fold}.{part}"
        if name not in self._lengths:
            try:
                self._lengths[name] = _lengths(file, table, part)
            except (OSError, ValueError) as error:
                raise unusable(self.path, error) from error
        known = self._lengths[name]
        return int(known[clip.row]) if clip.row < len(known) else None


@lru_cache(maxsize=2)
def _parsed(path: Path, size: int, changed: int) -> PickleContent:
    try:
        with open_file(path) as file:
            root = value_of_pickle(file, size)
    except (OSError, ValueError) as error:
        raise unusable(path, error) from error
    return PickleContent(path, root)


def content_of(path: Path) -> PickleContent:
    """The content of a pickle, read once for as long as it stays as it is."""
    if not path.is_file():
        raise DataError(f"{path}: there is no such file.")
    status = path.stat()
    return _parsed(path, status.st_size, status.st_mtime_ns)


def opened(path: Path) -> BinaryIO:
    """Open a file to read it. DataError where the system does not."""
    try:
        return path.open("rb")
    except OSError as error:
        raise unusable(path, error) from error


def unusable(path: Path, error: Exception) -> DataError:
    """The error for a file that cannot be read, or that holds what it should not."""
    if isinstance(error, UnicodeError):
        return DataError(f"{path} cannot be used: a text in it is damaged, fetch it again.")
    return DataError(f"{path} cannot be used: {why(error)}.")


def _tables(path: Path, root: Any) -> dict[str, Table]:
    """The tables of the folds, or the one table of a file without folds."""
    if not isinstance(root, dict):
        raise DataError(f"{path} holds no table with train, valid and test, as the pickles of MMSA and MultiBench do.")
    folds = {FOLDS[name]: table for name, table in root.items() if name in FOLDS and isinstance(table, dict)}
    tables: dict[str, Table] = {fold: folds[fold] for fold in ("train", "valid", "test") if fold in folds}
    if not tables and any(part in root for part in MODALITIES):
        tables = {"all": root}
    if not tables or not any(part in table for table in tables.values() for part in MODALITIES):
        raise DataError(
            f"{path} holds the tables {short(list(root))}; needed are train, valid and test with "
            f"{', '.join(MODALITIES)} in them, as in the pickles of MMSA and MultiBench."
        )
    return tables


def _rows(path: Path, fold: str, table: Table) -> int:
    """The clips of a fold. DataError where it does not tell."""
    parts = [part for part in ("id", *MODALITIES) if part in table]
    if not parts:
        raise DataError(f"{path}: '{fold}' has neither ids nor features.")
    return count_of(table[parts[0]])


def count_of(value: Any) -> int:
    """The number of entries of an array or a list, 0 for anything else."""
    if isinstance(value, PickledArray):
        return value.shape[0] if value.shape else 0
    return len(value) if isinstance(value, list | tuple) else 0


def is_one_array(value: Any) -> bool:
    """True for numbers of all clips in one array, and not an array or a list of arrays."""
    return isinstance(value, PickledArray) and not isinstance(value.data, list)


def clips_of(value: Any) -> Sequence[Any]:
    """The entries of a list, or of an array of objects."""
    if isinstance(value, PickledArray):
        assert isinstance(value.data, list)
        return value.data
    return value if isinstance(value, list | tuple) else ()


def read_items(value: Any, file: BinaryIO) -> Sequence[Any]:
    """The entries of an array or a list, each as Python has it."""
    if isinstance(value, PickledArray):
        if not value.shape:
            raise ValueError("it has something else in the place of a list")
        return list(value.values(file))
    if not isinstance(value, list | tuple):
        raise ValueError("it has something else in the place of a list")
    return [item.values(file) if isinstance(item, PickledArray) else item for item in value]


def _lengths(file: BinaryIO, table: Table, part: str) -> Sequence[Any]:
    if f"{part}_lengths" in table:
        try:
            return [int(row_of_numbers(item)[0]) for item in read_items(table[f"{part}_lengths"], file)]
        except (ValueError, OverflowError, IndexError) as error:
            raise ValueError(f"'{part}_lengths' holds something else than numbers") from error
    tokens = table.get("text_bert")  # [N, 3, T]: the tokens, 1 where there is one, their segment
    if part != "text" or not isinstance(tokens, PickledArray) or not is_one_array(tokens):
        return ()
    if len(tokens.shape) != 3 or tokens.shape[1] != 3 or tokens.shape[::2] != table[part].shape[:2]:
        return ()
    return [int(count) for count in np.count_nonzero(tokens.values(file)[:, 1], axis=1)]


def without_padding(values: NDArray[np.float32], length: int | None) -> tuple[int, int]:
    """The steps [T, F] that are no padding of zeros, which stands behind them or, in MulT's files, before them."""
    filled = np.flatnonzero((values != 0).any(axis=1))
    if not len(filled):
        return 0, len(values)  # it holds nothing, which is told of when it is packed
    first, last = int(filled[0]), int(filled[-1]) + 1
    if length is None:
        return first, last
    length = min(max(length, 1), len(values))
    return (
        (len(values) - length, len(values))
        if last > length and first >= len(values) - length
        else (0, max(length, last))
    )


def _flat(item: Any) -> Iterator[Any]:
    """The fields of an id that is an array or a list of some."""
    if isinstance(item, np.ndarray):
        yield from item.reshape(-1).tolist()
    elif isinstance(item, list | tuple):
        yield from item
    else:
        yield item


def plain(value: Any) -> Any:
    """A value that can be a key: a number or a text."""
    if isinstance(value, np.generic | np.ndarray) and value.size == 1:
        value = value.item()
    return value if isinstance(value, str | int | float | bytes) else short(value)


def texts(items: Sequence[Any]) -> list[str]:
    """Each as a text. ValueError for what is neither text nor number."""
    if not all(isinstance(item, str | bytes | int | float) for item in items):
        raise ValueError("it has something else in the place of texts")
    return [item.decode("utf-8") if isinstance(item, bytes) else str(item) for item in items]


def _number(texts: Sequence[str]) -> float:
    """The first of some texts as a number, 0 where it is none."""
    try:
        return float(texts[0])
    except (ValueError, IndexError):
        return 0.0


def row_of_numbers(item: Any) -> list[float]:
    """The labels of a clip, in whatever it is wrapped. ValueError where they are no row of numbers."""
    if item is None:
        return [math.nan]
    if isinstance(item, np.ndarray | np.generic):
        if item.dtype.kind not in "fiub" or item.size != (item.shape or (1,))[-1]:
            raise ValueError(f"holds {item.dtype} of {list(item.shape)}, not a row of numbers")
        return [float(number) for number in item.reshape(-1)]
    numbers = item if isinstance(item, list | tuple) else [item]
    if not all(isinstance(number, int | float) for number in numbers):
        raise ValueError("holds something else than numbers")
    return [float(number) for number in numbers]
