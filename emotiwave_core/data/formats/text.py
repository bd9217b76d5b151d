"""Text of a file that anyone may have written: its encoding, and the ids that the names of files stand for."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from emotiwave_core.errors import DataError
from emotiwave_core.io.atomic import files_in
from emotiwave_core.io.untrusted import is_folder, read_bytes, why

_SOUND, _PICTURE = "wav mp3 flac m4a ogg opus aac wma aiff", "mp4 m4v avi mov mkv webm flv mpg mpeg wmv 3gp"
MEDIA = tuple(f".{name}" for name in f"{_SOUND} {_PICTURE}".split())
_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_BESIDE = ("readme", "license", "licence", "changelog", "thumbs.db", "desktop.ini", "extraction.json")


def read_lenient(path: Path, most: int) -> tuple[str, tuple[str, ...]]:
    """The text of a file of at most so many bytes, and a note where it is of another encoding than UTF-8.

    What is not UTF-8 is read as Windows-1252, which has all of Latin-1; DataError for what is no text, or is UTF-8
    with damage.
    """
    try:
        data = read_bytes(path, most)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {why(error)}.") from error
    return decode(data, path)


def decode(data: bytes, path: Path) -> tuple[str, tuple[str, ...]]:
    """As `read_lenient`, of bytes."""
    codec = next((codec for mark, codec in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(codec)
    except UnicodeDecodeError as error:
        if codec != "utf-8" or any("\x80" <= c < "\ud800" for c in data.decode("utf-8", "surrogateescape")):
            raise DataError(
                f"{path} is not readable as {codec}: byte {error.start} is damaged; save it as UTF-8."
            ) from error
        text, codec = data.decode("cp1252", "replace"), "cp1252"
        if "\ufffd" in text:
            text = data.decode("latin-1")
    if "\0" in text:
        raise DataError(f"{path} is not text: it holds zero bytes.")
    other = (f"{path.name} is not UTF-8, and is read as Latin-1 (Windows-1252).",) if codec == "cp1252" else ()
    return text, other


def lines_of(text: str) -> list[str]:
    """The lines of a text, whatever system ended them."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def files_of(path: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """The files of a folder and of those in it that have one of the suffixes, by id; a file is itself alone.

    DataError where two of them are one id's.
    """
    if not path.is_dir():
        return {stem(path, suffixes): path}
    files = [file for file in files_in(path) if file.name.lower().endswith(tuple(suffixes)) and not is_beside(file)]
    if not files:
        raise DataError(f"{path} holds no {' or '.join(suffixes)} file.")
    by_id = ids_of(files, path, suffixes)
    if len(by_id) < len(files):
        twice = Counter(str(file.with_suffix("")) for file in files).most_common(1)[0][0]
        raise DataError(f"{path} holds several files for the id {Path(twice).name}; keep one of them.")
    return by_id


def ids_of(files: Iterable[Path], folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """Files by id: the name without its suffix; where one occurs twice, the path within the folder without it."""
    every = list(files)
    by_name = {stem(file, suffixes): file for file in every}
    if len(by_name) == len(every):
        return by_name
    return {(file.relative_to(folder).parent / stem(file, suffixes)).as_posix(): file for file in every}


def stem(path: Path, suffixes: Sequence[str]) -> str:
    """The name of a file without the suffix that is longest among some, or else its last one."""
    fitting = [suffix for suffix in suffixes if path.name.lower().endswith(suffix) and len(path.name) > len(suffix)]
    return path.name[: -max(map(len, fitting))] if fitting else path.stem


def is_beside(path: Path) -> bool:
    """True for a file that people put beside their data, such as a README."""
    return path.name.startswith(".") or path.name.lower().startswith(_BESIDE)


def first_files(folder: Path, most: int = 400) -> list[Path]:
    """Some of the files of a folder and of those in it, in order, to tell what it holds."""
    return list(islice(_walk(folder), most)) if is_folder(folder) else []


def _walk(folder: Path) -> Iterator[Path]:
    try:
        inside = sorted(folder.iterdir())
    except OSError:
        return
    for path in inside:
        if path.is_dir() and not path.is_symlink() and not path.name.startswith("."):
            yield from _walk(path)
        elif path.is_file() and not is_beside(path):
            yield path
