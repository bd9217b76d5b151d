"""From `.csd` files to the flat arrays of a store, one video in memory at a time."""

import hashlib
import json
import os
from collections.abc import Iterator
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from emotiwave_core.data.csd import CsdFile
from emotiwave_core.data.dataset import Dataset
from emotiwave_core.data.segments import Samples, Unit, cut_samples, entries_by_video, read_samples
from emotiwave_core.errors import DataError, SettingsError, choices
from emotiwave_core.files import sha256_of
from emotiwave_core.monitor import Monitor


@attrs.frozen
class Options:
    """How a data set is cut. `max_steps` and `downsample` are for each modality, by name."""

    unit: Unit = "segment"
    complete_only: bool = False
    max_steps: dict[str, int] = attrs.Factory(dict)
    downsample: dict[str, int] = attrs.Factory(dict)


def fingerprint(dataset: Dataset, options: Options) -> str:
    """A key of the sources (name, size, time of change) and the options; cheap, for it is asked at every start."""
    sources = []
    for role, path in {**dataset.modalities, " labels": dataset.labels}.items():  # their order is the store's
        status = path.stat()
        sources.append([role, str(path.resolve()), status.st_size, status.st_mtime_ns])
    about = [sources, dataset.name, dataset.synthetic, dataset.targets, dataset.columns, attrs.asdict(options), 1]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]


def check_features(name: str, file: CsdFile) -> None:
    """DataError where a modality's file cannot be used as features."""
    if file.is_words:
        raise DataError(
            f"{file.path} holds words, and the modality '{name}' needs numbers: use the data set's word vectors "
            "(CMU-MOSEI: CMU_MOSEI_TimestampedWordVectors.csd), or make a .csd of the same layout with one vector "
            "a word (GloVe, BERT), and name it under [modalities] in dataset.toml."
        )


def downsample(features: NDArray[np.float32], k: int) -> NDArray[np.float32]:
    """The mean of each k steps, [T, F] -> [ceil(T / k), F]; only finite values count, and where none is it is 0."""
    finite = np.isfinite(features)
    clean = np.where(finite, features, 0)
    if k == 1:
        return np.asarray(clean, dtype=np.float32)
    starts = np.arange(0, len(features), k)
    sums = np.add.reduceat(clean, starts, axis=0, dtype=np.float64)
    counts = np.add.reduceat(finite, starts, axis=0, dtype=np.int64)
    return np.asarray(sums / np.maximum(counts, 1), dtype=np.float32)


class Packer:
    """What a store will hold: sizes first (from the intervals alone), then the pieces of each array in order."""

    def __init__(self, dataset: Dataset, options: Options, monitor: Monitor) -> None:
        self.dataset, self.options, self.monitor = dataset, options, monitor
        if not dataset.modalities:
            raise DataError(
                f"{dataset.folder} has labels but no features: name their files under [modalities] in dataset.toml."
            )
        for name in {**options.max_steps, **options.downsample}:
            if name not in dataset.modalities:
                raise SettingsError(f"'{name}' is not a modality of {dataset.name}.{choices(name, dataset.modalities)}")
        samples = read_samples(dataset, options.unit)
        self.widths: dict[str, int] = {}
        self.notes = list(samples.notes)
        lengths = {name: self._count(name, samples) for name in dataset.modalities}
        kept = self._kept(np.stack([counts > 0 for counts in lengths.values()], axis=1))
        self.samples = samples.take(kept)
        self.lengths = {name: counts[kept] for name, counts in lengths.items()}
        self.counts = {name: {"nan": 0, "inf": 0, "truncated": 0} for name in lengths}

    def shapes(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """The arrays of the store in their order: {name: (type, shape)}; those of eight bytes first, for alignment."""
        count = len(self.samples.ids)
        shapes: dict[str, tuple[str, tuple[int, ...]]] = {"intervals": ("float64", (count, 2))}
        shapes |= {f"{name}.offsets": ("int64", (count + 1,)) for name in self.lengths}
        shapes |= {f"{name}.values": ("float32", (int(n.sum()), self.widths[name])) for name, n in self.lengths.items()}
        return shapes | {"labels": ("float32", self.samples.labels.shape)}

    def pieces(self, array: str) -> Iterator[NDArray[Any]]:
        """The content of one array, in pieces."""
        if array == "intervals":
            yield self.samples.intervals
        elif array == "labels":
            yield self.samples.labels
        elif array.endswith(".offsets"):
            yield np.concatenate([[0], np.cumsum(self.lengths[array.removesuffix(".offsets")])]).astype(np.int64)
        else:
            yield from self._values(array.removesuffix(".values"))

    def facts(self) -> dict[str, Any]:
        """What `store.json` tells, once every piece has been taken."""
        sources = (*self.dataset.modalities.values(), self.dataset.labels)
        return {
            "dataset": self.dataset.name,
            "synthetic": self.dataset.synthetic,
            "targets": list(self.samples.columns.targets),
            "label_source": self.samples.columns.source,
            "unit": self.options.unit,
            "options": attrs.asdict(self.options),
            "ids": list(self.samples.ids),
            "videos": list(self.samples.videos),
            "left_out": self.left_out,
            "notes": self.notes,
            "sources": {os.path.relpath(path, self.dataset.folder): sha256_of(path) for path in sources},
            "modalities": {name: self._modality_facts(name) for name in self.lengths},
        }

    def _modality_facts(self, name: str) -> dict[str, Any]:
        lengths = self.lengths[name]
        return {
            "file": self.dataset.modalities[name].name,
            "features": self.widths[name],
            "median_steps": float(np.median(lengths[lengths > 0])) if lengths.any() else 0.0,
            "longest_steps": int(lengths.max()),
            "missing": int((lengths == 0).sum()),
            **self.counts[name],
        }

    def _kept(self, has: NDArray[np.bool_]) -> NDArray[np.intp]:
        """The samples that are used: has [N, M] -> their numbers. What is left out is counted."""
        wanted = has.all(axis=1) if self.options.complete_only else has.any(axis=1)
        self.left_out = {
            "no data in any modality": int((~has.any(axis=1)).sum()),
            "a modality missing (complete_only)": int((has.any(axis=1) & ~wanted).sum()),
        }
        if not wanted.any():
            which = "every" if self.options.complete_only else "any"
            raise DataError(
                f"No labelled {self.options.unit} of {self.dataset.name} has data in {which} modality: do the ids and "
                f"the intervals in {self.dataset.labels.name} agree with those of the feature files?"
            )
        return np.flatnonzero(wanted)

    def _count(self, name: str, samples: Samples) -> NDArray[np.int64]:
        """The steps that each sample will have, [N]."""
        counts = np.zeros(len(samples.ids), dtype=np.int64)
        limit, k = self.options.max_steps.get(name), self.options.downsample.get(name, 1)
        with CsdFile(self.dataset.modalities[name]) as file:
            check_features(name, file)
            self.widths[name] = file.width
            entries = entries_by_video(file.keys)
            unlabelled = len(set(entries) - set(samples.videos))
            if unlabelled:
                self.notes.append(f"{unlabelled} videos of the modality '{name}' have no labels and are not used.")
            for video, rows in self._videos(samples, f"Counting {name}"):
                intervals = {key: file.intervals(key) for key in entries.get(video, [])}
                for row, steps in cut_samples(intervals, samples, rows, self.options.unit):
                    count = -(-len(steps) // k)
                    counts[row] = count if limit is None else min(count, limit)
        return counts

    def _values(self, name: str) -> Iterator[NDArray[np.float32]]:
        """The steps of every sample in turn: cut, shortened, averaged."""
        limit, k, counts = self.options.max_steps.get(name), self.options.downsample.get(name, 1), self.counts[name]
        with CsdFile(self.dataset.modalities[name]) as file:
            entries = entries_by_video(file.keys)
            for video, rows in self._videos(self.samples, f"Packing {name}"):
                read = {key: file.read(key) for key in entries.get(video, [])}
                if not read:
                    continue
                features = np.concatenate([sequence.features for sequence in read.values()])
                intervals = {key: sequence.intervals for key, sequence in read.items()}
                for _, steps in cut_samples(intervals, self.samples, rows, self.options.unit):
                    taken = features[steps if limit is None else steps[: limit * k]]
                    counts["truncated"] += int(len(taken) < len(steps))
                    counts["nan"] += int(np.isnan(taken).sum())
                    counts["inf"] += int(np.isinf(taken).sum())
                    if len(taken):
                        yield downsample(taken, k)

    def _videos(self, samples: Samples, title: str) -> Iterator[tuple[str, range]]:
        """The videos and the rows of each among the samples, with progress."""
        starts = [row for row, video in enumerate(samples.videos) if row == 0 or samples.videos[row - 1] != video]
        with self.monitor.progress(title, len(starts)) as step:
            for start, end in zip(starts, [*starts[1:], len(samples.videos)], strict=True):
                yield samples.videos[start], range(start, end)
                step()
