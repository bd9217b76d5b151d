"""Every shipped reader keeps the laws of its kind, and each law catches a reader that breaks it."""

import unittest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pickled_data import mmsa, write_pickle

import emotiwave as ew
from emotiwave_core.data.formats.csd import CsdFile
from emotiwave_core.data.formats.numpy_arrays import NumpyArrays
from emotiwave_core.data.formats.pickled import PickledDataset
from emotiwave_core.errors import DataError
from emotiwave_core.reading import Reader, Source, counted_intervals
from emotiwave_core.testing import BrokenLaw, ReaderContract

KEYS = ("one", "two[0]", "two[1]")


def arrays(steps: int) -> dict[str, np.ndarray[Any, Any]]:
    """An array for each key."""
    return {key: np.random.default_rng(0).normal(size=(steps, 3)).astype(np.float32) for key in KEYS}


def as_csd(folder: Path, steps: int) -> Source:
    """A `.csd` file."""
    times = {key: counted_intervals(steps, 10.0) for key in KEYS}
    return Source(ew.write_csd(folder / "a.csd", arrays(steps), times, columns=["a", "b", "c"]))


def as_folder(folder: Path, steps: int) -> Source:
    """A folder of arrays, one of them with times."""
    (folder / "audio").mkdir()
    for key, array in arrays(steps).items():
        np.save(folder / "audio" / f"{key}.npy", array)
        np.save(folder / "audio" / f"{key}_times.npy", counted_intervals(steps, 10.0))
    return Source(folder / "audio")


def as_archive(folder: Path, steps: int) -> Source:
    """One archive."""
    np.savez_compressed(folder / "audio.npz", **arrays(steps))
    return Source(folder / "audio.npz")


def as_pickle(folder: Path, steps: int) -> Source:
    """A pickle of MMSA."""
    content = mmsa({"train": 3, "valid": 2, "test": 2})
    for table in content.values():
        table["audio"] = np.ones((len(table["id"]), steps, 5))
        del table["audio_lengths"]
    return Source(write_pickle(folder / "a.pkl", content), "audio")


FORMS = {"csd": (CsdFile, as_csd), "folder": (NumpyArrays, as_folder), "archive": (NumpyArrays, as_archive)}
FORMS |= {"pickle": (PickledDataset, as_pickle)}


def contract_of(form: str, reader: type[Reader] | None = None) -> type[ReaderContract]:
    """The contract of a reader, for files that are written as above."""
    kind, write = FORMS[form]
    own = {
        "make": lambda self, source: (reader or kind)(source),
        "example": lambda self, folder, steps=5: write(folder, steps),
    }
    return type("Checked", (ReaderContract,), own)


SHARED = ("options_survive_a_recipe", "seeds_nothing", "import_draws_nothing")  # of all kinds, and tried for others


def broken_laws(contract: type[ReaderContract], spared: tuple[str, ...] = ()) -> dict[str, str]:
    """The laws that are broken, each with its message."""
    broken = {}
    for law in contract.laws():
        if law.name in spared:
            continue
        try:
            law.check()
        except BrokenLaw as error:
            broken[law.name] = str(error)
        except unittest.SkipTest:
            continue
    return broken


@pytest.mark.usefixtures("warm_children")
@pytest.mark.parametrize("form", FORMS)
def test_shipped_readers_keep_every_law(form: str) -> None:
    """Each form of file is read by all laws."""
    assert broken_laws(contract_of(form)) == {}


class _Archive(NumpyArrays):
    """A sound reader, to be spoilt."""


class Twice(_Archive):
    """It gives a key twice."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.keys += self.keys[:1]


class Drawing(_Archive):
    """It gives other numbers each time."""

    def features(self, key: str, rows: slice = slice(None)) -> Any:
        """With noise."""
        values = super().features(key, rows)
        return values + np.random.default_rng().normal(size=values.shape).astype(np.float32)


class Unsliced(_Archive):
    """It passes over the rows."""

    def features(self, key: str, rows: slice = slice(None)) -> Any:
        """All of them."""
        return super().features(key)


class Greedy(_Archive):
    """It reads all when it is opened."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.held = [self.features(key) for key in self.keys]


class Everything(_Archive):
    """It takes any file for its own."""

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Yes."""
        return True


class Raising(_Archive):
    """It lets other errors through."""

    def __init__(self, source: Source) -> None:
        try:
            super().__init__(source)
        except DataError as error:
            raise KeyError("x") from error


BROKEN = {
    Twice: {"gives_entries"},
    Drawing: {"is_repeatable", "slices_are_those_of_the_whole"},
    Unsliced: {"slices_are_those_of_the_whole"},
    Greedy: {"opens_lazily"},
    Everything: {"recognises_its_own_alone"},
    Raising: {"damage_is_a_data_error", "refuses_what_is_not_there"},
}


@pytest.mark.short_rows(3)
@pytest.mark.parametrize("reader", BROKEN, ids=lambda reader: reader.__name__)
def test_a_defect_breaks_its_laws_and_no_other(reader: type[Reader]) -> None:
    """A reader with one defect is told of the laws that it breaks."""
    assert set(broken_laws(contract_of("archive", reader), SHARED)) == BROKEN[reader]
