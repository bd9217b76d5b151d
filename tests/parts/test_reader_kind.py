"""Readers as a kind of part: a stranger's is scaffolded, checked, and asked where no shipped one knows a file."""

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from trusted import trust_here

import emotiwave as ew
from emotiwave_core.data.formats.pickle_files import written_pickle
from emotiwave_core.data.formats.reader import Source, open_reader, reader_of
from emotiwave_core.errors import DataError, PluginError
from emotiwave_core.parts.scaffold import NewPlugin, write_file, write_project

SHIPPED = ("csd", "numpy", "pickle")


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a reader of its own, and a file of its format."""
    monkeypatch.chdir(tmp_path)
    write_file(NewPlugin("reader", "my-lines"), tmp_path)
    Path("registry.toml").write_text('[plugins]\nmine = "my_lines.py"\n')
    trust_here()
    Path("a.my-lines").write_text("v 0 1 0.5 2\nv 1 2 1 3\n")
    return tmp_path


def test_a_strangers_reader_is_asked_when_no_other_knows_the_file(work: Path) -> None:
    """By the file, or by its name; a file of nobody's format stays refused."""
    for source in (Source(work / "a.my-lines"), Source(work / "a.my-lines", reader="my-lines")):
        with open_reader(source) as reader:
            assert reader.features("v").tolist() == [[0.5, 2.0], [1.0, 3.0]]
            assert reader.intervals("v").tolist() == [[0.0, 1.0], [1.0, 2.0]]
    (work / "b.unknown").write_text("hello")
    with pytest.raises(DataError, match=r"b\.unknown is of no known format"):
        open_reader(work / "b.unknown")
    with pytest.raises(DataError, match=r"there is no reader 'my-line'.* Did you mean 'my-lines'"):
        open_reader(Source(work / "a.my-lines", reader="my-line"))


def test_a_reader_that_fails_is_named(work: Path) -> None:
    """What a stranger's reader raises on a file is an error of the plugin, with its name."""
    path = write_file(NewPlugin("reader", "failing"), work)
    path.write_text(path.read_text().replace("self._rows: dict", "1 / 0\n        self._rows: dict"))
    Path("registry.toml").write_text('[plugins]\nfailing = "failing.py"\n')
    trust_here()
    Path("a.failing").write_text("v 0 1 2\n")
    with pytest.raises(PluginError, match=r"The reader 'failing' fails on .*ZeroDivisionError"):
        open_reader(work / "a.failing")


def test_no_stranger_is_imported_for_a_shipped_format(work: Path) -> None:
    """A file that a shipped reader recognises loads no other, and the registry is not even read."""
    (work / "my_lines.py").write_text("raise SystemExit('loaded')")
    ew.write_csd(work / "a.csd", {"v": [[1.0]]}, {"v": [[0, 1]]})
    code = "import sys; from pathlib import Path; from emotiwave_core.data.formats.reader import open_reader; "
    code += (
        "open_reader(Path('a.csd')).close(); print(sorted(m for m in sys.modules if m.startswith('emotiwave_core.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout.replace("'", '"'))
    assert "emotiwave_core.parts.registry" not in loaded


@pytest.mark.full
@pytest.mark.usefixtures("warm_children")
def test_the_written_reader_and_the_shipped_ones_keep_the_laws(work: Path) -> None:
    """As `plugins check` and `ew.check` hold them to it, on the files that they write as an example."""
    classes = [reader_of(Source(work, reader=name)) for name in SHIPPED] + [reader_of(Source(work / "a.my-lines"))]
    for reader in classes:
        checked = ew.check(reader)
        assert checked.kind == "reader"
        assert checked.holds, checked
        assert sum(law.holds is True for law in checked.laws) > 8


def test_an_example_without_a_pickler_is_what_pickle_writes() -> None:
    """The example of the reader of pickles is read by pickle itself."""
    value = {"a": {"b": ["ß", np.arange(6, dtype="<f4").reshape(2, 3)]}}
    read = pickle.loads(written_pickle(value))
    assert read["a"]["b"][0] == "ß"
    assert np.array_equal(read["a"]["b"][1], value["a"]["b"][1])


def test_a_project_of_a_reader_is_written(work: Path) -> None:
    """Its test imports what it needs, and its README says how the reader is named."""
    project = write_project(NewPlugin("reader", "odd"), work)
    assert "from emotiwave_core import Source, load_registry" in (project / "tests" / "test_odd.py").read_text()
    assert "reader = odd" in (project / "README.md").read_text()
    shutil.rmtree(project)
