"""Samples: labelled segments of videos, or whole videos, and the steps of a sequence that belong to them."""

from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import numpy as np
from numpy.typing import NDArray

from emotiwave_core.data.dataset import Dataset
from emotiwave_core.data.formats.reader import open_reader, split_key
from emotiwave_core.data.prepare.labels import NO_COLUMNS, LabelColumns, label_columns
from emotiwave_core.data.prepare.options import Unit
from emotiwave_core.errors import DataError

LATEST = 1e9  # seconds, which are 31 years: what a file has beyond it is damage, and float32 would not hold it

Times = float | NDArray[np.float64]


class _Row(NamedTuple):
    id: str
    video: str
    interval: NDArray[np.float64]  # [2]
    labels: NDArray[np.float32]  # [C]


@attrs.frozen(eq=False)
class Samples:
    """The samples of a data set, N of them in the order of their video ids."""

    # `video[k]` for segments, k counting the rows of the label file; `video` for videos, and for entries without labels
    ids: tuple[str, ...]
    videos: tuple[str, ...]
    intervals: NDArray[np.float64]  # [N, 2] seconds
    labels: NDArray[np.float32]  # [N, C] intensities, in the order of columns.targets
    columns: LabelColumns
    notes: tuple[str, ...] = ()

    def take(self, rows: NDArray[np.intp]) -> "Samples":
        """Some of the samples."""
        return attrs.evolve(
            self,
            ids=tuple(self.ids[row] for row in rows),
            videos=tuple(self.videos[row] for row in rows),
            intervals=self.intervals[rows],
            labels=self.labels[rows],
        )


def read_samples(dataset: Dataset, unit: Unit) -> Samples:
    """All samples: the rows of the label file, or, where there is none, the entries of the feature files.

    A row with a label or a bound that is not a number is left out, and said in `notes`. Of a data set without targets
    the labels are not read, and are [N, 0].
    """
    if dataset.labels is None:
        by_video, columns, notes = _read_entries(dataset)
    else:
        by_video, columns, notes = _read_labels(dataset.labels, dataset)
    rows = [row for video in sorted(by_video) for row in by_video[video]]
    if unit == "video":
        rows = [_whole(by_video[video]) for video in sorted(by_video)]
    if not rows:
        wanted = f"{dataset.labels} holds no label row" if dataset.labels else f"{dataset.folder} holds no entry"
        raise DataError(" ".join([f"{wanted} that can be used.", *notes]))
    if len({row.id for row in rows}) != len(rows):
        raise DataError(f"{dataset.labels} labels a segment twice: it holds an id both whole and as `id[0]`.")
    return Samples(
        ids=tuple(row.id for row in rows),
        videos=tuple(row.video for row in rows),
        intervals=np.stack([row.interval for row in rows]),
        labels=np.stack([row.labels for row in rows]),
        columns=columns,
        notes=columns.notes + notes,
    )


def _read_labels(path: Path, dataset: Dataset) -> tuple[dict[str, list[_Row]], LabelColumns, tuple[str, ...]]:
    """The rows of a label file by video, the columns that are targets, and notes on the rows that are left out."""
    by_video: dict[str, list[_Row]] = defaultdict(list)
    left_out = far = 0
    with open_reader(path) as file:
        columns = NO_COLUMNS if dataset.targets == () else label_columns(dataset, file)
        for video, keys in entries_by_video(file.keys).items():
            if video in keys and len(keys) > 1:
                raise DataError(f"{file.path} labels a segment twice: it holds {video!r} whole and as {keys[-1]!r}.")
            for key in keys:
                if columns.targets:
                    features, intervals = file.read(key)
                    row_labels = features[:, columns.indices]
                else:
                    intervals = file.intervals(key)
                    row_labels = np.empty((len(intervals), 0), dtype=np.float32)
                finite = np.isfinite(row_labels).all(axis=1) & np.isfinite(intervals).all(axis=1)
                usable = finite & _are_times(intervals)
                left_out += int((~finite).sum())
                far += int((finite & ~usable).sum())
                number = split_key(key)[1]
                for row in np.flatnonzero(usable):
                    name = key if number is not None and len(usable) == 1 else f"{key}[{row}]"
                    by_video[video].append(_Row(name, video, np.sort(intervals[row]), row_labels[row]))
    notes: tuple[str, ...] = ()
    if left_out:
        notes += (f"{left_out} label rows hold a NaN or an infinity and are left out.",)
    if far:
        notes += (f"{far} label rows have times beyond {LATEST:.0e} s and are left out.",)
    return by_video, columns, notes


def _read_entries(dataset: Dataset) -> tuple[dict[str, list[_Row]], LabelColumns, tuple[str, ...]]:
    """The entries of all feature files by video, as rows without labels.

    An entry goes from its first moment to its last one in any modality. Where a video stands in one file whole and in
    another by segments, the segments are its rows.
    """
    times: dict[str, NDArray[np.float64]] = {}  # {entry: its first and its last moment}
    timeless: set[str] = set()
    for path in dataset.modalities.values():
        with open_reader(path) as file:
            for key in file.keys:
                intervals = file.intervals(key)
                intervals = intervals[_are_times(intervals)]
                if not len(intervals):
                    timeless.add(key)
                    continue
                own = np.array([intervals.min(), intervals.max()])
                start, end = times.get(key, own)
                times[key] = np.array([min(start, own[0]), max(end, own[1])])
    by_video: dict[str, list[_Row]] = {}
    for video, keys in entries_by_video(tuple(times)).items():
        segments = [key for key in keys if key != video] or keys
        by_video[video] = [_Row(key, video, times[key], np.empty(0, dtype=np.float32)) for key in segments]
    count = len(timeless - set(times))
    notes = (f"{count} entries have no step with a time that can be used, and are left out.",) if count else ()
    return by_video, NO_COLUMNS, notes


def _whole(rows: list[_Row]) -> _Row:
    """The segments of a video as one: the mean of their labels."""
    intervals = np.stack([row.interval for row in rows])
    labels = np.stack([row.labels for row in rows]).mean(axis=0, dtype=np.float64).astype(np.float32)
    return _Row(rows[0].video, rows[0].video, np.array([intervals[:, 0].min(), intervals[:, 1].max()]), labels)


def entries_by_video(keys: tuple[str, ...]) -> dict[str, list[str]]:
    """The entries of each video: its id alone, or `id[0]`, `id[1]`, … in numerical order."""
    entries: dict[str, list[str]] = defaultdict(list)
    for key in keys:
        entries[split_key(key)[0]].append(key)
    return {video: sorted(names, key=lambda name: split_key(name)[1] or 0) for video, names in entries.items()}


def in_time_order(intervals: NDArray[np.float64]) -> NDArray[np.intp]:
    """The steps whose bounds are times, by their start (stable)."""
    finite = np.flatnonzero(_are_times(intervals))
    return finite[np.argsort(intervals[finite, 0], kind="stable")]


def _are_times(intervals: NDArray[np.float64]) -> NDArray[np.bool_]:
    """True for each interval of [T, 2] whose bounds can be seconds of a video, [T]."""
    return np.asarray((np.abs(intervals) <= LATEST).all(axis=1))  # of NaN, nothing is so


class InTimeOrder:
    """Steps [T, 2] sorted once, to be cut by many segments. `order` are the finite ones, by their start."""

    def __init__(self, intervals: NDArray[np.float64]) -> None:
        self.order = in_time_order(intervals)
        self.low, self.high = bounds(intervals[self.order]).T
        # Both only grow, whatever the steps: the latest end so far, and the earliest bound from here on.
        self._reach = np.maximum.accumulate(self.high)
        self._ahead = np.minimum.accumulate(self.low[::-1])[::-1]

    def near(self, start: Times, end: Times) -> tuple[Any, Any]:
        """First and last + 1 of the places in `order` where a step can belong to [start, end); some do not.

        What comes before ends before `start`, and what comes after starts after `end`.
        """
        return np.searchsorted(self._reach, start, side="left"), np.searchsorted(self._ahead, end, side="right")

    def cut(self, start: float, end: float) -> NDArray[np.intp]:
        """As the function `cut`."""
        near = slice(*self.near(start, end))
        return np.asarray(self.order[near][overlap(self.low[near], self.high[near], start, end)])


def cut(intervals: NDArray[np.float64], start: float, end: float) -> NDArray[np.intp]:
    """The steps that belong to [start, end), in time order.

    A step belongs when it overlaps the segment for some time, as in the CMU-MultimodalSDK's align. A step or segment
    of zero length is an instant: it belongs when it lies in the other's [start, end), or both are the same instant.
    """
    return InTimeOrder(intervals).cut(start, end)


def bounds(intervals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intervals [T, 2] with those put right that are reversed."""
    first, second = intervals[:, 0], intervals[:, 1]
    return np.stack([np.minimum(first, second), np.maximum(first, second)], axis=1)


def overlap(low: Times, high: Times, start: Times, end: Times) -> NDArray[np.bool_]:
    """True where steps from `low` to `high` belong to [start, end), as `cut` says; all four are broadcast."""
    instant = (low == high) & (low >= start) & ((low < end) | (start == end) & (low == start))
    belongs = (low < end) & (high > start) | instant | (start == end) & (low <= start) & (high > start)
    return np.asarray(belongs)


def entries_of(keys: Collection[str], sample: str, unit: Unit) -> tuple[tuple[str, ...], bool]:
    """The entries, among those of a video, that hold a sample, and whether they hold nothing else.

    In a file aligned to segments the entry `id[3]` is the sample `id[3]`, whole, and a sample without an entry is
    missing (its neighbours overlap it); elsewhere a segment is a part of the entry that its label row is of. A video
    is all of its entries.
    """
    if unit == "video":
        return tuple(keys), True
    labelled = split_key(sample)[0]
    if sample in keys or labelled not in keys:
        return ((sample,) if sample in keys else ()), True
    return (labelled,), False


def places(
    entries: dict[str, NDArray[np.float64]], samples: Samples, rows: range, unit: Unit
) -> Iterator[tuple[int, slice, bool]]:
    """Of each sample of one video that has an entry: where that lies among all entries put end to end.

    With it whether the entry is the sample, whole, or holds more. entries {key: intervals [T, 2]}.
    """
    ends = np.cumsum([len(intervals) for intervals in entries.values()]).tolist()
    spans = {key: slice(end - len(entries[key]), end) for key, end in zip(entries, ends, strict=True)}
    for row in rows:
        names, whole = entries_of(entries, samples.ids[row], unit)
        if names:
            yield row, slice(spans[names[0]].start, spans[names[-1]].stop), whole


def cut_samples(
    entries: dict[str, NDArray[np.float64]], samples: Samples, rows: range, unit: Unit
) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """The steps of each sample of one video that has an entry, as rows of all entries put end to end."""
    every = end_to_end(entries)
    sorted_steps: dict[tuple[int, int], InTimeOrder] = {}  # of each entry: a video has many segments
    for row, steps, whole in places(entries, samples, rows, unit):
        span = (steps.start, steps.stop)
        if span not in sorted_steps:
            sorted_steps[span] = InTimeOrder(every[steps])
        in_order = sorted_steps[span]
        yield row, steps.start + (in_order.order if whole else in_order.cut(*samples.intervals[row]))


def end_to_end(entries: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """The intervals of all entries as one array [T, 2]."""
    return np.concatenate([np.empty((0, 2)), *entries.values()])
