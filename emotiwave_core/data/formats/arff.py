"""ARFF, the tables of Weka that openSMILE writes too: a line `@attribute NAME TYPE` for each column, `@data`, rows."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import attrs

from emotiwave_core.data.formats.delimited import MOST_BYTES, TableColumns, columns_of
from emotiwave_core.data.formats.opensmile import with_ids
from emotiwave_core.data.formats.table import TableFile, is_always_text
from emotiwave_core.data.formats.text import lines_of, read_lenient
from emotiwave_core.errors import DataError, short

_ATTRIBUTE = re.compile(r"""@attribute\s+('[^']*'|"[^"]*"|\S+)\s+(\S.*)""", re.IGNORECASE)


class ArffFile(TableFile):
    """An ARFF that is not sparse; `?` is an empty cell."""

    name = "arff"
    suffixes = (".arff",)
    is_general = False

    @classmethod
    def _header(cls, path: Path) -> Sequence[str]:
        return _parted(path)[0]

    @classmethod
    def _load(cls, path: Path) -> TableColumns:
        names, texts, rows, notes = _parted(path)
        reader = csv.reader(rows, quotechar="'", escapechar="\\", skipinitialspace=True, strict=True)
        columns = columns_of(path, names, reader, lambda name: name in texts or is_always_text(name), False)
        return with_ids(path, attrs.evolve(columns, notes=notes + columns.notes))


def _parted(path: Path) -> tuple[list[str], set[str], list[str], tuple[str, ...]]:
    """The names of the columns, those of texts and of named classes, the lines of data, and notes on the encoding."""
    text, notes = read_lenient(path, MOST_BYTES)
    names, texts = list[str](), set[str]()
    lines = lines_of(text)
    for number, line in enumerate(lines):
        word = line.strip().lower()
        if word.startswith("@data"):
            rows = [row for row in lines[number + 1 :] if row.strip() and not row.startswith("%")]
            if any(row.startswith("{") for row in rows[:1]):
                raise DataError(f"{path} is a sparse ARFF, which is not read; save it as CSV.")
            return names, texts, rows, notes
        if word.startswith("@attribute"):
            match = _ATTRIBUTE.fullmatch(line.strip())
            if match is None:
                raise DataError(f"{path}, line {number + 1}: {short(line)} is no `@attribute NAME TYPE`.")
            names.append(match[1].strip("'\""))
            if not match[2].lower().startswith(("numeric", "real", "integer")):
                texts.add(names[-1])
    raise DataError(f"{path} is no ARFF, or is cut off: it has no line @data.")
