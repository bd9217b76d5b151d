"""Files that are whole or not there: written beside under another name, synced, then renamed.

And files that may be anyone's: read up to a bound, if they are files at all. What is wrong with one is a ValueError
whose text goes on after "FILE cannot be used: ", and an OSError where the system cannot read it.
"""

import contextlib
import csv
import errno
import hashlib
import io
import json
import os
import re
import stat
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from emotiwave_core.errors import DataError, ResourceError, short

NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}
MOST_TOML, MOST_JSON = 1 << 20, 1 << 26  # bytes: what people write, and what programs do
MOST_TABLES = 1 << 20  # lists and tables in a JSON: one costs 3 bytes in a file and 64 in memory
MOST_DEPTH = 50

_PART = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')"""
# tomllib takes 14 s for a key of 32,000 parts: its time grows with their square.
_LONG_KEY = re.compile(rf"(?<![\w-]){_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{{MOST_DEPTH}}}")
_OPENED = re.compile(r"(?<![^\s,:\[])[\[{]")  # and not the bracket in an id such as `video[3]`
_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def write_bytes(path: Path, data: bytes) -> None:
    """Write atomically, mode 0644 less the umask. ResourceError when the disk is full or the folder is read-only."""
    with out_of_space(path):
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        part = Path(temporary)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.chmod(0o666 & ~_umask())
            part.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink()
            raise
        sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically; NaN and infinity are refused, for no other program reads them."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file to read it. ValueError where it is a pipe or a device, which could keep one waiting for ever."""
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is not a file")
        yield file


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
    """What a JSON file holds, see `parse_json`."""
    return parse_json(read_bytes(path, most))


def parse_json(data: bytes, *, lenient: bool = False) -> Any:
    """JSON of a bounded size in memory and depth, no key twice in a table, no NaN, no half of a character.

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
    """What a TOML file holds, see `parse_toml`."""
    return parse_toml(read_text(path, MOST_TOML))


def parse_toml(text: str) -> dict[str, Any]:
    """TOML of a bounded depth."""
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
    """What is wrong with a file, in the words of the system or of this module."""
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
        inner = (one for outer in level for one in (outer.values() if isinstance(outer, dict) else outer))
        level = [one for one in inner if isinstance(one, dict | list)]
        if not level:
            return value
    raise ValueError("it is nested too deeply")


def csv_line(fields: Iterable[object]) -> str:
    r"""One row of a table, ended by `\n`. What holds a `\r` is quoted, as Python's csv does of itself from 3.13 on."""
    line = io.StringIO()
    csv.writer(line).writerow(fields)  # ended by `\r\n`, so that what holds either is quoted
    return line.getvalue()[:-2] + "\n"


def sync_folder(folder: Path) -> None:
    """Make a rename in this folder survive a power cut (where the system can)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def is_file(path: Path) -> bool:
    """Whether there is such a file; not, where the name is longer than any file's, or its folder is closed to us."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Whether there is such a folder, as `is_file`."""
    try:
        return path.is_dir()
    except OSError:
        return False


def own_folder(path: Path) -> Path:
    """A folder in that of a run, made where it is not there. DataError for a link, which may lead out of the run."""
    if path.is_symlink():
        raise DataError(f"{path} is a link, and a run writes into its own folder alone; remove it.")
    with out_of_space(path):
        path.mkdir(exist_ok=True)
    return path


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_folder() -> Path:
    """Where everything is kept that can be made again: EMOTIWAVE_CACHE, else the user's cache folder."""
    import platformdirs

    return Path(os.environ.get("EMOTIWAVE_CACHE") or platformdirs.user_cache_dir("emotiwave"))


@contextlib.contextmanager
def out_of_space(path: Path) -> Iterator[None]:
    """Turn an OSError while writing `path` into a ResourceError that names it and the way out."""
    try:
        yield
    except OSError as error:
        in_cache = path.absolute().is_relative_to(cache_folder().absolute())
        other = "set EMOTIWAVE_CACHE to another folder" if in_cache else "choose another folder"
        reason, way = error.strerror or str(error), other
        if error.errno in NO_SPACE:
            way = f"free some space or {way}"
        elif error.errno in READ_ONLY:
            way = f"make the folder writable, use a copy of it, or {other}"
        raise ResourceError(f"Cannot write {path}: {reason}. Nothing written before is lost; {way}.") from error


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
