"""Batches: padding with masks, the order of an epoch, and the statistics of features."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import EMOTIONS, write_csd, write_spoken
from hypothesis import given, settings
from hypothesis import strategies as st

from emotiwave_core.data.dataset import Dataset, load_dataset
from emotiwave_core.data.loading import batch as batch_module
from emotiwave_core.data.loading.batch import (
    batches,
    bucketed,
    epoch_order,
    feature_statistics,
    gather,
    numbers_in,
    runs,
)
from emotiwave_core.data.prepare.options import Options
from emotiwave_core.data.store.store import Store, open_store

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def store(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The store of the tiny data set: some samples lack a modality."""
    return open_store(load_dataset(tiny), Options(), tmp_path_factory.mktemp("stores"))


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store of words during which a modality may have nothing."""
    folder = tmp_path_factory.mktemp("spoken")
    return open_store(write_spoken(folder), Options(align="words"), folder / "stores")


@settings(deadline=None)
@given(rows=st.lists(st.integers(0, 47), min_size=1, max_size=9))
def test_a_batch_holds_its_sequences_and_zeros(store: Store, rows: list[int]) -> None:
    """Each row is the sample's sequence, then zeros; the mask is set where the sequence is; T is the longest, or 1."""
    for modality in store.modalities:
        x, mask = gather(store, modality, np.array(rows))
        sequences = [store.sequence(modality, row) for row in rows]
        assert x.shape == (len(rows), max(1, *map(len, sequences)), store.features[modality])
        assert (x.dtype, mask.dtype, mask.shape) == (torch.float32, torch.bool, x.shape[:2])
        for place, sequence in enumerate(sequences):
            assert torch.equal(x[place, : len(sequence)], sequence)
            assert not x[place, len(sequence) :].any()
            assert mask[place].tolist() == [step < len(sequence) for step in range(x.shape[1])]


def test_a_missing_modality_is_a_mask_without_a_step(store: Store) -> None:
    """A sample that lacks a modality has one masked step of zeros in it, also where no sample of the batch has it."""
    for modality in store.modalities:
        missing = np.flatnonzero(store.lengths(modality) == 0)
        assert len(missing)
        x, mask = gather(store, modality, missing)
        assert x.shape == (len(missing), 1, store.features[modality])
        assert not mask.any()
        assert not x.any()


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_an_aligned_batch_says_where_something_is(aligned: Store, data: st.DataObject) -> None:
    """Its mask is that of each sample's steps, then nothing; a step during which there is nothing is not set."""
    rows = data.draw(st.lists(st.integers(0, len(aligned) - 1), min_size=1, max_size=9))
    for modality in aligned.modalities:
        x, mask = gather(aligned, modality, np.array(rows))
        for place, row in enumerate(rows):
            length = len(aligned.sequence(modality, row))
            assert mask[place].tolist() == aligned.present(modality, row).tolist() + [False] * (mask.shape[1] - length)
            assert torch.equal(x[place, :length], aligned.sequence(modality, row))
            assert not x[place, length:].any()


@settings(deadline=None, max_examples=30)
@given(rows=st.lists(st.integers(0, 47), min_size=1, max_size=20, unique=True), size=st.integers(1, 25), data=st.data())
def test_batches_are_the_rows_in_order(store: Store, rows: list[int], size: int, data: st.DataObject) -> None:
    """All rows come once with their own targets, `size` at a time, in the order given or as they stand."""
    order = data.draw(st.none() | st.permutations(range(len(rows))))
    targets = torch.tensor(rows) * 10
    given_order = None if order is None else torch.tensor(order)
    found = list(batches(store, np.array(rows), targets, size, CPU, given_order))
    assert [len(batch.rows) for batch in found[:-1]] == [size] * (len(found) - 1)
    assert 0 < len(found[-1].rows) <= size
    expected = rows if order is None else [rows[place] for place in order]
    assert [row for batch in found for row in batch.rows] == expected
    for batch in found:
        assert batch.targets.tolist() == [10 * row for row in batch.rows]
        assert list(batch.inputs) == list(batch.masks) == list(store.modalities)
        for modality in store.modalities:
            x, mask = gather(store, modality, batch.rows)
            assert torch.equal(batch.inputs[modality], x)
            assert torch.equal(batch.masks[modality], mask)


def test_a_batch_is_a_copy(store: Store) -> None:
    """Changing a batch does not change the store."""
    before = store.sequence("text", 0).clone()
    (batch,) = batches(store, np.array([0]), torch.zeros(1), 1, CPU)
    batch.inputs["text"].fill_(9.0)
    assert torch.equal(store.sequence("text", 0), before)


@settings(deadline=None)
@given(count=st.integers(0, 100), seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 1000))
def test_an_epoch_order_is_decided_by_seed_and_epoch(count: int, seed: int, epoch: int) -> None:
    """It is a permutation, the same whatever was drawn before, and draws nothing from torch's own generator."""
    torch.manual_seed(1)
    order = epoch_order(count, seed, epoch)
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(1))
    assert sorted(order.tolist()) == list(range(count))
    assert torch.equal(order, epoch_order(count, seed, epoch))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    """No two of 20 seeds × 20 epochs share an order: (0, 1) is not (1, 0)."""
    assert len({tuple(epoch_order(30, seed, epoch).tolist()) for seed in range(20) for epoch in range(20)}) == 400


def test_each_place_is_equally_likely() -> None:
    """Over 2,000 epochs each of 5 samples comes first a fifth of the time (within 5 deviations)."""
    first = np.bincount([int(epoch_order(5, 0, epoch)[0]) for epoch in range(2000)], minlength=5)
    assert abs(first - 400).max() < 5 * np.sqrt(2000 * 0.2 * 0.8)


def test_a_batch_that_is_kept_stays_as_it_is(store: Store) -> None:
    """Batches made later, in memory that is used again, do not touch it, nor a view of it."""
    stream = batches(store, np.arange(48), torch.zeros(48), 4, CPU)
    kept, expected = [], []
    for number, batch in enumerate(stream):
        if number % 3 == 0:
            kept.append(batch.inputs["audio"][1])
            expected.append(kept[-1].clone())
        del batch
    assert len(kept) == 4
    for view, content in zip(kept, expected, strict=True):
        assert torch.equal(view, content)


@settings(deadline=None, max_examples=50)
@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=80),
    size=st.integers(1, 9),
    buckets=st.integers(1, 6),
    epoch=st.integers(1, 3),
)
def test_buckets_sort_a_few_batches_at_a_time(sizes: list[int], size: int, buckets: int, epoch: int) -> None:
    """All samples once; the batches of a pool of `buckets` are pieces of it, sorted; what is over is last."""
    numbers = np.array(sizes)
    order = epoch_order(len(sizes), 3, epoch)
    found = [piece.tolist() for piece in torch.split(bucketed(order, numbers, size, buckets, 3, epoch), size)]
    expected = []
    for start in range(0, len(order), size * buckets):
        pool = sorted(order[start : start + size * buckets].tolist(), key=lambda place: numbers[place])
        expected += [pool[first : first + size] for first in range(0, len(pool), size)]
    whole = [piece for piece in expected if len(piece) == size]
    assert sorted(found[: len(whole)]) == sorted(whole)
    assert found[len(whole) :] == [piece for piece in expected if len(piece) < size]


def test_buckets_shuffle_batches_by_seed_and_epoch() -> None:
    """The same seed and epoch give the same order, others another, also of one pool that is always the same."""
    order, sizes = torch.arange(64), np.arange(64)
    found = {
        tuple(bucketed(order, sizes, 4, 16, seed, epoch).tolist()): (seed, epoch)
        for seed in range(5)
        for epoch in range(5)
    }
    assert len(found) == 25
    for key, (seed, epoch) in found.items():
        assert key == tuple(bucketed(order, sizes, 4, 16, seed, epoch).tolist())


def test_every_batch_of_buckets_is_equally_likely_first() -> None:
    """Over 2,000 epochs each of 5 batches comes first a fifth of the time (within 5 deviations)."""
    order, sizes = torch.arange(20), np.arange(20)
    first = np.bincount([int(bucketed(order, sizes, 4, 5, 0, epoch)[0]) // 4 for epoch in range(2000)], minlength=5)
    assert abs(first - 400).max() < 5 * np.sqrt(2000 * 0.2 * 0.8)


def test_more_buckets_pad_less() -> None:
    """On lengths that are skewed as those of speech, each fourfold number of buckets pads less than the last."""
    sizes = np.exp(np.random.default_rng(0).normal(3, 0.7, size=2000)).astype(np.int64) + 1
    order = epoch_order(2000, 0, 1)

    def padding(buckets: int) -> float:
        pieces = torch.split(bucketed(order, sizes, 16, buckets, 0, 1), 16)
        return sum(len(piece) * sizes[piece.numpy()].max() for piece in pieces) / sizes.sum() - 1

    shares = [padding(buckets) for buckets in (1, 4, 16, 64)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 1
    assert shares[-1] < 0.1


def test_numbers_are_all_features_of_a_sample(store: Store) -> None:
    """Over all modalities, steps times width; of the samples asked for, in their order."""
    rows = np.array([7, 0, 30, 7])
    expected = [sum(store.sequence(m, row).numel() for m in store.modalities) for row in rows.tolist()]
    assert numbers_in(store, rows).tolist() == expected


@given(rows=st.lists(st.integers(0, 12), max_size=20))
def test_runs_are_the_samples(rows: list[int]) -> None:
    """Together they are all of them, each as often as it is there; neighbours that are there once share a run."""
    found = runs(np.array(rows, dtype=np.int64))
    assert sorted(number for first, end in found for number in range(first, end)) == sorted(rows)
    assert all(first < end for first, end in found)
    if len(set(rows)) == len(rows):
        assert len(found) == len([row for row in rows if row - 1 not in rows])


@pytest.mark.parametrize("block", [1, 7, 40, 10**6])
def test_statistics_are_those_of_a_loop(
    store: Store, aligned: Store, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    """In blocks of any size: mean and 1 / deviation of a float64 loop over the steps that are there, to 1e-6."""
    monkeypatch.setattr(batch_module, "BLOCK", block)
    for some in (store, aligned):
        rows = np.random.default_rng(0).permutation(len(some))[: len(some) // 2]
        for modality in some.modalities:
            steps = [
                [float(value) for value in step]
                for row in rows.tolist()
                for step, there in zip(some.sequence(modality, row), some.present(modality, row), strict=True)
                if there
            ]
            mean, scale = feature_statistics(some, modality, rows)
            for column, values in enumerate(zip(*steps, strict=True)):
                expected = math.fsum(values) / len(values)
                deviation = math.sqrt(math.fsum((value - expected) ** 2 for value in values) / len(values))
                assert mean[column] == pytest.approx(expected, rel=1e-6, abs=1e-7)
                assert scale[column] == pytest.approx(1 / deviation, rel=1e-6)


def test_statistics_need_the_memory_of_a_block(tmp_path: Path) -> None:
    """As they read, no more than a few blocks are in memory, however many steps there are."""
    features = np.random.default_rng(0).normal(size=(60_000, 20)).astype(np.float32)
    times = np.arange(60_000.0)
    audio = write_csd(tmp_path / "a.csd", {"v": (features, np.stack([times, times + 1], axis=1))})
    labels = write_csd(tmp_path / "l.csd", {"v": (np.eye(6)[:1], [[0, 60_000]])}, EMOTIONS)
    store = open_store(Dataset("d", tmp_path, {"audio": audio}, labels), Options(), tmp_path / "stores")
    sizes = [x.numel() for x in batch_module._blocks(store, "audio", np.arange(1))]
    assert sum(sizes) == features.size
    assert max(sizes) <= batch_module.BLOCK < features.size // 8
    mean, scale = feature_statistics(store, "audio", np.arange(1))
    np.testing.assert_allclose(mean, features.astype(np.float64).mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(scale, 1 / features.astype(np.float64).std(axis=0), rtol=1e-6)


def test_statistics_are_those_of_numpy(store: Store) -> None:
    """Mean and 1 / deviation are numpy's in float64 over all steps of the chosen samples, and of no others."""
    rows = np.arange(0, 48, 3)
    for modality in store.modalities:
        steps = np.concatenate([store.sequence(modality, int(row)).numpy() for row in rows]).astype(np.float64)
        mean, scale = feature_statistics(store, modality, rows)
        assert mean.dtype == scale.dtype == torch.float32
        np.testing.assert_allclose(mean, steps.mean(axis=0), rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(scale, 1 / steps.std(axis=0), rtol=1e-5)


def test_statistics_stand_large_offsets_and_constants(tmp_path: Path) -> None:
    """A feature far from 0 keeps its deviation, one that is constant but for rounding gets the scale 0."""
    random = np.random.default_rng(0)
    far, tiny_numbers = 1e4 + random.normal(size=300), 1e-8 * random.normal(size=300)
    constant = np.full(300, 0.1)
    features = np.stack([far, tiny_numbers, 0 * far, constant, 1e6 + constant], axis=1).astype(np.float32)
    features[::2, 3] = np.nextafter(features[::2, 3], np.float32(1))
    times = np.arange(300.0)
    audio = write_csd(tmp_path / "a.csd", {"v": (features, np.stack([times, times + 1], axis=1))})
    labels = write_csd(tmp_path / "l.csd", {"v": (np.eye(6)[:3], [[0, 100], [100, 200], [200, 300]])}, EMOTIONS)
    store = open_store(Dataset("d", tmp_path, {"audio": audio}, labels), Options(), tmp_path / "stores")
    mean, scale = feature_statistics(store, "audio", np.arange(3))
    deviation = features[:, :2].astype(np.float64).std(axis=0)
    np.testing.assert_allclose(scale[:2], 1 / deviation, rtol=1e-5)
    assert scale[2:].tolist() == [0, 0, 0]
    np.testing.assert_allclose(mean, features.astype(np.float64).mean(axis=0), rtol=1e-6, atol=1e-12)


def test_statistics_without_a_step_say_nothing(store: Store) -> None:
    """Mean and scale are 0, not NaN, where no chosen sample has the modality."""
    missing = np.flatnonzero(store.lengths("text") == 0)
    for rows in (missing, np.array([], dtype=np.int64)):
        mean, scale = feature_statistics(store, "text", rows)
        assert not mean.any()
        assert not scale.any()
