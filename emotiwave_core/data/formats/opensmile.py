"""openSMILE's CSV: `name;frameTime;FEATURE;…`, names in single quotes, one file of all clips or one for each."""

from pathlib import Path

from emotiwave_core.data.formats.delimited import TableColumns, read_delimited, read_header
from emotiwave_core.data.formats.table import TableFile, is_always_text
from emotiwave_core.data.formats.text import MEDIA, stem


class OpenSmileFile(TableFile):
    """A CSV of openSMILE, of low-level descriptors or of functionals. Where it names no clip, it is its own."""

    name = "opensmile"
    usual_role = "audio"
    is_general = False

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """By the first two columns."""
        header = read_header(path) if super().recognises(path) else []
        return header[:2] == ["name", "frameTime"] or header[:1] == ["frameTime"]

    @classmethod
    def _load(cls, path: Path) -> TableColumns:
        return with_ids(path, read_delimited(path, is_text=is_always_text))


def with_ids(path: Path, columns: TableColumns) -> TableColumns:
    """The columns with names out of their quotes; where all are `unknown`, or there are none, the file's own."""
    names = [name.strip("'\"") for name in columns.texts.get("name", [""] * columns.rows)]
    if "id" in columns.texts or ("name" not in columns.texts and "frameTime" not in columns.texts):
        return columns
    if set(names) <= {"unknown", "noname", ""}:
        names = [stem(path, (".csv", ".arff", *(f"{media}.csv" for media in MEDIA)))] * columns.rows
    return columns.with_texts(name=names)
