"""The data set that an extraction writes: `.csd` files, words, labels, `dataset.toml`."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from emotiwave_core.data.folds import FOLDS
from emotiwave_core.data.formats.csd_writer import write_csd
from emotiwave_core.data.formats.reader import Entry
from emotiwave_core.errors import DataError
from emotiwave_core.extract.extraction import Extracted
from emotiwave_core.extract.kept import FOLDER, KeptStreams
from emotiwave_core.extract.label_table import LabelTable
from emotiwave_core.io.atomic import write_json, write_text
from emotiwave_core.io.untrusted import read_toml, why

DATASET, WORDS, LABELS, SPLIT = "dataset.toml", "words.csd", "labels.csd", "folds.json"


def write_dataset(
    out: Path,
    extracted: Sequence[Extracted],
    identities: Mapping[str, Mapping[str, Any]],
    labels: LabelTable | None,
) -> None:
    """Write the files of a data set into `out`. ResourceError where one cannot be written."""
    kept = KeptStreams(out / FOLDER)
    usable = [one for one in extracted if one.failure is None]
    files: dict[str, Any] = {"modalities": {}}
    for modality, identity in identities.items():
        keys = {
            one.clip.id: one.result["streams"][modality]["key"]
            for one in usable
            if "steps" in one.result["streams"][modality]
        }
        if keys:
            name = f"{modality}.csd"
            metadata = {
                "extractor": identity,
                "computational sequence description": f"{modality} by {identity['name']}",
            }
            write_csd(out / name, modality, _streams(kept, keys), metadata=metadata)
            files["modalities"][modality] = name
    if any(one.result["words"]["known"] for one in usable):
        sources = sorted({one.result["words"]["source"] for one in usable if one.result["words"]["known"]})
        if next(_words(kept, usable), None) is not None:
            write_csd(out / WORDS, "words", _words(kept, usable), ["word"], {"extractor": {"words": sources}})
            files["words"] = WORDS
    if labels is not None:
        rows = {one.clip.id: _labels(one, labels, kept) for one in usable}
        entries = [(own, entry) for own, entry in rows.items() if len(entry.features)]
        if not entries:
            raise DataError(f"{labels.path} has no row for any of the recordings: its column 'file' holds their names.")
        groups = {row.id: row.group for row in labels.rows if row.group}
        write_csd(out / LABELS, "labels", entries, labels.columns, {"groups": groups} if groups else None)
        folds = {fold: sorted({row.id for row in labels.rows if row.fold == fold}) for fold in FOLDS}
        if any(folds.values()):
            write_json(out / SPLIT, folds)
            files["folds"] = {"file": SPLIT}
        kind = {"kind": "classes"} if labels.is_classes else {}
        files["labels"] = {"file": LABELS, "targets": list(labels.columns), **kind}
    _write_description(out, files)


def _streams(kept: KeptStreams, keys: Mapping[str, str]) -> Iterator[tuple[str, Entry]]:
    for own, key in keys.items():
        stream = kept.stream(key)
        yield own, Entry(stream.features, stream.intervals)


def _words(kept: KeptStreams, usable: Sequence[Extracted]) -> Iterator[tuple[str, Entry]]:
    for one in usable:
        table = kept.facts(one.result["words"]["key"]) or {}
        words = table.get("words") or []
        if words:
            text = np.array([[word[0].encode()] for word in words], dtype=np.bytes_)
            yield one.clip.id, Entry(text, np.array([word[1:] for word in words], dtype=np.float64))


def _labels(one: Extracted, labels: LabelTable, kept: KeptStreams) -> Entry:
    """The labelled stretches of a clip; a row without times is the clip, whole."""
    rows = labels.of_id(one.clip.id)
    end = length_of(one, kept)
    intervals = [(row.start or 0.0, end if row.end is None else row.end) for row in rows]
    values = np.array([row.values for row in rows], dtype=np.float32).reshape(len(rows), len(labels.columns))
    return Entry(values, np.array(intervals, dtype=np.float64).reshape(len(rows), 2))


def length_of(one: Extracted, kept: KeptStreams) -> float:
    """The seconds from a clip's start to the end of its last step, or to the end that the file states."""
    ends = [float(one.result["facts"]["seconds"] or 0.0)]
    for stream in one.result["streams"].values():
        if "steps" in stream:
            ends.append(float(kept.stream(stream["key"]).intervals[:, 1].max()))
    return max(ends)


def _write_description(out: Path, files: dict[str, Any]) -> None:
    """Write `dataset.toml`; what already stands there and is not of this extraction stays."""
    path = out / DATASET
    table: dict[str, Any] = {"name": out.resolve().name}
    if path.is_file():
        try:
            table |= read_toml(path)
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be used: {why(error)}.") from error
    for key, value in files.items():
        before = table.get(key)
        table[key] = {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value
    write_text(path, tomli_w.dumps(table))
