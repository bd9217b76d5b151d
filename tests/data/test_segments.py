"""Cutting: which steps of a sequence belong to which labelled segment."""

import itertools
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from datasets import Entry, write_csd
from hypothesis import given, settings
from hypothesis import strategies as st

from emotiwave_core.data.dataset import Dataset
from emotiwave_core.data.prepare.segments import Samples, Unit, cut, cut_samples, entries_by_video, read_samples
from emotiwave_core.errors import DataError

# A few values, so that bounds often coincide; below 0, and what is not a number, among them.
BOUND = st.sampled_from([-1.5, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0])
BOUNDS = st.tuples(BOUND, BOUND)
DIRTY = st.tuples(*[BOUND | st.sampled_from([math.nan, math.inf, -math.inf])] * 2)


def belongs(step: tuple[float, float], start: float, end: float) -> bool:
    """The definition, case by case: some time in common, and an instant in the other's [start, end)."""
    if not all(map(math.isfinite, step)):
        return False
    low, high = min(step), max(step)
    if low == high and start == end:
        return low == start
    if low == high:
        return start <= low < end
    if start == end:
        return low <= start < high
    return min(high, end) - max(low, start) > 0


@settings(deadline=None)
@given(st.lists(DIRTY, max_size=12), BOUNDS)
def test_cut_is_its_definition(steps: list[tuple[float, float]], segment: tuple[float, float]) -> None:
    """For unordered, overlapping, reversed, empty and infinite intervals the steps are those of the definition."""
    start, end = sorted(segment)
    expected = [index for index, step in enumerate(steps) if belongs(step, start, end)]
    found = cut(np.array(steps, dtype=np.float64).reshape(-1, 2), start, end)
    assert sorted(found.tolist()) == expected
    assert found.tolist() == sorted(expected, key=lambda index: steps[index][0])  # in time order, stable


@settings(deadline=None)
@given(st.lists(BOUND, min_size=2, max_size=8, unique=True), st.lists(st.floats(-2, 4), max_size=20))
def test_adjoining_segments_share_no_instant(bounds: list[float], instants: list[float]) -> None:
    """Steps of zero length are in exactly one of the segments that adjoin, and none is lost between them."""
    bounds = sorted(bounds)
    intervals = np.array([(instant, instant) for instant in instants]).reshape(-1, 2)
    found = [row for pair in itertools.pairwise(bounds) for row in cut(intervals, *pair).tolist()]
    assert sorted(found) == [row for row, instant in enumerate(instants) if bounds[0] <= instant < bounds[-1]]


def test_a_touching_step_does_not_belong() -> None:
    """A step that ends where the segment starts, or starts where it ends, has no time in common with it."""
    assert cut(np.array([[0.0, 1.0], [1.0, 2.0], [2.0, 3.0]]), 1.0, 2.0).tolist() == [1]


def test_segments_that_start_below_zero_are_cut() -> None:
    """A negative start takes the steps from the beginning."""
    assert cut(np.array([[0.0, 0.1], [0.1, 0.2], [5.0, 5.1]]), -0.488, 0.15).tolist() == [0, 1]


def make(folder: Path, labels: dict[str, Entry], columns: list[str] | None = None) -> Dataset:
    """A data set with these labels (happy, sad)."""
    path = write_csd(folder / "labels.csd", labels, columns or ["happy", "sad"])
    return Dataset("d", folder, {}, path)


def test_samples_are_the_label_rows_by_video(tmp_path: Path) -> None:
    """Each row is a sample, videos sorted, rows in the file's order, a reversed interval put right."""
    labels = {"b": ([[1, 0], [0, 2]], [[5, 6], [1, 0]]), "-a": ([[0, 1]], [[-0.488, 3]])}
    samples = read_samples(make(tmp_path, labels), "segment")
    assert samples.ids == ("-a[0]", "b[0]", "b[1]")
    assert samples.videos == ("-a", "b", "b")
    assert samples.intervals.tolist() == [[-0.488, 3], [5, 6], [0, 1]]
    assert samples.labels.tolist() == [[0, 1], [1, 0], [0, 2]]
    assert samples.notes == ()


def test_labels_stand_in_the_order_of_the_targets(tmp_path: Path) -> None:
    """Columns are taken by the targets' names and order, and others are left."""
    dataset = make(tmp_path, {"v": ([[9, 1, 2]], [[0, 1]])}, ["sentiment", "happy", "sad"])
    named = Dataset("d", tmp_path, {}, dataset.labels, targets=("sad", "happy"))
    assert read_samples(named, "segment").labels.tolist() == [[2, 1]]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.tuples(st.floats(0, 3, width=32), BOUNDS), min_size=1, max_size=5), min_size=1, max_size=4))
def test_a_video_is_the_mean_of_its_segments(
    tmp_path_factory: pytest.TempPathFactory, videos: list[list[tuple[float, tuple[float, float]]]]
) -> None:
    """With `unit = "video"` labels are averaged, and the interval spans all segments."""
    labels = {
        f"v{n}": (np.array([[x, 1] for x, _ in rows], dtype=np.float32), [pair for _, pair in rows])
        for n, rows in enumerate(videos)
    }
    samples = read_samples(make(tmp_path_factory.mktemp("v"), labels), "video")
    assert samples.ids == samples.videos == tuple(labels)
    for row, rows in enumerate(videos):
        assert samples.labels[row] == pytest.approx([sum(x for x, _ in rows) / len(rows), 1], rel=1e-6)
        assert samples.intervals[row].tolist() == [
            min(map(min, (p for _, p in rows))),
            max(map(max, (p for _, p in rows))),
        ]


def test_rows_that_are_not_numbers_are_left_out_and_said(tmp_path: Path) -> None:
    """NaN or infinity in a used label or a bound leaves the row out, keeps the others' numbers, and is counted."""
    labels = {"v": ([[math.nan, 0], [1, 0], [0, math.inf], [0, 1]], [[0, 1], [1, 2], [2, 3], [math.nan, 4]])}
    samples = read_samples(make(tmp_path, labels), "segment")
    assert samples.ids == ("v[1]",)
    assert samples.notes == ("3 label rows hold a NaN, an infinity or no class, and are left out.",)
    with pytest.raises(DataError, match="no label row"):
        read_samples(make(tmp_path, {"v": ([[math.nan, 0]], [[0, 1]])}), "segment")


def test_a_label_that_is_not_used_may_be_nan(tmp_path: Path) -> None:
    """A NaN in a column that is no target is nobody's concern."""
    dataset = make(tmp_path, {"v": ([[math.nan, 1]], [[0, 1]])}, ["sentiment", "happy"])
    assert read_samples(dataset, "segment").labels.tolist() == [[1]]


def test_aligned_labels_keep_their_names(tmp_path: Path) -> None:
    """Entries `id[k]` of one row are the samples `id[k]`, in numerical order, all of the video `id`."""
    labels = {f"v[{n}]": ([[n, 0]], [[n, n + 1]]) for n in (10, 2, 0)}
    samples = read_samples(make(tmp_path, labels), "segment")
    assert samples.ids == ("v[0]", "v[2]", "v[10]")
    assert set(samples.videos) == {"v"}
    assert read_samples(make(tmp_path, labels), "video").labels.tolist() == [[4, 0]]


def test_a_segment_is_labelled_once(tmp_path: Path) -> None:
    """A file that holds a segment both in `v` and as `v[0]` is refused."""
    with pytest.raises(DataError, match="labels a segment twice"):
        read_samples(make(tmp_path, {"v": ([[1, 0]], [[0, 1]]), "v[0]": ([[1, 0]], [[0, 1]])}), "segment")


def test_entries_are_grouped_by_video_in_numerical_order() -> None:
    """`id[10]` comes after `id[2]`."""
    assert entries_by_video(("v[10]", "w", "v[2]", "v[0]")) == {"v": ["v[0]", "v[2]", "v[10]"], "w": ["w"]}


def steps_of(folder: Path, labels: dict[str, Entry], entries: Mapping[str, object], unit: Unit) -> dict[str, list[int]]:
    """{sample: rows of the entries put end to end} of the one video of these labels."""
    dataset = make(folder, labels)
    samples = read_samples(dataset, unit)
    arrays = {key: np.asarray(intervals, dtype=np.float64).reshape(-1, 2) for key, intervals in entries.items()}
    (found,) = [*cut_samples(arrays, samples, range(len(samples.ids)), unit)] or [None]
    if found is None:
        return {}
    each = np.split(found.rows, np.cumsum(found.counts)[:-1])
    return {samples.ids[row]: rows.tolist() for row, rows in zip(found.samples, each, strict=True)}


def test_a_plain_entry_is_cut_by_each_segment(tmp_path: Path) -> None:
    """Steps in two segments that overlap belong to both, unordered steps come in time order, steps outside to none."""
    labels = {"v": ([[1, 0], [1, 0], [1, 0]], [[0, 2], [1, 3], [8, 9]])}
    entries = {"v": [[2, 3], [0, 1], [1, 2], [5, 6]]}
    assert steps_of(tmp_path, labels, entries, "segment") == {"v[0]": [1, 2], "v[1]": [2, 0], "v[2]": []}


def test_an_aligned_entry_is_its_sample_whole(tmp_path: Path) -> None:
    """In an aligned file `v[k]` is the sample `v[k]` whatever its times say, and a sample without one is missing."""
    labels = {"v": ([[1, 0], [1, 0], [1, 0]], [[0, 2], [1, 3], [0, 3]])}
    entries = {"v[0]": [[7, 8], [6, 7]], "v[1]": [[0, 1], [math.nan, 2]]}
    assert steps_of(tmp_path, labels, entries, "segment") == {"v[0]": [1, 0], "v[1]": [2]}


def test_aligned_labels_cut_a_plain_entry(tmp_path: Path) -> None:
    """Labels called `v[k]` cut the features of `v` by their intervals."""
    labels = {"v[0]": ([[1, 0]], [[0, 1]]), "v[4]": ([[1, 0]], [[1, 2]])}
    assert steps_of(tmp_path, labels, {"v": [[1, 2], [0, 1]]}, "segment") == {"v[0]": [1], "v[4]": [0]}


def test_an_id_that_looks_aligned_is_cut_from_its_own_entry(tmp_path: Path) -> None:
    """Segments of a video that is itself called `v[1]` are cut from `v[1]`, not from `v[2]`."""
    labels = {"v[1]": ([[1, 0], [1, 0]], [[0, 1], [1, 2]])}
    entries = {"v[1]": [[0, 1], [1, 2]], "v[2]": [[0, 1]]}
    assert steps_of(tmp_path, labels, entries, "segment") == {"v[1][0]": [0], "v[1][1]": [1]}


def test_a_video_takes_everything(tmp_path: Path) -> None:
    """With `unit = "video"` all steps of all entries come in time order, labelled or not; none without an entry."""
    labels = {"v": ([[1, 0], [1, 0]], [[0, 1], [1, 2]])}
    assert steps_of(tmp_path, labels, {"v[0]": [[9, 10]], "v[1]": [[0, 1], [-3, 0]]}, "video") == {"v": [2, 1, 0]}
    assert steps_of(tmp_path, labels, {}, "video") == {}


def test_taking_samples_keeps_them_together(tmp_path: Path) -> None:
    """`take` picks the same rows of all that a sample has."""
    dataset = make(tmp_path, {"v": ([[1, 0], [0, 2], [3, 0]], [[0, 1], [1, 2], [2, 3]])})
    samples = read_samples(dataset, "segment")
    taken = samples.take(np.array([2, 0]))
    assert isinstance(taken, Samples)
    assert (taken.ids, taken.videos, taken.columns) == (("v[2]", "v[0]"), ("v", "v"), samples.columns)
    assert (taken.labels.tolist(), taken.intervals.tolist()) == ([[3, 0], [1, 0]], [[2, 3], [0, 1]])
