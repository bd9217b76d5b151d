"""More than 1,000 damaged files through the program, as a person would give them to it.

Where a damaged file is read all the same, what is read must be what was there. Two things no reader can notice, and the
SHA-256 of the sources is for them: a bit of a raw number without a checksum, and, in the older version of the format,
whose structures have none either, a bit that leaves a structure valid (a name, an address, a type).
"""

from pathlib import Path

import numpy as np
import pytest
from csd_in_child import Outcome, read_again, through_the_program, tried
from damaged_csd import Damaged, damaged_files, flipped, whole_files

MEMORY = 512 << 20  # bytes that the process may take beside the libraries
SECONDS = 10  # for one file
PARTS = 12


def check(outcomes: list[Outcome]) -> None:
    """The laws that hold for every damaged file."""
    for file, facts, said, _, _ in outcomes:
        where = (file.name, facts, said)
        assert set(facts["codes"]) <= {0, 3}, where
        assert not any(word in said for word in ("Traceback", "Internal error", "Warning")), where
        assert not facts["left"], where
        assert not facts["refused"] or facts["codes"][0] == 3, where
        assert not facts["refused"] or "\n  ! " in said, where
        if file.kind in ("cut", "rule"):
            assert facts["refused"], where
        if "latest" in file.whole:
            assert set(facts["wrong"]) <= {"metadata"}, where  # texts stand in a heap without a checksum
        if "gzip" in file.whole:
            assert not any("features" in name or "intervals" in name for name in facts["wrong"]), where
    flips = [outcome for outcome in outcomes if outcome.file.kind == "flip"]
    unnoticed = [outcome for outcome in flips if outcome.facts["wrong"]]
    assert len(unnoticed) <= max(0.06 * len(flips), 1), [(file.name, facts) for file, facts, *_ in unnoticed]


def run(files: list[Damaged], folder: Path) -> None:
    """Through the program, and nothing is written outside of the cache."""
    check(tried(through_the_program, files, folder, SECONDS, MEMORY))
    assert {path.name for path in folder.iterdir()} - {str(number) for number in range(len(files))} <= {
        "cache",
        "outcomes",
    }


@pytest.mark.short_rows(1)
@pytest.mark.parametrize("part", range(4))
def test_a_choice_of_damaged_files_is_refused_or_read_as_it_was(tmp_path: Path, part: int) -> None:
    """Of every kind some: exit code 0 or 3, one sentence, in time and in little memory; what is read is right."""
    files = damaged_files()
    rules = [file for file in files if file.kind in ("rule", "rows")]
    chosen = [*rules[::4], *(file for file in files if file not in rules)][:: len(files) // 40 + 1] + rules[::4]
    run(chosen[part::4], tmp_path)


@pytest.mark.stress
@pytest.mark.parametrize("part", range(PARTS))
def test_every_damaged_file_is_refused_or_read_as_it_was(tmp_path: Path, part: int) -> None:
    """All of them, as above."""
    files = damaged_files()
    assert len(files) > 300
    run(files[part::PARTS], tmp_path)


@pytest.mark.short_rows(1)
@pytest.mark.parametrize("name", ["audio gzip", "audio latest gzip"])
def test_a_flipped_bit_of_packed_numbers_is_always_noticed(tmp_path: Path, name: str) -> None:
    """Of gzip with a checksum, each bit of a chunk that is turned is noticed."""
    content, path = whole_files()[name], tmp_path / "a.csd"
    place = content.index(b"x^")  # how gzip begins, as h5py writes it
    for bit in range(0, 8 * 64, 7):
        file = Damaged("", "flip", name, flipped(content, {place + bit // 8: 1 << bit % 8}))
        path.write_bytes(file.content)
        assert read_again(file, path)["refused"], bit


def test_a_flipped_bit_of_a_raw_number_is_not_noticed(tmp_path: Path) -> None:
    """So it is stated, and the battery could tell: without a checksum the number is another, and it is read."""
    content = whole_files()["audio contiguous"]
    number = np.arange(1, 25, dtype=np.float64) / 4
    place = content.index(np.stack([np.arange(24) / 4, number], axis=1).tobytes()) + 8
    file = Damaged("", "flip", "audio contiguous", flipped(content, {place + 6: 1}))
    (tmp_path / "a.csd").write_bytes(file.content)
    assert read_again(file, tmp_path / "a.csd") == {"refused": "", "wrong": []}
