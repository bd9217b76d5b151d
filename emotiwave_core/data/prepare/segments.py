"""Samples: labelled segments of videos, or whole videos, and the steps of a sequence that belong to them."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain, groupby, pairwise, repeat
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
MOST_PAIRS = 1 << 18  # of a step and a segment that may overlap, looked at together: some 30 MB
MOST_SAMPLES = 1 << 13  # of one video, looked at together

Times = float | NDArray[np.float64]


class _Rows(NamedTuple):
    """The n labelled rows of one video: of a long recording there are millions, so they stand in arrays."""

    ids: list[str]
    intervals: NDArray[np.float64]  # [n, 2]
    labels: NDArray[np.float32]  # [n, C]


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
        if np.array_equal(rows, np.arange(len(self.ids))):
            return self
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
    rows = {
        video: by_video[video] if unit == "segment" else _whole(video, by_video[video]) for video in sorted(by_video)
    }
    ids = tuple(chain.from_iterable(own.ids for own in rows.values()))
    if not ids:
        wanted = f"{dataset.labels.path} holds no label row" if dataset.labels else f"{dataset.folder} holds no entry"
        raise DataError(" ".join([f"{wanted} that can be used.", *notes]))
    if len(set(ids)) != len(ids):
        path = dataset.labels and dataset.labels.path
        raise DataError(f"{path} labels a segment twice: it holds an id both whole and as `id[0]`.")
    videos = tuple(chain.from_iterable(repeat(video, len(own.ids)) for video, own in rows.items()))
    groups, group_notes = _groups(videos, dataset, told)
    if wrong := [name for name in (*videos, *(groups or ())) if "\0" in name]:  # which NumPy takes for another's
        raise DataError(f"{dataset.name} has the id or group {short(wrong[0])}, which holds a zero byte: rename it.")
    return Samples(
        ids=ids,
        videos=videos,
        intervals=np.concatenate([own.intervals for own in rows.values()]),
        labels=np.concatenate([own.labels for own in rows.values()]),
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
) -> tuple[dict[str, _Rows], LabelColumns, tuple[str, ...], Mapping[str, str]]:
    """The rows of a label file by video, the columns that are targets, notes on what is left out, and the groups.

    A row of a file without times is a whole entry, and its interval is NaN until the features tell it.
    """
    by_video: dict[str, _Rows] = {}
    left_out = far = 0
    with open_reader(source) as file:
        entries = _by_key(file, with_labels=dataset.targets != ())
        every = np.concatenate([values for values, _ in entries.values()])
        columns = NO_COLUMNS if dataset.targets == () else label_columns(dataset, file, every)
        for video, keys in entries_by_video(file.keys).items():
            if video in keys and len(keys) > 1:
                raise DataError(f"{file.path} labels a segment twice: it holds {video!r} whole and as {keys[-1]!r}.")
            pieces = []
            for key in keys:
                values, intervals = entries[key]
                row_labels = columns.values(values) if columns.targets else values
                finite = np.isfinite(row_labels).all(axis=1)
                finite &= np.isfinite(intervals).all(axis=1) | (not file.has_times)
                usable = finite & (are_times(intervals) | (not file.has_times))
                left_out += int((~finite).sum())
                far += int((finite & ~usable).sum())
                is_one = len(usable) == 1 and (split_key(key)[1] is not None or not file.has_times)
                names = [key if is_one else f"{key}[{row}]" for row in np.flatnonzero(usable).tolist()]
                pieces.append(_Rows(names, np.sort(intervals[usable], axis=1), row_labels[usable]))
            if any(piece.ids for piece in pieces):
                by_video[video] = pieces[0] if len(pieces) == 1 else _joined(pieces)
        groups, notes = dict(file.groups), file.notes
    if left_out:
        notes += (f"{left_out} label rows hold a NaN, an infinity or no class, and are left out.",)
    if far:
        notes += (f"{far} label rows have times beyond {LATEST:.0e} s and are left out.",)
    return by_video, columns, notes, groups


def _joined(pieces: Sequence[_Rows]) -> _Rows:
    ids, intervals, labels = zip(*pieces, strict=True)
    return _Rows(list(chain.from_iterable(ids)), np.concatenate(intervals), np.concatenate(labels))


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


def _read_entries(dataset: Dataset) -> tuple[dict[str, _Rows], LabelColumns, tuple[str, ...]]:
    """The entries of all feature files by video, as rows without labels.

    An entry goes from its first moment to its last one in any modality. Where a video stands in one file whole and in
    another by segments, the segments are its rows.
    """
    times, timeless = _entry_times(dataset)
    by_video: dict[str, _Rows] = {}
    for video, keys in entries_by_video(tuple(times)).items():
        segments = [key for key in keys if key != video] or keys
        intervals = np.stack([times[key] for key in segments])
        by_video[video] = _Rows(segments, intervals, np.empty((len(segments), 0), dtype=np.float32))
    count = len(timeless - set(times))
    notes = (f"{count} entries have no step with a time that can be used, and are left out.",) if count else ()
    return by_video, NO_COLUMNS, notes


def _with_times(by_video: dict[str, _Rows], dataset: Dataset) -> dict[str, _Rows]:
    """The rows, those of a label file without times with the first and the last moment of their entries."""
    if not any(np.isnan(rows.intervals).any() for rows in by_video.values()):
        return by_video
    times, _ = _entry_times(dataset)
    nothing = np.zeros(2)  # an id that no file has, and that is left out
    return {
        video: rows._replace(intervals=np.stack([times.get(name, nothing) for name in rows.ids]))
        for video, rows in by_video.items()
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


def _whole(video: str, rows: _Rows) -> _Rows:
    """The segments of a video as one: the mean of their labels."""
    labels = rows.labels.mean(axis=0, keepdims=True, dtype=np.float64).astype(np.float32)
    return _Rows([video], np.array([[rows.intervals[:, 0].min(), rows.intervals[:, 1].max()]]), labels)


def entries_by_video(keys: tuple[str, ...]) -> dict[str, list[str]]:
    """The entries of each video: its id alone, or `id[0]`, `id[1]`, … in numerical order."""
    entries: dict[str, list[str]] = defaultdict(list)
    for key in keys:
        entries[split_key(key)[0]].append(key)
    return {video: sorted(names, key=lambda name: split_key(name)[1] or 0) for video, names in entries.items()}


def in_time_order(intervals: NDArray[np.float64]) -> NDArray[np.intp]:
    """The steps whose bounds are times, by their start (stable)."""
    usable = are_times(intervals)
    if usable.all() and _grows(intervals[:, 0]):
        return np.arange(len(intervals))
    finite = np.flatnonzero(usable)
    return finite[np.argsort(intervals[finite, 0], kind="stable")]


def are_times(intervals: NDArray[np.float64]) -> NDArray[np.bool_]:
    """True for each interval of [T, 2] whose bounds can be seconds of a video, [T]."""
    return np.asarray(((intervals <= LATEST) & (intervals >= -LATEST)).all(axis=1))  # of NaN, nothing is so


class InTimeOrder:
    """Steps [T, 2] sorted once, to be cut by many segments. `order` are the finite ones, by their start."""

    def __init__(self, intervals: NDArray[np.float64]) -> None:
        self.order = in_time_order(intervals)
        is_sorted = len(self.order) == len(intervals) and _grows(self.order)
        self.low, self.high = bounds(
            intervals if is_sorted else intervals[self.order]
        ).T  # views where nothing is moved
        # Both only grow, whatever the steps: the latest end so far, and the earliest bound from here on.
        self._reach = self.high if _grows(self.high) else np.maximum.accumulate(self.high)
        self._ahead = self.low if _grows(self.low) else np.minimum.accumulate(self.low[::-1])[::-1]

    def near(self, start: Times, end: Times) -> tuple[Any, Any]:
        """First and last + 1 of the places in `order` where a step can belong to [start, end); some do not.

        What comes before ends before `start`, and what comes after starts after `end`.
        """
        return np.searchsorted(self._reach, start, side="left"), np.searchsorted(self._ahead, end, side="right")

    def cut(self, start: float, end: float) -> NDArray[np.intp]:
        """As the function `cut`."""
        near = slice(*self.near(start, end))
        return np.asarray(self.order[near][overlap(self.low[near], self.high[near], start, end)])

    def cut_each(self, segments: NDArray[np.float64]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """As `cut` by each of some segments [n, 2], in parts: their steps one after the other, and how many each has.

        A part is of segments that follow one another.
        """
        first, last = self.near(*segments.T)
        counts = np.maximum(last - first, 0)
        for part in parts(counts, MOST_PAIRS):
            own = counts[part]
            segment = np.repeat(np.arange(part.start, part.stop), own)
            place = np.arange(len(segment)) + np.repeat(first[part] - (np.cumsum(own) - own), own)
            belongs = overlap(self.low[place], self.high[place], segments[segment, 0], segments[segment, 1])
            yield self.order[place[belongs]], np.bincount(segment[belongs] - part.start, minlength=len(own))


def _grows(numbers: NDArray[Any]) -> bool:
    return bool((numbers[1:] >= numbers[:-1]).all())


def parts(counts: NDArray[np.intp], most: int) -> Iterator[slice]:
    """Things of so many rows each [n], cut into parts of about `most` rows, of one thing at least."""
    number = np.cumsum(counts) // most
    edges = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(counts)]
    return (slice(start, end) for start, end in pairwise(edges))


def cut(intervals: NDArray[np.float64], start: float, end: float) -> NDArray[np.intp]:
    """The steps that belong to [start, end), in time order.

    A step belongs when it overlaps the segment for some time, as in the CMU-MultimodalSDK's align. A step or segment
    of zero length is an instant: it belongs when it lies in the other's [start, end), or both are the same instant.
    """
    return InTimeOrder(intervals).cut(start, end)


def bounds(intervals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intervals [T, 2] with those put right that are reversed; the same array where none is."""
    first, second = intervals[:, 0], intervals[:, 1]
    if (first <= second).all():
        return intervals
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


class Cut(NamedTuple):
    """The steps of n samples of one video, one sample after the other, as rows of all entries put end to end."""

    samples: NDArray[np.intp]  # [n], their numbers
    rows: NDArray[np.intp]  # [P]
    counts: NDArray[np.intp]  # [n], how many of the rows are each one's
    whole: NDArray[np.bool_]  # [n], whether an entry is the sample, whole


class HeldBy(NamedTuple):
    """Samples of one video that follow one another and are held by the same entries."""

    rows: range  # their numbers
    entries: slice  # where these lie among all entries put end to end
    whole: bool  # whether they are the sample, and hold nothing else


def places(
    entries: dict[str, NDArray[np.float64]], samples: Samples, rows: range, unit: Unit, has_times: bool = True
) -> Iterator[HeldBy]:
    """The places of the samples of one video that have an entry. entries {key: intervals [T, 2]}."""
    ends = np.cumsum([len(intervals) for intervals in entries.values()]).tolist()
    spans = {key: slice(end - len(entries[key]), end) for key, end in zip(entries, ends, strict=True)}
    held = ((row, *entries_of(entries, samples.ids[row], unit, has_times)) for row in rows)
    # A sample's number less its place in the loop stays the same while no sample is passed over.
    alike = groupby(enumerate(each for each in held if each[1]), lambda each: (each[1][0] - each[0], *each[1][1:]))
    for (_, names, whole), own in alike:
        numbers = [row for _, (row, _, _) in own]
        entry = slice(spans[names[0]].start, spans[names[-1]].stop)
        yield HeldBy(range(numbers[0], numbers[-1] + 1), entry, whole)


def cut_samples(
    entries: dict[str, NDArray[np.float64]], samples: Samples, rows: range, unit: Unit, has_times: bool = True
) -> Iterator[Cut]:
    """The steps of each sample of one video that has an entry, in parts of bounded size (but for a large sample)."""
    every = end_to_end(entries)
    last, steps = slice(0, 0), InTimeOrder(every[:0])  # sorted once for all the segments of an entry, which follow
    waiting, size = list[Cut](), 0
    for start in range(rows.start, rows.stop, MOST_SAMPLES):
        part = range(start, min(start + MOST_SAMPLES, rows.stop))
        for numbers, entry, whole in places(entries, samples, part, unit, has_times):
            if entry != last:
                last, steps = entry, InTimeOrder(every[entry])
            for cut in _cut(steps, samples, numbers, entry.start, whole):
                waiting.append(cut)
                size += len(cut.rows) + len(cut.samples)
                if size > MOST_PAIRS:
                    yield joined(waiting)
                    waiting, size = [], 0
    if waiting:
        yield joined(waiting)


def _cut(steps: InTimeOrder, samples: Samples, rows: range, first: int, whole: bool) -> Iterator[Cut]:
    """The steps of samples whose entries begin at the row `first`."""
    numbers = np.arange(rows.start, rows.stop)
    if whole:
        own = steps.order + first if first else steps.order
        for number in numbers:
            yield Cut(np.array([number]), own, np.array([len(own)]), np.ones(1, dtype=bool))
        return
    done = 0
    for own, counts in steps.cut_each(samples.intervals[rows.start : rows.stop]):
        yield Cut(numbers[done : done + len(counts)], own + first, counts, np.zeros(len(counts), dtype=bool))
        done += len(counts)


def joined(cuts: Sequence[Cut]) -> Cut:
    """Several as one."""
    return cuts[0] if len(cuts) == 1 else Cut(*map(np.concatenate, zip(*cuts, strict=True)))


def end_to_end(entries: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """The intervals of all entries as one array [T, 2]."""
    return next(iter(entries.values())) if len(entries) == 1 else np.concatenate([np.empty((0, 2)), *entries.values()])
