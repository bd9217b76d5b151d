"""The house: data flow one way through the rooms, and a name is said once. All of it is read from the source alone."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

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
    ("runs",),
    ("data",),
    ("model",),
    ("parts",),
    ("testing",),
    ("layers", "compute", "metrics"),
    ("config",),
    ("io",),
    ("interfaces", "reading", "hookspecs", "monitor"),
    ("modalities", "errors", "version"),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
QUESTIONS = ("What", "Whether", "How", "Which", "Where", "That", "Who", "When", "Why")


def modules() -> Iterator[tuple[str, Path, ast.Module]]:
    """The room, path and syntax tree of every module of the core."""
    for path in sorted(CORE.rglob("*.py")):
        room = path.relative_to(CORE).parts[0].removesuffix(".py")
        yield room, path, ast.parse(path.read_text(encoding="utf-8"))


def imported_rooms(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """The rooms that a module imports from, lazily or not, with the line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "emotiwave_core":
            _, *rest = (node.module or "").split(".")
            for room in rest[:1] or [alias.name for alias in node.names]:
                yield room, node.lineno


def test_no_import_runs_upwards() -> None:
    """A room imports from itself and from lower floors alone, so there is no circle between rooms."""
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {target}"
        for room, path, tree in modules()
        if room != "__init__"
        for target, line in imported_rooms(tree)
        if target in FLOOR and target != room and FLOOR[target] <= FLOOR[room]
    ]
    assert not wrong, "\n".join(wrong)


def test_every_room_has_its_floor() -> None:
    """A new room is given its place: each folder and file at the root of the core is on a floor."""
    rooms = {path.name.removesuffix(".py") for path in CORE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert rooms - {"__init__", "__pycache__", "py.typed"} == set(FLOOR)


def test_the_core_knows_no_plugin() -> None:
    """A default plugin comes in by the same door as a stranger's: the core imports none by name."""
    plugins = {path.name for path in (ROOT / "plugins").iterdir() if path.is_dir()}
    for _, path, tree in modules():
        for node in ast.walk(tree):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not plugins & {name.split(".")[0] for name in names}, path


def test_two_classes_never_share_a_name() -> None:
    """A class name means one thing in the core and in the plugins."""
    places = defaultdict(list)
    for folder in ("emotiwave", "emotiwave_core", "plugins"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef):
                    places[node.name].append(str(path.relative_to(ROOT)))
    assert not {name: paths for name, paths in places.items() if len(paths) > 1}


@pytest.mark.parametrize("folder", ["emotiwave", "emotiwave_core", "plugins", "benchmarks"])
def test_docstrings_open_with_a_noun_or_a_verb(folder: str) -> None:
    """No docstring opens as a question does."""
    wrong = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node) or "-"
                if text.split()[0].rstrip(",:") in QUESTIONS:
                    wrong.append(f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)} {text.splitlines()[0]}")
    assert not wrong, "\n".join(wrong)
