"""Facts of a data set: records that stores and runs keep as JSON."""

from collections.abc import Mapping
from typing import Any

import attrs

from emotiwave_core.data.formats.reader import LabelKind
from emotiwave_core.data.prepare.options import Options, Unit


@attrs.frozen
class ModalityFacts:
    """One modality of a packed data set."""

    file: str
    features: int
    median_steps: float  # of the samples that have it
    longest_steps: int
    missing: int  # samples without it
    absent_steps: int  # aligned steps during which it has nothing
    nan: int  # values that were replaced
    inf: int
    truncated: int  # samples that were cut to `max_steps`
    unread_rows: int  # rows of the file, within the samples, that no aligned step reads
    filler: int = 0  # samples whose entry holds zeros or nothing finite alone, and which count as missing
    padding: int = 0  # steps of zeros at the end of whole entries, which are none
    rows: int = 0  # of the labelled entries in the file
    read_rows: int = 0  # of them, those of a sample
    cut_rows: int = 0  # of those, the ones beyond `max_steps`
    first: float | None = None  # seconds: the first moment of the file, and the last
    last: float | None = None
    columns: tuple[str, ...] | None = None  # the names of the features, where the file tells them
    extractor: dict[str, Any] | None = None  # who made the features, where the file tells it
    words: int | None = None  # distinct ones, of a modality of words

    def sentence(self, name: str, samples: int) -> str:
        """One line on what the samples have of this modality, and how much of its file they read."""
        has = samples - self.missing
        what = f"{self.features} features" if self.words is None else f"words ({self.words} distinct)"
        steps = f"{what}, {self.median_steps:g} steps (median)"
        parts = [f"{name}: {steps}, in {has} of {samples} samples"]
        if self.rows:
            parts.append(f"{self.read_rows / self.rows:.0%} of the labelled rows of {self.file} read")
        if self.cut_rows:
            parts.append(f"{self.cut_rows} rows of {self.truncated} samples cut by max_steps")
        if self.padding:
            parts.append(f"{self.padding} steps of zeros at the ends are none")
        if self.first is not None and self.last is not None:
            parts.append(f"from {self.first:g} to {self.last:g} s")
        return "; ".join(parts) + "."


@attrs.frozen
class StoreFacts:
    """A packed data set: what it was made from, its samples, and what was left out or replaced."""

    dataset: str
    synthetic: bool
    targets: tuple[str, ...]
    label_source: str  # where the names of the label columns come from
    unit: Unit
    options: Options
    ids: tuple[str, ...]  # of the samples
    videos: tuple[str, ...]  # of the samples
    left_out: dict[str, int]  # samples by reason
    notes: tuple[str, ...]
    warnings: tuple[str, ...]  # on what is lost, which must stand out
    sources: dict[str, str]  # {file, relative to the data set's folder: SHA-256}
    modalities: dict[str, ModalityFacts]
    label_kind: LabelKind
    label_kind_source: str  # how it is known what the labels mean
    groups: tuple[str, ...] | None  # of the samples; None: each video is its own
    meaning: dict[str, Any]  # all but the content of the files that gives them their meaning
    samples_of_sources: dict[str, str]  # {file: SHA-256 of a few of its blocks}

    def to_dict(self) -> dict[str, Any]:
        """The facts as JSON has them, in this order."""
        return attrs.asdict(self)

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> "StoreFacts":
        """The facts in a table of store.json, whose other keys are passed over. LookupError or TypeError for damage."""
        values = {field.name: facts[field.name] for field in attrs.fields(cls)}
        tuples = {name: tuple(values[name]) for name in ("targets", "ids", "videos", "notes", "warnings")}
        tuples["groups"] = values["groups"] and tuple(values["groups"])
        modalities = {name: _modality(modality) for name, modality in values["modalities"].items()}
        return cls(**values | tuples | {"options": Options(**values["options"]), "modalities": modalities})


def _modality(facts: Mapping[str, Any]) -> ModalityFacts:
    columns = facts["columns"]
    return ModalityFacts(**{**facts, "columns": columns and tuple(columns)})


@attrs.frozen
class CorpusFacts:
    """A data set as it was opened and split."""

    dataset: str
    synthetic: bool
    unit: str
    label_source: str
    targets: list[str]
    left_out: dict[str, int]
    modalities: dict[str, ModalityFacts]
    fingerprint: str
    folder: str
    sources: dict[str, str]  # {file: SHA-256}
    samples: int
    videos: int
    fold_source: str
    folds_sha256: str
    notes: list[str]
    label_kind: str = "intensities"
    label_kind_source: str = ""
    groups: int | None = None  # their number; None: each video is its own
    warnings: list[str] = attrs.Factory(list)
    meaning: dict[str, Any] = attrs.Factory(dict)


@attrs.frozen
class Spread:
    """Numbers of some samples."""

    mean: float
    deviation: float
    lowest: float
    median: float
    highest: float


@attrs.frozen
class NumberFoldFacts:
    """One fold of a regression."""

    samples: int
    videos: int
    used: int
    numbers: dict[str, Spread]  # of each target


@attrs.frozen
class FoldFacts:
    """One fold; for a multi-label objective the counts of the classes overlap."""

    samples: int
    videos: int
    used: int  # samples that the objective uses
    classes: dict[str, int]  # used samples of each
    no_emotion: int
