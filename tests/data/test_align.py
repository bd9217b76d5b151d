"""Alignment: every modality averaged over the words of a sample, or over steps of a constant rate."""

import math
import tracemalloc
from pathlib import Path
from typing import Any

import attrs
import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from datasets import EMOTIONS, Entry, write_csd, write_dataset, write_spoken
from documents import load_benchmark
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from training import CPU, REGISTRY, small
from training import start as start_run

from emotiwave_core.data.dataset import Dataset, load_dataset
from emotiwave_core.data.formats import csd
from emotiwave_core.data.formats.reader import Source
from emotiwave_core.data.loading.batch import feature_statistics, gather
from emotiwave_core.data.prepare import align
from emotiwave_core.data.prepare.align import average, grid, overlapping
from emotiwave_core.data.prepare.options import Options
from emotiwave_core.data.prepare.segments import cut
from emotiwave_core.data.store.store import Store, open_store
from emotiwave_core.errors import DataError, SettingsError
from emotiwave_core.predict.trained import open_trained_run

# A few values, so that bounds often coincide; below 0, and what is not a number, among them.
BOUND = st.sampled_from([-1.5, -0.5, 0.0, 0.1, 0.5, 1.0, 1.001, 2.0, 3.0])
ROW = st.tuples(*[BOUND | st.sampled_from([math.nan, math.inf, -math.inf])] * 2)
VALUE = st.floats(-1e6, 1e6, width=32) | st.sampled_from([math.nan, math.inf, -math.inf])
Intervals = list[tuple[float, float]]


def belongs(row: tuple[float, float], start: float, end: float) -> bool:
    """The definition, case by case: some time in common, and an instant in the other's [start, end)."""
    if not all(map(math.isfinite, row)):
        return False
    low, high = min(row), max(row)
    if low == high:
        return start <= low < end or start == low == end
    return low <= start < high if start == end else min(high, end) - max(low, start) > 0


def averages(rows: Intervals, features: Any, times: Any) -> tuple[np.ndarray, list[bool]]:
    """The mean of the finite values of all rows that overlap each time, 0 where none is, by loops in float64.

    Bounds are compared to the microsecond.
    """
    means, present = [], []
    rows = [(round(low, 6), round(high, 6)) for low, high in rows]
    for pair in times:
        start, end = (round(bound, 6) for bound in sorted(pair))
        own = [features[i] for i, row in enumerate(rows) if belongs(row, start, end)]
        columns = [[float(row[c]) for row in own if math.isfinite(row[c])] for c in range(np.shape(features)[1])]
        means.append([math.fsum(column) / len(column) if column else 0.0 for column in columns])
        present.append(bool(own))
    return np.array(means).reshape(-1, np.shape(features)[1]), present


@settings(deadline=None, max_examples=300)
@given(st.lists(ROW, max_size=12), st.lists(st.tuples(BOUND, BOUND), min_size=1, max_size=6), st.data())
def test_averages_are_those_of_a_loop_over_words(rows: Intervals, words: Intervals, data: st.DataObject) -> None:
    """For rows and words that are unordered, nested, reversed, of no length or infinite, however many at a time."""
    features = data.draw(hnp.arrays(np.float32, (len(rows), 2), elements=VALUE))
    intervals = np.array(rows, dtype=np.float64).reshape(-1, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(align, "MOST_PAIRS", data.draw(st.sampled_from([1, 4, align.MOST_PAIRS])))
        steps = overlapping(intervals, np.array(words))
    expected, present = averages(rows, features, words)
    np.testing.assert_allclose(average(features, steps), expected, rtol=2e-7, atol=1e-9)
    assert (steps.counts > 0).tolist() == present
    assert steps.times.tolist() == [sorted(word) for word in words]
    ends = np.cumsum(steps.counts)
    for (low, high), end, count in zip(steps.times, ends, steps.counts, strict=True):
        assert sorted(steps.rows[end - count : end]) == sorted(cut(intervals, low, high))


def test_large_sums_are_exact() -> None:
    """Ten thousand values far from 0 are averaged as in float64, where a sum in float32 is off in the fourth digit."""
    features = (1e4 + np.random.default_rng(0).normal(size=(10_000, 1))).astype(np.float32)
    edges = np.arange(10_001) / 100
    steps = overlapping(np.stack([edges[:-1], edges[1:]], axis=1), np.array([[0.0, 100.0]]))
    assert average(features, steps).item() == np.float32(math.fsum(features[:, 0].tolist()) / 10_000)


@settings(deadline=None)
@given(start=st.floats(-1, 1000), steps=st.integers(1, 300), rest=st.floats(0.01, 1), rate=st.floats(0.1, 120))
def test_a_grid_covers_its_sample(start: float, steps: int, rest: float, rate: float) -> None:
    """Steps follow one another from start to end, each of 1 / rate seconds and only the last one shorter."""
    end = start + (steps - 1 + rest) / rate
    found = grid(start, end, rate)
    assert len(found) == steps
    assert (found[1:, 0] == found[:-1, 1]).all()
    assert (found[0, 0], found[-1, 1]) == (start, pytest.approx(end, abs=1e-6 / rate))
    np.testing.assert_allclose(np.diff(found[:-1], axis=1), 1 / rate, rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(grid(start, end, rate, 7), found[:7])


@pytest.mark.parametrize("rate", [3.0, 10.0, 20.0, 30.0, 100.0])
def test_the_rate_of_a_file_gives_the_file(rate: float) -> None:
    """A grid of a file's own rate has each of its rows alone: bounds that differ by rounding are the same."""
    clock = np.add.accumulate(np.full(400, 1 / rate))  # as a recorder adds: off by more and more rounding
    rows = np.stack([clock - 1 / rate, clock], axis=1)
    steps = overlapping(rows, grid(0.0, 400 / rate, rate))
    assert steps.counts.tolist() == [1] * 400
    assert steps.rows.tolist() == list(range(400))


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The data set of `write_spoken`."""
    return write_spoken(tmp_path_factory.mktemp("spoken"))


def read(path: Path) -> dict[str, tuple[list[Any], Intervals]]:
    """{id: (features, intervals)} by plain h5py."""
    with h5py.File(path) as file:
        data = file["anything/data"]
        return {key: (one["features"][()].tolist(), one["intervals"][()].tolist()) for key, one in data.items()}


def plain_times(dataset: Dataset, how: str | float, unit: str) -> dict[str, Intervals]:
    """{sample: the times of its steps} by plain loops."""
    assert dataset.words
    words, found = read(dataset.words.path), {}
    for video, (_, spans) in read(dataset.labels.path).items():
        whole = {video: [min(start for start, _ in spans), max(end for _, end in spans)]}
        parts = whole if unit == "video" else {f"{video}[{n}]": span for n, span in enumerate(spans)}
        for sample, (start, end) in parts.items():
            if isinstance(how, str):
                said = sorted(words.get(video, ([], []))[1])
                own = [pair for pair in said if unit == "video" or belongs(tuple(pair), start, end)]
            else:
                own = [
                    (start + n / how, min(start + (n + 1) / how, end))
                    for n in range(math.ceil(round((end - start) * how, 6)))
                ]
            found[sample] = own or [(start, end)]
    return found


def plain_unread(dataset: Dataset, name: str, times: dict[str, Intervals], unit: str, limit: int | None) -> list[bool]:
    """Of each row of a modality in a labelled sample whether no step reads it; not of those after the last one kept."""
    content, found = read(dataset.modalities[name].path), []
    for video, (_, spans) in read(dataset.labels.path).items():
        for row in content.get(video, ([], []))[1]:
            low, high = (round(bound, 6) for bound in row)
            own, is_read = False, False
            for number, span in enumerate(spans):
                due = times[video if unit == "video" else f"{video}[{number}]"]
                last = max(round(end, 6) for _, end in due[:limit]) if len(due) > (limit or 999) else math.inf
                within = (-math.inf, math.inf) if unit == "video" else (round(bound, 6) for bound in span)
                own |= low < last and belongs((low, high), *within)
                is_read |= any(belongs((low, high), round(a, 6), round(b, 6)) for a, b in due[:limit])
            found += [not is_read] if own else []
    return found


@pytest.mark.short_rows(2)
@pytest.mark.parametrize("unit", ["segment", "video"])
@pytest.mark.parametrize(("how", "limit"), [("words", None), ("words", 2), (2.0, None), (4.0, 5)])
def test_an_aligned_store_is_what_plain_loops_average(
    spoken: Dataset, tmp_path: Path, how: Any, limit: int | None, unit: Any
) -> None:
    """Each step is the mean over its whole time, not clipped to the segment; one without anything is kept as absent."""
    options = Options(unit=unit, align=how, max_steps=dict.fromkeys(("fast", "slow"), limit) if limit else {})
    store = open_store(spoken, options, tmp_path)
    times = plain_times(spoken, how, unit)
    seen: dict[str, list[list[bool]]] = {}
    for name in store.modalities:
        content = read(spoken.modalities[name].path)
        for sample, due in times.items():
            features, rows = content.get(sample[:2], ([], []))
            width = store.features[name]
            expected, present = averages([tuple(row) for row in rows], np.reshape(features, (-1, width)), due[:limit])
            seen.setdefault(sample, []).append(present)
            if sample in store.ids:
                row = store.ids.index(sample)
                assert store.lengths(name)[row] == len(due[:limit])
                np.testing.assert_array_equal(store.times(name, row), np.array(due[:limit], dtype=np.float32))
                np.testing.assert_allclose(store.sequence(name, row), expected, rtol=2e-7, atol=1e-7)
                assert store.present(name, row).tolist() == present
                assert not store.sequence(name, row)[~store.present(name, row)].any()
    assert store.ids == tuple(sample for sample, both in seen.items() if any(map(any, both)))
    for column, name in enumerate(store.modalities):
        facts, kept = store.facts.modalities[name], [seen[sample][column] for sample in store.ids]
        assert facts.missing == sum(not any(present) for present in kept) > 0
        assert facts.absent_steps == sum(present.count(False) for present in kept)
        assert facts.truncated == sum(len(times[sample]) > (limit or 999) for sample in store.ids)
        assert f"'{name}' has nothing in {facts.absent_steps} of" in " ".join(store.facts.notes)
        unread = plain_unread(spoken, name, times, unit, limit)
        assert facts.unread_rows == sum(unread)
        assert (sum(unread) > 0) == (how == "words" or unit == "video")  # a rate leaves out what no label is of
        why = "overlap no word" if how == "words" else "lie outside the time of their sample"
        keeps = "10" if how == "words" and unit == "segment" else "none"
        note = f"{np.mean(unread):.1%} of the rows of '{name}' {why} and are not read; data.align={keeps} keeps them."
        assert (note in store.facts.notes) == (np.mean(unread) > 0.01)
    gaps = sum(present.count(False) for both in seen.values() for present in both if any(present))
    assert gaps > 0 or limit


def test_what_was_replaced_is_counted_once(spoken: Dataset, tmp_path: Path) -> None:
    """A NaN or an infinity of a row that two words share counts once for a sample."""
    store = open_store(spoken, Options(align="words"), tmp_path)
    times, content = plain_times(spoken, "words", "segment"), read(spoken.modalities["fast"].path)
    nan = inf = 0
    for sample in store.ids:
        for features, row in zip(*content.get(sample[:2], ([], [])), strict=True):
            if any(averages([tuple(row)], [features], times[sample])[1]):
                nan, inf = nan + sum(map(math.isnan, features)), inf + sum(map(math.isinf, features))
    facts = store.facts.modalities["fast"]
    assert (facts.nan, facts.inf) == (nan, inf)


def test_a_sample_without_words_is_one_step(spoken: Dataset, tmp_path: Path) -> None:
    """It is averaged from its start to its end, so that a lost transcript does not lose the voice; notes count it."""
    store = open_store(spoken, Options(align="words"), tmp_path)
    rows = [row for row, video in enumerate(store.videos) if video == "v1"]
    assert len(rows) == 3
    for row in rows:
        np.testing.assert_array_equal(store.times("fast", row), store.intervals[row][None].float())
    without = sum(
        times == [tuple(span)]
        for times, span in zip(
            (plain_times(spoken, "words", "segment")[sample] for sample in store.ids),
            store.intervals.tolist(),
            strict=True,
        )
    )
    assert f"{without} samples have no word, and are one step each" in store.facts.notes[-1]


def test_complete_only_needs_a_step_of_each_modality(spoken: Dataset, tmp_path: Path) -> None:
    """A modality that is absent in all steps of a sample is missing, though it has as many steps as the others."""
    everything = open_store(spoken, Options(align=2.0), tmp_path)
    complete = open_store(spoken, Options(align=2.0, complete_only=True), tmp_path)
    has = [all(bool(everything.present(m, row).any()) for m in everything.modalities) for row in range(len(everything))]
    assert complete.ids == tuple(name for name, whole in zip(everything.ids, has, strict=True) if whole)
    assert complete.facts.left_out["a modality missing (complete_only)"] == has.count(False) > 0


@pytest.mark.full
def test_words_may_be_those_of_the_modality_text(spoken: Dataset, tmp_path: Path) -> None:
    """Without a file of words the steps of `text` are the words, of the same times; without both it is refused."""
    assert spoken.words
    vectors = {key: (np.ones((len(rows), 2), np.float32), rows) for key, (_, rows) in read(spoken.words.path).items()}
    text = write_csd(tmp_path / "text.csd", vectors)
    with_text = attrs.evolve(spoken, modalities={**spoken.modalities, "text": text})
    named = open_store(with_text, Options(align="words"), tmp_path)
    own = open_store(attrs.evolve(with_text, words=None), Options(align="words"), tmp_path)
    assert named.path != own.path
    for name in named.modalities:
        assert torch.equal(named.values[name], own.values[name])
        assert torch.equal(named.step_times[name], own.step_times[name])
    assert set(named.facts.sources) - set(own.facts.sources) == {"words.csd"}
    with pytest.raises(SettingsError, match=r"Spoken has no words: name their file .* modality .* `text`"):
        open_store(attrs.evolve(spoken, words=None), Options(align="words"), tmp_path)
    with pytest.raises(DataError, match=r"text\.csd holds numbers, not words"):
        open_store(attrs.evolve(spoken, words=text), Options(align="words"), tmp_path)


def test_files_aligned_to_segments_are_averaged_alone(tmp_path: Path) -> None:
    """With entries `id[k]` a word is averaged over its own segment's entry, never over a neighbour's."""
    dataset = load_dataset(write_dataset(tmp_path, videos=8))
    plain = open_store(dataset, Options(align="words"), tmp_path)
    for name, source in dataset.modalities.items():
        entries: dict[str, Entry] = {}
        for video, (features, rows) in read(source.path).items():
            for number in range(2):
                own = [n for n, (start, _) in enumerate(rows) if (start >= 2) == (number == 1)]
                other = [[100.0] * len(features[0])]  # of the neighbour, in the same seconds
                last = [[0.0, 4.0]] if name != "text" else []
                entries[f"{video}[{number}]"] = ([features[n] for n in own], [rows[n] for n in own])
                entries[f"{video}[{number + 2}]"] = (other[: len(last)] or other, last or [[9.0, 9.5]])
        some = {key: (np.array(x, dtype=np.float32), rows) for key, (x, rows) in entries.items()}
        dataset.modalities[name] = Source(write_csd(tmp_path / f"by_segment_{name}.csd", some))
    aligned = open_store(dataset, Options(align="words"), tmp_path)
    assert aligned.ids == plain.ids
    for name in plain.modalities:
        assert aligned.facts.modalities[name].unread_rows == 0  # what stands in no labelled entry is of no sample
        np.testing.assert_allclose(aligned.values[name], plain.values[name], rtol=1e-6, atol=1e-7)
        assert torch.equal(aligned.step_times[name], plain.step_times[name])


@pytest.fixture(scope="module")
def store(spoken: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The data set aligned to its words."""
    return open_store(spoken, Options(align="words"), tmp_path_factory.mktemp("stores"))


def test_a_batch_masks_what_is_absent(store: Store) -> None:
    """The mask of a batch is `present`, then False; a modality that is absent throughout has no step set."""
    rows = np.arange(len(store))
    for name in store.modalities:
        x, mask = gather(store, name, rows)
        assert x.shape[1] == store.lengths(name).max()
        for row in rows:
            there = store.present(name, row).tolist()
            assert mask[row].tolist() == there + [False] * (x.shape[1] - len(there))
            assert torch.equal(x[row, : len(there)], store.sequence(name, row))
        assert 0 < mask.any(dim=1).sum() < len(rows)


def test_statistics_are_of_what_is_present(store: Store) -> None:
    """The zeros that stand where a modality is absent are no part of its mean and deviation."""
    rows = np.arange(0, len(store), 2)
    for name in store.modalities:
        steps = [store.sequence(name, row).numpy()[store.present(name, row).numpy()] for row in rows]
        there = np.concatenate(steps).astype(np.float64)
        mean, scale = feature_statistics(store, name, rows)
        np.testing.assert_allclose(mean, there.mean(axis=0), rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(scale, 1 / there.std(axis=0), rtol=1e-5)


@pytest.mark.full
def test_what_stands_in_absent_steps_is_never_read(tiny: Path, tmp_path: Path) -> None:
    """A model that was trained on an aligned store says the same when NaN stands where a modality has nothing."""
    start_run(small(data={"align": 3}, training={"epochs": 1}), tiny, tmp_path / "run")
    trained = open_trained_run(tmp_path / "run", REGISTRY)
    before = trained.predict(CPU)
    held = trained.corpus.store
    assert held.step_present is not None
    for name, present in held.step_present.items():
        assert not present.all()
        held.values[name][~present] = math.nan
    np.testing.assert_array_equal(trained.predict(CPU).answers, before.answers)


@pytest.mark.full
def test_aligning_needs_memory_for_one_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the intervals that are kept, eight times as many videos do not raise the peak of memory by two videos."""
    monkeypatch.setattr(csd, "ROOM_FOR_TIMES", 0)
    clock = np.arange(3000.0).reshape(1500, 2)
    video, spoken = (np.ones((1500, 60), np.float32), clock), (np.full((300, 1), b"a"), clock[::5])
    size, peaks = video[0].nbytes, []
    for count in (6, 48):
        ids = [f"v{number}" for number in range(count)]
        dataset = Dataset(
            "Large",
            tmp_path,
            {"audio": write_csd(tmp_path / f"{count}.csd", dict.fromkeys(ids, video))},
            write_csd(tmp_path / f"{count}l.csd", dict.fromkeys(ids, (np.eye(6)[:1], [[0.0, 3000.0]])), EMOTIONS),
            words=write_csd(tmp_path / f"{count}w.csd", dict.fromkeys(ids, spoken)),
        )
        tracemalloc.start()
        store = open_store(dataset, Options(align="words"), tmp_path / "stores")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(store.values["audio"]) == 300 * count
    assert peaks[1] - peaks[0] < 2 * size


@pytest.mark.parametrize(
    ("words", "limit", "unread", "share"),
    [
        ([[0.1, 10.0]], None, 1, None),
        ([[0.0, 5.0], [5.2, 10.0]], None, 2, "2.0%"),
        ([[0.5, 8.0], [1.0, 2.0], [9.0, 10.0]], 2, 5, "6.2%"),
    ],
)
def test_a_notable_share_is_said(
    tmp_path: Path, words: list[list[float]], limit: int | None, unread: int, share: str | None
) -> None:
    """Above one row in a hundred, to the microsecond; of a cut sample those count that begin before its steps' end."""
    clock = np.add.accumulate(np.full(101, 0.1))  # the last row begins where the sample ends, but for rounding
    rows = np.stack([clock - 0.1, clock], axis=1)
    audio = write_csd(tmp_path / "audio.csd", {"v": (np.ones((101, 1), np.float32), rows)})
    labels = write_csd(tmp_path / "labels.csd", {"v": (np.eye(6)[:1], [[0.0, 10 + 1e-9]])}, EMOTIONS)
    spoken = write_csd(tmp_path / "words.csd", {"v": (np.full((len(words), 1), b"a"), words)})
    options = Options(align="words", max_steps={"audio": limit} if limit else {})
    facts = open_store(Dataset("Rows", tmp_path, {"audio": audio}, labels, words=spoken), options, tmp_path).facts
    assert facts.modalities["audio"].unread_rows == unread
    assert [note.split()[0] for note in facts.notes] == ([share] if share else [])


@pytest.mark.full
def test_what_the_notes_advise_reads_every_row(spoken: Dataset, tmp_path: Path) -> None:
    """With the setting that a note names, no row is left unread and the note is gone."""
    start, end = read(spoken.labels.path)["v0"][1][0]
    late = (np.ones((2, 1), np.float32), [[start, end], [end + 50, end + 51]])  # an entry that leaves its segment
    alone = write_csd(tmp_path / "alone.csd", {"v0[0]": late})
    by_segment = attrs.evolve(spoken, modalities={"fast": alone, "slow": alone})
    for dataset, unit in [(spoken, "segment"), (spoken, "video"), (by_segment, "segment")]:
        notes = open_store(dataset, Options(unit=unit, align="words"), tmp_path).facts.notes
        advice = {note[note.index("data.align=") :].split()[0] for note in notes if "not read" in note}
        assert len(advice) == 1
        value = advice.pop().removeprefix("data.align=")
        advised = open_store(dataset, Options(unit=unit, align="none" if value == "none" else float(value)), tmp_path)
        assert [about.unread_rows for about in advised.facts.modalities.values()] == [0, 0]
        assert not any("not read" in note for note in advised.facts.notes)


def test_the_benchmark_averages_what_it_times() -> None:
    """All three ways agree on frames that fit the words, and the table has a line of each, measured in ours."""
    benchmark = load_benchmark("align")
    video, words = benchmark.draw_video(0)
    for features, intervals in video.values():
        np.testing.assert_allclose(
            benchmark.ours(features, intervals, words), benchmark.plain(features, intervals, words), atol=1e-6
        )
    whole = np.arange(0, 60.0, 0.5)
    fitting = np.stack([whole, whole + 0.5], axis=1)
    features, intervals = video["visual"]
    np.testing.assert_allclose(
        benchmark.ours(features, intervals, fitting), benchmark.sdk(features, intervals, fitting), atol=1e-6
    )
    shown = CliRunner().invoke(benchmark.main, ["--tries", "1"], catch_exceptions=False).output
    rows = [line.strip("| ").split(" | ") for line in shown.splitlines()[-3:]]
    assert [way for way, _, _ in rows] == ["ours", "plain", "sdk"]
    assert rows[0][2] == "1"
