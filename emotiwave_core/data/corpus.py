"""Corpora: a store and its folds, each looked up only when it is asked for, so that the test fold can wait."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emotiwave_core.config.recipe import DataSettings, PerModality
from emotiwave_core.data.dataset import Dataset, load_dataset
from emotiwave_core.data.facts import CorpusFacts, FoldFacts, NumberFoldFacts, Spread
from emotiwave_core.data.folds import FOLDS, NO_FOLDS, Folds, random_folds, read_folds, read_lists
from emotiwave_core.data.formats.reader import Source
from emotiwave_core.data.loading.speakers import enrolment_sha256
from emotiwave_core.data.prepare.labels import tied
from emotiwave_core.data.prepare.options import Options
from emotiwave_core.data.store.store import Store, open_store
from emotiwave_core.errors import DataError, SettingsError, listed, short
from emotiwave_core.io.untrusted import is_file
from emotiwave_core.modalities import setting_of, streams_of
from emotiwave_core.monitor import SILENT, Monitor
from emotiwave_core.objectives import ClassObjective, Objective
from emotiwave_core.objectives.regression import Regression


class Fold(NamedTuple):
    """The samples of a fold that an objective uses."""

    name: str
    rows: NDArray[np.int64]  # [N], samples of the store
    targets: Tensor  # [N] or [N, C]


@attrs.frozen(eq=False)
class Corpus:
    """A data set as training and scoring read it."""

    dataset: Dataset
    store: Store
    folds: Folds
    enrolment: str | None = None  # what `data.enrolment` says, a file by its content

    def rows(self, fold: str) -> NDArray[np.int64]:
        """The samples of a fold, in the order of the store; `all` is every sample."""
        if fold == "all":
            return np.arange(len(self.store))
        videos = set(self.folds[fold])
        return np.array([row for row, video in enumerate(self.store.videos) if video in videos], dtype=np.int64)

    def fold(self, name: str, objective: Objective) -> Fold:
        """The samples of a fold with their targets. DataError where it has none that can be used."""
        rows = self.rows(name)
        labels = self.store.labels[torch.from_numpy(rows)]
        used = objective.used(labels)
        if len(rows) and not bool(used.any()):
            raise DataError(
                f"The fold '{name}' of {self.dataset.name} has {len(rows)} samples, and none has an emotion above 0: "
                "objective.no_emotion=drop leaves such samples out; first and class take them."
            )
        rows = rows[used.numpy()]
        if not len(rows):
            raise self._empty(name)
        return Fold(name, rows, objective.targets(labels[used]))

    def check_not_empty(self, fold: str) -> None:
        """DataError where no id of a fold has a sample. Nothing else of it is looked at: the test fold can wait."""
        if not set(self.folds[fold]) & set(self.store.videos):
            raise self._empty(fold)

    def _empty(self, fold: str) -> DataError:
        return DataError(
            f"The fold '{fold}' of {self.dataset.name} ({self.folds.source}) has no sample to use: do its ids "
            "agree with the data set's? `--set data.folds=random` splits by video instead."
        )

    def notes(self) -> list[str]:
        """Sentences on what does not fit between the folds and the data."""
        have = set(self.store.videos)
        if self.folds is NO_FOLDS:
            return list(self.store.facts.notes)
        listed = {video for fold in FOLDS for video in self.folds[fold]}
        absent = {fold: len(set(self.folds[fold]) - have) for fold in FOLDS}
        outside = sum(video not in listed for video in self.store.videos)
        notes = [f"{count} videos of the fold '{fold}' have no samples." for fold, count in absent.items() if count]
        if outside:
            notes.append(f"{outside} samples of {len(have - listed)} videos are in no fold and are not used.")
        return [*self.store.facts.notes, *notes, *self._shared_groups()]

    def warnings(self) -> list[str]:
        """Sentences on what was lost, which must stand out."""
        return list(self.store.facts.warnings)

    def _shared_groups(self) -> list[str]:
        """A sentence on the groups that are in two folds: a score on known speakers says little of new ones."""
        if self.store.facts.groups is None:
            return []
        of = dict(zip(self.store.videos, self.store.facts.groups, strict=True))
        groups = [{of[video] for video in self.folds[fold] if video in of} for fold in FOLDS]
        shared = {group for a, b in combinations(groups, 2) for group in a & b}
        if not shared:
            return []
        return [f"{len(shared)} groups (speakers) are in two folds, such as {short(min(shared))}."]

    def label_notes(self, objective: Objective) -> list[str]:
        """Sentences on the labels as an objective reads them, from the training and the validation fold alone."""
        if not isinstance(objective, ClassObjective):
            return []
        notes = []
        rows = {fold: self.rows(fold) for fold in ("train", "valid")}
        labels = {fold: self.store.labels[torch.from_numpy(own)] for fold, own in rows.items()}
        if self.store.facts.label_kind == "intensities" and not objective.multi:
            every = torch.cat(list(labels.values())).numpy()
            ties, emotional = tied(every), int((every > 0).any(axis=1).sum())
            if ties:
                notes.append(
                    f"{ties} of {emotional} samples with an emotion (training and validation) have two or more that "
                    "are equally strong: the first in the order of the classes counts."
                )
        for fold, own in labels.items():
            targets = objective.targets(own[objective.used(own)])
            counts = objective.count_classes(targets)
            absent = [name for name, count in zip(objective.classes, counts, strict=True) if not count]
            if absent and len(targets):
                name = {"train": "training", "valid": "validation"}[fold]
                notes.append(f"No sample of {listed(absent)} in the {name} fold.")
        return notes

    def facts(self, objective: Objective | None = None) -> CorpusFacts:
        """The facts of the data, without a look into the test fold; with an objective also what its labels are."""
        facts = self.store.facts
        return CorpusFacts(
            dataset=facts.dataset,
            synthetic=facts.synthetic,
            unit=facts.unit,
            label_source=facts.label_source,
            targets=list(facts.targets),
            left_out=facts.left_out,
            modalities=facts.modalities,
            fingerprint=self.store.fingerprint,
            folder=str(self.dataset.folder.resolve()),
            sources=facts.sources,
            samples=len(self.store),
            videos=len(set(self.store.videos)),
            fold_source=self.folds.source,
            folds_sha256=self.folds.sha256,
            notes=[*self.notes(), *(self.label_notes(objective) if objective else [])],
            label_kind=facts.label_kind,
            label_kind_source=facts.label_kind_source,
            groups=None if facts.groups is None else len(set(facts.groups)),
            warnings=self.warnings(),
            meaning=facts.meaning | ({} if self.enrolment is None else {"enrolment": self.enrolment}),
        )

    def fold_facts(self, name: str, objective: Objective) -> FoldFacts | NumberFoldFacts:
        """The size of a fold, and of each class in it, or the numbers of each target."""
        rows = self.rows(name)
        labels = self.store.labels[torch.from_numpy(rows)]
        targets = objective.targets(labels[objective.used(labels)])
        videos = len({self.store.videos[row] for row in rows})
        if isinstance(objective, Regression):
            numbers = zip(objective.classes, objective.truth(targets).T, strict=True)
            return NumberFoldFacts(len(rows), videos, len(targets), {name: spread_of(each) for name, each in numbers})
        assert isinstance(objective, ClassObjective), "numbers or classes"
        return FoldFacts(
            samples=len(rows),
            videos=videos,
            used=len(targets),
            classes=dict(zip(objective.classes, objective.count_classes(targets), strict=True)),
            no_emotion=int((~(labels > 0).any(dim=1)).sum()),
        )


def open_corpus(
    folder: Path,
    settings: DataSettings,
    monitor: Monitor = SILENT,
    *,
    features: Mapping[str, int] | None = None,
    split: bool = True,
) -> Corpus:
    """The data set of a folder, cut, packed and split as a recipe says.

    features: {stream: width} of a model that is to be scored on it: further streams are left out, and one that the
    data set lacks is absent in every sample. Without `split` folds that cannot be made are none.
    """
    dataset = load_dataset(folder)
    if features is not None:
        dataset = dataset.with_modalities(features)
    options = Options(
        unit=settings.unit,
        complete_only=settings.complete_only,
        max_steps=per_modality(settings.max_steps, dataset, features),
        downsample=per_modality(settings.downsample, dataset, features),
        align=settings.align,
        filler=settings.filler,
    )
    store = open_store(dataset, options, monitor=monitor)
    _check_names_differ(store.targets, dataset)
    if features is not None:
        store = store.with_streams(features)
    try:
        folds = find_folds(dataset, settings, store)
    except (DataError, SettingsError):
        if split:
            raise
        folds = NO_FOLDS
    return Corpus(dataset, store, folds, enrolment_sha256(dataset.base, settings.enrolment))


def _check_names_differ(targets: Sequence[str], dataset: Dataset) -> None:
    """DataError for two classes or targets that a page or a terminal would show alike: scores would be of either."""
    shown: dict[str, str] = {}
    for target in targets:
        text = " ".join("".join(c if c.isprintable() or c.isspace() else "\ufffd" for c in target).split())
        if text in shown:
            raise DataError(
                f"{dataset.name} has the classes {shown[text]!r} and {target!r}, which look alike: rename one of them."
            )
        shown[text] = target


def open_unlabelled(
    dataset: Dataset, settings: DataSettings, features: Mapping[str, int], monitor: Monitor = SILENT
) -> Store:
    """Every sample of a data set, to be predicted by a model that reads `features`, {stream: width}.

    Where there is a label file, its rows are the samples, whatever their labels; else each entry of the feature files
    is one, whole. Folds are not looked up, and samples that lack a modality are kept: one that the data set lacks is
    absent in all. DataError where nothing can be predicted, or where a width is not the model's.
    """
    known = dataset.with_modalities(features).without_labels()
    options = Options(
        unit=settings.unit,
        max_steps=per_modality(settings.max_steps, known, features),
        downsample=per_modality(settings.downsample, known, features),
        align=settings.align,
        filler=settings.filler,
    )
    return open_store(known, options, monitor=monitor).with_streams(features)


def spread_of(numbers: NDArray[np.float64]) -> Spread:
    """The spread of numbers [N], of which there are some."""
    return Spread(
        mean=float(numbers.mean()),
        deviation=float(numbers.std()),
        lowest=float(numbers.min()),
        median=float(np.median(numbers)),
        highest=float(numbers.max()),
    )


def all_samples(store: Store) -> Fold:
    """Every sample of a store, to be predicted: targets are [N, 0]."""
    return Fold("all", np.arange(len(store)), torch.empty(len(store), 0))


def find_folds(dataset: Dataset, settings: DataSettings, store: Store) -> Folds:
    """The folds that the settings ask for: a file, the data set's own, or random by group, else by video."""
    source = _folds_file(dataset, settings)
    if source is not None:
        return read_folds(source, settings.rotation)
    if settings.rotation is not None:
        raise SettingsError(f"data.rotation is {settings.rotation}, but there is no file of folds to rotate.")
    first, second, third = settings.ratios
    of = None if store.facts.groups is None else dict(zip(store.videos, store.facts.groups, strict=True))
    return random_folds(store.videos, (first, second, third), settings.split_seed, of)


def rotations_of(dataset: Dataset, settings: DataSettings) -> list[int | None]:
    """The numbers of the folds that can be tested on in turn; [None] where folds are fixed, or drawn at random.

    The one that the settings name stands alone.
    """
    source = _folds_file(dataset, settings)
    if source is None or settings.rotation is not None:
        return [settings.rotation]
    lists = read_lists(source)
    return list(range(len(lists))) if not set(FOLDS) <= set(lists) else [None]


def _folds_file(dataset: Dataset, settings: DataSettings) -> Source | None:
    """The file of folds that the settings ask for, or the data set's own; None for random ones."""
    if settings.folds == "auto":
        return dataset.folds
    if settings.folds == "random":
        return None
    source = Source(dataset.base / settings.folds)
    if not is_file(source.path):
        raise SettingsError(
            f"data.folds is {short(settings.folds)}, but {source.path} is not there; or use auto or random."
        )
    return source


def per_modality(value: PerModality, dataset: Dataset, features: Mapping[str, int] | None = None) -> dict[str, int]:
    """One number for every stream, or for those that are named, or whose modality is: the nearer name counts.

    Of a model's `features` those that the data set has; else a name that it has not stays, to be refused.
    """
    if not isinstance(value, dict):
        return dict.fromkeys(dataset.modalities, value)
    known = {name: streams_of(name, dataset.modalities) for name in value}
    names = [stream for name, streams in known.items() for stream in streams or ((name,) if features is None else ())]
    return {name: number for name in names if (number := setting_of(name, value)) is not None}
