"""Inspection of a data set, or of a file or folder of any known format: what it holds and what is wrong, as facts."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from emotiwave_core.data.dataset import Dataset, load_dataset
from emotiwave_core.data.folds import FOLDS, in_two, read_folds, read_lists
from emotiwave_core.data.formats.reader import Reader, Source, open_reader, readers, split_key
from emotiwave_core.data.formats.text import is_beside
from emotiwave_core.data.prepare.coverage import check_unfit
from emotiwave_core.data.prepare.labels import label_columns
from emotiwave_core.data.recognise import known_reader
from emotiwave_core.errors import DataError, EmotiwaveError, SettingsError
from emotiwave_core.io.atomic import files_in
from emotiwave_core.monitor import SILENT, Monitor

ROOM = 8 << 20  # bytes of features that are looked at together


def inspect_folder(folder: Path, monitor: Monitor = SILENT) -> dict[str, Any]:
    """All facts of a data set, or of what stands in its place: a folder, or a file that holds a part or all of one.

    A file that cannot be read is a fact too (`error`); DataError where nothing is of a known format.
    """
    if not os.path.lexists(folder):
        raise DataError(f"{folder}: there is no such file or folder.")
    dataset: Dataset | None = None
    problem = None
    try:
        dataset = load_dataset(folder, labelled=False)
        if dataset.labels is None:
            load_dataset(folder)
    except EmotiwaveError as error:
        problem = str(error)
    sources = _sources(folder, dataset)
    if not sources:
        raise DataError(f"{folder} holds no file of a known form ({', '.join(readers())}).")
    files = {}
    videos: dict[str, set[str]] = {}
    for name, (source, role) in sources.items():
        files[name] = inspect_file(source, role, dataset, monitor)
        if "error" not in files[name]:
            with open_reader(source) as file:
                videos[name] = {split_key(key)[0] for key in file.keys}
    return {
        "folder": str(folder),
        "dataset": dataset.name if dataset else None,
        "synthetic": dataset.synthetic if dataset else False,
        "problem": problem,
        "notes": list(dataset.notes) if dataset else [],
        "files": files,
        "ids": _ids(videos),
        "folds": _folds(dataset, _labelled(sources, videos)) if dataset and dataset.folds else None,
    }


def _sources(folder: Path, dataset: Dataset | None) -> dict[str, tuple[Source, str | None]]:
    """The sources of a data set with their roles, and what else is of a known format beside them, by name."""
    of_dataset = [(source, role) for role, source in _roles(dataset).items()] if dataset else []
    used = {source.path for source, _ in of_dataset}
    beside: list[Path] = []
    if not folder.is_dir():
        beside = [folder]
    elif dataset is None and known_reader(folder) is not None:
        beside = [folder]  # of transcripts, or of clips
    else:
        beside = sorted(path for path in folder.iterdir() if not is_beside(path) and known_reader(path) is not None)
    base = folder if folder.is_dir() else folder.parent
    every = of_dataset + [(Source(path), None) for path in beside if path not in used]
    every.sort(key=lambda known: known[0].path)
    named: dict[str, tuple[Source, str | None]] = {}
    for source, role in every:
        name = _name_in(base, source)
        named[name if name not in named else f"{name} as {role}"] = (source, role)
    return named


def _name_in(base: Path, source: Source) -> str:
    """The name of a source within a folder, with its part."""
    name = os.path.relpath(source.path, base)
    name = source.path.name if name == "." else name
    return name if source.part is None else f"{name}:{source.part}"


def inspect_file(
    source: Source | Path, role: str | None, dataset: Dataset | None, monitor: Monitor = SILENT
) -> dict[str, Any]:
    """The facts of one file; `{"error": …}` where it cannot be read, with `refused` where no run takes it."""
    source = Source(source) if isinstance(source, Path) else source
    size = sum(file.stat().st_size for file in files_in(source.path)) if source.path.exists() else 0
    try:
        with open_reader(source) as file:
            facts: dict[str, Any] = {
                "role": role,
                "format": file.name,
                "bytes": size,
                "root": file.root,
                "description": file.metadata.get("computational sequence description"),
                "extractor": _table_of(file.metadata.get("extractor")),
                "ids": len(file.keys),
                "videos": len({split_key(key)[0] for key in file.keys}),
                "width": file.width,
                "kind": "words" if file.is_words else "numbers",
                "has_times": file.has_times,
                "columns": file.dimension_names,
                "unfit": file.unfit(),
            }
            facts |= _content(file, monitor)
            facts |= _refusal(file, facts["unfit"])
            facts["notes"] = list(file.notes)
            facts["groups"] = len(set(file.groups.values()))
            if role == "labels" and dataset is not None:
                facts["labels"] = _labels(file, dataset)
            return facts
    except EmotiwaveError as error:
        return {"role": role, "bytes": size, "error": str(error)}


def _refusal(file: Reader, unfit: dict[str, str]) -> dict[str, str]:
    """The sentence of a run that refuses the file for its unfit entries; empty where it does not."""
    try:
        check_unfit(file.path.name, unfit, len(file.keys))
    except DataError as error:
        return {"refused": str(error)}
    return {}


def _table_of(value: object) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


def _content(file: Reader, monitor: Monitor) -> dict[str, Any]:
    """One pass over all entries: steps, rate, what is not a number, and the dirt of the intervals."""
    steps, zero_only, pauses = [], 0, 0
    nan, inf = np.zeros(file.width, dtype=np.int64), np.zeros(file.width, dtype=np.int64)
    dirt: Counter[str] = Counter()
    durations, lowest, longest = [], np.inf, 0.0
    block = max(ROOM // (file.width * 4), 1)
    with monitor.progress(f"Reading {file.path.name}", len(file.keys)) as advance:
        for key in _fitting(file):
            intervals = file.intervals(key)
            steps.append(len(intervals))
            is_zero = len(intervals) > 0
            for first in range(0, max(len(intervals), 1), block):
                features = file.features(key, slice(first, first + block))
                if file.is_words:
                    pauses += int((features[:, 0] == b"sp").sum())
                else:
                    nan += np.isnan(features).sum(axis=0)
                    inf += np.isinf(features).sum(axis=0)
                    is_zero &= not features.any()
            zero_only += is_zero
            start, end = intervals[:, 0], intervals[:, 1]
            with np.errstate(over="ignore", invalid="ignore"):  # of bounds that are not finite, or nearly
                length = end - start
            durations.append(length[np.isfinite(length) & (length > 0)])
            dirt["below 0"] += int((start < 0).sum())
            dirt["of zero length"] += int((length == 0).sum())
            dirt["reversed"] += int((length < 0).sum())
            dirt["not finite"] += int((~np.isfinite(intervals)).any(axis=1).sum())
            dirt["ids out of order"] += int((np.diff(start) < 0).any())
            dirt["ids with overlaps"] += int(_overlaps(intervals))
            lowest = min(lowest, float(np.nanmin(start, initial=np.inf)))
            longest = max(longest, float(np.nanmax(end, initial=0.0)))
            advance()
    every = np.concatenate(durations)
    typical = float(np.median(every)) if len(every) else 0.0
    facts = {
        "steps": int(np.sum(steps)),
        "steps_of_an_id": {"shortest": min(steps), "median": float(np.median(steps)), "longest": max(steps)},
        "seconds_of_a_step": round(typical, 6),
        "hertz": round(1 / typical, 3) if typical > 1e-9 else None,
        "lowest_start": round(lowest, 6) if np.isfinite(lowest) else None,
        "last_end": round(longest, 6) if np.isfinite(longest) else None,
        "intervals": dict(dirt),
    }
    if file.is_words:
        return facts | {"pauses": pauses}
    return facts | {"nan": _by_column(file, nan), "inf": _by_column(file, inf), "zero_only_ids": zero_only}


def _fitting(file: Reader) -> list[str]:
    """The entries that are of the form of most. DataError where none is."""
    unfit = file.unfit()
    keys = [key for key in file.keys if key not in unfit]
    if not keys:
        raise DataError(f"{file.path} holds no entry that can be read: {next(iter(unfit.values()), 'it is empty')}")
    return keys


def _overlaps(intervals: np.ndarray[Any, np.dtype[np.float64]]) -> bool:
    """True where a step begins before an earlier one has ended (by more than rounding)."""
    ordered = intervals[np.argsort(intervals[:, 0], kind="stable")]
    ends = np.maximum.accumulate(ordered[:-1, 1])
    return bool((ordered[1:, 0] < ends - 1e-6).any()) if len(ordered) > 1 else False


def _by_column(file: Reader, counts: np.ndarray[Any, np.dtype[np.int64]]) -> dict[str, int]:
    names = file.dimension_names or [str(column) for column in range(file.width)]
    return {names[column]: int(counts[column]) for column in np.flatnonzero(counts)}


def _labels(file: Reader, dataset: Dataset) -> dict[str, Any]:
    """Columns, their source and meaning, and each target's mean, number of rows above 0 and share by argmax."""
    every = np.concatenate([file.features(key) for key in file.keys])
    columns = label_columns(dataset, file, every)
    rows = columns.values(every)
    usable = np.isfinite(rows).all(axis=1)
    rows = rows[usable]
    strongest = np.bincount(rows.argmax(axis=1), minlength=len(columns.targets))
    none = ~(rows > 0).any(axis=1)
    return {
        "columns": list(columns.names),
        "source": columns.source,
        "notes": list(columns.notes),
        "targets": list(columns.targets),
        "kind": columns.kind,
        "kind_source": columns.kind_source,
        "rows": len(rows),
        "not_finite": int((~usable).sum()),
        "present": {name: int((rows[:, c] > 0).sum()) for c, name in enumerate(columns.targets)},
        "mean": {name: float(rows[:, c].mean()) if len(rows) else None for c, name in enumerate(columns.targets)},
        "argmax": {name: int(strongest[c]) for c, name in enumerate(columns.targets)},
        "no_emotion": int(none.sum()),
        "highest": float(rows.max(initial=0.0)),
        "lowest": float(rows.min(initial=0.0)),
    }


def _roles(dataset: Dataset) -> dict[str, Source]:
    """The sources of a data set by what they are for."""
    words = {"words": dataset.words} if dataset.words else {}
    labels = {"labels": dataset.labels} if dataset.labels else {}
    return {**words, **dataset.modalities, **labels}


def _ids(videos: dict[str, set[str]]) -> dict[str, Any]:
    """Videos by file: how many are in all files, and how many each one lacks."""
    if not videos:
        return {}
    everything = set.union(*videos.values())
    return {
        "any_file": len(everything),
        "all_files": len(set.intersection(*videos.values())),
        "missing_from": {name: len(everything - have) for name, have in videos.items()},
        "examples_missing": {name: sorted(everything - have)[:5] for name, have in videos.items() if everything - have},
    }


def _labelled(sources: dict[str, tuple[Source, str | None]], videos: dict[str, set[str]]) -> set[str]:
    """The videos of the label file."""
    return set().union(*(videos.get(name, set()) for name, (_, role) in sources.items() if role == "labels"))


def _folds(dataset: Dataset, labelled: set[str]) -> dict[str, Any]:
    """Videos and label rows of each fold, ids without data, data in no fold, and whether folds overlap."""
    assert dataset.folds is not None
    facts: dict[str, Any] = {"file": dataset.folds.name}
    try:
        facts["in_two_folds"] = in_two(read_lists(dataset.folds).values())
        try:
            folds = read_folds(dataset.folds)
        except SettingsError:  # folds to rotate: the first rotation stands for all
            folds = read_folds(dataset.folds, rotation=0)
            facts["rotation"] = 0
    except EmotiwaveError as error:
        return facts | {"error": str(error)}
    rows: Counter[str] = Counter()
    if dataset.labels and labelled:
        with open_reader(dataset.labels) as file:
            for key in file.keys:
                rows[split_key(key)[0]] += file.steps(key)
    listed = {video for fold in FOLDS for video in folds[fold]}
    return facts | {
        "videos": {fold: len(folds[fold]) for fold in FOLDS},
        "rows": {fold: sum(rows[video] for video in folds[fold]) for fold in FOLDS},
        "ids_without_labels": {fold: sorted(set(folds[fold]) - labelled) for fold in FOLDS},
        "videos_in_no_fold": len(labelled - listed),
        "rows_in_no_fold": sum(rows[video] for video in labelled - listed),
    }
