"""The folder of a run as one object: its files read, checked and cleaned for the page and the pictures.

Whatever stands in the files may come from strangers. Numbers must be finite numbers, names lose what could
disturb a line of text, and a file that does not hold what it should is a DataError, never a traceback.
"""

import json
import math
import re
from pathlib import Path
from typing import Any, TypeVar

import cattrs
from attrs import field, frozen

from emotiwave_core.errors import DataError

Part = TypeVar("Part")
Matrix = list[list[int]]
Confusion = Matrix | dict[str, Matrix]  # [C, C], row = true, column = predicted | {class: [[tn, fp], [fn, tp]]}


@frozen
class ClassScores:
    """One class in one configuration."""

    precision: float
    recall: float
    f1: float
    support: int
    predicted: int
    weighted_accuracy: float | None = None


@frozen
class ConfigurationScores:
    """One configuration; drops are against the complete one."""

    macro_f1: float
    absolute_drop: float
    relative_drop: float | None
    classes: dict[str, ClassScores]
    confusion: Confusion
    accuracy: float | None = None
    weighted_accuracy: float | None = None
    collapsed: str | None = None
    extra: dict[str, float] = field(factory=dict)  # of plugins that watch


@frozen
class Named:
    """The score of one configuration, by name."""

    configuration: str
    macro_f1: float


@frozen
class Scores:
    """`scores.json`: one fold, all configurations."""

    dataset: str
    synthetic: bool
    fold: str
    samples: int
    objective: str
    classes: list[str]
    modalities: list[str]
    configurations: dict[str, ConfigurationScores]
    mean_macro_f1: float
    complete: Named
    worst: Named
    no_emotion: str = "drop"
    thresholds: dict[str, float] | None = None
    notes: list[str] = field(factory=list)


@frozen
class Plugin:
    """A part of the model and the distribution it came from."""

    kind: str
    name: str
    distribution: str
    version: str
    modality: str | None = None


@frozen
class Best:
    """The epoch whose weights were kept."""

    epoch: int
    mean_macro_f1: float
    select: str  # "mean", "complete" or a configuration: whose macro-F1 chose it
    score: float


@frozen
class Model:
    """`model.json`: what was trained."""

    emotiwave: str
    recipe: dict[str, Any]
    plugins: list[Plugin]
    parameters: int
    best: Best


@frozen
class Modality:
    """One modality's file; `missing` segments have no data, `truncated` ones were cut to the longest length."""

    file: str
    features: int
    median_steps: float
    longest_steps: int
    missing: int
    truncated: int
    nan: int
    inf: int


@frozen
class Fold:
    """One fold; for a multi-label objective the counts of the classes overlap."""

    samples: int
    videos: int
    used: int
    classes: dict[str, int]
    no_emotion: int | None = None


@frozen
class Data:
    """`data.json`: the data set as it was read."""

    dataset: str
    synthetic: bool
    folder: str
    fingerprint: str
    unit: str
    samples: int
    videos: int
    left_out: dict[str, int]
    modalities: dict[str, Modality]
    folds: dict[str, Fold]
    notes: list[str] = field(factory=list)


@frozen
class Validation:
    """The validation fold after one epoch."""

    mean_macro_f1: float
    complete_macro_f1: float
    worst_macro_f1: float
    loss: float | None = None


@frozen
class Epoch:
    """One line of `history.jsonl`."""

    epoch: int
    train_loss: float | None
    valid: Validation
    seconds: float | None = None
    learning_rate: float | None = None


@frozen
class Run:
    """All that a run left behind."""

    folder: Path
    recipe: str
    model: Model
    data: Data
    history: list[Epoch]
    scores: Scores


def read_run(run: Path) -> Run:
    """Read the folder of a run. DataError for a missing or damaged file; a torn last line of the history is ignored."""
    scores = _parse(_bytes(run, "scores.json"), Scores, str(run / "scores.json"))
    _check(scores, run / "scores.json")
    recipe = _bytes(run, "recipe.toml").decode("utf-8", "replace")
    return Run(
        folder=run,
        recipe=_UNSAFE.sub("\ufffd", recipe.replace("\r\n", "\n")),
        model=_parse(_bytes(run, "model.json"), Model, str(run / "model.json")),
        data=_parse(_bytes(run, "data.json"), Data, str(run / "data.json")),
        history=_history(run),
        scores=scores,
    )


# Control characters, lone surrogates (no UTF-8 for them) and marks that reverse the text around them.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_DAMAGED = (
    cattrs.BaseValidationError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)


def _text(value: Any, _: type) -> str:
    if not isinstance(value, str):
        raise ValueError("text expected")
    return re.sub(r"[\t\n]", " ", _UNSAFE.sub("\ufffd", value))


def _number(value: Any, kind: type) -> Any:
    """Whole numbers where floats are wanted, but no truth values as numbers, no text, nothing infinite."""
    right = isinstance(value, (int, float) if kind is float else kind) and isinstance(value, bool) == (kind is bool)
    if not right or not math.isfinite(value):
        raise ValueError(f"{kind.__name__} expected")
    return kind(value)


_converter = cattrs.Converter()
_converter.register_structure_hook(str, _text)
for _kind in (int, float, bool):
    _converter.register_structure_hook(_kind, _number)
_converter.register_structure_hook(
    Confusion, lambda value, _: _converter.structure(value, dict[str, Matrix] if isinstance(value, dict) else Matrix)
)


def _bytes(run: Path, name: str) -> bytes:
    try:
        return (run / name).read_bytes()
    except FileNotFoundError:
        way_out = f"run `emotiwave evaluate {run}` first" if name == "scores.json" else "is it the folder of a run?"
        raise DataError(f"{run} has no {name}: {way_out}") from None
    except OSError as error:
        raise DataError(f"Cannot read {run / name}: {error.strerror}.") from error


def _parse(data: bytes, kind: type[Part], place: str) -> Part:
    try:
        # JSON has no NaN: what Python would read as one becomes null, which only optional numbers accept.
        return _converter.structure(json.loads(data.decode("utf-8"), parse_constant=lambda _: None), kind)
    except _DAMAGED as error:
        damage = cattrs.transform_error(error)[0] if isinstance(error, cattrs.BaseValidationError) else str(error)
        raise DataError(f"{place} is damaged or not what this version of Emotiwave writes: {damage}.") from error


def _history(run: Path) -> list[Epoch]:
    """The epochs in order; of an epoch that was trained again after a resume, the later line."""
    lines = [line for line in _bytes(run, "history.jsonl").split(b"\n") if line.strip()]
    epochs: dict[int, Epoch] = {}
    for number, line in enumerate(lines, start=1):
        try:
            epoch = _parse(line, Epoch, f"Line {number} of {run / 'history.jsonl'}")
        except DataError:
            if number < len(lines):
                raise
            break  # torn: the run was cut off while it wrote this line
        epochs[epoch.epoch] = epoch
    return [epochs[number] for number in sorted(epochs)]


def _check(scores: Scores, path: Path) -> None:
    """What the types cannot say: every name used as a key is one, and matrices have the size of the classes."""
    square = [len(scores.classes)] * len(scores.classes)

    def sound(one: ConfigurationScores) -> bool:
        if isinstance(one.confusion, dict):
            tables = [one.confusion.get(emotion, []) for emotion in scores.classes]
            fits = scores.objective == "multi" and all([len(row) for row in table] == [2, 2] for table in tables)
        else:
            fits = scores.objective == "single" and [len(row) for row in one.confusion] == square
        return fits and set(one.classes) == set(scores.classes)

    named = {scores.complete.configuration, scores.worst.configuration}
    if (
        not scores.classes
        or not named <= set(scores.configurations)
        or not all(map(sound, scores.configurations.values()))
    ):
        raise DataError(f"{path} is damaged: its configurations, classes and confusion matrices do not agree.")
