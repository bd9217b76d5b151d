"""Packing `.csd` files into the flat arrays of a store, one block of rows in memory at a time and the next on its way.

Of a video the intervals are held whole, in some 50 bytes a row, and of its features no more than ROOM bytes, or the
rows of one step.
"""

import os
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from emotiwave_core.data.dataset import Dataset
from emotiwave_core.data.facts import ModalityFacts, StoreFacts
from emotiwave_core.data.formats.reader import Reader, open_reader
from emotiwave_core.data.prepare.align import (
    LONGEST,
    Reference,
    SampleSteps,
    Steps,
    average,
    informative_steps,
    overlapping,
    rounded,
    span_of,
    steps_of,
    to_the_microsecond,
)
from emotiwave_core.data.prepare.coverage import NOTABLE_LOSS, Coverage, check_unfit
from emotiwave_core.data.prepare.options import Options
from emotiwave_core.data.prepare.segments import (
    Samples,
    cut_samples,
    end_to_end,
    entries_by_video,
    parts,
    read_samples,
)
from emotiwave_core.data.prepare.store_key import meaning, paths_of
from emotiwave_core.data.prepare.words import NumberedWords, distinct_words, packed
from emotiwave_core.errors import DataError, SettingsError, choices, short
from emotiwave_core.io.atomic import files_in, sample_of, sha256_of
from emotiwave_core.io.incremental_hash import IncrementalHash
from emotiwave_core.io.prefetch import prefetch
from emotiwave_core.modalities import by_modality
from emotiwave_core.monitor import Monitor

# {modality: {sample: (steps that are kept, steps that are dropped)}}, of the samples that hold filler
Filler = dict[str, dict[str, tuple[int, int]]]
FeatureFile = Reader | NumberedWords
LARGE = 1 << 20  # bytes of a video in a file, from which a thread that reads ahead gains more than it costs
ROOM = 8 << 20  # bytes of features that are read together
NEAR = 64 << 10  # bytes between two rows, from which they are read apart


class _Block(NamedTuple):
    """The rows of some steps of samples of a video."""

    features: NDArray[np.float32]  # [S, F]
    all_finite: bool
    steps: Steps  # whose rows are those of these features
    lengths: NDArray[np.intp]  # [n], how many of the steps are each sample's
    sequences: SampleSteps  # whose samples they are


class _Ends:
    """Of the samples of one video: how many steps each has so far, and up to which one it is not zeros alone."""

    def __init__(self, rows: range) -> None:
        self.rows = rows
        self.steps, self.informative = np.zeros((2, len(rows)), dtype=np.int64)
        self.whole = np.zeros(len(rows), dtype=bool)

    def follow(self, block: _Block, values: NDArray[np.float32]) -> None:
        """Look at the next steps [T, F]. Where the last one says something, the others need no look."""
        ends = np.cumsum(block.lengths)
        has = block.lengths > 0
        told = np.zeros(len(ends), dtype=bool)
        told[has] = values[ends[has] - 1].any(axis=1)
        samples = block.sequences.samples - self.rows.start
        for number in np.flatnonzero(has & ~told):
            own = informative_steps(values[ends[number] - block.lengths[number] : ends[number]])
            if own:
                self.informative[samples[number]] = self.steps[samples[number]] + own
        self.steps[samples] += block.lengths
        self.informative[samples[told]] = self.steps[samples[told]]
        self.whole[samples] = block.sequences.whole

    def filler(self, aligned: bool) -> Iterator[tuple[int, int, int]]:
        """The samples of zeros alone, and, of those that are all of an entry, the ones with zeros at their end.

        Each with its steps that are kept, and those that are dropped.
        """
        for number in np.flatnonzero(self.informative < self.steps).tolist():
            kept, steps = int(self.informative[number]), int(self.steps[number])
            if kept == 0 or (self.whole[number] and not aligned):
                yield self.rows[number], kept, steps - kept


class Packer:
    """Content of a store: sizes first (from the intervals alone), then the pieces of each array in order.

    Filler is noticed when the features are read: `filler` has the samples that are shorter without it, or empty. Where
    there are any, another Packer that is told of them packs the store that is kept.
    """

    def __init__(self, dataset: Dataset, options: Options, monitor: Monitor, filler: Filler | None = None) -> None:
        self.dataset, self.options, self.monitor = dataset, options, monitor
        self.known_filler: Filler = filler or {}
        self.filler: Filler = {name: {} for name in dataset.modalities}
        if not dataset.modalities:
            raise DataError(
                f"{dataset.folder} has labels but no features: name their files under [modalities] in dataset.toml."
            )
        for name in {**options.max_steps, **options.downsample}:
            if name not in dataset.modalities:
                raise SettingsError(f"'{name}' is not a modality of {dataset.name}.{choices(name, dataset.modalities)}")
        files = [file for path in paths_of(dataset, options) for file in files_in(path)]
        self.newest = max(file.stat().st_mtime_ns for file in files)
        samples = read_samples(dataset, options.unit)
        self.aligned = options.align != "none"
        self.most = min(options.max_steps.values(), default=None)  # of aligned steps, which all modalities share
        self.words: dict[str, NDArray[np.bytes_]] = {}  # the distinct ones of each modality of words
        self.widths: dict[str, int] = {}
        self.columns: dict[str, tuple[str, ...] | None] = {}
        self.extractors: dict[str, dict[str, Any] | None] = {}
        self.unfit: dict[str, dict[str, str]] = {}
        self.timeless: list[str] = []
        self.coverage: dict[str, Coverage] = {}
        self.notes, self.warnings = [*dataset.notes, *samples.notes], list[str]()
        self.wordless = 0
        self.hashes: dict[Path, str] = {}  # of the sources that were hashed while they were read
        self.counts = {name: {"nan": 0, "inf": 0, "truncated": 0, "unread_rows": 0} for name in dataset.modalities}
        counts = {name: self._count(name, samples) for name in dataset.modalities}
        if self.timeless:
            names = ", ".join(f"'{name}'" for name in self.timeless)
            self.notes.append(
                f"No times are known of {names}: steps are counted as seconds; `rate` in dataset.toml tells how many "
                "there are a second."
            )
        for name in dataset.modalities:
            self._say_filler(name, len(samples.ids))
        used = self._kept(np.stack([present > 0 for _, present in counts.values()], axis=1))
        self.samples = samples.take(used)
        self.lengths = {name: steps[used] for name, (steps, _) in counts.items()}
        self.present = {name: present[used] for name, (_, present) in counts.items()}

    def shapes(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """The arrays of the store in their order: {name: (type, shape)}; wide types first, for alignment."""
        count = len(self.samples.ids)
        steps = {name: int(lengths.sum()) for name, lengths in self.lengths.items()}
        shapes: dict[str, tuple[str, tuple[int, ...]]] = {"intervals": ("float64", (count, 2))}
        shapes |= {f"{name}.offsets": ("int64", (count + 1,)) for name in steps}
        shapes |= {f"{name}.values": ("float32", (steps[name], self.widths[name])) for name in steps}
        shapes |= {f"{name}.times": ("float32", (steps[name], 2)) for name in steps}
        shapes |= {f"{name}.word_offsets": ("int64", (len(words) + 1,)) for name, words in self.words.items()}
        shapes |= {"labels": ("float32", self.samples.labels.shape)}
        shapes |= {f"{name}.present": ("bool", (steps[name],)) for name in steps} if self.aligned else {}
        return shapes | {f"{name}.words": ("uint8", packed(words)[0].shape) for name, words in self.words.items()}

    def pieces(self) -> Generator[tuple[str, NDArray[Any]], None, None]:
        """The content of the arrays, in pieces: those of one array in order, but arrays in turn."""
        yield "intervals", self.samples.intervals
        yield "labels", self.samples.labels
        for name, lengths in self.lengths.items():
            yield f"{name}.offsets", np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        for name, words in self.words.items():
            yield from zip((f"{name}.words", f"{name}.word_offsets"), packed(words), strict=True)
        for name in self.lengths:
            yield from self._pack(name)

    def facts(self) -> StoreFacts:
        """The facts of the store, once every piece has been taken."""
        for path in paths_of(self.dataset, self.options):
            self.hashes[path] = self.hashes.get(path) or sha256_of(path)
        return StoreFacts(
            dataset=self.dataset.name,
            synthetic=self.dataset.synthetic,
            targets=self.samples.columns.targets,
            label_source=self.samples.columns.source,
            unit=self.options.unit,
            options=self.options,
            ids=self.samples.ids,
            videos=self.samples.videos,
            left_out=self.left_out,
            notes=(*self.notes, *self._alignment()),
            warnings=tuple(self.warnings),
            sources={os.path.relpath(path, self.dataset.base): digest for path, digest in self.hashes.items()},
            modalities={name: self._modality_facts(name) for name in self.lengths},
            label_kind=self.samples.columns.kind,
            label_kind_source=self.samples.columns.kind_source,
            groups=self.samples.groups,
            meaning=meaning(self.dataset, self.options),
            samples_of_sources={os.path.relpath(path, self.dataset.base): sample_of(path) for path in self.hashes},
        )

    def _modality_facts(self, name: str) -> ModalityFacts:
        lengths, present, coverage = self.lengths[name], self.present[name], self.coverage[name]
        filler = self.known_filler.get(name, {}).values()
        return ModalityFacts(
            file=self.dataset.modalities[name].name,
            features=self.widths[name],
            median_steps=float(np.median(lengths[present > 0])) if present.any() else 0.0,
            longest_steps=int(lengths.max()),
            missing=int((present == 0).sum()),
            absent_steps=int((lengths - present).sum()),
            filler=sum(kept == 0 for kept, _ in filler),
            padding=sum(dropped for kept, dropped in filler if kept),
            rows=coverage.rows,
            read_rows=coverage.read_rows,
            cut_rows=coverage.cut_rows,
            first=coverage.first if np.isfinite(coverage.first) else None,
            last=coverage.last if np.isfinite(coverage.last) else None,
            columns=self.columns[name],
            extractor=self.extractors[name],
            words=len(self.words[name]) if name in self.words else None,
            **self.counts[name],
        )

    def _say_filler(self, name: str, samples: int) -> None:
        """Say how many samples count as without a modality for holding nothing but zeros in it."""
        empty = sum(kept == 0 for kept, _ in self.known_filler.get(name, {}).values())
        if empty:
            said = self.warnings if empty > NOTABLE_LOSS * samples else self.notes
            said.append(
                f"'{name}' is zeros or no number alone in {empty} of {samples} samples, which count as without it; "
                "data.filler=keep takes zeros for features."
            )

    def _alignment(self) -> Iterator[str]:
        """Sentences on what aligning found."""
        for name, lengths in self.lengths.items():
            whole, absent = int(lengths.sum()), int((lengths - self.present[name]).sum())
            if absent:
                share = f"in {absent} of {whole} aligned steps ({absent / whole:.1%})"
                yield f"The modality '{name}' has nothing {share}, which are kept and marked as absent in it."
        if self.wordless:
            yield f"{self.wordless} samples have no word, and are one step each, from their start to their end."

    def _kept(self, has: NDArray[np.bool_]) -> NDArray[np.intp]:
        """The samples that are used: has [N, S] -> their numbers. What is left out is counted."""
        names = list(self.dataset.modalities)
        columns = [[names.index(stream) for stream in streams] for streams in by_modality(names).values()]
        has = np.stack([has[:, own].any(axis=1) for own in columns], axis=1)  # [N, M]
        wanted = has.all(axis=1) if self.options.complete_only else has.any(axis=1)
        self.left_out = {
            "no data in any modality": int((~has.any(axis=1)).sum()),
            "a modality missing (complete_only)": int((has.any(axis=1) & ~wanted).sum()),
        }
        if (lost := int((~has.any(axis=1)).sum())) > 0 and lost > NOTABLE_LOSS * len(has):
            self.warnings.append(f"{lost} of {len(has)} samples have nothing in any modality and are left out.")
        if not wanted.any():
            which = "every" if self.options.complete_only else "any"
            if self.dataset.labels is None:
                raise DataError(f"No {self.options.unit} of {self.dataset.name} has data in {which} modality.")
            raise DataError(
                f"No labelled {self.options.unit} of {self.dataset.name} has data in {which} modality: do the ids and "
                f"the intervals in {self.dataset.labels.name} agree with those of the feature files?"
            )
        return np.flatnonzero(wanted)

    def _count(self, name: str, samples: Samples) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The steps that each sample will have, [N], and in how many of them the modality has something, [N]."""
        counts = np.zeros((2, len(samples.ids)), dtype=np.int64)
        with self._open(name) as file, self._reference() as reference:
            self._look_at(name, file)
            entries = self._entries(name, file)
            unlabelled = len(set(entries) - set(samples.videos))
            if unlabelled:
                self.notes.append(f"{unlabelled} videos of the modality '{name}' have no labels and are not used.")
            coverage = self.coverage[name] = Coverage(name, self.dataset.modalities[name].name)
            videos = self._videos(samples)
            with self.monitor.progress(f"Counting {name}", len(videos)) as step:
                for video, rows in videos:
                    intervals = {key: file.intervals(key) for key in entries.get(video, [])}
                    every = end_to_end(intervals)
                    own, read = np.zeros((2, len(every)), dtype=bool)
                    for part in self._steps(name, file, video, intervals, samples, rows, reference, own):
                        ends = np.concatenate([[0], np.cumsum(part.steps.counts > 0)])[np.cumsum(part.lengths)]
                        counts[0, part.samples] += part.lengths
                        counts[1, part.samples] += np.diff(ends, prepend=0)
                        read[part.steps.rows] = True
                        coverage.cut_rows += int(part.cut.sum())
                    labelled = samples.intervals[rows.start : rows.stop] if file.has_times else None
                    coverage.count(intervals, int(np.count_nonzero(read)), labelled)
                    if reference:
                        reference.count(every, own, read)
                    step()
            filled = [sample in self.known_filler.get(name, {}) for sample in samples.ids]
            self.warnings += coverage.warnings((counts[1] > 0) | filled, samples.videos, file.keys)
            self.notes += coverage.notes()
            self.notes += file.notes  # which some files know once they have been read
            if reference:
                self.counts[name]["unread_rows"] = reference.unread
                self.notes += reference.notes(name)
        return counts[0], counts[1]

    def _open(self, name: str) -> FeatureFile:
        """The file of a modality; of words as their numbers. SettingsError for settings that average words."""
        file = open_reader(self.dataset.modalities[name])
        if not file.is_words:
            return file
        of_a_rate = self.options.align not in ("none", "words")
        if of_a_rate or self.options.downsample.get(name, 1) > 1:
            file.close()
            others = [f"{other}={k}" for other, k in self.options.downsample.items() if other != name]
            setting, instead = (
                (f"data.align is {self.options.align}", "set it to words, or to none")
                if of_a_rate
                else (
                    f"data.downsample of '{name}' is {self.options.downsample[name]}",
                    f"name the other modalities alone, as in 'data.downsample={{{', '.join(others)}}}'",
                )
            )
            raise SettingsError(
                f"{setting}, and '{name}' ({file.path.name}) holds words, of which there is no mean: {instead}, or use "
                "word vectors."
            )
        if name not in self.words:
            self.words[name] = distinct_words(file)
        return NumberedWords(file, self.words[name])

    def _look_at(self, name: str, file: FeatureFile) -> None:
        """Look at a modality's file as a whole: its form, its columns, its maker, and the entries that do not fit."""
        self.widths[name] = file.width
        self.columns[name] = tuple(file.dimension_names) if file.dimension_names else None
        extractor = file.metadata.get("extractor")
        self.extractors[name] = extractor if isinstance(extractor, dict) else None
        self.unfit[name] = file.unfit()
        self.warnings += check_unfit(file.path.name, self.unfit[name], len(file.keys))
        if not file.has_times:
            if self.aligned:
                raise SettingsError(
                    f"data.align is {self.options.align}, and '{name}' ({file.path.name}) has no times: give its "
                    "`rate` in dataset.toml, or set data.align to none."
                )
            self.timeless.append(name)

    def _entries(self, name: str, file: FeatureFile) -> dict[str, list[str]]:
        """The entries of each video that fit."""
        return entries_by_video(tuple(key for key in file.keys if key not in self.unfit[name]))

    def _pack(self, name: str) -> Iterator[tuple[str, NDArray[Any]]]:
        """The values, the times and, where aligned, the presence of the steps of every sample in turn."""
        source = self.dataset.modalities[name]
        is_file = source.path.is_file() and source.path not in self.hashes
        size, videos = source.path.stat().st_size, self._videos(self.samples)
        with (
            self._open(name) as file,
            self._reference() as reference,
            IncrementalHash(source.path) if is_file else nullcontext() as follower,
            self._reading(file, name, reference, size // len(videos)) as read,
            self.monitor.progress(f"Packing {name}", len(videos)) as step,
        ):
            for done, (_, rows) in enumerate(videos, 1):
                ends = _Ends(rows)
                while (block := next(read)) is not None:
                    averaged = np.repeat(block.sequences.averaged, block.lengths)
                    values = average(block.features, block.steps, block.all_finite, averaged)
                    ends.follow(block, values)
                    yield f"{name}.values", values
                    with np.errstate(over="ignore"):  # as for the features: what float32 cannot hold is infinite
                        yield f"{name}.times", block.steps.times.astype(np.float32)
                    if self.aligned:
                        yield f"{name}.present", block.steps.counts > 0
                if self.options.filler != "keep":
                    for row, kept, dropped in ends.filler(self.aligned):
                        self.filler[name][self.samples.ids[row]] = (kept, dropped)
                if follower:
                    follower.reach(size * done // len(videos))  # about as far as was read: it is still in memory
                step()
            if follower:
                self.hashes[source.path] = follower.finish(size)
            self.wordless = reference.wordless if reference else 0

    def _reading(
        self, file: FeatureFile, name: str, reference: Reference | None, size: int
    ) -> AbstractContextManager[Iterator[_Block | None]]:
        """The blocks of the videos; where these are large (about `size` bytes each), the next is read in a thread."""
        read = self._read(file, name, reference)
        return closing(cast("Generator[_Block | None, None, None]", prefetch(read, 1) if size >= LARGE else read))

    def _read(self, file: FeatureFile, name: str, reference: Reference | None) -> Iterator[_Block | None]:
        """The blocks of each video in turn, and None behind its last one. What is not finite in them is counted."""
        entries, counts = self._entries(name, file), self.counts[name]
        for video, rows in self._videos(self.samples):
            intervals = {key: file.intervals(key) for key in entries.get(video, [])}
            lengths = {key: len(own) for key, own in intervals.items()}
            for part in self._steps(name, file, video, intervals, self.samples, rows, reference):
                counts["truncated"] += int(np.count_nonzero(part.cut))
                steps, ends, damaged = part.steps, np.cumsum(part.lengths), [np.empty((3, 0), dtype=np.int64)]
                for few in parts(steps.counts, max(ROOM // (file.width * 4), 1)):
                    own = steps.part(few.start, few.stop)
                    features, held = _rows_of(file, lengths, own.rows)
                    all_finite = bool(np.isfinite(features).all())
                    if not all_finite:
                        damaged.append(_damage(features, held))
                    moved = own._replace(rows=np.searchsorted(held, own.rows) if len(held) else own.rows)
                    within = np.diff(np.clip(ends, few.start, few.stop), prepend=few.start).astype(np.intp)
                    yield _Block(features, all_finite, moved, within, part)
                if len(damaged) > 1:
                    _count_replaced(counts, part, np.unique(np.concatenate(damaged, axis=1), axis=1))
            yield None

    def _steps(
        self,
        name: str,
        file: FeatureFile,
        video: str,
        entries: dict[str, NDArray[np.float64]],
        samples: Samples,
        rows: range,
        reference: Reference | None,
        own: NDArray[np.bool_] | None = None,
    ) -> Iterator[SampleSteps]:
        """The steps of the samples of a video, their own or those of the reference, without what is known for filler.

        In `own` [S], of a reference, the rows that belong to a sample are marked.
        """
        if reference is None:
            return self._own_steps(name, file, entries, samples, rows)
        return self._reference_steps(name, video, entries, samples, rows, reference, own)

    def _own_steps(
        self, name: str, file: FeatureFile, entries: dict[str, NDArray[np.float64]], samples: Samples, rows: range
    ) -> Iterator[SampleSteps]:
        every, unit, filler = end_to_end(entries), self.options.unit, self.known_filler.get(name, {})
        limit, k = self.options.max_steps.get(name), self.options.downsample.get(name, 1)
        if not file.has_times and unit == "video" and len(entries) > 1:
            raise SettingsError(
                f"data.unit is video, and {file.path} has no times to put the {len(entries)} entries of "
                f"{short(samples.videos[rows[0]])} in order: give its `rate` in dataset.toml, or set it to segment."
            )
        if not file.has_times and len(rows) > 1 and not all(samples.ids[row] in entries for row in rows):
            raise DataError(
                f"{file.path} has no times, so its entry {short(samples.videos[rows[0]])} cannot be cut into "
                f"{len(rows)} segments: give its `rate` in dataset.toml, or an entry for each, `id[0]`, `id[1]`, …"
            )
        for cut in cut_samples(entries, samples, rows, unit, file.has_times):
            known = [filler.get(samples.ids[row], (LONGEST, 0))[0] if filler else LONGEST for row in cut.samples]
            yield from steps_of(every, cut, limit, k, np.array(known))

    def _reference_steps(
        self,
        name: str,
        video: str,
        entries: dict[str, NDArray[np.float64]],
        samples: Samples,
        rows: range,
        reference: Reference,
        marked: NDArray[np.bool_] | None,
    ) -> Iterator[SampleSteps]:
        every, filler = end_to_end(entries), self.known_filler.get(name, {})
        last, ordered = slice(0, 0), rounded(every[:0])  # of the entry that was asked for last
        for times in reference.times(video, samples, rows):
            first = times.first(self.most)
            ends, done = np.cumsum(first.lengths), 0
            for numbers, entry, whole in reference.held(entries, samples, times.samples):
                own = slice(numbers.start - times.samples.start, numbers.stop - times.samples.start)
                if entry != last:
                    last, ordered = entry, rounded(every[entry])
                lengths, beyond = first.lengths[own], (times.lengths - first.lengths)[own]
                steps = overlapping(ordered, first.steps[done : ends[own.stop - 1]])
                if name in self.words:
                    steps = steps.longest_rows(every[entry])
                if marked is not None:
                    spans = _spans(samples.intervals[numbers.start : numbers.stop], whole, steps, lengths, beyond)
                    for found, _ in ordered.cut_each(spans):
                        marked[found + entry.start] = True
                if filler:
                    emptied = np.array([samples.ids[row] in filler for row in numbers])
                    steps = steps.without_rows(np.repeat(emptied, lengths))
                averaged = np.add.reduceat(steps.counts != 1, np.cumsum(lengths) - lengths) > 0
                yield SampleSteps(
                    np.arange(numbers.start, numbers.stop),
                    steps._replace(rows=steps.rows + entry.start),
                    lengths,
                    beyond,
                    np.zeros(len(lengths), dtype=bool),
                    averaged,
                )
                done = int(ends[own.stop - 1])

    def _reference(self) -> AbstractContextManager[Reference | None]:
        align = self.options.align
        return nullcontext() if align == "none" else Reference(self.dataset, align, self.options.unit, self.most)

    def _videos(self, samples: Samples) -> list[tuple[str, range]]:
        """The videos, and the rows of each among the samples."""
        starts = [row for row, video in enumerate(samples.videos) if row == 0 or samples.videos[row - 1] != video]
        ends = [*starts[1:], len(samples.videos)]
        return [(samples.videos[start], range(start, end)) for start, end in zip(starts, ends, strict=True)]


def _spans(
    intervals: NDArray[np.float64], whole: bool, steps: Steps, lengths: NDArray[np.intp], beyond: NDArray[np.intp]
) -> NDArray[np.float64]:
    """The time [n, 2] of each sample in which it should read every row: where steps were cut off, up to the last one.

    Of samples that are the `whole` entry it has no other end.
    """
    spans = np.tile([-np.inf, np.inf], (len(intervals), 1)) if whole else intervals.copy()
    last = np.maximum.reduceat(steps.times[:, 1], np.cumsum(lengths) - lengths)
    spans[:, 1] = np.where(beyond > 0, np.minimum(spans[:, 1], last), spans[:, 1])
    return to_the_microsecond(spans)


def _rows_of(
    file: FeatureFile, lengths: dict[str, int], rows: NDArray[np.intp]
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Features [S, F] of some rows of entries of these lengths, put end to end, and which rows they are [S], in order.

    Rows that lie near each other are read with those between them; others would be far more than are asked for.
    """
    if not len(rows):
        return np.empty((0, file.width), dtype=np.float32), rows
    span = span_of(rows)
    runs = [span]
    if (span.stop - span.start) * file.width * 4 > ROOM:
        wanted = np.unique(rows)
        edges = np.flatnonzero(np.diff(wanted) > max(NEAR // (file.width * 4), 1)) + 1
        runs = [span_of(run) for run in np.split(wanted, edges)]
    found = []
    for run in runs:
        first = 0
        for key, length in lengths.items():
            own = slice(max(run.start - first, 0), min(max(run.stop - first, 0), length))
            if own.start < own.stop:
                found.append(file.features(key, own))
            first += length
    held = np.concatenate([np.arange(run.start, run.stop) for run in runs])
    return (found[0] if len(found) == 1 else np.concatenate(found)), held


def _damage(features: NDArray[np.float32], held: NDArray[np.intp]) -> NDArray[np.int64]:
    """The rows in which something is not finite, and how many values are NaN and infinite in each: [3, R]."""
    rows = np.flatnonzero(~np.isfinite(features).all(axis=1))
    return np.stack([held[rows], np.isnan(features[rows]).sum(axis=1), np.isinf(features[rows]).sum(axis=1)])


def _count_replaced(counts: dict[str, int], part: SampleSteps, damage: NDArray[np.int64]) -> None:
    """Count what is not finite in the rows of each sample, each row once; damage [3, R] as of `_damage`, in order."""
    sample = np.repeat(np.repeat(np.arange(len(part.lengths)), part.lengths), part.steps.counts)
    place = np.searchsorted(damage[0], part.steps.rows)
    found = np.append(damage[0], -1)[place] == part.steps.rows
    pairs = np.unique(np.stack([sample[found], place[found]]), axis=1)
    counts["nan"] += int(damage[1, pairs[1]].sum())
    counts["inf"] += int(damage[2, pairs[1]].sum())
