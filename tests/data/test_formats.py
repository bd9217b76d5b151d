"""Formats of files: one subclass of Reader is all that a new one takes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from click.testing import CliRunner
from datasets import WIDTHS, write_dataset
from numpy.typing import NDArray

from emotiwave_core.cli import emotiwave
from emotiwave_core.config.recipe import DataSettings
from emotiwave_core.data.corpus import open_corpus
from emotiwave_core.data.formats.csd import CsdFile
from emotiwave_core.data.formats.reader import Reader, Source, open_reader


class Listed(Reader):
    """A made-up format: JSON of {entry: [features, intervals]}."""

    name = "listed"
    suffixes = (".listed",)

    def __init__(self, source: Source) -> None:
        self.path, self.root, self.is_words = source.path, "lists", False
        self._entries = json.loads(source.path.read_text())
        self.keys = tuple(self._entries)
        self.width = len(self._entries[self.keys[0]][0][0])

    def close(self) -> None:
        """Nothing is open."""

    @property
    def metadata(self) -> dict[str, Any]:
        """None."""
        return {}

    @property
    def dimension_names(self) -> list[str] | None:
        """None."""
        return None

    def steps(self, key: str) -> int:
        """As listed."""
        return len(self._entries[key][1])

    def intervals(self, key: str) -> NDArray[np.float64]:
        """As listed."""
        return np.array(self._entries[key][1], dtype=np.float64)

    def features(self, key: str, rows: slice = slice(None)) -> NDArray[Any]:
        """As listed."""
        return np.array(self._entries[key][0], dtype=np.float32)[rows]


def test_a_new_format_is_read_everywhere(tmp_path: Path) -> None:
    """A data set whose audio is of a made-up format is inspected, packed and split as if it were of `.csd` files."""
    folder = write_dataset(tmp_path)
    packed = open_corpus(folder, DataSettings(align="words")).store
    with CsdFile(folder / "audio.csd") as file:
        listed = {key: [part.tolist() for part in file.read(key)] for key in file.keys}
    (folder / "audio.listed").write_text(json.dumps(listed))
    (folder / "audio.csd").unlink()
    description = folder / "dataset.toml"
    description.write_text(description.read_text().replace("audio.csd", "audio.listed"))
    store = open_corpus(folder, DataSettings(align="words")).store
    assert store.ids == packed.ids
    assert all(torch.equal(store.values[name], packed.values[name]) for name in WIDTHS)
    result = CliRunner().invoke(emotiwave, ["data", "inspect", str(folder)])
    assert result.exit_code == 0
    assert "audio.listed  audio," in result.stdout


def test_a_file_of_another_name_is_taken_for_csd(tmp_path: Path) -> None:
    """A suffix that no format has changes nothing: the content decides."""
    path = (write_dataset(tmp_path) / "audio.csd").rename(tmp_path / "audio.hdf5")
    with open_reader(path) as file:
        assert isinstance(file, CsdFile)
        assert file.width == WIDTHS["audio"]
