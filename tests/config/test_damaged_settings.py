"""Settings, descriptions and folds that are damaged or hostile: read, or refused in one sentence that names them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from file_damage import changed, mangled, one_sentence, stand_ins, to_json, to_toml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sound_documents import GOOD, LISTS, RECIPE, SDK, TABLE
from training import REGISTRY

from emotiwave_core.config.flags import override, parse_part, parse_value
from emotiwave_core.config.recipe import Recipe, read_recipe
from emotiwave_core.data.dataset import load_dataset
from emotiwave_core.data.folds import FOLDS, read_folds
from emotiwave_core.errors import EmotiwaveError, SettingsError
from emotiwave_core.io.untrusted import parse_toml
from emotiwave_core.parts.registry import load_registry

QUICK = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
LONG = settings(QUICK, max_examples=500)


def read_settings(path: Path) -> Any:
    """A recipe, with all its parts, and as TOML again."""
    recipe = REGISTRY.resolve(Recipe.from_table(read_recipe(path), str(path))).completed()
    return tomli_w.dumps(recipe.to_table())


def read_registry(path: Path) -> Any:
    """A registry.toml and what it says of names and recipes; its plugins are not loaded."""
    registry = load_registry(path)
    for name in list(registry.recipes):
        one_sentence(lambda name=name: Recipe.from_table(registry.recipe(name), f"The recipe {name[:40]}"))
    return [name for kind in registry.names for name in registry.names[kind]]


def read_dataset(path: Path) -> Any:
    """A data set, whose files are there (what is in them is not looked at)."""
    return load_dataset(path.parent)


def read_lists(path: Path) -> Any:
    """Folds, as they are and rotated."""
    rotated = one_sentence(lambda: read_folds(path, 0), path)
    fixed = one_sentence(lambda: read_folds(path), path)
    return rotated, fixed


KINDS: dict[str, tuple[str, Any, Callable[[Any], bytes], Callable[[Path], Any]]] = {
    "recipe": ("recipe.toml", RECIPE, to_toml, read_settings),
    "registry": ("extra.toml", TABLE, to_toml, read_registry),
    "dataset": ("dataset.toml", parse_toml(GOOD), to_toml, read_dataset),
    "folds": ("folds.json", LISTS, to_json, read_lists),
    "folds.py": ("folds.py", SDK, lambda text: text.encode() if isinstance(text, str) else b"", read_lists),
}


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that a data set names."""
    folder = tmp_path_factory.mktemp("room")
    (folder / "sub").mkdir()
    for name in ("a.csd", "sub/b.csd", "l.csd", "w.csd"):
        (folder / name).touch()
    return folder


def check(folder: Path, kind: str, data: bytes) -> Any:
    """Read a file of a kind that holds these bytes."""
    name, _, _, read = KINDS[kind]
    (folder / "sub" / "folds.json").touch()
    (folder / "folds.json").touch()
    path = folder / name
    path.write_bytes(data)
    named = (
        path,
        "There is no ",
        "pip install",
        "The recipe",
        "The encoder",
        "The fusion",
        "The dropout",
        "The option",
    )
    return one_sentence(lambda: read(path), *named)


def hold(room: Path, kind: str, data: st.DataObject) -> None:
    """Damage a file of a kind, its values or its bytes, and read it."""
    _, document, write, _ = KINDS[kind]
    whole = write(document)
    damaged = changed(document).map(write) if isinstance(document, dict) else mangled(whole)
    check(room, kind, data.draw(st.one_of(damaged, mangled(whole))))


@QUICK
@given(st.data())
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_read_or_refused(room: Path, kind: str, data: st.DataObject) -> None:
    """Whatever is changed in a file of settings, it is read, or refused in one sentence that names it."""
    hold(room, kind, data)


@pytest.mark.stress
@LONG
@given(st.data())
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_read_or_refused_at_length(room: Path, kind: str, data: st.DataObject) -> None:
    """The same, with very many changes."""
    hold(room, kind, data)


@pytest.mark.short_rows(2)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_refused(room: Path, kind: str) -> None:
    """A folder, a pipe, a loop of links, a device, a gigabyte of zeros, no text: each is refused at once."""
    name, document, write, read = KINDS[kind]
    (room / name).write_bytes(write(document))
    for what in stand_ins(room / name):
        found = one_sentence(lambda: read(room / name), room / name, room)
        assert found in (None, (None, None)) or what in ("nothing", "mark"), what


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_from_windows_is_read(room: Path, kind: str) -> None:
    """A mark of UTF-8 before the first letter changes nothing."""
    _, document, write, _ = KINDS[kind]
    assert check(room, kind, b"\xef\xbb\xbf" + write(document)) == check(room, kind, write(document)) is not None


CROWD = "[modalities]\n" + "".join(f'm{n} = "a.csd"\n' for n in range(11)) + '[labels]\nfile = "l.csd"'


@pytest.mark.short_rows(4)
@pytest.mark.parametrize(
    ("kind", "text", "says"),
    [
        ("recipe", "seed = " + "9" * 5000, "a number of thousands of digits"),
        ("recipe", "training.learning_rate = " + "9" * 400, "is too large a number"),
        ("recipe", "a." * 30_000 + "a = 1", "a key of more than 50 parts"),
        ("recipe", "seed = " + "[" * 60 + "]" * 60, "nested too deeply"),
        ("recipe", f'"{"a" * 500_000}" = 1', "unknown key"),
        ("recipe", 'seed = "' + "a" * 500_000 + '"', "'seed': 'aaaaaaaaaa"),
        ("recipe", "model.head = 10000000000", "'model.head' must be <= 1048576"),
        ("recipe", "data.split_seed = 4294967296", "'data.split_seed' must be < 4294967296"),
        ("dataset", CROWD, "has 11; at most 10 can be scored"),
        ("dataset", "[modalities]\na = '" + "a" * 5000 + "'\n[labels]\nfile = 'l.csd'", "which is not there"),
        ("folds", '{"train": [], "train": [], "valid": [], "test": []}', "it has the key 'train' twice"),
        ("folds", '{"train": ["\\ud800"], "valid": [], "test": []}', "half of a character"),
        ("folds", "[" + "[]," * 1_050_000 + "[]]", "more than a million lists"),
        ("folds.py", "standard_test_fold = " + "-" * 50_000 + "1", "is not readable Python: it is nested too deeply"),
        ("folds.py", "x = '" + "a" * 1_100_000 + "'", "more than 1 MiB"),
        ("folds.py", "standard_test_fold = ['\\d']; x = 1 is 1", "has the lists test"),
    ],
)
def test_each_way_is_named(room: Path, kind: str, text: str, says: str) -> None:
    """A setting that once was a traceback, a hang, much memory or a page of text is refused in one sentence."""
    name, _, _, _ = KINDS[kind]
    (room / name).write_text(text)
    with pytest.raises(EmotiwaveError) as caught:
        {"recipe": read_settings, "dataset": read_dataset}.get(kind, read_folds)(room / name)
    assert says in str(caught.value)
    assert str(room / name) in str(caught.value)
    check(room, kind, text.encode())


def lay_over(table: dict[str, Any], part: str, setting: str) -> Any:
    """A recipe with an encoder and a value from the command line."""
    changed = override(json.loads(json.dumps(table)), (setting,), encoder=(part,), fusion=part)
    return REGISTRY.resolve(Recipe.from_table(changed, "The recipe")).completed()


WORDS = ("bilstm", "training", "seed", "a", "=", ":", ".", ",", "[", "]", "{", "}", '"', "'", "\n", "#", "5", "-", "\0")
TYPED = st.lists(st.sampled_from([*WORDS, "1e999", "\ud800", "é", "encoder", "text", "hidden_size"]), max_size=12)


@QUICK
@given(TYPED.map("".join), TYPED.map("".join))
def test_a_flag_is_taken_or_refused(part: str, setting: str) -> None:
    """Whatever is typed in a flag, it is taken, or refused in one sentence."""
    hold_flag(part, setting)


@pytest.mark.stress
@LONG
@given(TYPED.map("".join), TYPED.map("".join))
def test_a_flag_is_taken_or_refused_at_length(part: str, setting: str) -> None:
    """The same, with very many flags."""
    hold_flag(part, setting)


def hold_flag(part: str, setting: str) -> None:
    """Lay a flag over a recipe."""
    one_sentence(lambda: lay_over(RECIPE, part, setting))
    one_sentence(lambda: parse_part(part))
    one_sentence(lambda: parse_value(setting))


@pytest.mark.short_rows(1)
@pytest.mark.parametrize(
    ("part", "setting"),
    [
        ("bilstm:x=" + "[1," * 30_000, "seed=1"),
        ("mean", "seed=" + "[" * 60_000),
        ("mean", "training.epochs" + ".a" * 50_000 + "=1"),
        ("mean", "seed=" + "9" * 10_000),
        ("mean", "a." * 50_000 + "a=1"),
        ("mean", "seed=3\nname='b'"),
        ("mean:" + "a=1," * 30_000, "seed=1"),
        ("bilstm:hidden_size=" + "9" * 30, "seed=1"),
        ("mean", "seed=" + "a." * 30_000 + "a"),
        ("mean", "seed={" + "a." * 30_000 + "a=1}"),
    ],
)
def test_each_long_flag_is_refused(part: str, setting: str) -> None:
    """A text that once took minutes, or was a traceback or taken by half, is refused at once."""
    assert one_sentence(lambda: lay_over(RECIPE, part, setting)) is None


def test_a_long_sentence_keeps_its_ends() -> None:
    """An error says the file and the way out, whatever of a megabyte stands between them."""
    said = str(SettingsError("FILE: " + "x" * 1_000_000 + "; do this."))
    assert said.startswith("FILE: xxx")
    assert said.endswith("; do this.")
    assert len(said) < 2100


def test_folds_that_are_read_are_the_ones_that_were_written(room: Path) -> None:
    """The damage is not too hard: a whole file of each kind is read as it stands."""
    path = room / "folds.json"
    path.write_bytes(to_json({fold: LISTS[fold] for fold in FOLDS}))
    assert read_folds(path).train == ("a", "b")
