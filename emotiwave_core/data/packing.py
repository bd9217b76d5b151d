"""From `.csd` files to the flat arrays of a store, one video in memory at a time."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from emotiwave_core.data.align import Reference, Steps, average, grouped, overlapping, words_source
from emotiwave_core.data.csd import CsdFile
from emotiwave_core.data.dataset import Dataset
from emotiwave_core.data.segments import (
    Samples,
    Unit,
    cut_samples,
    end_to_end,
    entries_by_video,
    places,
    read_samples,
)
from emotiwave_core.errors import DataError, SettingsError, choices
from emotiwave_core.files import sha256_of
from emotiwave_core.monitor import Monitor
from emotiwave_core.recipe import Align


@attrs.frozen
class Options:
    """How a data set is cut. `max_steps` and `downsample` are for each modality, by name.

    With `align` nothing is averaged by `downsample`, and all modalities are cut to the smallest of `max_steps`.
    """

    unit: Unit = "segment"
    complete_only: bool = False
    max_steps: dict[str, int] = attrs.Factory(dict)
    downsample: dict[str, int] = attrs.Factory(dict)
    align: Align = "none"


def fingerprint(dataset: Dataset, options: Options) -> str:
    """A key of the sources (name, size, time of change) and the options; cheap, for it is asked at every start."""
    sources = []
    for role, path in _sources(dataset, options).items():  # their order is the store's
        status = path.stat()
        sources.append([role, str(path.resolve()), status.st_size, status.st_mtime_ns])
    about = [sources, dataset.name, dataset.synthetic, dataset.targets, dataset.columns, attrs.asdict(options), 3]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]


def check_features(name: str, file: CsdFile) -> None:
    """DataError where a modality's file cannot be used as features."""
    if file.is_words:
        raise DataError(
            f"{file.path} holds words, and the modality '{name}' needs numbers: use the data set's word vectors "
            "(CMU-MOSEI: CMU_MOSEI_TimestampedWordVectors.csd), or make a .csd of the same layout with one vector "
            "a word (GloVe, BERT), and name it under [modalities] in dataset.toml."
        )


def _sources(dataset: Dataset, options: Options) -> dict[str, Path]:
    """The files that a store is made from, by what they are for."""
    words = {" words": words_source(dataset)} if options.align == "words" else {}
    return {**dataset.modalities, " labels": dataset.labels, **words}


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
        self.aligned = options.align != "none"
        self.most = min(options.max_steps.values(), default=None)  # of aligned steps, which all modalities share
        self.widths: dict[str, int] = {}
        self.notes = list(samples.notes)
        self.wordless = 0
        self.counts = {name: {"nan": 0, "inf": 0, "truncated": 0, "unread_rows": 0} for name in dataset.modalities}
        counts = {name: self._count(name, samples) for name in dataset.modalities}
        kept = self._kept(np.stack([present > 0 for _, present in counts.values()], axis=1))
        self.samples = samples.take(kept)
        self.lengths = {name: steps[kept] for name, (steps, _) in counts.items()}
        self.present = {name: present[kept] for name, (_, present) in counts.items()}

    def shapes(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """The arrays of the store in their order: {name: (type, shape)}; wide types first, for alignment."""
        count = len(self.samples.ids)
        steps = {name: int(lengths.sum()) for name, lengths in self.lengths.items()}
        shapes: dict[str, tuple[str, tuple[int, ...]]] = {"intervals": ("float64", (count, 2))}
        shapes |= {f"{name}.offsets": ("int64", (count + 1,)) for name in steps}
        shapes |= {f"{name}.values": ("float32", (steps[name], self.widths[name])) for name in steps}
        shapes |= {f"{name}.times": ("float32", (steps[name], 2)) for name in steps}
        shapes |= {"labels": ("float32", self.samples.labels.shape)}
        return shapes | ({f"{name}.present": ("bool", (steps[name],)) for name in steps} if self.aligned else {})

    def pieces(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """The content of the arrays, in pieces: those of one array in order, but arrays in turn."""
        yield "intervals", self.samples.intervals
        yield "labels", self.samples.labels
        for name, lengths in self.lengths.items():
            yield f"{name}.offsets", np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
            yield from self._pack(name)

    def facts(self) -> dict[str, Any]:
        """What `store.json` tells, once every piece has been taken."""
        sources = dict.fromkeys(_sources(self.dataset, self.options).values())
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
            "notes": [*self.notes, *self._alignment()],
            "sources": {os.path.relpath(path, self.dataset.folder): sha256_of(path) for path in sources},
            "modalities": {name: self._modality_facts(name) for name in self.lengths},
        }

    def _modality_facts(self, name: str) -> dict[str, Any]:
        lengths, present = self.lengths[name], self.present[name]
        return {
            "file": self.dataset.modalities[name].name,
            "features": self.widths[name],
            "median_steps": float(np.median(lengths[present > 0])) if present.any() else 0.0,
            "longest_steps": int(lengths.max()),
            "missing": int((present == 0).sum()),
            "absent_steps": int((lengths - present).sum()),
            **self.counts[name],
        }

    def _alignment(self) -> Iterator[str]:
        """What aligning found."""
        for name, lengths in self.lengths.items():
            whole, absent = int(lengths.sum()), int((lengths - self.present[name]).sum())
            if absent:
                share = f"in {absent} of {whole} aligned steps ({absent / whole:.1%})"
                yield f"The modality '{name}' has nothing {share}, which are kept and marked as absent in it."
        if self.wordless:
            yield f"{self.wordless} samples have no word, and are one step each, from their start to their end."

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

    def _count(self, name: str, samples: Samples) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The steps that each sample will have, [N], and in how many of them the modality has something, [N]."""
        counts = np.zeros((2, len(samples.ids)), dtype=np.int64)
        with CsdFile(self.dataset.modalities[name]) as file, self._reference() as reference:
            check_features(name, file)
            self.widths[name] = file.width
            entries = entries_by_video(file.keys)
            unlabelled = len(set(entries) - set(samples.videos))
            if unlabelled:
                self.notes.append(f"{unlabelled} videos of the modality '{name}' have no labels and are not used.")
            for video, rows in self._videos(samples, f"Counting {name}"):
                intervals = {key: file.intervals(key) for key in entries.get(video, [])}
                times = reference.times(video, samples, rows) if reference else None
                found = list(self._steps(name, intervals, samples, rows, times))
                for row, steps, _ in found:
                    counts[:, row] = len(steps.counts), np.count_nonzero(steps.counts)
                if reference:
                    reference.count(intervals, samples, rows, found)
            if reference:
                self.counts[name]["unread_rows"] = reference.unread
                self.notes += reference.notes(name)
        return counts[0], counts[1]

    def _pack(self, name: str) -> Iterator[tuple[str, NDArray[Any]]]:
        """The values, the times and, where aligned, the presence of the steps of every sample in turn."""
        counts = self.counts[name]
        with CsdFile(self.dataset.modalities[name]) as file, self._reference() as reference:
            entries = entries_by_video(file.keys)
            for video, rows in self._videos(self.samples, f"Packing {name}"):
                read = {key: file.read(key) for key in entries.get(video, [])}
                parts = [np.empty((0, file.width), dtype=np.float32), *(one.features for one in read.values())]
                features, intervals = np.concatenate(parts), {key: one.intervals for key, one in read.items()}
                times = reference.times(video, self.samples, rows) if reference else None
                for _, steps, truncated in self._steps(name, intervals, self.samples, rows, times):
                    used = features[np.unique(steps.rows)]
                    counts["nan"] += int(np.isnan(used).sum())
                    counts["inf"] += int(np.isinf(used).sum())
                    counts["truncated"] += truncated
                    yield f"{name}.values", average(features, steps)
                    yield f"{name}.times", steps.times.astype(np.float32)
                    if self.aligned:
                        yield f"{name}.present", steps.counts > 0
            self.wordless = reference.wordless if reference else 0

    def _steps(
        self,
        name: str,
        entries: dict[str, NDArray[np.float64]],
        samples: Samples,
        rows: range,
        times: Iterator[tuple[int, NDArray[np.float64]]] | None,
    ) -> Iterator[tuple[int, Steps, bool]]:
        """The steps of each sample of a video, and whether it has more: its own, or those of the reference."""
        every, unit = end_to_end(entries), self.options.unit
        if times is None:
            limit, k = self.options.max_steps.get(name), self.options.downsample.get(name, 1)
            for row, own in cut_samples(entries, samples, rows, unit):
                taken = own if limit is None else own[: limit * k]
                yield row, grouped(every, taken, k), len(taken) < len(own)
            return
        held = {row: place for row, place, _ in places(entries, samples, rows, unit)}
        for row, whole in times:
            place, kept = held.get(row, slice(0, 0)), whole[: self.most]
            steps = overlapping(every[place], kept)
            yield row, steps._replace(rows=steps.rows + place.start), len(kept) < len(whole)

    def _reference(self) -> AbstractContextManager[Reference | None]:
        align = self.options.align
        return nullcontext() if align == "none" else Reference(self.dataset, align, self.options.unit, self.most)

    def _videos(self, samples: Samples, title: str) -> Iterator[tuple[str, range]]:
        """The videos and the rows of each among the samples, with progress."""
        starts = [row for row, video in enumerate(samples.videos) if row == 0 or samples.videos[row - 1] != video]
        with self.monitor.progress(title, len(starts)) as step:
            for start, end in zip(starts, [*starts[1:], len(samples.videos)], strict=True):
                yield samples.videos[start], range(start, end)
                step()
