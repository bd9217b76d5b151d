"""Samples: labelled segments of videos, or whole videos, and the steps of a sequence that belong to them."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import attrs
import numpy as np
from numpy.typing import NDArray

from emotiwave_core.data.dataset import Dataset, Groups
from emotiwave_core.data.formats.reader import Reader, Source, open_reader, split_key
from emotiwave_core.data.prepare.labels import NO_COLUMNS, LabelColumns, label_columns
from emotiwave_core.data.prepare.options import Unit
from emotiwave_core.errors import DataError, short

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
    labels: NDArray[np.float32]  # [N, C], in the order of columns.targets
    columns: LabelColumns
    groups: tuple[str, ...] | None = None  # of each sample; None where nothing tells any
    notes: tuple[str, ...] = ()

    def take(self, rows: NDArray[np.intp]) -> "Samples":
        """Some of the samples."""
        return attrs.evolve(
            self,
            ids=tuple(self.ids[row] for row in rows),
            videos=tuple(self.videos[row] for row in rows),
            intervals=self.intervals[rows],
            labels=self.labels[rows],
            groups=self.groups and tuple(self.groups[row] for row in rows),
        )


def read_samples(dataset: Dataset, unit: Unit) -> Samples:
    """All samples: the rows of the label file, or, where there is none, the entries of the feature files.

    A row with a label or a bound that is not a number is left out, and said in `notes`. Of a data set without targets
    the labels are not read, and are [N, 0].
    """
    told: Mapping[str, str] = {}
    if dataset.labels is None:
        by_video, columns, notes = _read_entries(dataset)
    else:
        by_video, columns, notes, told = _read_labels(dataset.labels, dataset)
        by_video = _with_times(by_video, dataset)
    rows = [row for video in sorted(by_video) for row in by_video[video]]
    if unit == "video":
        rows = [_whole(by_video[video]) for video in sorted(by_video)]
    if not rows:
        wanted = f"{dataset.labels.path} holds no label row" if dataset.labels else f"{dataset.folder} holds no entry"
        raise DataError(" ".join([f"{wanted} that can be used.", *notes]))
    if len({row.id for row in rows}) != len(rows):
        path = dataset.labels and dataset.labels.path
        raise DataError(f"{path} labels a segment twice: it holds an id both whole and as `id[0]`.")
    groups, group_notes = _groups([row.video for row in rows], dataset, told)
    return Samples(
        ids=tuple(row.id for row in rows),
        videos=tuple(row.video for row in rows),
        intervals=np.stack([row.interval for row in rows]),
        labels=np.stack([row.labels for row in rows]),
        columns=columns,
        groups=groups,
        notes=columns.notes + notes + group_notes,
    )


def _groups(
    videos: Sequence[str], dataset: Dataset, told: Mapping[str, str]
) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """The group of each sample by its video, and a note on videos without one, which are groups of their own.

    They are those of [groups] in dataset.toml, else what the label file has `told`.
    """
    asked = dataset.groups
    if asked is not None and asked.source is not None:
        with open_reader(asked.source) as file:
            told = file.groups
        if not told:
            raise DataError(f"{asked.source.path} tells no groups: it needs a column `speaker` or `group`.")
    elif asked is not None:
        told = {video: group for video in set(videos) if (group := _field(video, asked)) is not None}
    if not told:
        if asked is not None:
            raise DataError(
                f"'groups.field' in dataset.toml is {asked.field}, and no id such as {short(videos[0])} has that many "
                f"fields between '{asked.separator}'."
            )
        return None, ()
    without = len(set(videos) - set(told))
    notes = (f"{without} videos have no group, and each is one of its own.",) if without else ()
    return tuple(told.get(video, video) for video in videos), notes


def _field(video: str, groups: Groups) -> str | None:
    """The field of an id that names its group, None where it has none."""
    fields = video.split(groups.separator)
    place = groups.field - 1 if groups.field > 0 else len(fields) + groups.field
    return fields[place] if 0 <= place < len(fields) else None


def _read_labels(
    source: Source, dataset: Dataset
) -> tuple[dict[str, list[_Row]], LabelColumns, tuple[str, ...], Mapping[str, str]]:
    """The rows of a label file by video, the columns that are targets, notes on what is left out, and the groups.

    A row of a file without times is a whole entry, and its interval is NaN until the features tell it.
    """
    by_video: dict[str, list[_Row]] = defaultdict(list)
    left_out = far = 0
    with open_reader(source) as file:
        entries = _by_key(file, with_labels=dataset.targets != ())
        every = np.concatenate([values for values, _ in entries.values()])
        columns = NO_COLUMNS if dataset.targets == () else label_columns(dataset, file, every)
        for video, keys in entries_by_video(file.keys).items():
            if video in keys and len(keys) > 1:
                raise DataError(f"{file.path} labels a segment twice: it holds {video!r} whole and as {keys[-1]!r}.")
            for key in keys:
                values, intervals = entries[key]
                row_labels = columns.values(values) if columns.targets else values
                finite = np.isfinite(row_labels).all(axis=1)
                finite &= np.isfinite(intervals).all(axis=1) | (not file.has_times)
                usable = finite & (are_times(intervals) | (not file.has_times))
                left_out += int((~finite).sum())
                far += int((finite & ~usable).sum())
                is_one = len(usable) == 1 and (split_key(key)[1] is not None or not file.has_times)
                for row in np.flatnonzero(usable):
                    name = key if is_one else f"{key}[{row}]"
                    by_video[video].append(_Row(name, video, np.sort(intervals[row]), row_labels[row]))
        groups, notes = dict(file.groups), file.notes
    if left_out:
        notes += (f"{left_out} label rows hold a NaN, an infinity or no class, and are left out.",)
    if far:
        notes += (f"{far} label rows have times beyond {LATEST:.0e} s and are left out.",)
    return by_video, columns, notes, groups


def _by_key(file: Reader, with_labels: bool) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float64]]]:
    """The rows [R, W] and intervals [R, 2] of each entry of a label file; without its labels [R, 0]."""
    if file.is_words and with_labels:
        raise DataError(f"{file.path} holds words, not labels: name the label file under [labels] in dataset.toml.")
    entries = {}
    for key in file.keys:
        intervals = file.intervals(key) if file.has_times else np.full((file.steps(key), 2), np.nan)
        values = file.features(key) if with_labels else np.empty((len(intervals), 0), dtype=np.float32)
        entries[key] = (values, intervals)
    return entries


def _read_entries(dataset: Dataset) -> tuple[dict[str, list[_Row]], LabelColumns, tuple[str, ...]]:
    """The entries of all feature files by video, as rows without labels.

    An entry goes from its first moment to its last one in any modality. Where a video stands in one file whole and in
    another by segments, the segments are its rows.
    """
    times, timeless = _entry_times(dataset)
    by_video: dict[str, list[_Row]] = {}
    for video, keys in entries_by_video(tuple(times)).items():
        segments = [key for key in keys if key != video] or keys
        by_video[video] = [_Row(key, video, times[key], np.empty(0, dtype=np.float32)) for key in segments]
    count = len(timeless - set(times))
    notes = (f"{count} entries have no step with a time that can be used, and are left out.",) if count else ()
    return by_video, NO_COLUMNS, notes


def _with_times(by_video: dict[str, list[_Row]], dataset: Dataset) -> dict[str, list[_Row]]:
    """The rows, those of a label file without times with the first and the last moment of their entries."""
    if not any(np.isnan(row.interval).any() for rows in by_video.values() for row in rows):
        return by_video
    times, _ = _entry_times(dataset)
    nothing = np.zeros(2)  # an id that no file has, and that is left out
    return {
        video: [row._replace(interval=times.get(row.id, nothing)) for row in rows] for video, rows in by_video.items()
    }


def _entry_times(dataset: Dataset) -> tuple[dict[str, NDArray[np.float64]], set[str]]:
    """The first and the last moment of each entry in any modality, and the entries without a time."""
    times: dict[str, NDArray[np.float64]] = {}
    timeless: set[str] = set()
    for source in dataset.modalities.values():
        with open_reader(source) as file:
            for key in file.keys:
                intervals = file.intervals(key)
                intervals = intervals[are_times(intervals)]
                if not len(intervals):
                    timeless.add(key)
                    continue
                own = np.array([intervals.min(), intervals.max()])
                start, end = times.get(key, own)
                times[key] = np.array([min(start, own[0]), max(end, own[1])])
    return times, timeless


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
    finite = np.flatnonzero(are_times(intervals))
    return finite[np.argsort(intervals[finite, 0], kind="stable")]


def are_times(intervals: NDArray[np.float64]) -> NDArray[np.bool_]:
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


def entries_of(keys: Collection[str], sample: str, unit: Unit, has_times: bool = True) -> tuple[tuple[str, ...], bool]:
    """The entries, among those of a video, that hold a sample, and whether they hold nothing else.

    In a file aligned to segments the entry `id[3]` is the sample `id[3]`, whole, and a sample without an entry is
    missing (its neighbours overlap it); elsewhere a segment is a part of the entry that its label row is of, or, where
    that has no times, all of it. A video is all of its entries.
    """
    if unit == "video":
        return tuple(keys), True
    labelled = split_key(sample)[0]
    if sample in keys or labelled not in keys:
        return ((sample,) if sample in keys else ()), True
    return (labelled,), not has_times


def places(
    entries: dict[str, NDArray[np.float64]], samples: Samples, rows: range, unit: Unit, has_times: bool = True
) -> Iterator[tuple[int, slice, bool]]:
    """Of each sample of one video that has an entry: where that lies among all entries put end to end.

    With it whether the entry is the sample, whole, or holds more. entries {key: intervals [T, 2]}.
    """
    ends = np.cumsum([len(intervals) for intervals in entries.values()]).tolist()
    spans = {key: slice(end - len(entries[key]), end) for key, end in zip(entries, ends, strict=True)}
    for row in rows:
        names, whole = entries_of(entries, samples.ids[row], unit, has_times)
        if names:
            yield row, slice(spans[names[0]].start, spans[names[-1]].stop), whole


def cut_samples(
    entries: dict[str, NDArray[np.float64]], samples: Samples, rows: range, unit: Unit, has_times: bool = True
) -> Iterator[tuple[int, NDArray[np.intp], bool]]:
    """The steps of each sample of one video that has an entry, as rows of all entries put end to end.

    With them whether the entry is the sample, whole.
    """
    every = end_to_end(entries)
    sorted_steps: dict[tuple[int, int], InTimeOrder] = {}  # of each entry: a video has many segments
    for row, steps, whole in places(entries, samples, rows, unit, has_times):
        span = (steps.start, steps.stop)
        if span not in sorted_steps:
            sorted_steps[span] = InTimeOrder(every[steps])
        in_order = sorted_steps[span]
        yield row, steps.start + (in_order.order if whole else in_order.cut(*samples.intervals[row])), whole


def end_to_end(entries: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """The intervals of all entries as one array [T, 2]."""
    return np.concatenate([np.empty((0, 2)), *entries.values()])
