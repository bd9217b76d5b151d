"""The house: data flow one way through the rooms, and a name is said once. All of it is read from the source alone."""

import ast
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from documents import ROOT

CORE = ROOT / "emotiwave_core"
# From the top floor down; rooms of one floor may not import each other.
FLOORS = (
    ("cli",),
    ("serve",),
    ("api",),
    ("compare",),
    ("train", "export"),
    ("evaluate",),
    ("explain",),
    ("predict", "report"),
    ("extract",),
    ("execute",),
    ("runs",),
    ("data",),
    ("model",),
    ("parts",),
    ("testing",),
    ("objectives",),
    ("layers", "compute", "metrics"),
    ("config",),
    ("io",),
    ("interfaces", "reading", "hookspecs", "monitor"),
    ("modalities", "errors", "version"),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
QUESTIONS = ("What", "Whether", "How", "Which", "Where", "That", "Who", "When", "Why")


class Module(NamedTuple):
    """The names that a module imports and defines: little beside its syntax tree, so that all of them can be kept."""

    path: Path
    imports: list[tuple[str, int]]  # dotted names, lazily imported or not, with the line
    classes: list[str]
    openings: list[tuple[str, int]]  # the first lines of its docstrings, with the line


@cache
def modules(folder: str) -> list[Module]:
    """Every module of a folder, from its source."""
    return [read(path) for path in sorted((ROOT / folder).rglob("*.py"))]


def read(path: Path) -> Module:
    """A module from its source."""
    tree, imports, openings = ast.parse(path.read_text(encoding="utf-8")), [], []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            imports += [(f"{node.module or ''}.{alias.name}", node.lineno) for alias in node.names]
        elif isinstance(node, ast.Import):
            imports += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            openings.append(((ast.get_docstring(node) or "-").splitlines()[0], getattr(node, "lineno", 1)))
    return Module(path, imports, [node.name for node in tree.body if isinstance(node, ast.ClassDef)], openings)


def room_of(path: Path) -> str:
    """The room of a module of the core."""
    return path.relative_to(CORE).parts[0].removesuffix(".py")


def test_no_import_runs_upwards() -> None:
    """A room imports from itself and from lower floors alone, so there is no circle between rooms."""
    wrong = [
        f"{module.path.relative_to(ROOT)}:{line} imports {name}"
        for module in modules("emotiwave_core")
        if (room := room_of(module.path)) != "__init__"
        for name, line in module.imports
        if name.startswith("emotiwave_core.") and (target := name.split(".")[1]) in FLOOR
        if target != room and FLOOR[target] <= FLOOR[room]
    ]
    assert not wrong, "\n".join(wrong)


def test_every_room_has_its_floor() -> None:
    """A new room is given its place: each folder and file at the root of the core is on a floor."""
    rooms = {path.name.removesuffix(".py") for path in CORE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert rooms - {"__init__", "__pycache__", "py.typed"} == set(FLOOR)


def test_the_core_knows_no_plugin() -> None:
    """A default plugin comes in by the same door as a stranger's: the core imports none by name."""
    plugins = {path.name for path in (ROOT / "plugins").iterdir() if path.is_dir()}
    for module in modules("emotiwave_core"):
        assert not plugins & {name.split(".")[0] for name, _ in module.imports}, module.path


def test_two_classes_never_share_a_name() -> None:
    """A class name means one thing in the core and in the plugins."""
    places = defaultdict(list)
    for folder in ("emotiwave", "emotiwave_core", "plugins"):
        for module in modules(folder):
            for name in module.classes:
                places[name].append(str(module.path.relative_to(ROOT)))
    assert not {name: paths for name, paths in places.items() if len(paths) > 1}


def test_two_test_files_never_share_a_name() -> None:
    """Test files are modules without packages: pytest collects of one name the first and fails at the second."""
    names = sorted(path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py")
    assert names == sorted(set(names))


@pytest.mark.parametrize("folder", ["emotiwave", "emotiwave_core", "plugins", "benchmarks"])
def test_docstrings_open_with_a_noun_or_a_verb(folder: str) -> None:
    """No docstring opens as a question does."""
    wrong = [
        f"{module.path.relative_to(ROOT)}:{line} {text}"
        for module in modules(folder)
        for text, line in module.openings
        if text.split()[0].rstrip(",:") in QUESTIONS
    ]
    assert not wrong, "\n".join(wrong)
