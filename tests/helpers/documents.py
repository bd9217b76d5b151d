"""What the project's own files say: code blocks of the documents, for tests that execute them, and shipped parts."""

import importlib.util
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
# `KIND.NAME` of every part that ships, and its module.
ENTRIES: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["emotiwave"]


def text_of(name: str) -> str:
    """A document of the project."""
    return (ROOT / name).read_text(encoding="utf-8")


def block(text: str, first_line: str) -> str:
    """The code block whose first line begins so."""
    found = re.search(rf"^```\w+\n({re.escape(first_line)}.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert found, first_line
    return found[1]


def load_benchmark(name: str) -> ModuleType:
    """A file of benchmarks/ as a module."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", ROOT / "benchmarks" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
