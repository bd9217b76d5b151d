"""Ways to damage a file, for tests of what reads one: its values, its bytes, and what stands in its place."""

import copy
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import tomli_w
from hypothesis import strategies as st

from emotiwave_core.errors import LONGEST, EmotiwaveError

SECONDS = 10.0  # of computing
NUMBERS = (0, -1, 1, 2, 3.9, 2**31, 2**63, 10**12, 10**30, 10**400, 1e308, -0.0, float("nan"), float("inf"))
TEXTS = ("", " ", "a" * 100_000, "a\nb", "\0", "\u202e", "../../x", "/dev/zero", "nan", "evil.py", "mean", "none")
HOSTILE: tuple[Any, ...] = (*NUMBERS, *TEXTS, True, False, None, "\ud800", [], {}, [[]], {"a": {}}, [0] * 1000)

STAND_INS = ("folder", "pipe", "loop", "device", "zeros", "nothing", "mark", "latin", "open", "keys", "number")

Place = tuple[str | int, ...]


def nest(value: Any, depth: int) -> Any:
    """A value under so many lists."""
    for _ in range(depth):
        value = [value]
    return value


def places(value: Any, at: Place = ()) -> Iterator[Place]:
    """Where the values of a document stand, the document itself left out."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield (*at, key)
        yield from places(one, (*at, key))


@st.composite
def changed(draw: st.DrawFn, document: Any, most: int = 2) -> Any:
    """A document of which a few values are taken away, replaced, nested, renamed, or put in twice."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, most))):
        found = list(places(document))
        if not found:
            return document
        *way, key = draw(st.sampled_from(found))
        holder = document
        for step in way:
            holder = holder[step]
        _change(draw, holder, key)
    return document


def _change(draw: st.DrawFn, holder: Any, key: Any) -> None:
    how = draw(st.sampled_from(["delete", "replace", "replace", "replace", "nest", "deep", "rename", "more"]))
    value = copy.deepcopy(draw(st.sampled_from(HOSTILE)))
    if how == "delete":
        del holder[key]
    elif how == "replace":
        holder[key] = value
    elif how == "nest":
        holder[key] = [holder[key]] if draw(st.booleans()) else {"name": holder[key]}
    elif how == "deep":
        holder[key] = nest(holder[key], draw(st.sampled_from([40, 60])))
    elif isinstance(holder, list):
        holder += [copy.deepcopy(holder[key]), value]
    elif how == "rename":
        holder[draw(st.sampled_from(TEXTS))] = holder.pop(key)
    else:
        holder[draw(st.sampled_from(TEXTS))] = value


@st.composite
def mangled(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes of which some are turned, cut out, put in or said again."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(start + 40, len(data))))
        how = draw(st.sampled_from(["flip", "cut", "end", "put", "again"]))
        piece = draw(
            st.binary(max_size=8) | st.sampled_from([b"\xef\xbb\xbf", b"\0" * 9, b"[" * 5000, b'"', b"9" * 5000])
        )
        if how == "flip" and start < len(data):
            piece = bytes([data[start] ^ (1 << draw(st.integers(0, 7)))])
            end = start + 1
        elif how == "cut":
            piece = b""
        elif how == "end":
            piece, end = b"", len(data)
        elif how == "again":
            piece = data[start:end] * 2
        data = data[:start] + piece + data[end:]
    return data


def some_damage(whole: bytes, count: int, seed: int = 1) -> Iterator[bytes]:
    """A file cut off at any place, with some of its bytes set to any other, or with a piece of it twice; in turn."""
    random = np.random.default_rng(seed)
    for number in range(count):
        start = int(random.integers(len(whole)))
        if number % 3 == 0:
            yield whole[:start]
        elif number % 3 == 1:
            data = bytearray(whole)
            for place in random.integers(len(whole), size=int(random.integers(1, 4))):
                data[place] = int(random.integers(256))
            yield bytes(data)
        else:
            yield whole[:start] + whole[max(0, start - int(random.integers(40))) :]


def to_json(document: Any) -> bytes:
    """JSON, of whatever Python takes for it."""
    return json.dumps(document).encode()


def to_toml(document: Any) -> bytes:
    """TOML, in which what it has no word for is a text."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items()}
        if isinstance(value, list):
            return [plain(one) for one in value]
        return "half" if value in (None, "\ud800") else value

    return tomli_w.dumps(plain(document) if isinstance(document, dict) else {"a": plain(document)}).encode()


def one_sentence(read: Callable[[], Any], *named: object) -> Any:
    """What `read` gives, or None where it refuses: in one line of a sane length, which names the file, and at once."""
    began = time.process_time()
    try:
        return read()
    except (EmotiwaveError, click.UsageError) as error:
        said = error.format_message() if isinstance(error, click.UsageError) else str(error)
        assert 10 < len(said) <= LONGEST + 3, said
        assert "\n" not in said, said
        assert "Error" not in said.replace("SyntaxError", "") or not named, said  # no name of Python's own
        assert not named or any(str(name) in said for name in named), said
        return None
    finally:
        assert time.process_time() - began < SECONDS


def stand_ins(path: Path, zeros: int = 1 << 30, which: Sequence[str] = STAND_INS) -> Iterator[str]:
    """Put, one after the other, what is no file in the place of a file, and say what it is."""
    kept = path.read_bytes() if path.exists() else None
    for what in which:
        _away(path)
        if what == "folder":
            path.mkdir()
        elif what == "pipe":
            os.mkfifo(path)
        elif what in ("loop", "device"):
            path.symlink_to(path if what == "loop" else "/dev/zero")
        elif what == "zeros":
            with path.open("wb") as file:
                file.truncate(zeros)
        else:
            path.write_bytes(_RAW[what])
        try:
            yield what
        finally:
            _away(path)
            if kept is not None:
                path.write_bytes(kept)


_RAW = {"nothing": b"", "mark": b"\xef\xbb\xbf", "latin": b"name = '\xff'", "open": b"[" * 200_000}
_RAW |= {"keys": b"a." * 40_000 + b"a = 1", "number": b"a = " + b"9" * 100_000}


def _away(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def damage(change: Callable[[dict[str, Any]], object]) -> Callable[[str], str]:
    """A change of parsed JSON as a change of its text."""

    def changed(text: str) -> str:
        value = json.loads(text)
        change(value)
        return json.dumps(value)

    return changed
