"""Growth of time and memory with the data: an epoch at 1, 2, 4, 8 times the videos, each in a process of its own."""

import json
import math
import os
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from speed.corpus import write_corpus
from speed.epoch import notebook, run, timed
from speed.table import Row

SIZES = (1, 2, 4, 8)
EPOCHS = 1  # of the largest; the smaller ones train on as many samples in more of them
ROUNDS = 2


class Grown(NamedTuple):
    """One size of the data."""

    samples: int
    seconds: float  # of the fastest epoch: what else the machine does can only add to it
    own_mib: float  # the most memory of the process that no file stands behind (the store is a memory map)


def sizes(videos: int) -> list[int]:
    """Nearly 1, 2, 4 and 8 times as many; the last is `videos`, or so many that the first fill a batch of training."""
    return [max(videos, 192) * size // SIZES[-1] for size in SIZES]


def measure(data: Path, videos: int, device: torch.device) -> list[Row]:
    """Slopes of log time and log memory over log size: 1 is in proportion, 0 is not at all."""
    rounds: list[list[Grown]] = [[] for _ in SIZES]
    for _ in range(ROUNDS):
        for found, size, count in zip(rounds, SIZES, sizes(videos), strict=True):
            folder = write_corpus(data / f"videos-{count}", count)
            found.append(in_child(folder, device, EPOCHS * SIZES[-1] // size))
    best = [Grown(*map(min, zip(*found, strict=True))) for found in rounds]
    samples = [one.samples for one in best]
    own = [one.own_mib for one in best]
    each = [one.seconds / one.samples * 1e3 for one in best]
    return [
        Row("growth", "epoch, slope", slope(samples, [one.seconds for one in best]), "", goal="<= 1.1",
            note="ms/sample " + said(samples, each)),
        Row("growth", "memory of training, slope", slope(samples, own), "", goal="<= 0.1",
            note="MiB " + said(samples, own)),
    ]  # fmt: skip


def said(samples: list[int], values: list[float]) -> str:
    """The figures behind a slope."""
    return ", ".join(f"{value:.3g} of {count}" for count, value in zip(samples, values, strict=True))


def slope(sizes: list[int], values: list[float]) -> float:
    """Of the straight line through log values over log sizes, by least squares."""
    return statistics.linear_regression([math.log(size) for size in sizes], [math.log(value) for value in values]).slope


def in_child(folder: Path, device: torch.device, epochs: int) -> Grown:
    """Time and memory of a fresh process for this folder."""
    threads = torch.get_num_threads()
    command = [sys.executable, "-m", "speed.growth", str(folder), str(device), str(threads), str(epochs)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return Grown(*json.loads(done.stdout.splitlines()[-1]))


def epochs_alone(folder: Path, device: torch.device, epochs: int) -> Grown:
    """The fastest epoch after one that is not counted, and the peak of memory until then."""
    found: list[float] = []
    samples: list[int] = []

    def one(epoch: Callable[[], float], asked: dict[str, Any]) -> float:
        samples.append(len(asked["training"].rows))
        seconds, loss = timed(epoch, device)
        found.append(seconds)
        return loss

    with watched() as peaks:
        run(notebook({}, epochs + 1), folder, device, one)
    return Grown(samples[-1], min(found[1:]), max(peaks))


@contextmanager
def watched() -> Iterator[list[float]]:
    """The memory of this process that no file stands behind, in MiB, again and again."""
    found, ended = [own_memory()], threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            found.append(own_memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield found
    finally:
        ended.set()
        watcher.join()


def own_memory() -> float:
    """RssAnon of /proc/self/status in MiB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    raise OSError("this system does not say how much memory a process has of its own (RssAnon)")


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    print(json.dumps(epochs_alone(Path(sys.argv[1]), torch.device(sys.argv[2]), int(sys.argv[4]))))
