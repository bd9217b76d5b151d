"""Alignment: which rows of a file are averaged into each step of a sample, and the averaging.

The steps of an aligned sample are the same in every modality: its words, or steps of a constant rate. Each is the plain
mean of all rows that overlap its whole interval, as the CMU-MultimodalSDK's `align` collapses them by average (Zadeh et
al. 2018). Unlike there, a word during which a modality has nothing is not dropped, but kept and marked.
"""

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import embedding_bag

from emotiwave_core.config.recipe import Align
from emotiwave_core.data.dataset import Dataset
from emotiwave_core.data.formats.reader import Reader, Source, open_reader
from emotiwave_core.data.prepare.options import Unit
from emotiwave_core.data.prepare.segments import (
    InTimeOrder,
    Samples,
    bounds,
    cut_samples,
    end_to_end,
    entries_by_video,
    overlap,
    places,
)
from emotiwave_core.errors import DataError, SettingsError

MOST_PAIRS = 1 << 20  # of a step and a row that may overlap it, looked at together: about 50 MB
NOTABLE = 0.01  # share of the rows that no step reads, above which it is said


class Steps(NamedTuple):
    """The T steps of a sample in one modality: the rows of a file that each is the mean of."""

    rows: NDArray[np.intp]  # [P], those of the first step, then those of the second, …
    counts: NDArray[np.intp]  # [T], how many each has; 0 where the modality has nothing
    times: NDArray[np.float64]  # [T, 2] seconds

    def first(self, count: int) -> "Steps":
        """The first steps alone."""
        return Steps(self.rows[: self.counts[:count].sum()], self.counts[:count], self.times[:count])

    def emptied(self) -> "Steps":
        """The same steps with nothing in any of them."""
        return Steps(self.rows[:0], np.zeros_like(self.counts), self.times)


class SampleSteps(NamedTuple):
    """The steps of one sample in one modality."""

    row: int  # its number among the samples
    steps: Steps
    cut: int  # what it has beyond `max_steps`: rows, or steps where aligned
    whole: bool  # True where it is all of an entry


def grouped(intervals: NDArray[np.float64], rows: NDArray[np.intp], k: int) -> Steps:
    """Each k of some rows as one step, from the first one's start to the last one's end; the last may have fewer."""
    first = np.arange(0, len(rows), k)
    last = np.minimum(first + k, len(rows)) - 1
    times = bounds(intervals[rows])
    return Steps(rows, last + 1 - first, np.stack([times[first, 0], times[last, 1]], axis=1))


def _to_the_microsecond(times: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):  # what lies 1e302 s away is infinitely far
        return np.round(times, 6)


def rounded(intervals: NDArray[np.float64]) -> InTimeOrder:
    """Rows [S, 2] for `overlapping`: put right, to the microsecond, for 0.1 + 0.2 s is not 0.3 s, and sorted."""
    return InTimeOrder(_to_the_microsecond(bounds(intervals)))


def overlapping(rows: InTimeOrder | NDArray[np.float64], times: NDArray[np.float64]) -> Steps:
    """The rows, by their intervals [S, 2], that overlap each of some times [T, 2]: the rule is that of `cut`.

    Bounds are compared to the microsecond. Rows may be in any order, overlap, lie in one another or be instants; sort
    them once with `rounded` where they are asked for more than once.
    """
    rows = rows if isinstance(rows, InTimeOrder) else rounded(rows)
    whole = _to_the_microsecond(bounds(times))
    first, last = rows.near(*whole.T)
    counts = np.maximum(last - first, 0)
    part = np.cumsum(counts) // MOST_PAIRS
    parts = [
        _overlapping(rows, whole[steps], first[steps], counts[steps])
        for steps in np.split(np.arange(len(times)), np.flatnonzero(np.diff(part)) + 1)
    ]
    return Steps(
        rows.order[np.concatenate([own for own, _ in parts])], np.concatenate([n for _, n in parts]), bounds(times)
    )


def _overlapping(
    rows: InTimeOrder, times: NDArray[np.float64], first: NDArray[np.intp], counts: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Of `counts` rows from `first` on for each step: those that overlap it, and how many they are."""
    step = np.repeat(np.arange(len(times)), counts)
    row = np.arange(len(step)) + np.repeat(first - (np.cumsum(counts) - counts), counts)
    belongs = overlap(rows.low[row], rows.high[row], times[step, 0], times[step, 1])
    return row[belongs], np.bincount(step[belongs], minlength=len(times))


def sequence_steps(
    intervals: NDArray[np.float64], rows: NDArray[np.intp], most: int | None, k: int
) -> tuple[Steps, int]:
    """The steps of a sample that is not aligned, and how many rows it has beyond the `most` steps.

    intervals [S, 2]; rows: the sample's, in the order of time, of which each k are averaged.
    """
    taken = rows if most is None else rows[: most * k]
    return grouped(intervals, taken, k), len(rows) - len(taken)


def reference_times(
    align: Align, words: NDArray[np.float64], start: float, end: float, most: int | None
) -> NDArray[np.float64]:
    """The times [T, 2] of a sample's aligned steps: its words [W, 2], or steps of a rate from start to end.

    Of a rate there are `most` and one more at most. A sample without any is one step from start to end.
    """
    times = words if isinstance(align, str) else grid(start, end, align, None if most is None else most + 1)
    return times if len(times) else np.array([[start, end]])


def span_of(rows: NDArray[np.intp]) -> slice:
    """From the first to the last of some rows."""
    return slice(int(rows.min()), int(rows.max()) + 1) if len(rows) else slice(0, 0)


def average(features: NDArray[np.float32], steps: Steps, all_finite: bool = False) -> NDArray[np.float32]:
    """The mean of the rows of each step, features [S, F] -> [T, F]; of finite values, and 0 where there is none.

    Where it is known that all features are finite, they are not looked through again. Where nothing is averaged or
    replaced, the result can be a view of the features.
    """
    if not len(steps.rows):
        return np.zeros((len(steps.counts), features.shape[1]), dtype=np.float32)
    span = span_of(steps.rows)
    near = features[span]  # a video can be long, and a segment of it is short
    finite = np.isfinite(near) if not all_finite else np.ones(0, dtype=bool)
    whole = bool(finite.all())
    clean = near if whole else np.where(finite, near, np.float32(0))
    if (steps.counts == 1).all():
        # Rows that follow one another are taken as they stand, without a copy.
        return clean if (np.diff(steps.rows) == 1).all() else clean[steps.rows - span.start]
    steps = steps._replace(rows=steps.rows - span.start)
    counts = steps.counts[:, None] if whole else _sums(finite, steps)
    return np.asarray(_sums(clean, steps) / np.maximum(counts, 1), dtype=np.float32)


def informative_steps(values: NDArray[np.float32]) -> int:
    """The number of steps [T, F] up to the last one that is not zeros alone."""
    informative = np.flatnonzero(values.any(axis=1))
    return int(informative[-1]) + 1 if len(informative) else 0


def _sums(values: NDArray[np.float32] | NDArray[np.bool_], steps: Steps) -> NDArray[np.float64]:
    """The sums of the rows of each step, in float64: an embedding bag, which gathers and adds without a copy."""
    offsets = np.cumsum(steps.counts) - steps.counts
    table, rows = torch.from_numpy(values.astype(np.float64)), torch.from_numpy(steps.rows)
    sums: NDArray[np.float64] = embedding_bag(rows, table, torch.from_numpy(offsets), mode="sum").numpy()
    return sums


def grid(start: float, end: float, rate: float, most: int | None = None) -> NDArray[np.float64]:
    """Steps [T, 2] of 1 / rate seconds from start to end, `most` of them at most; the last one may be shorter."""
    count = np.ceil(round((float(end) - float(start)) * rate, 6))  # 2 s at 10 a second are 20 steps, however rounded
    edges = start + np.arange(int(count if most is None else min(count, most)) + 1) / rate
    return np.stack([edges[:-1], np.minimum(edges[1:], end)], axis=1)


def check_words(file: Reader) -> None:
    """DataError where the file that should hold the words holds numbers."""
    if not file.is_words:
        raise DataError(f"{file.path} holds numbers, not words: `words` in dataset.toml names the file of transcripts.")


class Reference:
    """The reference that steps are aligned to: words, or a constant rate. Use it as a context manager.

    A sample without a word, or too short for a step, is one step from its start to its end, so that its other
    modalities are not lost. Words are those of the data set's `words`, else of the modality `text`; pauses count. A
    constant rate runs from a sample's start to its end: of a video, from its first labelled moment to its last.
    """

    def __init__(self, dataset: Dataset, align: Align, unit: Unit, most: int | None) -> None:
        self.align, self.unit, self.most = align, unit, most
        self.wordless = 0  # samples without a word that were asked for
        self.rows = self.unread = 0  # of a file, in the samples that were counted; of these, those in no step
        self.own_entries = False  # whether a sample was all of an entry, and so may leave its labelled time
        self._file = open_reader(words_source(dataset)) if align == "words" else None
        self._entries = entries_by_video(self._file.keys) if self._file else {}
        if self._file and dataset.words:
            check_words(self._file)
        if self._file and not self._file.has_times:
            raise SettingsError(
                f"data.align is words, and {self._file.path} tells no times of words: use SRT, WebVTT, TextGrid, CTM "
                "or Whisper's JSON, or set data.align to a number of steps a second."
            )

    def __enter__(self) -> "Reference":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file:
            self._file.close()

    def times(self, video: str, samples: Samples, rows: range) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Of each sample of a video, the times [T, 2] of its steps; of a rate, `most` and one more at most."""
        words: dict[int, NDArray[np.float64]] = {}
        if self._file:
            entries = {key: self._file.intervals(key) for key in self._entries.get(video, [])}
            every = end_to_end(entries)
            words = {row: every[steps] for row, steps, _ in cut_samples(entries, samples, rows, self.unit)}
        for row in rows:
            own = words.get(row, np.empty((0, 2)))
            self.wordless += isinstance(self.align, str) and not len(own)
            start, end = samples.intervals[row].tolist()
            yield row, reference_times(self.align, own, start, end, self.most)

    def count(
        self,
        entries: dict[str, NDArray[np.float64]],
        samples: Samples,
        rows: range,
        steps_of_samples: Iterable["SampleSteps"],
    ) -> None:
        """Count the rows of a video that belong to its samples, and which of them no step reads.

        entries {key: intervals [S, 2]}. Where steps were cut off, what lies after the last one counts as neither.
        """
        spans = _to_the_microsecond(bounds(end_to_end(entries)))
        own, read = np.zeros((2, len(spans)), dtype=bool)
        steps_of = {sample.row: (sample.steps, sample.cut) for sample in steps_of_samples}
        for row, span, whole in places(entries, samples, rows, self.unit):
            steps, beyond = steps_of[row]
            self.own_entries |= whole
            start, end = (-np.inf, np.inf) if whole else samples.intervals[row]
            last = steps.times[:, 1].max() if beyond else np.inf
            own[span] |= overlap(*spans[span].T, *_to_the_microsecond(np.array([start, min(end, last)])))
            read[steps.rows] = True
        own &= np.isfinite(spans).all(axis=1)
        self.rows += int(own.sum())
        self.unread += int((own & ~read).sum())

    def notes(self, modality: str) -> Iterator[str]:
        """A sentence on the rows that no step reads, and on what keeps them (a rate ends with the labelled time)."""
        if self.unread > NOTABLE * self.rows:
            spoken = self.align == "words"
            why = "overlap no word" if spoken else "lie outside the time of their sample"
            keeping = "10" if spoken and not self.own_entries else "none"
            share = self.unread / self.rows
            yield f"{share:.1%} of the rows of '{modality}' {why} and are not read; data.align={keeping} keeps them."


def words_source(dataset: Dataset) -> Source:
    """The file whose steps are the words of a data set. SettingsError where it has none."""
    source = dataset.words or dataset.modalities.get("text")
    if source is None:
        raise SettingsError(
            f"data.align is words, but {dataset.name} has no words: name their file in its dataset.toml as "
            '`words = "FILE.csd"` above [modalities], or call the modality whose steps are words `text`; or set '
            "data.align to a number of steps a second."
        )
    return source
