"""Recordings, as they lie in folders with transcripts and a table of labels beside them."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from emotiwave_core.data.formats.text import MEDIA
from emotiwave_core.errors import DataError, counted
from emotiwave_core.extract.label_table import LabelTable, read_label_table
from emotiwave_core.extract.transcripts import read_transcript, transcript_beside
from emotiwave_core.extract.words import Phrase, Transcript

LABELS = "labels.csv"


@attrs.frozen
class MediaClip:
    """A recording that is to be extracted from."""

    id: str  # of the data set
    path: Path
    transcript: Transcript | None = None


@attrs.frozen
class Found:
    """The clips, and the table of their labels."""

    clips: tuple[MediaClip, ...]
    labels: LabelTable | None
    notes: tuple[str, ...]


def find_clips(paths: Sequence[Path], labels: Path | None = None, words: Path | None = None) -> Found:
    """The recordings in these folders and files.

    labels: a table; else `labels.csv` in the first folder. words: a folder of transcripts, else beside each recording.
    DataError where there is none, where two have one id, or where table or transcript cannot be read.
    """
    files = {path: root for root in paths for path in recordings_in(root)}
    if not files:
        listed = ", ".join(map(str, paths))
        raise DataError(f"{listed}: no recording is there; known are {', '.join(sorted(MEDIA))}.")
    beside = next((root / LABELS for root in paths if (root / LABELS).is_file()), None)
    table = read_label_table(labels or beside) if labels or beside else None  # type: ignore[arg-type]
    clips: dict[str, MediaClip] = {}
    for path, root in files.items():
        row = None if table is None else table.of_file(path.name)
        own = _id(path, root) if row is None else row.id
        if own in clips:
            raise DataError(
                f"{clips[own].path} and {path} would both have the id '{own}': move one away, or name the files one by "
                "one."
            )
        transcript = transcript_beside(path, words)
        if transcript is None and row is not None and row.transcript is not None:
            transcript = Transcript((Phrase(row.transcript),), "none")
        clips[own] = MediaClip(own, path, transcript)
    return Found(tuple(clips.values()), table, tuple(_notes(clips, table)))


def recordings_in(root: Path) -> list[Path]:
    """The recordings in a folder and in those inside it, in order; a file is one. DataError where it is neither."""
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise DataError(f"{root}: there is no such file or folder.")
    found = []
    for folder, inner, names in os.walk(root):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        found += [
            Path(folder) / name
            for name in sorted(names)
            if Path(name).suffix.lower() in MEDIA and not name.startswith(".")
        ]
    return found


def _id(path: Path, root: Path) -> str:
    """The name of a recording without its suffix; of one in a folder inside, with that of the folder."""
    inside = path.relative_to(root).with_suffix("") if root.is_dir() else Path(path.stem)
    return "_".join(inside.parts)


def transcript_of(path: Path, file: Path | None = None) -> Transcript | None:
    """The transcript in a file, or the one that lies beside a recording. DataError where it cannot be used."""
    if file is None:
        return transcript_beside(path)
    if not file.is_file():
        raise DataError(f"{file}: there is no such transcript.")
    return read_transcript(file)


def _notes(clips: Mapping[str, MediaClip], table: LabelTable | None) -> list[str]:
    if table is None:
        return []
    without = [clip.path.name for clip in clips.values() if table.of_file(clip.path.name) is None]
    absent = [row.file for row in table.rows if row.id not in clips]
    notes = [*table.notes]
    if without:
        has = "has" if len(without) == 1 else "have"
        notes.append(f"{counted(len(without), 'recording')} {has} no row in {table.path.name}, such as {without[0]}.")
    if absent:
        has = "has" if len(absent) == 1 else "have"
        notes.append(f"{counted(len(absent), 'row')} of {table.path.name} {has} no recording, such as {absent[0]}.")
    return notes
