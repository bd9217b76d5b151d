"""2,000 random mutants of whole `.csd` files, looked at, read and packed: nothing dies, hangs or eats all memory."""

import random
from pathlib import Path
from typing import Any

import pytest
from csd_in_child import TOML, read_again, tried
from damaged_csd import Damaged, flipped, whole_files

MEMORY = 1 << 30  # bytes that the process may take beside the libraries: under 2 GB in all
SECONDS = 30  # for one mutant
BATCH = 125


def mutant(number: int) -> Damaged:
    """The mutant of this number, always the same."""
    dice = random.Random(number)
    whole = dice.choice(sorted(whole_files()))
    content, how = (
        whole_files()[whole],
        dice.choice(["flip", "flip", "bytes", "cut", "splice", "swap", "fill", "field"]),
    )
    return Damaged(f"{whole}, mutant {number} ({how})", how, whole, _mutated(bytearray(content), how, dice))


def _mutated(content: bytearray, how: str, dice: random.Random) -> bytes:
    size = len(content)
    first, second = dice.randrange(size), dice.randrange(size)
    if how == "flip":
        return flipped(
            content, {dice.randrange(size): 1 << dice.randrange(8) for _ in range(dice.choice([1, 1, 4, 50]))}
        )
    if how == "bytes":
        for _ in range(dice.choice([1, 4, 20])):
            content[dice.randrange(size)] = dice.randrange(256)
    elif how == "cut":
        del content[first:]
    elif how == "splice":
        length = dice.randrange(1, 512)
        content[first : first + length] = content[second : second + length]
    elif how == "swap":
        length = dice.choice([8, 16, 64, 512])
        first, second = first // length * length, second // length * length
        one, other = content[first : first + length], content[second : second + length]
        content[first : first + len(other)], content[second : second + len(one)] = other, one
    elif how == "fill":
        length = dice.randrange(1, 64)
        content[first : first + length] = bytes([dice.choice([0, 255])]) * length
    else:  # a length, a number or an address: nothing, too much, or another place
        width = dice.choice([2, 4, 8])
        value = dice.choice(
            [0, 1, 2 ** (8 * width) - 1, 2 ** (8 * width - 1), size, second, dice.getrandbits(8 * width)]
        )
        place = first // 8 * 8 + dice.choice([0, 0, 2, 4])
        content[place : place + width] = (value % 2 ** (8 * width)).to_bytes(width, "little")
    return bytes(content)


def look_read_and_pack(file: Damaged, folder: Path) -> dict[str, Any]:
    """The doctor, all that the reader gives, and a store of it; what is none of its errors is not caught."""
    from emotiwave_core.data.dataset import load_dataset
    from emotiwave_core.data.inspect import inspect_folder
    from emotiwave_core.data.prepare.options import Options
    from emotiwave_core.data.store.store import open_store
    from emotiwave_core.errors import DataError

    part = file.whole.split()[0]
    whole = {"audio": whole_files()["audio contiguous"], "labels": whole_files()["labels"], part: file.content}
    for name, content in whole.items():
        (folder / f"{name}.csd").write_bytes(content)
    (folder / "dataset.toml").write_text(TOML.format(words='words = "words.csd"\n' if part == "words" else ""))
    facts = inspect_folder(folder)["files"][f"{part}.csd"]
    try:
        open_store(load_dataset(folder), Options(align="words" if part == "words" else "none"))
        packed = ""
    except DataError as error:
        packed = str(error)
    return {"looked": facts.get("error", ""), "packed": packed, **read_again(file, folder / f"{part}.csd")}


def run(numbers: range, folder: Path) -> None:
    """The laws that hold for every mutant; its number is in the message."""
    outcomes = tried(look_read_and_pack, [mutant(number) for number in numbers], folder, SECONDS, MEMORY)
    for file, facts, said, _, _ in outcomes:
        assert bool(facts["looked"]) == bool(facts["refused"]) or file.whole == "labels", (file.name, facts)
        assert not facts["packed"] or facts["refused"] or file.whole == "labels", (file.name, facts)
        assert not said.strip(), (file.name, said)
    unnoticed = [file.name for file, facts, *_ in outcomes if facts["wrong"] not in ([], ["metadata"])]
    assert len(unnoticed) <= max(0.03 * len(outcomes), 2), unnoticed


@pytest.mark.short_rows(1)
@pytest.mark.parametrize("first", [0, 15])
def test_some_mutants_are_refused_or_read(tmp_path: Path, first: int) -> None:
    """Sixty of them: no death of the process, no hang, no other error than DataError."""
    run(range(first, 60 if first else 15), tmp_path)


@pytest.mark.stress
@pytest.mark.parametrize("batch", range(2000 // BATCH))
def test_every_mutant_is_refused_or_read(tmp_path: Path, batch: int) -> None:
    """All 2,000, as above."""
    run(range(batch * BATCH, (batch + 1) * BATCH), tmp_path)
