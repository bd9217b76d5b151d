"""`model.json`: the model of a run in words and numbers. With `model.safetensors` it is enough to rebuild the model."""

import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen

from emotiwave_core.data.dataset import MOST_MODALITIES
from emotiwave_core.errors import DataError, short
from emotiwave_core.io.atomic import write_json
from emotiwave_core.metrics.numbers import TargetScale
from emotiwave_core.modalities import by_modality, configurations, misnamed, name_of
from emotiwave_core.runs.schema import LARGEST, Fraction, converter, damaged, file_bytes, name_by_headline, parse

MODEL = "model.json"
FORMAT = 1
WAY_OUT = "train again"
# Keys that are left out where there is nothing to say.
OPTIONAL = ("scale", "calibration", "agreement", "initialised_from", "refit")
MOST_FEATURES, MOST_STEPS = 1 << 24, 1 << 62


@frozen
class UsedPart:
    """A part of the model and the distribution that it came from."""

    kind: str
    name: str
    modality: str | None  # of an encoder; its stream, where the modality has several
    distribution: str
    version: str
    source_sha256: str | None = None  # of the file of its class, and of those that it derives from


@frozen
class BestEpoch:
    """The epoch whose weights were kept."""

    epoch: int
    select: str  # "mean", "complete" or a configuration: whose headline score chose it
    score: float
    mean: float  # `mean_macro_f1` in the file
    complete: float
    headline: str = "macro_f1"


name_by_headline(
    BestEpoch,
    {headline: {name: f"{name}_{headline}" for name in ("mean", "complete")} for headline in ("macro_f1", "ccc")},
)


@frozen
class ConfigurationCalibration:
    """The calibration of one configuration on the validation fold (`model.calibration.LogitCalibration`)."""

    samples: int  # that have all of its modalities
    temperature: float  # the logits are divided by it
    # For the surest 1/20, 2/20, … of the samples: the least confidence, the share of errors.
    confidences: list[Fraction] = field(factory=list)
    risks: list[Fraction] = field(factory=list)


Calibrations = dict[str, ConfigurationCalibration]  # by configuration


@frozen
class PairAgreement:
    """Agreement of two modalities on the validation fold (`predict.agreement.log_agreement`)."""

    samples: int  # that have both
    expected: list[Fraction]  # [C], the mean of what each answers alone
    least: float  # what 199 in 200 of them are above
    usual: float  # their mean
    chance: float  # the mean where each has its second modality from another sample


Agreements = dict[str, PairAgreement]  # by pair, as `audio+visual`


@frozen
class ValidationFit:
    """All that is fitted on the validation fold, for the epoch that is kept."""

    thresholds: dict[str, float] | None = None  # of each class of a multi-label run
    calibration: Calibrations | None = None  # of a single-label run
    agreement: Agreements | None = None  # of a run over classes


@frozen
class TrainedInput:
    """The features of one stream that the model was trained on, by name."""

    columns: list[str] | None  # where the file tells them
    extractor: dict[str, Any] | None  # who made them, where the file tells it
    words: bool = False  # they are words, which its encoder reads


@frozen
class TrainingData:
    """The data that the model was trained on."""

    fingerprint: str
    sources: dict[str, str]  # {file: SHA-256}
    inputs: dict[str, TrainedInput] = field(factory=dict)  # {stream: …}


@frozen
class InitialFile:
    """A file that a part has read its first weights from."""

    kind: str
    name: str
    modality: str | None  # of an encoder; its stream, where the modality has several
    file: str
    sha256: str


@frozen(kw_only=True)
class ModelDescription:
    """The part of the file that is known before the training."""

    format: int = FORMAT
    emotiwave: str
    recipe: dict[str, Any]
    plugins: list[UsedPart]
    features: dict[str, int]  # {stream: width}
    steps: dict[str, int]  # {stream: longest sequence}
    classes: list[str]
    parameters: int
    targets: list[str]  # the emotions of the data
    data: TrainingData
    scale: dict[str, TargetScale] | None = None  # of a regression, from the training fold
    initialised_from: list[InitialFile] = field(factory=list)


@frozen(kw_only=True)
class ModelFile(ModelDescription):
    """The file."""

    thresholds: dict[str, float] | None  # of each class of a multi-label run, tuned on the validation fold
    best: BestEpoch
    calibration: Calibrations | None = None  # of a single-label run, fitted on the validation fold
    agreement: Agreements | None = None  # of a run over classes, fitted there too
    refit: int | None = None  # samples of both folds that the weights were trained on, where not on the first alone
    weights_sha256: str = ""


def write_model_file(run: Path, model: ModelFile) -> None:
    """Write `model.json` of a run."""
    content = converter.unstructure(model)
    write_json(run / MODEL, {key: value for key, value in content.items() if key not in OPTIONAL or value})


def read_model_file(run: Path, exact: bool = True) -> ModelFile:
    """Read `model.json` of a run. DataError where it is missing, damaged or of another format.

    exact: texts as they stand there, see `schema.parse`; a page is given cleaned ones.
    """
    path, way_out = str(run / MODEL), WAY_OUT if exact else ""
    if not os.path.lexists(run / MODEL):
        raise DataError(f"{run} holds no trained model ({MODEL}); give the folder of a run that has ended.")
    data = file_bytes(run, MODEL)
    number = parse(data, dict, path, way_out, exact).get("format", FORMAT)
    if number != FORMAT:
        raise DataError(f"{path} has format {short(number)}, and this version reads {FORMAT}.")
    return parse(data, ModelFile, path, way_out, exact)


def check_model_file(model: ModelFile, path: Path | str) -> None:
    """DataError for the first value that no model can be built from: the file may be a stranger's."""

    def must(holds: bool, otherwise: str) -> None:
        if not holds:
            raise damaged(path, otherwise, WAY_OUT)

    modalities = len(by_modality(model.features))
    must(0 < modalities <= MOST_MODALITIES, f"'features' has {modalities} modalities")
    must((problem := misnamed(model.features)) is None, f"of 'features', {problem}")
    for stream, width in model.features.items():
        must(1 <= width <= MOST_FEATURES, f"'features' of {short(stream)} is {short(width)}")
    for stream, steps in model.steps.items():
        known = stream in model.features and 1 <= steps <= MOST_STEPS
        must(known, f"'steps' of {short(stream)} is {short(steps)}")
    for target, scale in (model.scale or {}).items():
        must(scale.deviation > 0, f"'scale' of {short(target)} has the deviation {short(scale.deviation)}")
    distinct = all(model.targets) and 0 < len(model.targets) == len(set(model.targets))
    must(distinct, f"'targets' is {short(model.targets)}")
    must(model.refit is None or model.refit > 0, f"'refit' is {short(model.refit)}")


def check_calibration(calibration: Calibrations, kind: str, modalities: Sequence[str], path: Path | str) -> None:
    """DataError where a calibration is not one of these configurations, or of an objective that has none."""
    from emotiwave_core.model.calibration import COLDEST, HOTTEST  # torch, which a report does without

    names = {name_of(configuration) for configuration in configurations(modalities)}
    for name, one in calibration.items():
        falls = all(surer >= less for surer, less in itertools.pairwise(one.confidences))
        levels = len(one.confidences) == len(one.risks) and falls
        if kind != "single" or name not in names or not COLDEST <= one.temperature <= HOTTEST or not levels:
            raise damaged(path, f"'calibration' of {short(name)} is not what a {kind} run has", WAY_OUT)


def check_agreement(model: ModelFile, kind: str, modalities: Sequence[str], path: Path | str) -> None:
    """DataError where an agreement is not of two of these modalities, or holds what no fold can give."""
    pairs = {name_of(pair) for pair in itertools.combinations(modalities, 2)}
    for name, one in (model.agreement or {}).items():
        expected = len(one.expected) == len(model.classes) and all(0.0 < value < 1.0 for value in one.expected)
        ordered = -LARGEST < one.chance < one.usual < LARGEST and -LARGEST < one.least < LARGEST
        if kind == "regression" or name not in pairs or not expected or not ordered:
            raise damaged(path, f"'agreement' of {short(name)} is not what a {kind} run has", WAY_OUT)


def check_fitted(model: ModelFile, kind: str, classes: tuple[str, ...], path: Path | str) -> None:
    """DataError where the file has not a threshold for each class of several labels, or a scale for each target."""
    thresholds, multi = model.thresholds, kind == "multi"
    if set(model.scale or {}) != (set(classes) if kind == "regression" else set()):
        raise damaged(path, f"'scale' is {short(model.scale)}, which is not what a {kind} objective needs", WAY_OUT)
    if not multi:
        if thresholds is not None:
            problem = f"'thresholds' is {short(thresholds)} for an objective that decides for one class"
            raise damaged(path, problem, WAY_OUT)
        return
    fits = thresholds is not None and set(thresholds) == set(classes)
    if not fits or not all(0.0 <= value <= 1.0 for value in (thresholds or {}).values()):
        raise damaged(path, f"'thresholds' is {short(thresholds)}, not one from 0 to 1 for each class", WAY_OUT)
