"""Batches: padding with masks, the order of an epoch, and the statistics of features."""

from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import EMOTIONS, write_csd
from hypothesis import given, settings
from hypothesis import strategies as st

from emotiwave_core.data.batch import batches, epoch_order, feature_statistics, gather
from emotiwave_core.data.dataset import Dataset, load_dataset
from emotiwave_core.data.packing import Options
from emotiwave_core.data.store import Store, open_store

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def store(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The store of the tiny data set: some samples lack a modality."""
    return open_store(load_dataset(tiny), Options(), tmp_path_factory.mktemp("stores"))


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
    """Where no chosen sample has the modality, mean and scale are 0, not NaN."""
    missing = np.flatnonzero(store.lengths("text") == 0)
    for rows in (missing, np.array([], dtype=np.int64)):
        mean, scale = feature_statistics(store, "text", rows)
        assert not mean.any()
        assert not scale.any()
