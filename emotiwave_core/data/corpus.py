"""Corpora: a store and its folds, each looked up only when it is asked for, so that the test fold can wait."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emotiwave_core.config.recipe import DataSettings, PerModality
from emotiwave_core.data.dataset import Dataset, load_dataset
from emotiwave_core.data.facts import CorpusFacts, FoldFacts
from emotiwave_core.data.folds import FOLDS, Folds, random_folds, read_folds
from emotiwave_core.data.prepare.options import Options
from emotiwave_core.data.store.store import Store, open_store
from emotiwave_core.errors import DataError, SettingsError, short
from emotiwave_core.io.untrusted import is_file
from emotiwave_core.model.objective import Objective
from emotiwave_core.monitor import SILENT, Monitor


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
            raise DataError(
                f"The fold '{name}' of {self.dataset.name} ({self.folds.source}) has no sample to use: do its ids "
                "agree with the data set's? `--set data.folds=random` splits by video instead."
            )
        return Fold(name, rows, objective.targets(labels[used]))

    def notes(self) -> list[str]:
        """Sentences on what does not fit between the folds and the data."""
        have = set(self.store.videos)
        listed = {video for fold in FOLDS for video in self.folds[fold]}
        absent = {fold: len(set(self.folds[fold]) - have) for fold in FOLDS}
        outside = sum(video not in listed for video in self.store.videos)
        notes = [f"{count} videos of the fold '{fold}' have no samples." for fold, count in absent.items() if count]
        if outside:
            notes.append(f"{outside} samples of {len(have - listed)} videos are in no fold and are not used.")
        return [*self.store.facts.notes, *notes]

    def facts(self) -> CorpusFacts:
        """The facts of the data, without a look into any fold."""
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
            notes=self.notes(),
        )

    def fold_facts(self, name: str, objective: Objective) -> FoldFacts:
        """The size of a fold, and of each class in it."""
        rows = self.rows(name)
        labels = self.store.labels[torch.from_numpy(rows)]
        targets = objective.targets(labels[objective.used(labels)])
        counts = (
            targets.sum(dim=0).long() if objective.multi else torch.bincount(targets, minlength=len(objective.classes))
        )
        return FoldFacts(
            samples=len(rows),
            videos=len({self.store.videos[row] for row in rows}),
            used=len(targets),
            classes=dict(zip(objective.classes, counts.tolist(), strict=True)),
            no_emotion=int((~(labels > 0).any(dim=1)).sum()),
        )


def open_corpus(folder: Path, settings: DataSettings, monitor: Monitor = SILENT) -> Corpus:
    """The data set of a folder, cut, packed and split as a recipe says."""
    dataset = load_dataset(folder)
    options = Options(
        unit=settings.unit,
        complete_only=settings.complete_only,
        max_steps=per_modality(settings.max_steps, dataset),
        downsample=per_modality(settings.downsample, dataset),
        align=settings.align,
    )
    store = open_store(dataset, options, monitor=monitor)
    return Corpus(dataset, store, find_folds(dataset, settings, store.videos))


def open_unlabelled(
    folder: Path, settings: DataSettings, features: Mapping[str, int], monitor: Monitor = SILENT
) -> Store:
    """Every sample of a folder, to be predicted by a model that reads `features`, {modality: width}.

    Where there is a label file, its rows are the samples, whatever their labels; else each entry of the feature files
    is one, whole. Folds are not looked up, and samples that lack a modality are kept: one that the folder lacks is
    absent in all. DataError where nothing can be predicted, or where a width is not the model's.
    """
    dataset = load_dataset(folder, labelled=False)
    known = dataset.without_labels(features)
    if not known.modalities:
        raise DataError(
            f"{dataset.folder} has the modalities {', '.join(dataset.modalities) or 'none'}, and the model reads "
            f"{', '.join(features)}: name at least one of them under [modalities] in its dataset.toml."
        )
    steps = [per_modality(setting, known) for setting in (settings.max_steps, settings.downsample)]
    max_steps, downsample = ({name: each[name] for name in each if name in known.modalities} for each in steps)
    options = Options(unit=settings.unit, max_steps=max_steps, downsample=downsample, align=settings.align)
    return open_store(known, options, monitor=monitor).with_modalities(features)


def all_samples(store: Store) -> Fold:
    """Every sample of a store, to be predicted: targets are [N, 0]."""
    return Fold("all", np.arange(len(store)), torch.empty(len(store), 0))


def find_folds(dataset: Dataset, settings: DataSettings, videos: tuple[str, ...]) -> Folds:
    """The folds that the settings ask for: a file, the data set's own, or random by video."""
    path: Path | None = None
    if settings.folds == "auto":
        path = dataset.folds
    elif settings.folds != "random":
        path = dataset.folder / settings.folds
        if not is_file(path):
            raise SettingsError(
                f"data.folds is {short(settings.folds)}, but {path} is not there; or use auto or random."
            )
    if path is not None:
        return read_folds(path, settings.rotation)
    if settings.rotation is not None:
        raise SettingsError(f"data.rotation is {settings.rotation}, but there is no file of folds to rotate.")
    first, second, third = settings.ratios
    return random_folds(videos, (first, second, third), settings.split_seed)


def per_modality(value: PerModality, dataset: Dataset) -> dict[str, int]:
    """One number for every modality, or those that are named."""
    return dict(value) if isinstance(value, dict) else dict.fromkeys(dataset.modalities, value)
