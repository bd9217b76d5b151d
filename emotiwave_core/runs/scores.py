"""`scores.json` as objects: what a model reaches on one fold, in every configuration."""

from pathlib import Path

from attrs import field, frozen

from emotiwave_core.errors import DataError
from emotiwave_core.runs.schema import Confusion, Fraction, Interval, anew, file_bytes, parse


@frozen
class ClassScores:
    """One class in one configuration."""

    precision: Fraction
    recall: Fraction
    f1: Fraction
    f1_interval: Interval | None
    weighted_f1: Fraction
    average_precision: Fraction | None
    support: int
    predicted: int
    weighted_accuracy: Fraction | None = None


@frozen
class Bin:
    """One bin of a reliability diagram: mean predicted probability, observed frequency."""

    confidence: Fraction
    frequency: Fraction
    count: int


@frozen
class Calibration:
    """Expected calibration error and the bins it is summed over."""

    ece: Fraction
    bins: list[Bin]


@frozen
class ConfigurationScores:
    """One configuration; drops are against the complete one."""

    macro_f1: Fraction
    macro_f1_interval: Interval | None
    micro_f1: Fraction
    weighted_f1: Fraction
    average_precision: Fraction | None
    calibration: Calibration
    absolute_drop: float
    relative_drop: float | None
    classes: dict[str, ClassScores]
    confusion: Confusion
    accuracy: Fraction | None = None
    weighted_accuracy: Fraction | None = None
    collapsed: str | None = None
    extra: dict[str, float] = field(factory=dict)  # of plugins that watch


@frozen
class Bootstrap:
    """How the intervals were made."""

    level: Fraction
    resamples: int
    unit: str
    videos: int
    seed: int


@frozen
class ConstantClass:
    """The best that one answer for every sample can reach on one class."""

    f1: Fraction | None
    weighted_f1: Fraction | None
    weighted_accuracy: Fraction | None
    average_precision: Fraction | None


@frozen
class Constant:
    """The best that one answer for every sample can reach on this fold, metric by metric.

    `drawn_macro_f1` is what answers drawn at random by the class frequencies have on average, where that may be more.
    """

    macro_f1: Fraction
    micro_f1: Fraction | None
    weighted_f1: Fraction | None
    weighted_accuracy: Fraction | None
    accuracy: Fraction | None
    average_precision: Fraction | None
    classes: dict[str, ConstantClass]
    drawn_macro_f1: Fraction | None = None

    @property
    def floor(self) -> float:
        """The macro-F1 that is reached without the input, by the better of both guesses."""
        return max(self.macro_f1, self.drawn_macro_f1 or 0.0)


@frozen
class Named:
    """The score of one configuration, by name."""

    configuration: str
    macro_f1: Fraction


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
    mean_macro_f1: Fraction
    mean_macro_f1_interval: Interval | None
    interval: Bootstrap
    constant: Constant
    complete: Named
    worst: Named
    no_emotion: str = "drop"
    thresholds: dict[str, float] | None = None
    notes: list[str] = field(factory=list)


def read_scores(run: Path) -> Scores:
    """`scores.json` of a run; DataError where it is missing, damaged, of an earlier version or does not agree."""
    data, path = file_bytes(run, "scores.json"), run / "scores.json"
    try:
        scores = parse(data, Scores, str(path), anew(run))
    except DataError as error:
        if data.lstrip().startswith(b"{") and b'"configurations"' in data and b'"macro_f1_interval"' not in data:
            raise DataError(f"{path} has no intervals: an earlier version wrote it; {anew(run)}.") from error
        raise
    _check(scores, path, anew(run))
    return scores


def _check(scores: Scores, path: Path, way_out: str) -> None:
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
        or set(scores.constant.classes) != set(scores.classes)
        or not set(scores.classes) <= set(scores.classes if scores.thresholds is None else scores.thresholds)
    ):
        raise DataError(
            f"{path} is damaged: its configurations, classes and confusion matrices do not agree; {way_out}."
        )
