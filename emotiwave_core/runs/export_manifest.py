"""`manifest.json` of an export: all that a program needs to feed the file beside it and to read its answers."""

import os
from pathlib import Path
from typing import Any, Literal

import attrs
from attrs import frozen

from emotiwave_core.errors import DataError
from emotiwave_core.io.atomic import write_json
from emotiwave_core.runs.schema import exact_converter, file_bytes, parse

MANIFEST = "manifest.json"
FORMAT = 1
Target = Literal["onnx", "torch-export"]
Quantisation = Literal["int8"]


@frozen
class ExportedStream:
    """One stream of features: two inputs of the file, and what its features are."""

    stream: str  # "audio", or "audio/clip" of a modality of several
    modality: str
    features: str  # the name of the input [batch, steps, width] float32
    mask: str  # the name of the input [batch, steps] bool: the steps that are there
    width: int
    max_steps: int | None  # the steps from the start that the run was trained on; later ones are to be left out
    downsample: int  # this many steps are to be averaged into one
    columns: list[str] | None  # the names of the features, where the data told them
    extractor: dict[str, Any] | None  # who made the features, where the data told it


@frozen
class Preparation:
    """Work of the caller on features before they go in, and what the file does by itself."""

    unit: str  # a sample is a labelled "segment" or a whole "video"
    align: str | float  # "none"; or all streams are averaged over "words", or to so many steps a second
    filler: str  # "absent": a modality of zeros alone counts as absent
    absent: str
    cleaning: str
    standardisation: str


@frozen
class ExportComparison:
    """The answers of the file beside those of the run."""

    samples: int
    configurations: int  # of modalities, in which each sample was answered
    data: str  # "test fold" of the run's data, or "generated features" where these are not at hand
    largest_difference: float  # of an answer: a probability, or a number in deviations of its target


@frozen
class QuantisationCost:
    """The run's headline score on all of its test fold, without and with quantised weights."""

    score: str  # macro_f1 or ccc
    samples: int
    complete: float
    complete_quantised: float
    mean: float  # over all configurations
    mean_quantised: float
    bytes_unquantised: int


@frozen
class ExportSource:
    """The run that was exported."""

    run: str  # the name of its folder
    recipe: str
    dataset: str
    synthetic: bool
    fingerprint: str  # of the data
    weights_sha256: str
    emotiwave: str  # that trained it
    trained: str | None  # when the training has ended, UTC
    precision: str  # of its training and scoring; the file computes in float32


@frozen(kw_only=True)
class ExportManifest:
    """The file."""

    format: int = FORMAT
    to: Target
    quantised: Quantisation | None
    file: str
    sha256: str
    bytes: int
    objective: str  # "single", "multi" or "regression"
    classes: list[str]  # of the columns of both outputs; of a regression its targets
    outputs: list[str]  # the logits, and the probabilities or numbers; both [batch, classes] float32
    decision: str
    thresholds: dict[str, float] | None  # of each class of a multi-label run
    modalities: list[str]
    streams: list[ExportedStream]
    preparation: Preparation
    compared: ExportComparison
    cost: QuantisationCost | None
    source: ExportSource
    versions: dict[str, str]


def write_manifest(folder: Path, manifest: ExportManifest) -> None:
    """Write `manifest.json` of an export."""
    write_json(folder / MANIFEST, attrs.asdict(manifest))


def read_manifest(folder: Path) -> ExportManifest:
    """Read `manifest.json` of an export. DataError where it is missing or damaged."""
    if not os.path.lexists(folder / MANIFEST):
        raise DataError(f"{folder} holds no export ({MANIFEST}); `emotiwave export RUN` writes one.")
    return parse(file_bytes(folder, MANIFEST), ExportManifest, str(folder / MANIFEST), "export the run again", True)


exact_converter.register_structure_hook(
    str | float, lambda value, _: exact_converter.structure(value, str if isinstance(value, str) else float)
)
