"""Inspection of a folder of `.csd` files: what it holds and what is wrong, as plain facts."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from emotiwave_core.data.dataset import Dataset, load_dataset
from emotiwave_core.data.folds import FOLDS, in_two, read_folds, read_lists
from emotiwave_core.data.formats.reader import Reader, open_reader, readers, split_key
from emotiwave_core.data.prepare.labels import label_columns
from emotiwave_core.errors import DataError, EmotiwaveError, SettingsError
from emotiwave_core.monitor import SILENT, Monitor


def inspect_folder(folder: Path, monitor: Monitor = SILENT) -> dict[str, Any]:
    """All facts of a folder. A file that cannot be read is a fact too (`error`); DataError where there is none."""
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder.")
    dataset: Dataset | None = None
    problem = None
    try:
        dataset = load_dataset(folder, labelled=False)
        if dataset.labels is None:
            load_dataset(folder)
    except EmotiwaveError as error:
        problem = str(error)
    formats = readers().values()
    known = (path for path in folder.iterdir() if any(reader.recognises(path) for reader in formats))
    paths = sorted({*known, *(_files(dataset) if dataset else {})})
    if not paths:
        raise DataError(f"{folder} holds no file of a known form ({', '.join(readers())}).")
    roles = _files(dataset) if dataset else {}
    files = {}
    videos: dict[str, set[str]] = {}
    for path in paths:
        name = os.path.relpath(path, folder)
        files[name] = inspect_file(path, roles.get(path), dataset, monitor)
        if "error" not in files[name]:
            with open_reader(path) as file:
                videos[name] = {split_key(key)[0] for key in file.keys}
    return {
        "folder": str(folder),
        "dataset": dataset.name if dataset else None,
        "synthetic": dataset.synthetic if dataset else False,
        "problem": problem,
        "files": files,
        "ids": _ids(videos),
        "folds": _folds(dataset, videos) if dataset and dataset.folds else None,
    }


def inspect_file(path: Path, role: str | None, dataset: Dataset | None, monitor: Monitor = SILENT) -> dict[str, Any]:
    """The facts of one file; `{"error": …}` where it cannot be read."""
    try:
        with open_reader(path) as file:
            facts: dict[str, Any] = {
                "role": role,
                "bytes": path.stat().st_size,
                "root": file.root,
                "description": file.metadata.get("computational sequence description"),
                "ids": len(file.keys),
                "videos": len({split_key(key)[0] for key in file.keys}),
                "width": file.width,
                "kind": "words" if file.is_words else "numbers",
                "columns": file.dimension_names,
            }
            facts |= _content(file, monitor)
            if role == "labels" and dataset is not None:
                facts["labels"] = _labels(file, dataset)
            return facts
    except EmotiwaveError as error:
        return {"role": role, "bytes": path.stat().st_size if path.exists() else 0, "error": str(error)}


def _content(file: Reader, monitor: Monitor) -> dict[str, Any]:
    """One pass over all entries: steps, rate, what is not a number, and the dirt of the intervals."""
    steps, zero_only, pauses = [], 0, 0
    nan, inf = np.zeros(file.width, dtype=np.int64), np.zeros(file.width, dtype=np.int64)
    dirt: Counter[str] = Counter()
    durations, lowest, longest = [], np.inf, 0.0
    with monitor.progress(f"Reading {file.path.name}", len(file.keys)) as advance:
        for key in file.keys:
            features, intervals = file.read(key)
            steps.append(len(features))
            if file.is_words:
                pauses += int((features[:, 0] == b"sp").sum())
            else:
                nan += np.isnan(features).sum(axis=0)
                inf += np.isinf(features).sum(axis=0)
                zero_only += int(len(features) > 0 and not features.any())
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


def _overlaps(intervals: np.ndarray[Any, np.dtype[np.float64]]) -> bool:
    """True where a step begins before an earlier one has ended (by more than rounding)."""
    ordered = intervals[np.argsort(intervals[:, 0], kind="stable")]
    ends = np.maximum.accumulate(ordered[:-1, 1])
    return bool((ordered[1:, 0] < ends - 1e-6).any()) if len(ordered) > 1 else False


def _by_column(file: Reader, counts: np.ndarray[Any, np.dtype[np.int64]]) -> dict[str, int]:
    names = file.dimension_names or [str(column) for column in range(file.width)]
    return {names[column]: int(counts[column]) for column in np.flatnonzero(counts)}


def _labels(file: Reader, dataset: Dataset) -> dict[str, Any]:
    """Columns, their source, and the balance of the classes: per target (intensity above 0) and by argmax."""
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
        "argmax": {name: int(strongest[c]) for c, name in enumerate(columns.targets)},
        "no_emotion": int(none.sum()),
        "highest": float(rows.max(initial=0.0)),
        "lowest": float(rows.min(initial=0.0)),
    }


def _files(dataset: Dataset) -> dict[Path, str]:
    words = {dataset.words.path: "words"} if dataset.words else {}
    labels = {dataset.labels.path: "labels"} if dataset.labels else {}
    return {**words, **{source.path: name for name, source in dataset.modalities.items()}, **labels}


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


def _folds(dataset: Dataset, videos: dict[str, set[str]]) -> dict[str, Any]:
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
    labelled = videos.get(os.path.relpath(dataset.labels.path, dataset.folder), set()) if dataset.labels else set()
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
