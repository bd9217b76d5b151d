"""Building a store against merely reading the same bytes through h5py; opening it; and how both grow with the data.

A build on one core is held against one process that reads, a build on two cores against two that read half of the
videos each. Files are in the system's cache: from a slower disk, reading and hashing go on side by side.
"""

import hashlib
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from emotiwave_core.data.dataset import load_dataset
from emotiwave_core.data.prepare.options import Options
from emotiwave_core.data.store.store import open_store
from speed.corpus import FILES, LABELS, write_corpus
from speed.table import Row, medians

SPAWN = multiprocessing.get_context("spawn")


def read_all(folder: Path, part: int = 0, parts: int = 1) -> int:
    """Every feature of every video (or of each `parts`-th one), through h5py; their bytes."""
    total = 0
    for name in FILES.values():
        with h5py.File(folder / name, "r") as file:
            for group in list(file[name]["data"].values())[part::parts]:
                total += group["features"][:].nbytes
    return total


def read_steadily(folder: Path) -> int:
    """As a build must: every byte of every file is read once, and hashed. The floor of a build on one core."""
    for name in [*FILES.values(), LABELS]:
        with (folder / name).open("rb") as file:
            hashlib.file_digest(file, "sha256")
    return read_all(folder)


def build(folder: Path) -> None:
    """A store of everything, thrown away."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as cache:
        open_store(load_dataset(folder), Options(), Path(cache))


def gzipped(folder: Path) -> Path:
    """The same data with gzip, beside it, as h5py packs by default."""
    other = folder.with_name(f"{folder.name}-gzip")
    if (other / "folds.json").is_file():
        return other
    other.mkdir(exist_ok=True)
    shutil.copy(folder / LABELS, other)
    for name in FILES.values():
        with h5py.File(folder / name, "r") as source, h5py.File(other / name, "w") as file:
            for video, group in source[name]["data"].items():
                entry = file.create_group(f"{name}/data/{video}")
                for key in ("features", "intervals"):
                    entry.create_dataset(key, data=group[key][:], compression="gzip")
    shutil.copy(folder / "folds.json", other)
    return other


@contextmanager
def cores(count: int) -> Iterator[None]:
    """This process on so many cores at most, where the system lets it choose."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def measure(folder: Path) -> list[Row]:
    """Ratios of speed (1 is as fast as reading), the floor of a build, and the opening of a store that is there."""
    rows = []
    for kind, some in (("contiguous", folder), ("gzip", gzipped(folder))):
        size = read_all(some) / 1e6
        for count in (1, 2):
            with cores(count), ProcessPoolExecutor(count, mp_context=SPAWN) as pool:
                works: dict[str, Callable[[], object]] = {
                    "build": lambda some=some: build(some),
                    "read": lambda pool=pool, some=some, count=count: list(
                        pool.map(read_all, [some] * count, range(count), [count] * count)
                    ),
                }
                if count == 1:
                    works["floor"] = lambda some=some: read_steadily(some)
                found = medians(works, runs=3)
            what = f"{kind}, {count} core{'s' * (count > 1)}"
            rows.append(
                Row("store", f"build, {what}", size / found["build"], "MB/s", "reading through h5py",
                    size / found["read"], ">= 0.8")
            )  # fmt: skip
            if count == 1:
                rows.append(
                    Row("store", f"build, {what}", size / found["build"], "MB/s", "reading and SHA-256 of the sources",
                        size / found["floor"])
                )  # fmt: skip
    return [*rows, opening(folder)]


def opening(folder: Path) -> Row:
    """A store that is there, opened as at the start of every run, against hashing it whole."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as cache:
        dataset = load_dataset(folder)
        arrays = open_store(dataset, Options(), Path(cache)).path / "arrays.safetensors"

        def whole() -> None:
            with arrays.open("rb") as file:
                hashlib.file_digest(file, "sha256")

        found = medians({"open": lambda: open_store(dataset, Options(), Path(cache)), "hash": whole})
    return Row("store", "opening", found["open"], "s", "SHA-256 of it", found["hash"])


def growth(folder: Path, videos: tuple[int, ...] = (8, 16, 32, 64)) -> list[Row]:
    """Time and peak memory of a build at 1, 2, 4 and 8 times the videos, and the slope of each in log-log.

    A slope of 1 is linear, 0 is flat. Each size is built in a process of its own.
    """
    found = []
    for count in videos:
        some = write_corpus(folder / f"videos-{count}", count)
        with ProcessPoolExecutor(1, mp_context=SPAWN) as pool:
            found.append(pool.submit(_build_measured, some).result())
    rows = []
    for what, unit, goal, values in zip(
        ("time of a build", "peak memory of a build"), ("s", "MiB"), ("<= 1.1", "<= 0.1"), zip(*found, strict=True),
        strict=True,
    ):  # fmt: skip
        slope = float(np.polyfit(np.log(videos), np.log(values), 1)[0])
        each = ", ".join(f"{value:.3g} of {count}" for value, count in zip(values, videos, strict=True))
        rows.append(Row("growth", f"{what}, slope", slope, "", goal=goal, note=f"{unit} {each} videos"))
    return rows


def growth_of_one(folder: Path, shortest: int = 1_000_000) -> list[Row]:
    """CPU time and peak memory of a build whose data are one recording, at 1, 2, 4 and 8 times its length.

    Once with a label for 1,000 rows, once, of a recording an eighth as long, with one for each row. The bytes are those
    by which the peak grows from the shortest to the longest.
    """
    table = []
    for what, rows_a_label in (("a label for 1,000", 1000), ("a label each", 1)):
        rows = [shortest * size // (8 if rows_a_label == 1 else 1) for size in (1, 2, 4, 8)]
        found = []
        for count in rows:
            some = _one_recording(folder / f"one-{count}-{rows_a_label}", count, rows_a_label)
            with ProcessPoolExecutor(1, mp_context=SPAWN) as pool:
                found.append(pool.submit(_built_once, some).result())
        seconds, peaks = zip(*found, strict=True)
        slope = float(np.polyfit(np.log(rows), np.log(seconds), 1)[0])
        each = ", ".join(f"{value:.3g} of {count}" for value, count in zip(seconds, rows, strict=True))
        table.append(
            Row(
                "growth",
                f"one recording, rows with {what}: CPU time, slope",
                slope,
                "",
                goal="<= 1.1",
                note=f"s {each}",
            )
        )
        bytes_a_row = (peaks[-1] - peaks[0]) * 2**20 / (rows[-1] - rows[0])
        each = ", ".join(f"{value:.3g} of {count}" for value, count in zip(peaks, rows, strict=True))
        goal = "<= 64" if rows_a_label > 1 else "<= 700"
        table.append(
            Row("growth", f"one recording, rows with {what}: memory a row", bytes_a_row, "B", goal=goal,
                note=f"MiB {each}")
        )  # fmt: skip
    return table


def _one_recording(folder: Path, rows: int, rows_a_label: int) -> Path:
    """A data set of one id, with 8 features 100 times a second."""
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    for name, width, count in (("audio", 8, rows), ("labels", 2, rows // rows_a_label)):
        edges = np.linspace(0, rows / 100, count + 1)
        with h5py.File(folder / f"{name}.csd", "w") as file:
            entry = file.create_group(f"{name}/data/one")
            entry["features"] = random.integers(0, 3, (count, width)).astype(np.float32)
            entry["intervals"] = np.stack([edges[:-1], edges[1:]], axis=1)
    (folder / "dataset.toml").write_text(
        'name = "one"\n[labels]\nfile = "labels.csd"\ncolumns = ["happy", "sad"]\n[modalities]\naudio = "audio.csd"\n'
    )
    return folder


def _built_once(folder: Path) -> tuple[float, float]:
    """The CPU seconds of one build, and the peak memory in MiB."""
    before = time.process_time()
    build(folder)
    return time.process_time() - before, peak_memory()


def _build_measured(folder: Path) -> tuple[float, float]:
    """The median seconds of three builds, and the peak memory in MiB."""
    seconds = medians({"build": lambda: build(folder)}, runs=3)["build"]
    return seconds, peak_memory()


def peak_memory() -> float:
    """The most memory in MiB that this process has held. (Linux's `ru_maxrss` would begin with its parent's.)"""
    status = Path("/proc/self/status")
    if status.exists():
        return float(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
