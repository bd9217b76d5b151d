"""The loader: samples kept on a device or fetched ahead are the samples of the plain way."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import write_spoken
from hypothesis import given, settings
from hypothesis import strategies as st

from emotiwave_core.data.dataset import load_dataset
from emotiwave_core.data.loading.batch import Batch, batches, host_batches, numbers_in
from emotiwave_core.data.loading.loader import Loader, open_loader, resident, room
from emotiwave_core.data.prepare.options import Options
from emotiwave_core.data.store.store import Store, open_store

CPU, GPU = torch.device("cpu"), torch.device("cuda")
SHARES: dict[str, Callable[[int], slice]] = {
    "all": slice,
    "first half": lambda count: slice(count // 2),
    "second of two": lambda count: slice(count // 2, count),
    "none": lambda count: slice(0),
}


@pytest.fixture(scope="module", params=["tiny", "none", "words", 2.0])
def store(request: pytest.FixtureRequest, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Stores in which some samples lack a modality: of the tiny data set, and of one with words, aligned and not."""
    if request.param == "tiny":
        return open_store(load_dataset(tiny), Options(), tmp_path_factory.mktemp("stores"))
    spoken = write_spoken(tmp_path_factory.mktemp("spoken"))
    return open_store(spoken, Options(align=request.param), tmp_path_factory.mktemp("stores"))


def same(found: list[Batch], expected: list[Batch]) -> None:
    """Batch by batch, bit by bit."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for name in ("inputs", "masks", "host_masks"):
            ours, theirs = getattr(one, name), getattr(other, name)
            assert list(ours) == list(theirs)
            for m in theirs:
                assert (ours[m].dtype, ours[m].shape) == (theirs[m].dtype, theirs[m].shape)
                assert torch.equal(ours[m], theirs[m]), (name, m)
        assert torch.equal(one.targets, other.targets)
        assert one.rows.tolist() == other.rows.tolist()


@pytest.mark.short_rows(2)
@settings(deadline=None, max_examples=25)
@given(data=st.data(), size=st.integers(1, 9), share=st.sampled_from(sorted(SHARES)))
def test_every_way_gives_the_same_batches(store: Store, data: st.DataObject, size: int, share: str) -> None:
    """Kept on the device, fetched ahead or plain: the same bits, for rows in any order and any share of a batch."""
    number = st.integers(0, len(store) - 1)
    rows = np.array(data.draw(st.lists(number, min_size=1, max_size=20)))
    order = data.draw(st.none() | st.permutations(range(len(rows))).map(torch.tensor))
    kept = np.array([*rows, *data.draw(st.lists(number, max_size=5))])
    targets = torch.arange(2.0 * len(rows)).view(-1, 2)
    expected = list(batches(store, rows, targets, size, CPU, order, SHARES[share]))
    for loader in (
        Loader(store, CPU),
        Loader(store, CPU, resident(store, kept, CPU)),
        Loader(store, CPU, fetch_ahead=True),
    ):
        same(list(loader.batches(rows, targets, size, order, SHARES[share])), expected)


def test_what_is_not_kept_is_fetched(store: Store) -> None:
    """The batches are those of all rows also where one of the rows is not on the device."""
    rows = np.arange(len(store))
    loader = Loader(store, CPU, resident(store, rows[1:], CPU))
    same(
        list(loader.batches(rows, torch.zeros(len(rows)), 4)),
        list(batches(store, rows, torch.zeros(len(rows)), 4, CPU)),
    )


def test_only_the_samples_asked_for_are_kept(store: Store) -> None:
    """Of each modality as many steps as these samples have, and one of zeros; a sample asked for twice is kept once."""
    rows = np.array([5, 1, 2, 9, 5])
    kept = resident(store, rows, CPU)
    for m in store.modalities:
        assert len(kept.values[m]) == store.lengths(m)[[1, 2, 5, 9]].sum() + 1
        assert not kept.values[m][-1].any()
    assert np.flatnonzero(kept.held).tolist() == [1, 2, 5, 9]


def test_a_batch_of_what_is_kept_is_a_copy(store: Store) -> None:
    """Changing a batch changes neither the store nor what is kept of it."""
    rows = np.arange(len(store))
    loader = Loader(store, CPU, resident(store, rows, CPU))
    (first,) = loader.batches(rows, torch.zeros(len(rows)), len(rows))
    expected = {m: x.clone() for m, x in first.inputs.items()}
    for x in first.inputs.values():
        x.fill_(9.0)
    (again,) = loader.batches(rows, torch.zeros(len(rows)), len(rows))
    for m, x in expected.items():
        assert torch.equal(again.inputs[m], x)


@pytest.mark.parametrize("spare", [-1, 0])
def test_a_gpu_keeps_what_half_of_its_free_memory_holds(
    store: Store, monkeypatch: pytest.MonkeyPatch, spare: int
) -> None:
    """Twice the bytes of the features of these samples must be free; a byte less is not room."""
    rows = np.array([0, 3, 3, 4])
    needed = sum(store.sequence(m, row).nbytes for m in store.modalities for row in (0, 3, 4))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * needed + spare, 10**12))
    assert room(store, rows, GPU) is (spare == 0)
    assert needed == 4 * numbers_in(store, np.unique(rows)).sum()


def test_a_cpu_keeps_nothing_and_has_no_thread(store: Store) -> None:
    """There the memory map is as near as a copy would be."""
    loader = open_loader(store, CPU, np.arange(len(store)))
    assert loader.kept is None
    assert not loader.fetch_ahead


def test_a_gpu_keeps_what_it_is_asked_to_if_it_has_the_room(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else, or where nothing is to be kept, its batches are fetched ahead (what is kept is on the CPU in this test)."""
    from emotiwave_core.data.loading import loader as module

    monkeypatch.setattr(module, "resident", lambda store, rows, device: resident(store, rows, CPU))
    rows, free = np.arange(3), [10**12]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[0], 10**12))
    kept = open_loader(store, GPU, rows).kept
    assert kept is not None
    assert kept.held.sum() == 3
    assert open_loader(store, GPU).kept is None
    free[0] = 8
    refused = open_loader(store, GPU, rows)
    assert refused.kept is None
    assert refused.fetch_ahead


def test_features_for_a_gpu_are_in_pinned_memory(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them, and only where it is asked for; their content is the same."""
    asked: list[tuple[int, ...]] = []
    made = torch.empty

    def empty(*shape: int, dtype: torch.dtype, pin_memory: bool = False) -> torch.Tensor:
        asked.extend([shape] if pin_memory else [])
        return made(*shape, dtype=dtype).fill_(7)

    monkeypatch.setattr(torch, "empty", empty)
    rows, targets = np.arange(len(store)), torch.zeros(len(store))
    expected = list(host_batches(store, rows, targets, 5))
    assert not asked
    found = list(host_batches(store, rows, targets, 5, pinned=True))
    same(found, expected)
    assert asked == [tuple(x.shape) for batch in found for x in batch.inputs.values()]
