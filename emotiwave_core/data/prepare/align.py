"""Alignment: which rows of a file are averaged into each step of a sample, and the averaging.

The steps of an aligned sample are the same in every modality: its words, or steps of a constant rate. Each is the plain
mean of all rows that overlap its whole interval, as the CMU-MultimodalSDK's `align` collapses them by average (Zadeh et
al. 2018); words have no mean, and a step holds one. Unlike there, a word during which a modality has nothing is not
dropped, but kept and marked.
"""

from collections.abc import Iterator
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
    MOST_PAIRS,
    MOST_SAMPLES,
    Cut,
    InTimeOrder,
    Samples,
    bounds,
    cut_samples,
    end_to_end,
    entries_by_video,
    parts,
    places,
)
from emotiwave_core.errors import DataError, SettingsError

LONGEST = 1 << 62  # steps: no limit
NOTABLE = 0.01  # share of the rows that no step reads, above which it is said


class Steps(NamedTuple):
    """The T steps of a sample in one modality, or of several samples one after the other."""

    rows: NDArray[np.intp]  # [P] of a file that each step is the mean of: those of the first one, of the second, …
    counts: NDArray[np.intp]  # [T], how many each has; 0 where the modality has nothing
    times: NDArray[np.float64]  # [T, 2] seconds

    def part(self, start: int, end: int) -> "Steps":
        """Some of the steps."""
        first = int(self.counts[:start].sum())
        rows = self.rows[first : first + int(self.counts[start:end].sum())]
        return Steps(rows, self.counts[start:end], self.times[start:end])

    def without_rows(self, emptied: NDArray[np.bool_]) -> "Steps":
        """The same steps with nothing in those that are named, [T]."""
        kept = np.repeat(~emptied, self.counts)
        return self._replace(rows=self.rows[kept], counts=np.where(emptied, 0, self.counts))

    def longest_rows(self, intervals: NDArray[np.float64]) -> "Steps":
        """The same steps of one row at most: the one that lasts longest in it, of equal ones the first.

        intervals [S, 2]: of all rows. It is for what has no mean, such as words.
        """
        step, (start, end) = np.repeat(np.arange(len(self.counts)), self.counts), bounds(intervals)[self.rows].T
        lasts = np.minimum(end, self.times[step, 1]) - np.maximum(start, self.times[step, 0])
        order = np.lexsort((start, -to_the_microsecond(lasts), step))
        first = order[np.searchsorted(step[order], np.flatnonzero(self.counts))]
        return self._replace(rows=self.rows[first], counts=np.minimum(self.counts, 1))


class SampleSteps(NamedTuple):
    """The steps of n samples of one video in a modality, one sample after the other.

    A very long sample comes in several of these, one alone in each.
    """

    samples: NDArray[np.intp]  # [n], their numbers
    steps: Steps
    lengths: NDArray[np.intp]  # [n], how many of the steps are each one's
    cut: NDArray[np.intp]  # [n], what each has beyond `max_steps`: rows, or steps where aligned
    whole: NDArray[np.bool_]  # [n], whether it is all of an entry
    averaged: NDArray[np.bool_]  # [n], whether a step of the sample is not one row


def grouped(
    intervals: NDArray[np.float64], rows: NDArray[np.intp], k: int, counts: NDArray[np.intp] | None = None
) -> Steps:
    """Each k of a sample's rows as one step, from the first one's start to the last one's end; the last may have fewer.

    counts [n]: how many of the rows are each sample's; without them all are of one.
    """
    times = bounds(intervals[rows])
    if k == 1:
        return Steps(rows, np.ones(len(rows), dtype=np.intp), times)
    counts = np.array([len(rows)]) if counts is None else counts
    steps = -(-counts // k)  # of each sample
    number = np.arange(steps.sum()) - np.repeat(np.cumsum(steps) - steps, steps)
    first = np.repeat(np.cumsum(counts) - counts, steps) + number * k
    last = np.minimum(first + k, np.repeat(np.cumsum(counts), steps)) - 1
    return Steps(rows, last + 1 - first, np.stack([times[first, 0], times[last, 1]], axis=1))


def to_the_microsecond(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Times as aligning compares them."""
    with np.errstate(over="ignore"):  # what lies 1e302 s away is infinitely far
        return np.round(times, 6)


def rounded(intervals: NDArray[np.float64]) -> InTimeOrder:
    """Rows [S, 2] for `overlapping`: put right, to the microsecond, for 0.1 + 0.2 s is not 0.3 s, and sorted."""
    return InTimeOrder(to_the_microsecond(bounds(intervals)))


def overlapping(rows: InTimeOrder | NDArray[np.float64], times: NDArray[np.float64]) -> Steps:
    """The rows, by their intervals [S, 2], that overlap each of some times [T, 2]: the rule is that of `cut`.

    Bounds are compared to the microsecond. Rows may be in any order, overlap, lie in one another or be instants; sort
    them once with `rounded` where they are asked for more than once.
    """
    rows = rows if isinstance(rows, InTimeOrder) else rounded(rows)
    found = list(rows.cut_each(to_the_microsecond(bounds(times))))
    return Steps(
        np.concatenate([own for own, _ in found]), np.concatenate([counts for _, counts in found]), bounds(times)
    )


def sequence_steps(
    intervals: NDArray[np.float64], rows: NDArray[np.intp], most: int | None, k: int
) -> tuple[Steps, int]:
    """The steps of a sample that is not aligned, and how many rows it has beyond the `most` steps.

    intervals [S, 2]; rows: the sample's, in the order of time, of which each k are averaged.
    """
    taken = rows if most is None else rows[: most * k]
    return grouped(intervals, taken, k), len(rows) - len(taken)


def steps_of(
    intervals: NDArray[np.float64], cut: Cut, most: int | None, k: int, known: NDArray[np.intp]
) -> Iterator[SampleSteps]:
    """The steps of samples that are not aligned, as `sequence_steps` makes them of one.

    known [n]: so many steps of each sample alone are kept, beside what is cut. Of a very long sample MOST_PAIRS rows
    are in each part.
    """
    taken = cut.counts if most is None else np.minimum(cut.counts, most * k)
    beyond, averaged = cut.counts - taken, taken > 1 if k > 1 else np.zeros(len(taken), dtype=bool)
    kept = np.minimum(taken, np.minimum(known, LONGEST // k) * k)
    rows = cut.rows
    if (kept != cut.counts).any():
        place = np.arange(len(rows)) - np.repeat(np.cumsum(cut.counts) - cut.counts, cut.counts)
        rows = rows[place < np.repeat(kept, cut.counts)]
    size = max(MOST_PAIRS // k, 1) * k
    if len(rows) <= size or len(kept) > 1:
        yield SampleSteps(cut.samples, grouped(intervals, rows, k, kept), -(-kept // k), beyond, cut.whole, averaged)
        return
    for start in range(0, len(rows), size):
        steps = grouped(intervals, rows[start : start + size], k)
        length, said = np.array([len(steps.counts)]), beyond if start == 0 else np.zeros_like(beyond)
        yield SampleSteps(cut.samples, steps, length, said, cut.whole, averaged)


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


def average(
    features: NDArray[np.float32],
    steps: Steps,
    all_finite: bool = False,
    averaged: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """The mean of the rows of each step, features [S, F] -> [T, F]; of finite values, and 0 where there is none.

    Where it is known that all features are finite, they are not looked through again. averaged [T]: whether a step is
    of a sample that has one which is not one row; without it the steps are those of one sample. Where nothing is
    averaged or replaced, the result can be a view of the features.
    """
    if not len(steps.rows):
        return np.zeros((len(steps.counts), features.shape[1]), dtype=np.float32)
    span = span_of(steps.rows)
    near = features[span]  # a video can be long, and a segment of it is short
    finite = np.isfinite(near) if not all_finite else np.ones(0, dtype=bool)
    whole = bool(finite.all())
    clean = near if whole else np.where(finite, near, np.float32(0))
    averaged = np.full(len(steps.counts), bool((steps.counts != 1).any())) if averaged is None else averaged
    if not averaged.any():
        # Rows that follow one another are taken as they stand, without a copy.
        return clean if (np.diff(steps.rows) == 1).all() else clean[steps.rows - span.start]
    steps = steps._replace(rows=steps.rows - span.start)
    counts = steps.counts[:, None] if whole else _sums(finite, steps)
    means = np.asarray(_sums(clean, steps) / np.maximum(counts, 1), dtype=np.float32)
    means[~averaged] = clean[steps.rows[np.repeat(~averaged, steps.counts)]]  # -0.0 too, which no sum keeps
    return means


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
    interval = np.array([[start, end]], dtype=np.float64)
    return _grids(interval, rate, _grid_lengths(interval, rate, most))


def _grid_lengths(intervals: NDArray[np.float64], rate: float, most: int | None) -> NDArray[np.intp]:
    """The number of steps of `grid` in each interval [n, 2]: [n]. 2 s at 10 a second are 20, however rounded."""
    counts = [np.ceil(round(span, 6)) for span in ((intervals[:, 1] - intervals[:, 0]) * rate).tolist()]
    return np.array([int(count if most is None else min(count, most)) for count in counts], dtype=np.intp)


def _grids(intervals: NDArray[np.float64], rate: float, lengths: NDArray[np.intp]) -> NDArray[np.float64]:
    """The steps of each interval [n, 2], one interval after the other: [T, 2]."""
    number = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    start, end = np.repeat(intervals, lengths, axis=0).T
    return np.stack([start + number / rate, np.minimum(start + (number + 1) / rate, end)], axis=1)


def check_words(file: Reader) -> None:
    """DataError where the file that should hold the words holds numbers."""
    if not file.is_words:
        raise DataError(f"{file.path} holds numbers, not words: `words` in dataset.toml names the file of transcripts.")


class Times(NamedTuple):
    """The times of the steps of n samples that follow one another, one sample after the other."""

    samples: range  # [n], their numbers
    steps: NDArray[np.float64]  # [T, 2] seconds
    lengths: NDArray[np.intp]  # [n], how many of the steps are each one's

    def first(self, most: int | None) -> "Times":
        """The first `most` steps of each sample alone."""
        if most is None or not (self.lengths > most).any():
            return self
        number = np.arange(len(self.steps)) - np.repeat(np.cumsum(self.lengths) - self.lengths, self.lengths)
        return Times(self.samples, self.steps[number < most], np.minimum(self.lengths, most))


def _with_a_step_each(
    rows: range, steps: NDArray[np.float64], lengths: NDArray[np.intp], spans: NDArray[np.float64]
) -> Times:
    """Times [T, 2] of n samples, with one step from its start to its end, spans [n, 2], for each that has none."""
    nothing = lengths == 0
    whole = np.where(nothing, 1, lengths)
    times = np.empty((int(whole.sum()), 2))
    added = np.zeros(len(times), dtype=bool)
    added[(np.cumsum(whole) - whole)[nothing]] = True
    times[added], times[~added] = spans[nothing], steps
    return Times(rows, times, whole)


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

    def times(self, video: str, samples: Samples, rows: range) -> Iterator[Times]:
        """The times of the steps of a video's samples; of a rate, `most` and one more at most for each."""
        entries = {key: self._file.intervals(key) for key in self._entries.get(video, [])} if self._file else {}
        every = end_to_end(entries)
        for start in range(rows.start, rows.stop, MOST_SAMPLES):
            part = range(start, min(start + MOST_SAMPLES, rows.stop))
            spans = samples.intervals[part.start : part.stop]
            if not isinstance(self.align, str):
                lengths = _grid_lengths(spans, self.align, None if self.most is None else self.most + 1)
                for few in parts(np.maximum(lengths, 1), MOST_PAIRS):
                    steps = _grids(spans[few], self.align, lengths[few])
                    yield _with_a_step_each(part[few], steps, lengths[few], spans[few])
                continue
            found, lengths = [np.empty((0, 2))], np.zeros(len(part), dtype=np.intp)
            for cut in cut_samples(entries, samples, part, self.unit):
                found.append(every[cut.rows])
                lengths[cut.samples - part.start] = cut.counts
            self.wordless += int((lengths == 0).sum())
            yield _with_a_step_each(part, np.concatenate(found), lengths, spans)

    def held(
        self, entries: dict[str, NDArray[np.float64]], samples: Samples, rows: range
    ) -> Iterator[tuple[range, slice, bool]]:
        """As `places`, of all samples: those without an entry are held by no row, `slice(0, 0)`."""
        done = rows.start
        for own, entry, whole in places(entries, samples, rows, self.unit):
            if own.start > done:
                yield range(done, own.start), slice(0, 0), False
            yield own, entry, whole
            self.own_entries |= whole
            done = own.stop
        if done < rows.stop:
            yield range(done, rows.stop), slice(0, 0), False

    def count(self, intervals: NDArray[np.float64], own: NDArray[np.bool_], read: NDArray[np.bool_]) -> None:
        """Count the rows [S] of a video that belong to its `own` samples, and those of them that no step has `read`."""
        own = own & np.isfinite(intervals).all(axis=1)
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
