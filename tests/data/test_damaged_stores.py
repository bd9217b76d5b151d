"""A store or a manifest that is damaged: built anew, or refused, and never used."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from file_damage import changed, mangled, one_sentence, stand_ins, to_json
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sound_documents import MANIFEST

from emotiwave_core.data.dataset import load_dataset
from emotiwave_core.data.prepare.options import Options
from emotiwave_core.data.store.store import Store, open_store
from emotiwave_core.evaluate.corruptions import find_corruption
from emotiwave_core.evaluate.manifest import parse_manifest, read_manifest

QUICK = settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
HASHED = 1 << 24  # bytes of zeros where all of them are hashed
Stored = tuple[Path, Path, list[Any]]  # a store, a copy of it that is whole, its samples


def samples(store: Store) -> list[Any]:
    """All that is in a store."""
    held = [store.ids, store.videos, store.labels.tolist(), store.intervals.tolist()]
    return [*held, *(store.sequence(m, n).tolist() for m in store.modalities for n in range(len(store)))]


@pytest.fixture(scope="module")
def stored(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """The folder of a store, a copy of it that is whole, and its samples."""
    folder = tmp_path_factory.mktemp("stored")
    store = open_store(load_dataset(tiny), Options(), folder / "stores")
    shutil.copytree(store.path, folder / "kept")
    return store.path, folder / "kept", samples(store)


def open_damaged(tiny: Path, stored: Stored, name: str, data: bytes | None, *, same: bool) -> None:
    """Open a store with one damaged file, which keeps its size and time where it is to look the `same`."""
    path, kept, due = stored
    shutil.rmtree(path)
    shutil.copytree(kept, path)
    before = (path / name).stat()
    if data is not None:
        (path / name).write_bytes(data)
        if same:
            os.utime(path / name, ns=(before.st_atime_ns, before.st_mtime_ns))
    found = samples(open_store(load_dataset(tiny), Options(), path.parent))
    assert found == due or (same and name != "store.json" and len(data or b"") == before.st_size)


@pytest.mark.short_rows(1)
@QUICK
@given(st.data())
@pytest.mark.parametrize("name", ["store.json", "arrays.safetensors"])
@pytest.mark.parametrize("same", [False, True])
def test_a_damaged_store_is_built_anew(tiny: Path, stored: Stored, name: str, same: bool, data: st.DataObject) -> None:
    """Whatever is changed in a store, its samples are the same; a size and time that stay can hide a feature alone."""
    whole = (stored[1] / name).read_bytes()
    damaged = changed(json.loads(whole)).map(to_json) if name == "store.json" else mangled(whole)
    open_damaged(tiny, stored, name, data.draw(damaged), same=same)


@pytest.mark.short_rows(1)
@pytest.mark.parametrize("key", ["labels", "intervals", "text.offsets", "audio.offsets"])
def test_labels_and_offsets_are_never_taken_damaged(tiny: Path, stored: Stored, key: str) -> None:
    """One turned bit of what says where a sample is and what it shows is noticed, at any size and time."""
    whole = bytearray((stored[1] / "arrays.safetensors").read_bytes())
    size = int.from_bytes(whole[:8], "little")
    start, end = json.loads(whole[8 : 8 + size])[key]["data_offsets"]
    for place in (start, end - 1):
        damaged = bytearray(whole)
        damaged[8 + size + place] ^= 1
        path, kept, due = stored
        shutil.copytree(kept, path, dirs_exist_ok=True)
        before = (path / "arrays.safetensors").stat()
        (path / "arrays.safetensors").write_bytes(damaged)
        os.utime(path / "arrays.safetensors", ns=(before.st_atime_ns, before.st_mtime_ns))
        assert samples(open_store(load_dataset(tiny), Options(), path.parent)) == due


@pytest.mark.stress
@settings(QUICK, max_examples=200)
@given(st.data())
@pytest.mark.parametrize("name", ["store.json", "arrays.safetensors"])
@pytest.mark.parametrize("same", [False, True])
def test_a_damaged_store_is_built_anew_at_length(
    tiny: Path, stored: Stored, name: str, same: bool, data: st.DataObject
) -> None:
    """The same, with very many changes."""
    whole = (stored[1] / name).read_bytes()
    damaged = changed(json.loads(whole)).map(to_json) if name == "store.json" else mangled(whole)
    open_damaged(tiny, stored, name, data.draw(damaged), same=same)


@pytest.mark.stress
@pytest.mark.parametrize("name", ["store.json", "arrays.safetensors"])
def test_what_is_no_file_of_a_store_is_built_anew(tiny: Path, stored: Stored, name: str) -> None:
    """A folder, a pipe, a loop of links, a device, a gigabyte of zeros in the place of a store's file."""
    path, kept, due = stored
    shutil.copytree(kept, path, dirs_exist_ok=True)
    for what in stand_ins(path / name, HASHED if name.endswith(".safetensors") else 1 << 30):
        assert samples(open_store(load_dataset(tiny), Options(), path.parent)) == due, what


@QUICK
@given(st.data())
def test_a_damaged_manifest_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever is changed in a manifest, it is read, or refused in one sentence."""
    raw = MANIFEST.to_bytes()
    damaged = data.draw(st.one_of(changed(json.loads(raw)).map(to_json), mangled(raw)))
    one_sentence(lambda: parse_manifest(damaged, find_corruption("frames"), "THERE"), "THERE")


def test_what_is_no_manifest_is_refused(tmp_path: Path) -> None:
    """A folder, a pipe, a loop of links, a device, a gigabyte of zeros in the place of a manifest."""
    path = tmp_path / "manifest.json"
    for what in stand_ins(path):
        assert one_sentence(lambda: read_manifest(path, find_corruption("frames")), path) is None, what
