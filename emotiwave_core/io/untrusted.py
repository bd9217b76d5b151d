"""Reads untrusted files, with limits on size and nesting.

What is wrong with one is a ValueError whose text goes on after "FILE cannot be used: ", and an OSError where the system
cannot read it.
"""

import contextlib
import json
import os
import re
import stat
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from emotiwave_core.errors import short

MOST_TOML, MOST_JSON = 1 << 20, 1 << 26  # bytes: what people write, and what programs do
MOST_TABLES = 1 << 20  # lists and tables in a JSON: one costs 3 bytes in a file and 64 in memory
MOST_DEPTH = 50

_PART = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')"""
# tomllib takes 14 s for a key of 32,000 parts: its time grows with their square.
_LONG_KEY = re.compile(rf"(?<![\w-]){_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{{MOST_DEPTH}}}")
_OPENED = re.compile(r"(?<![^\s,:\[])[\[{]")  # and not the bracket in an id such as `video[3]`
_HALF = re.compile(r"\\u[dD][89a-fA-F]")


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file to read it. ValueError where it is a pipe or a device, which could keep one waiting for ever."""
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is not a file")
        yield file


def starts_with(path: Path, first: bytes) -> bool:
    """True for a readable file that begins with these bytes."""
    try:
        with open_file(path) as file:
            return file.read(len(first)) == first
    except (OSError, ValueError):
        return False


def read_bytes(path: Path, most: int = MOST_JSON) -> bytes:
    """The content of a file of at most so many bytes."""
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise ValueError(f"it has more than {most >> 20} MiB")
        return file.read(size)


def read_text(path: Path, most: int = MOST_JSON) -> str:
    """The content of a file of UTF-8 text, without the mark that Windows puts before it."""
    return _decoded(read_bytes(path, most))


def read_json(path: Path, most: int = MOST_JSON) -> Any:
    """Read a JSON file, see `parse_json`."""
    return parse_json(read_bytes(path, most))


def parse_json(data: bytes, *, lenient: bool = False) -> Any:
    """Parse JSON of a bounded size in memory and depth, with no key twice in a table, no NaN and no half a character.

    Where it is `lenient` NaN is null, and halves of characters stay: the reader must clean its texts.
    """
    text = _decoded(data)
    if text.count("[") + text.count("{") > MOST_TABLES and sum(1 for _ in _OPENED.finditer(text)) > MOST_TABLES:
        raise ValueError("it has more than a million lists and tables")
    try:
        value = json.loads(text, parse_constant=_null if lenient else _no_number, object_pairs_hook=_once)
        if not lenient and _HALF.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error
    except UnicodeEncodeError as error:
        raise ValueError("it holds half of a character") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(_known(error)) from error
    return _shallow(value)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file, see `parse_toml`."""
    return parse_toml(read_text(path, MOST_TOML))


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML of a bounded depth."""
    if _LONG_KEY.search(text):
        raise ValueError(f"it has a key of more than {MOST_DEPTH} parts")
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"it is not TOML: {error}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(_known(error)) from error
    _shallow(table)
    return table


def why(error: Exception) -> str:
    """The reason why a file cannot be used, in the words of the system or of this module."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError("it is not UTF-8 text") from error


def _known(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return "it has a number of thousands of digits" if "digits" in str(error) else str(error)


def _null(_: str) -> None:
    return None


def _no_number(name: str) -> None:
    raise ValueError(f"it holds {name}, which is no number of JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"it has the key {short(twice)} twice")
    return table


def _shallow(value: Any) -> Any:
    """The value; ValueError where it is nested so deeply that whoever walks through it could not."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MOST_DEPTH):
        inner = (
            value_inside for outer in level for value_inside in (outer.values() if isinstance(outer, dict) else outer)
        )
        level = [value_inside for value_inside in inner if isinstance(value_inside, dict | list)]
        if not level:
            return value
    raise ValueError("it is nested too deeply")


def is_file(path: Path) -> bool:
    """True where there is such a file; False where the name is too long for one, or its folder is closed to us."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """True where there is such a folder, as `is_file`."""
    try:
        return path.is_dir()
    except OSError:
        return False
