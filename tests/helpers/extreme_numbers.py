"""Data sets whose numbers are extreme, and what every run must leave that was made of one."""

import csv
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from datasets import WIDTHS, write_csd, write_dataset
from training import edit_csd

Change = Callable[[Path], object]
TRAIN, VALID, TEST = "train", "valid", "test"
VIDEOS = 12


def dataset(folder: Path, change: Change) -> Path:
    """A small data set with something done to it."""
    folder.mkdir(parents=True)
    write_dataset(folder, videos=VIDEOS)
    change(folder)
    return folder


def ids_of(folder: Path, fold: str) -> list[str]:
    """The videos of a fold."""
    return list(json.loads((folder / "folds.json").read_text())[fold])


def every_feature(make: Callable[[Any, np.random.Generator], Any]) -> Change:
    """Other features in all files: make(features [T, F], random)."""

    def change(folder: Path) -> None:
        random = np.random.default_rng(0)
        for name in WIDTHS:
            edit_csd(folder / f"{name}.csd", lambda _, features: make(features, random))

    return change


def in_fold(fold: str, make: Callable[[Any], Any]) -> Change:
    """Other features in one fold."""

    def change(folder: Path) -> None:
        videos = ids_of(folder, fold)
        for name in WIDTHS:
            edit_csd(folder / f"{name}.csd", lambda video, features: make(features) if video in videos else features)

    return change


def without_audio(fold: str | None) -> Change:
    """No sample of a fold, or of all, has audio: its file holds no id of them."""

    def change(folder: Path) -> None:
        videos = None if fold is None else ids_of(folder, fold)
        with h5py.File(folder / "audio.csd", "r+") as file:
            data = next(iter(file.values()))["data"]
            for video in list(data):
                if videos is None or video in videos:
                    data.move(video, f"other{video}")

    return change


def no_rows(folder: Path) -> None:
    """A file of audio that has all ids, and no row of any."""
    with h5py.File(folder / "audio.csd", "r+") as file:
        for group in next(iter(file.values()))["data"].values():
            width = group["features"].shape[1]
            del group["features"], group["intervals"]
            group.create_dataset("features", data=np.zeros((0, width), dtype=np.float32))
            group.create_dataset("intervals", data=np.zeros((0, 2)))


def labels(make: Callable[[str, Any], Any], fold: str | None = None) -> Change:
    """Other labels [segments, 7]: make(video, labels), in one fold or in all."""

    def change(folder: Path) -> None:
        videos = None if fold is None else ids_of(folder, fold)
        edit_csd(folder / "labels.csd", lambda v, old: make(v, old.copy()) if videos is None or v in videos else old)

    return change


def one_sample(fold: str) -> Change:
    """A fold of one video with one segment."""

    def change(folder: Path) -> None:
        folds = json.loads((folder / "folds.json").read_text())
        folds[fold] = folds[fold][:1]
        (folder / "folds.json").write_text(json.dumps(folds))
        with h5py.File(folder / "labels.csd", "r+") as file:
            group = next(iter(file.values()))["data"][folds[fold][0]]
            for name in ("features", "intervals"):
                first = group[name][:1]
                del group[name]
                group.create_dataset(name, data=first)

    return change


def intervals(make: Callable[[Any], Any], labels_too: bool = False) -> Change:
    """Other intervals [T, 2] in the feature files, or also in that of the labels."""

    def change(folder: Path) -> None:
        for name in [*WIDTHS, *(["labels"] if labels_too else [])]:
            with h5py.File(folder / f"{name}.csd", "r+") as file:
                for group in next(iter(file.values()))["data"].values():
                    group["intervals"][...] = make(group["intervals"][()])

    return change


def one_column(folder: Path) -> None:
    """One feature in every modality."""
    for name in WIDTHS:
        with h5py.File(folder / f"{name}.csd") as file:
            data = next(iter(file.values()))["data"]
            entries = {video: (group["features"][:, :1], group["intervals"][()]) for video, group in data.items()}
        write_csd(folder / f"{name}.csd", entries)


def one_step(folder: Path) -> None:
    """One step a video in every modality, over all of it."""
    for name in WIDTHS:
        with h5py.File(folder / f"{name}.csd") as file:
            data = next(iter(file.values()))["data"]
            entries = {video: (group["features"][:1], [[0.0, 4.0]]) for video, group in data.items()}
        write_csd(folder / f"{name}.csd", entries)


def check_run(out: Path, multi: bool) -> None:
    """Every number that a run has left is finite, probabilities are probabilities, and the report is there."""
    for name in ("scores.json", "explanation.json", "data.json", "model.json"):
        strictly(out / name, (out / name).read_text())
    for line in (out / "history.jsonl").read_text().splitlines():
        strictly(out / "history.jsonl", line)
    with (out / "predictions.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            chances = [float(value) for key, value in row.items() if key.startswith("p(")]
            assert all(0.0 <= chance <= 1.0 for chance in chances), row
            assert multi or math.isclose(sum(chances), 1.0, abs_tol=1e-5), row
    with (out / "explanations.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            assert all(math.isfinite(float(row[key])) for key in row if "(" in key or key in ("empty", "complete")), row
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.rstrip().endswith("</html>")
    shown = re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL)
    assert not re.search(r"(?<![\w.])[-+]?(nan|inf)(?![\w.])", shown)


def strictly(path: Path, text: str) -> Any:
    """JSON without NaN and infinities, which Python's own would read and write."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{path} holds {constant}")

    return json.loads(text, parse_constant=refuse)


def one_hot_labels(column: int, strength: float = 1.0) -> Callable[[str, Any], Any]:
    """All samples have this emotion alone."""

    def make(_: str, old: Any) -> Any:
        old[:] = 0.0
        old[:, 1 + column] = strength
        return old

    return make


def filled(value: float) -> Callable[[str, Any], Any]:
    """Every label has this value."""
    return lambda _, old: np.full_like(old, value)


def halves(random: np.random.Generator, old: Any, value: float, share: float) -> Any:
    """Features of which a share has this value."""
    return np.where(random.random(old.shape) < share, value, old)


def one_constant(old: Any) -> Any:
    """The first column constant."""
    old[:, 0] = 7.0
    return old


FEATURES: dict[str, Change] = {
    "all NaN": every_feature(lambda old, _: np.full_like(old, np.nan)),
    "all inf": every_feature(lambda old, _: np.full_like(old, np.inf)),
    "all -inf": every_feature(lambda old, _: np.full_like(old, -np.inf)),
    "90 % NaN": every_feature(lambda old, random: halves(random, old, np.nan, 0.9)),
    "10 % inf": every_feature(lambda old, random: halves(random, old, np.inf, 0.1)),
    "beyond float32": every_feature(lambda old, _: old.astype(np.float64) * 1e200),
    "1e38": every_feature(lambda old, _: np.sign(old) * np.float32(3e38)),
    "one at 1e38": every_feature(lambda old, random: halves(random, old, np.float32(3e38), 0.05)),
    "denormal": every_feature(lambda old, _: (old * 1e-41).astype(np.float32)),
    "1e-20": every_feature(lambda old, _: (old * 1e-20).astype(np.float32)),
    "constant": every_feature(lambda old, _: np.full_like(old, 3.0)),
    "constant 1e30": every_feature(lambda old, _: np.full_like(old, 1e30)),
    "zeros": every_feature(lambda old, _: np.zeros_like(old)),
    "one column constant": every_feature(lambda old, _: one_constant(old)),
    "only test is huge": in_fold(TEST, lambda old: old * np.float32(1e37)),
    "only valid is huge": in_fold(VALID, lambda old: old * np.float32(1e37)),
    "test is NaN": in_fold(TEST, lambda old: np.full_like(old, np.nan)),
    "one column": one_column,
    "one step": one_step,
}
PRESENCE: dict[str, Change] = {
    "no audio anywhere": without_audio(None),
    "audio without rows": no_rows,
    "no audio in train": without_audio(TRAIN),
    "no audio in valid": without_audio(VALID),
    "no audio in test": without_audio(TEST),
    "one sample in train": one_sample(TRAIN),
    "one sample in valid": one_sample(VALID),
    "one sample in test": one_sample(TEST),
    "instants": intervals(lambda old: np.stack([old[:, 0], old[:, 0]], axis=1)),
    "reversed": intervals(lambda old: old[:, ::-1], labels_too=True),
    "all at one instant": intervals(np.zeros_like, labels_too=True),
    "segments are instants": intervals(lambda old: np.stack([old[:, 0], old[:, 0]], axis=1), labels_too=True),
    "times at 1e300": intervals(lambda old: old * 1e300, labels_too=True),
}
LABELS: dict[str, Change] = {
    "one class in train": labels(one_hot_labels(2), TRAIN),
    "one class everywhere": labels(one_hot_labels(2)),
    "test has what train lacks": labels(one_hot_labels(5), TEST),
    "no positive in train": labels(filled(0.0), TRAIN),
    "no positive in valid": labels(filled(0.0), VALID),
    "no positive in test": labels(filled(0.0), TEST),
    "no positive": labels(filled(0.0)),
    "all positive in train": labels(filled(1.0), TRAIN),
    "all positive": labels(filled(1.0)),
    "negative": labels(lambda _, old: -old),
    "above 3": labels(lambda _, old: old * 100.0),
    "1e30": labels(lambda _, old: old * np.float32(1e30)),
    "max float": labels(lambda _, old: np.where(old > 0, np.float32(3e38), 0.0)),
    "all NaN labels": labels(filled(np.nan)),
    "all inf labels": labels(filled(np.inf)),
    "NaN in train": labels(filled(np.nan), TRAIN),
    "some NaN": labels(lambda v, old: np.where(int(v[1:]) % 2, np.nan, old)),
    "ties": labels(lambda _, old: np.tile(np.array([0, 1, 1, 1, 1, 1, 1], dtype=np.float32), (len(old), 1))),
    "tiny": labels(lambda _, old: (old * 1e-44).astype(np.float32)),
}
CASES = FEATURES | PRESENCE | LABELS
