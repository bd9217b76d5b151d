"""Opening a file, or folder, of features, words or labels by the reader of its format.

A format is a subclass of Reader in a module of this room, which is found by itself; nothing else has to know it. The
readers of other packages are asked when none of these recognises a file, or when one is named.
"""

import importlib
import os
import pkgutil
import re
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from emotiwave_core.errors import DataError, EmotiwaveError, PassedOver, PluginError, choices, short
from emotiwave_core.reading import Contents as Contents
from emotiwave_core.reading import Entry as Entry
from emotiwave_core.reading import LabelKind as LabelKind
from emotiwave_core.reading import Reader as Reader
from emotiwave_core.reading import Source as Source
from emotiwave_core.reading import counted_intervals as counted_intervals

_ENTRY = re.compile(r"(.+)\[(\d{1,9})\]", re.DOTALL)


def open_reader(source: Source | Path) -> Reader:
    """Open a file or folder by the reader that recognises it. DataError where none does, or where it is damaged."""
    source = Source(source) if isinstance(source, Path) else source
    reader = reader_of(source)
    try:
        return reader(source)
    except EmotiwaveError:
        raise
    except Exception as error:
        if _is_shipped(reader):
            raise
        what = f"{type(error).__name__}: {error}"
        raise PluginError(f"The reader '{reader.name}' fails on {source.path}: {what}.") from error


def reader_of(source: Source) -> type[Reader]:
    """The reader of a source: the one that it names, else the one that recognises it, else that of `.csd` files."""
    known = readers()
    if source.reader is not None:
        if source.reader not in known:
            known |= _others(source.reader)
        if source.reader not in known:
            raise DataError(f"{source.path}: there is no reader {short(source.reader)}.{choices(source.reader, known)}")
        return known[source.reader]
    if not os.path.lexists(source.path):
        raise DataError(f"{source.path}: there is no such file.")
    recognised = [reader for reader in known.values() if reader.recognises(source.path)]
    recognised = [reader for reader in recognised if not reader.is_general] or recognised
    recognised = recognised or [reader for reader in _others().values() if _recognises(reader, source.path)]
    if not recognised:
        raise DataError(
            f"{source.path} is of no known format ({', '.join(known)}); name its reader as "
            f'`{{file = "{source.path.name}", reader = …}}` in dataset.toml, or convert it.'
        )
    return recognised[0]


def contents_of(path: Path) -> Contents | None:
    """The parts of a file that is a data set of its own, by the first reader that knows it for one."""
    contents = next((contents for reader in readers().values() if (contents := reader.contents(path))), None)
    if contents is None and not any(reader.recognises(path) for reader in readers().values()):
        strangers = (reader for reader in _others().values() if _recognises(reader, path))
        contents = next((contents for reader in strangers if (contents := reader.contents(path))), None)
    return contents


def readers() -> dict[str, type[Reader]]:
    """The readers of all formats, by name."""
    _import_formats()
    every = sorted(_subclasses(Reader), key=_is_shipped)  # these come last, so that no other takes their name
    return {reader.name: reader for reader in every}


def _is_shipped(reader: type[Reader]) -> bool:
    return reader.__module__.startswith(f"{__package__}.")


def _others(name: str | None = None) -> dict[str, type[Reader]]:
    """The readers that other packages or ./registry.toml offer, by name; of one name alone where that is given.

    One that does not load is passed over with a warning, but where it is named its PluginError is raised.
    """
    from emotiwave_core.parts.registry import load_registry

    shipped = {reader.name for reader in readers().values() if _is_shipped(reader)}
    registry, others = load_registry(), dict[str, type[Reader]]()
    for known in registry.names_of("reader"):
        if known in shipped or name not in (None, known):
            continue
        try:
            others[known] = registry.part("reader", known)
        except PluginError as error:
            if name is not None:
                raise
            warnings.warn(f"{error} It is passed over.", PassedOver, stacklevel=2)
    return others


def _recognises(reader: type[Reader], path: Path) -> bool:
    """True where a stranger's reader says so; False where it fails."""
    try:
        return reader.recognises(path)
    except Exception as error:
        warnings.warn(f"The reader '{reader.name}' fails on {path}: {error}", PassedOver, stacklevel=2)
        return False


def _subclasses(kind: Any) -> Iterator[type[Reader]]:
    """The readers that derive from one, those that are abstract left out."""
    for reader in kind.__subclasses__():
        if not getattr(reader, "__abstractmethods__", None):
            yield reader
        yield from _subclasses(reader)


@cache
def _import_formats() -> None:
    room = importlib.import_module(__package__ or "")
    for module in pkgutil.iter_modules(room.__path__, f"{room.__name__}."):
        importlib.import_module(module.name)


def split_key(key: str) -> tuple[str, int | None]:
    """The video of an entry and its number in it: `id[3]` (in files aligned to segments) is ("id", 3)."""
    match = _ENTRY.fullmatch(key)
    return (match[1], int(match[2])) if match else (key, None)
