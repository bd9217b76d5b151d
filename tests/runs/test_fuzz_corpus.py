"""What the fuzzer begins with and what it has found, tried without it."""

from pathlib import Path

import pytest
from file_damage import some_damage
from fuzz_targets import CORPUS, TARGETS, kept

DAMAGED = 20  # of each file, cut off and with changed bytes
FEW = 2  # of those that are decoded by another process


@pytest.mark.full
@pytest.mark.parametrize("name", TARGETS)
def test_whatever_was_kept_is_read_or_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole files, those of the corpus, and some damaged ones of each are read, or refused in one sentence."""
    if name == "media":
        pytest.importorskip("av")
    monkeypatch.setenv("EMOTIWAVE_CACHE", str(tmp_path / "cache"))
    room = tmp_path / "room"
    room.mkdir()
    target, seeds = TARGETS[name](room)
    for seed in [*seeds, *kept(name)]:
        target(seed)
        for data in some_damage(seed, FEW if name == "media" else DAMAGED):
            target(data)


def test_the_corpus_is_small_and_of_known_targets() -> None:
    """Each folder is a target's and holds something, and no file has more than 8 KiB."""
    assert {path.name for path in CORPUS.iterdir()} <= set(TARGETS)
    assert all(kept(path.name) for path in CORPUS.iterdir())
    assert all(path.stat().st_size <= 8192 for path in CORPUS.rglob("*") if path.is_file())
