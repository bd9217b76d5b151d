"""Facts of a data set: records that stores and runs keep as JSON."""

from collections.abc import Mapping
from typing import Any

import attrs

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
    sources: dict[str, str]  # {file, relative to the data set's folder: SHA-256}
    modalities: dict[str, ModalityFacts]

    def to_dict(self) -> dict[str, Any]:
        """The facts as JSON has them, in this order."""
        return attrs.asdict(self)

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> "StoreFacts":
        """The facts in a table of store.json, whose other keys are passed over. LookupError or TypeError for damage."""
        values = {field.name: facts[field.name] for field in attrs.fields(cls)}
        tuples = {name: tuple(values[name]) for name in ("targets", "ids", "videos", "notes")}
        modalities = {name: ModalityFacts(**modality) for name, modality in values["modalities"].items()}
        return cls(**values | tuples | {"options": Options(**values["options"]), "modalities": modalities})


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


@attrs.frozen
class FoldFacts:
    """One fold; for a multi-label objective the counts of the classes overlap."""

    samples: int
    videos: int
    used: int  # samples that the objective uses
    classes: dict[str, int]  # used samples of each
    no_emotion: int
