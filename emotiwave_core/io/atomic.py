"""Atomic files: written beside under another name, synced, then renamed, so that they are whole or not there."""

import contextlib
import csv
import errno
import hashlib
import io
import json
import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from emotiwave_core.errors import DataError, Notice, ResourceError
from emotiwave_core.io.locks import check_held

NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
SAMPLED_FILES, SAMPLED_BLOCKS, SAMPLED_BYTES = 16, 8, 4096  # that `sample_of` reads
WITHOUT_MODES = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP}  # some FUSE
READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}


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
            open_to_all(part, 0o666)
            part.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink()
            raise
        sync_folder(path.parent)


@contextlib.contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """A path in the same folder to write to; it takes its name, synced, where nothing is raised, else it is removed.

    What `write_bytes` does for a file that is too large for memory.
    """
    with out_of_space(path):
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        part = Path(temporary)
        try:
            yield part
            with part.open("rb") as file:
                os.fsync(file.fileno())
            open_to_all(part, 0o666)
            part.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink()
            raise
        sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically. DataError for a text that has none, as the name of a folder may be."""
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _no_utf8(path, error) from error
    write_bytes(path, data)


def _no_utf8(path: Path, error: UnicodeEncodeError) -> DataError:
    """The sentence about a text that has no UTF-8, as the name of a folder may be."""
    around = error.object[max(error.start - 40, 0) : error.end + 20]
    return DataError(f"{path} cannot hold {around!r}, which is no UTF-8: rename that file or folder.")


def write_rows(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """Write a table of CSV atomically, row by row: it may be larger than memory. Errors as `write_text`."""
    with written_beside(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        for row in rows:
            line = csv_line(row)
            try:
                file.write(line)
            except UnicodeEncodeError as error:
                raise _no_utf8(path, error) from error


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically; NaN and infinity are refused, for no other program reads them."""
    text = io.StringIO()  # `json.dumps` would hold a list of all that it writes, many times as large
    text.writelines(json.JSONEncoder(indent=2, ensure_ascii=False, allow_nan=False).iterencode(value))
    write_text(path, text.getvalue() + "\n")


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


def own_folder(path: Path) -> Path:
    """A folder in that of a run, made where it is not there. DataError for a link, which may lead out of the run."""
    if path.is_symlink():
        raise DataError(f"{path} is a link, and a run writes into its own folder alone; move it away.")
    with out_of_space(path):
        path.mkdir(exist_ok=True)
    return path


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, as hex; of a folder, that of the names and digests of all files in it."""
    if path.is_dir():
        lines = [f"{sha256_of(file)}  {file.relative_to(path).as_posix()}\n" for file in files_in(path)]
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
    with path.open("rb") as file:
        return sha256_of_open(file)


def sha256_of_open(file: BinaryIO) -> str:
    """The SHA-256 of a file that is open at its beginning, as hex."""
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # each one has `readinto`


def sample_of(path: Path) -> str:
    """A SHA-256 of a few blocks of a file, from its first bytes to its last, or of some files of a folder.

    It costs milliseconds whatever the size, and notices most content that was put in the place of another.
    """
    digest, files = hashlib.sha256(), files_in(path)
    for file in files[:: max(1, len(files) // SAMPLED_FILES)]:
        with file.open("rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            for block in range(SAMPLED_BLOCKS):
                opened.seek(max(size - SAMPLED_BYTES, 0) * block // (SAMPLED_BLOCKS - 1))
                digest.update(opened.read(SAMPLED_BYTES))
    return digest.hexdigest()


def files_in(path: Path) -> list[Path]:
    """The files of a folder and of those in it, by name, hidden ones left out; a file is itself alone."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))


def cache_folder() -> Path:
    """Folder of everything that can be made again: EMOTIWAVE_CACHE, else the user's cache folder."""
    import platformdirs

    return Path(os.environ.get("EMOTIWAVE_CACHE") or platformdirs.user_cache_dir("emotiwave"))


@contextlib.contextmanager
def out_of_space(path: Path) -> Iterator[None]:
    """Turn an OSError while writing `path` into a ResourceError that names it and the way out.

    ResourceError as well where it lies in a folder that this process has taken, and which is no longer there.
    """
    check_held(path)
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


def open_to_all(path: Path, mode: int) -> None:
    """Give a file or folder of ours this mode, less the umask; a warning where the file system has no such thing."""
    try:
        path.chmod(mode & ~_umask())
    except OSError as error:
        if error.errno not in WITHOUT_MODES:
            raise
        warnings.warn(
            f"The file system of {path.parent} sets no modes ({error.strerror}): perhaps you alone can read what is "
            "written there.",
            Notice,
            stacklevel=4,
        )


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
