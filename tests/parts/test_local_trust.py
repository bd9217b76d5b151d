"""Local code is run with the user's word alone: a working folder may be a stranger's."""

import importlib.util
import json
import os
import py_compile
import re
from pathlib import Path

import pytest
from training import small, start
from trusted import trust_here

from emotiwave_core.cli import exit_code_of
from emotiwave_core.errors import Notice, PassedOver, PluginError, SettingsError
from emotiwave_core.parts.registry import load_registry
from emotiwave_core.parts.trust import TRUSTED, settings_folder, trust, trusted_sha256

pytestmark = pytest.mark.usefixtures("warm_children")

LOCAL = """
import pathlib
pathlib.Path({fuse!r}).touch()
from emotiwave_core import hookimpl
from emotiwave_encoders.mean import MeanEncoder
class Mine(MeanEncoder):
    \"\"\"A mean of a stranger.\"\"\"
@hookimpl
def register_encoders(register):
    register("{name}", Mine)
"""


@pytest.fixture
def strange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A working folder whose registry.toml names code, and the file that this code would make."""
    folder, fuse = tmp_path / "unpacked", tmp_path / "gone off"
    folder.mkdir()
    (folder / "registry.toml").write_text('[plugins]\nmine = "mine.py"\n[recipe.theirs]\nseed = 3\n')
    (folder / "mine.py").write_text(LOCAL.format(fuse=str(fuse), name="mean"))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("EMOTIWAVE_CONFIG", str(tmp_path / "config"))
    return folder, fuse


@pytest.mark.filterwarnings("always")  # as a new process shows them
def test_code_without_a_word_is_not_run(
    strange: tuple[Path, Path], tiny: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Recipes and names count, the code does not; every command says so once, with the way out."""
    folder, fuse = strange
    start(small(encoder={"name": "mean"}, training={"epochs": 1}), tiny, folder / "there")
    capfd.readouterr()
    for words in (["plugins"], ["recipes"], ["recipes", "show", "theirs"], ["evaluate", "there", "--json"]):
        assert exit_code_of(words) == 0
        captured = capfd.readouterr()
        assert captured.err.count("emotiwave plugins trust") == 1, words
        if words == ["plugins"]:
            assert re.search(r"mine +untrusted", captured.out)
    assert exit_code_of(["run", "--encoder", "mine", "--data", str(tiny)]) == 2
    assert "that you have not trusted" in capfd.readouterr().err
    assert not fuse.exists()


def test_a_word_holds_until_the_file_changes(strange: tuple[Path, Path]) -> None:
    """`plugins trust` lets it run; another content, or the same in another place, asks anew."""
    folder, fuse = strange
    assert exit_code_of(["plugins", "trust"]) == 0
    with pytest.warns(Notice, match=r"The encoder 'mean' is that of .*mine\.py, not the one of emotiwave"):
        assert load_registry().find("encoder", "mean")[1].endswith("mine.py")
    assert fuse.exists()
    (folder / "mine.py").write_text("raise SystemExit\n")
    with pytest.warns(PassedOver, match="you have not trusted, or that has changed since"):
        assert load_registry().files == {}
    (folder / "other.py").write_text(LOCAL)
    assert trusted_sha256(folder / "other.py") is None


def test_what_is_run_is_what_was_trusted(strange: tuple[Path, Path]) -> None:
    """A file that changes between the look and the load is refused, and so is one that was not there at the look."""
    folder, fuse = strange
    trust_here()
    registry = load_registry()
    (folder / "mine.py").write_text((folder / "mine.py").read_text() + "\n")
    with pytest.raises(PluginError, match="it has changed since you trusted it"):
        registry.load_local("mine")
    (folder / "mine.py").unlink()
    registry = load_registry()
    (folder / "mine.py").write_text(LOCAL.format(fuse=str(fuse), name="mean"))
    with pytest.raises(PluginError, match="it has changed since you trusted it"):
        registry.load_local("mine")
    assert not fuse.exists()


def test_compiled_code_beside_a_file_is_not_run(strange: tuple[Path, Path], tmp_path: Path) -> None:
    """The word is for the source: a `.pyc` of the same size and time that lies beside it is passed by."""
    folder, _ = strange
    trust_here()
    source, bomb = folder / "mine.py", tmp_path / "bomb.py"
    size, when = source.stat().st_size, int(source.stat().st_mtime)
    bomb.write_text(f"open({str(tmp_path / 'bomb went off')!r}, 'w')".ljust(size))
    os.utime(bomb, (when, when))
    compiled = Path(importlib.util.cache_from_source(str(source)))
    compiled.parent.mkdir()
    py_compile.compile(str(bomb), cfile=str(compiled))
    load_registry().load_local("mine")
    assert not (tmp_path / "bomb went off").exists()


def test_naming_a_registry_is_a_word_for_one_call(strange: tuple[Path, Path]) -> None:
    """`--registry` runs what it names, and the next call without it does not."""
    load_registry(Path("registry.toml")).load_local("mine")
    assert strange[1].exists()
    with pytest.warns(PassedOver):
        assert load_registry().files == {}


def test_a_damaged_word_trusts_nothing(strange: tuple[Path, Path]) -> None:
    """Settings that cannot be read are a sentence with the way out."""
    settings_folder().mkdir()
    for text in ("{", "[]", '{"a": 1}'):
        (settings_folder() / TRUSTED).write_text(text)
        with pytest.raises(SettingsError, match="trust your files anew"):
            load_registry()


def test_trust_asks_for_a_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without one, one that names no file, and a file that is not there are told."""
    monkeypatch.chdir(tmp_path)
    assert exit_code_of(["plugins", "trust"]) == 2
    Path("registry.toml").write_text("")
    assert exit_code_of(["plugins", "trust"]) == 2
    with pytest.raises(SettingsError, match="cannot be read"):
        trust([tmp_path / "mine.py"])


def test_a_file_that_is_written_for_the_user_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`plugins new --single-file` writes code of ours."""
    monkeypatch.chdir(tmp_path)
    assert exit_code_of(["plugins", "new", "encoder", "mine", "--single-file"]) == 0
    assert trusted_sha256(Path("mine.py")) is not None


@pytest.mark.full
def test_a_part_that_changed_since_training_is_told_and_strictly_refused(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The same shapes and another forward: evaluate says so, keeps it with the scores, and refuses it when told to."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(LOCAL.format(fuse=str(tmp_path / "fuse"), name="mine"))
    Path("registry.toml").write_text('[plugins]\nmine = "mine.py"\n')
    trust_here()
    fast = ["--set=training.epochs=1", "--set=encoder.name=mine", "--out", "there", "--data", str(tiny)]
    assert exit_code_of(["run", *fast, "--device", "cpu"]) == 0
    assert exit_code_of(["evaluate", "there", "--strict"]) == 0
    assert "is not the one of the training" not in capfd.readouterr().err
    with Path("mine.py").open("a") as file:
        file.write("Mine.forward = lambda self, x, mask: MeanEncoder.forward(self, -x, mask)\n")
    trust_here()
    assert exit_code_of(["evaluate", "there", "--strict"]) == 4
    assert "leave out --strict" in capfd.readouterr().err
    assert exit_code_of(["evaluate", "there", "--json"]) == 0
    told = "The encoder 'mine' is not the one of the training (the source of"
    assert any(note.startswith(told) for note in json.loads(capfd.readouterr().out)["notes"])
    assert exit_code_of(["run", "--resume", "there"]) == 0
    assert told in capfd.readouterr().err
    Path("registry.toml").unlink()
    for command in (["evaluate", "there"], ["evaluate", "there", "--strict"], ["run", "--resume", "there"]):
        assert exit_code_of(command) == 4
        assert "there was trained with the encoder 'mine' of '" in capfd.readouterr().err
