"""Time to average a minute of audio and video over its words, beside that of Python loops over words.

    python benchmarks/align.py

The audio has 74 features 100 times a second, the video 35 features 30 times a second, and there are about 150 words.
`sdk` does for each word what the CMU-MultimodalSDK's `align` with an average does: every interval is held against the
word, those that overlap it are cut to it, those of less than a millisecond are passed over, and the rest is averaged.
`plain` is the shortest loop that NumPy allows. Times are the best of several, on one thread.
"""

import time
from collections.abc import Callable

import click
import numpy as np
import torch
from numpy.typing import NDArray

from emotiwave_core.data.prepare.align import average, overlapping

Array = NDArray[np.float64]
Video = dict[str, tuple[NDArray[np.float32], Array]]  # features [S, F] and intervals [S, 2] of each modality
SECONDS, RATES = 60, {"audio": (100, 74), "visual": (30, 35)}


def draw_video(seed: int) -> tuple[Video, Array]:
    """A video and the intervals of its words [T, 2]: one after the other, of .1 to .7 seconds."""
    random = np.random.default_rng(seed)
    edges = np.concatenate([[0.0], random.uniform(0.1, 0.7, 1000).cumsum()])
    edges = edges[edges < SECONDS]
    video = {}
    for name, (rate, width) in RATES.items():
        start = np.arange(SECONDS * rate) / rate
        features = random.normal(size=(len(start), width)).astype(np.float32)
        video[name] = (features, np.stack([start, start + 1 / rate], axis=1))
    return video, np.stack([edges[:-1], edges[1:]], axis=1)


def ours(features: NDArray[np.float32], intervals: Array, words: Array) -> Array:
    return average(features, overlapping(intervals, words)).astype(np.float64)


def plain(features: NDArray[np.float32], intervals: Array, words: Array) -> Array:
    low, high = intervals.T
    return np.stack([features[(low < end) & (high > start)].mean(axis=0, dtype=np.float64) for start, end in words])


def sdk(features: NDArray[np.float32], intervals: Array, words: Array) -> Array:
    rows = []
    for word in words:
        near = np.all((intervals - word[::-1]) * [-1, 1] > -1e-3, axis=1)
        pieces, own = intervals[near], features[near]
        pieces = np.stack([np.maximum(pieces[:, 0], word[0]), np.minimum(pieces[:, 1], word[1])], axis=1)
        own = own[np.abs(pieces[:, 1] - pieces[:, 0]) > 1e-3]
        rows.append(np.average(own, axis=0))
    return np.stack(rows)


def seconds(
    align: Callable[[NDArray[np.float32], Array, Array], Array], video: Video, words: Array, tries: int
) -> float:
    """The shortest time in which every modality of a video was aligned."""
    best = np.inf
    for _ in range(tries):
        began = time.perf_counter()
        for features, intervals in video.values():
            align(features, intervals, words)
        best = min(best, time.perf_counter() - began)
    return best


def table(tries: int) -> str:
    """The times as Markdown."""
    video, words = draw_video(0)
    times = {way.__name__: seconds(way, video, words, tries) for way in (ours, plain, sdk)}
    lines = [f"{SECONDS} s, {len(words)} words", "", "| way | ms | times ours |", "| --- | ---: | ---: |"]
    return "\n".join([*lines, *(f"| {n} | {1e3 * t:.2f} | {t / times['ours']:.0f} |" for n, t in times.items())])


@click.command()
@click.option("--tries", default=20, show_default=True)
def main(tries: int) -> None:
    """Time the three ways and print the table."""
    torch.set_num_threads(1)
    click.echo(table(tries))


if __name__ == "__main__":
    main()
