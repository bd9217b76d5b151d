"""Drawing a manifest from a seed. What is drawn for a sample does not depend on the others, but in `random` and `swap`,
where the counts must be exact."""

import hashlib
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from emotiwave_core.evaluate.corruptions import levels_of
from emotiwave_core.evaluate.corruptions.manifest import DIGITS, FORMAT, NEVER, RECIPE, Manifest

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
ROUNDING = 1e-3  # seconds; times may be float32


@attrs.frozen(eq=False)
class Samples:
    """What a protocol needs to know of the N samples it is drawn for; the functions are called where needed."""

    dataset: str
    fold: str
    ids: list[str]  # [N]
    videos: list[str]  # [N]
    steps: dict[str, list[int]]  # {modality: [N]}, 0 where it has nothing
    times: Callable[[str, int], Array]  # (modality, place) -> [T, 2] seconds
    deviation: Callable[[str], list[float]]  # (modality) -> [F]; 0 for a feature that gets no noise

    def has(self, modality: str) -> Bools:
        """Which samples have a modality, [N]."""
        return np.array(self.steps[modality]) > 0


def draw(protocol: str, samples: Samples, seed: int) -> Manifest:
    """Draw a protocol for some samples."""
    levels = np.array(levels_of(protocol, list(samples.steps)))
    return Manifest(
        format=FORMAT,
        protocol=protocol,
        seed=seed,
        levels=levels.tolist(),
        dataset=samples.dataset,
        fold=samples.fold,
        modalities=list(samples.steps),
        samples=samples.ids,
        steps=samples.steps,
        **_DRAWS[protocol](samples, levels, seed),
    )


def philox(*key: object) -> np.random.Philox:
    """The generator of some words: keyed by the first 16 bytes of the SHA-256 of their lines."""
    digest = hashlib.sha256("\n".join(map(str, key)).encode()).digest()
    return np.random.Philox(key=int.from_bytes(digest[:16], "little"))


def uniform(generator: np.random.Philox, *shape: int) -> Array:
    """Numbers in [0, 1) from the raw stream, which does not change between versions of numpy."""
    count = int(np.prod(shape))
    if not count:
        return np.zeros(shape)
    raw = np.asarray(generator.random_raw(count), dtype=np.uint64)
    return np.asarray((raw >> np.uint64(11)) * 2.0**-53, dtype=np.float64).reshape(shape)


def normals(seed: int, modality: str, sample: str, steps: int, features: int) -> Array:
    """The standard normals [T, F] of a sample, by Box and Muller (1958): the same at every level of the noise."""
    u, v = uniform(philox("noise", seed, modality, sample), 2, steps, features)
    return np.asarray(np.sqrt(-2.0 * np.log(1.0 - u)) * np.cos(2.0 * np.pi * v))


def characters(lost: Bools) -> str:
    """lost [K, T], from no damage to all -> for each of the T the first level at which it is lost."""
    first = np.where(lost.any(axis=0), lost.argmax(axis=0), -1)
    return "".join(NEVER if k < 0 else DIGITS[k] for k in first.tolist())


def _by_step(samples: Samples, lost: Callable[[str, int, int], Bools]) -> dict[str, Any]:
    """`since` from a function (modality, place, T) -> [K, T]."""
    return {
        "since": {
            modality: [characters(lost(modality, place, steps)) if steps else "" for place, steps in enumerate(counts)]
            for modality, counts in samples.steps.items()
        }
    }


def _frames(samples: Samples, levels: Array, seed: int) -> dict[str, Any]:
    def lost(modality: str, place: int, steps: int) -> Bools:
        u = uniform(philox("frames", seed, modality, samples.ids[place]), steps)
        return np.asarray(u < levels[:, None])

    return _by_step(samples, lost)


def _blocks(samples: Samples, levels: Array, seed: int) -> dict[str, Any]:
    def lost(modality: str, place: int, steps: int) -> Bools:
        u = uniform(philox("blocks", seed, modality, samples.ids[place]), 1)[0]
        length = np.rint(levels * steps)
        # The same u at every level: each start is uniform, and a longer run holds every shorter one.
        start = np.minimum(np.floor(u * (steps - length + 1)), steps - length)
        t = np.arange(steps)
        return np.asarray((t >= start[:, None]) & (t < (start + length)[:, None]))

    return _by_step(samples, lost)


def _frozen(samples: Samples, levels: Array, seed: int) -> dict[str, Any]:
    def lost(modality: str, place: int, steps: int) -> Bools:
        length = np.minimum(np.rint(levels * steps), steps - 1)  # at rate 1 all are the first
        return np.asarray(np.arange(steps) >= (steps - length)[:, None])

    return _by_step(samples, lost)


def _shift(samples: Samples, levels: Array, seed: int) -> dict[str, Any]:
    def lost(modality: str, place: int, steps: int) -> Bools:
        if steps < 2:
            return np.zeros((len(levels), steps), dtype=bool)
        times = np.asarray(samples.times(modality, place), dtype=np.float64)
        left = times.max() - times.mean(axis=1)  # [T] seconds from the middle of a step to the end
        return np.asarray((left <= levels[:, None] + ROUNDING) & (levels > 0.0)[:, None])

    return _by_step(samples, lost)


def _random(samples: Samples, levels: Array, seed: int) -> dict[str, Any]:
    has = np.stack([samples.has(modality) for modality in samples.steps], axis=1)  # [N, M]
    generator = np.random.Generator(philox("random", seed))
    kept = np.where(has, generator.random(has.shape), -1.0).argmax(axis=1)
    may_go = has.copy()
    may_go[np.arange(len(has)), kept] = False
    order = generator.permutation(np.flatnonzero(may_go))
    gone = np.clip(np.rint(levels * has.size) - (~has).sum(), 0, len(order))  # [K]
    since = np.full(has.size, NEVER)
    since[order] = list(characters(np.arange(len(order)) < gone[:, None]))
    return {"since": {m: column.tolist() for m, column in zip(samples.steps, since.reshape(has.shape).T, strict=True)}}


def _swap(samples: Samples, levels: Array, seed: int) -> dict[str, Any]:
    since: dict[str, list[str]] = {}
    partners: dict[str, list[str | None]] = {}
    for modality in samples.steps:
        has = samples.has(modality)
        generator = np.random.Generator(philox("swap", seed, modality))
        places = np.flatnonzero(has)
        since[modality], partners[modality] = [NEVER] * len(has), [None] * len(has)
        if len(places) < 2:
            continue
        for place, partner in partners_of([samples.videos[place] for place in places], generator).items():
            partners[modality][places[place]] = samples.ids[places[partner]]
        gone = np.rint(levels * len(places))  # [K]
        texts = characters(np.arange(len(places)) < gone[:, None])
        for place, text in zip(generator.permutation(places), texts, strict=True):
            since[modality][place] = text
    return {"since": since, "partners": partners}


def partners_of(videos: list[str], generator: np.random.Generator) -> dict[int, int]:
    """A permutation of two or more samples without a fixed point, each to another video as far as that is possible.

    The samples are laid out video by video, in random order, and moved on by as many as the largest video has: no two
    of one video meet then, unless it has more than half of all.
    """
    names, video_of = np.unique(np.array(videos), return_inverse=True)
    rank = generator.permutation(len(names))[video_of]
    line = np.lexsort((generator.random(len(videos)), rank))  # by video, random within each
    largest = int(np.bincount(video_of).max())
    moved = np.roll(line, -(largest if len(names) > 1 else 1))
    return dict(zip(line.tolist(), moved.tolist(), strict=True))


def _noise(samples: Samples, levels: Array, seed: int) -> dict[str, Any]:
    return {"recipe": RECIPE, "deviation": {modality: samples.deviation(modality) for modality in samples.steps}}


_DRAWS: dict[str, Callable[[Samples, Array, int], dict[str, Any]]] = {
    "random": _random,
    "frames": _frames,
    "blocks": _blocks,
    "noise": _noise,
    "shift": _shift,
    "swap": _swap,
    "frozen": _frozen,
}
