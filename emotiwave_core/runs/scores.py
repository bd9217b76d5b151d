"""`scores.json`: what a model reaches on one fold, in every configuration. Made by `evaluate`, written and read here.

Metrics are a mapping by key in each record, and in the file they stand beside its other keys: a metric needs no field.
What a run is judged by, its headline, is macro-F1 of classes and the concordance correlation of numbers: `score`,
`mean` and `interval` here are `macro_f1`, `mean_macro_f1` and `macro_f1_interval` in the file of the one, and `ccc`,
`mean_ccc` and `ccc_interval` in that of the other.
"""

import difflib
import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs
import cattrs
from attrs import field, frozen
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn

from emotiwave_core.data.facts import Spread
from emotiwave_core.errors import DataError, SettingsError, choices
from emotiwave_core.io.atomic import write_json
from emotiwave_core.runs.schema import (
    Confusion,
    Fraction,
    Interval,
    Keys,
    Range,
    Score,
    ScoreInterval,
    anew,
    converter,
    file_bytes,
    functions_by_headline,
    name_by_headline,
    parse,
)

if TYPE_CHECKING:
    from emotiwave_core.metrics.headline import Headline

SCORES = "scores.json"
MOST_ENTRIES = 1 << 16  # configurations × classes of a run, of each of which the file has some 450 bytes
HALF = 0.5  # of what two modalities agree by in validation: below it they are told to be strangers
MOST_CELLS = 1 << 20  # of confusion matrices, of each of which it has some 12
Metrics = dict[str, float | None]  # by key, those of classes from 0 to 1; None where it is not defined


@frozen
class ClassScores:
    """One class in one configuration, against the rest."""

    precision: Fraction
    recall: Fraction
    support: int  # samples that have it
    predicted: int  # samples it is predicted for
    metrics: Metrics
    f1_interval: Interval | None

    @property
    def f1(self) -> float:
        """F1 of its presence; 0 where it is neither there nor predicted."""
        return _defined(self.metrics, "f1")


@frozen
class Bin:
    """One bin of a reliability diagram: mean predicted probability, observed frequency."""

    confidence: Fraction
    frequency: Fraction
    count: int


@frozen
class Calibration:
    """Expected calibration error and the bins it is summed over, and the risk-coverage curve."""

    ece: Fraction
    bins: list[Bin]
    risks: list[Fraction] = field(factory=list)  # share of errors among the surest 1/20, 2/20, …; of one class a sample


@frozen
class TargetScores:
    """One target of a regression in one configuration."""

    metrics: Metrics
    truth: Spread
    predicted: Spread
    ccc_interval: ScoreInterval | None


@frozen(kw_only=True)
class ConfigurationScores:
    """One configuration; drops are against the complete one. What classes alone have is empty or None of numbers."""

    metrics: Metrics
    classes: dict[str, ClassScores] = field(factory=dict)
    targets: dict[str, TargetScores] = field(factory=dict)  # of a regression
    confusion: Confusion | None = None  # empty where there would be more than MOST_CELLS in all, or of this one
    collapsed: str | None = None  # a sentence where every sample is predicted the same
    calibration: Calibration | None = None
    extra: dict[str, float] = field(factory=dict)  # of plugins: metrics, and what those that watch say
    interval: ScoreInterval | None
    absolute_drop: float
    relative_drop: float | None
    headline: str = "macro_f1"

    @property
    def score(self) -> float:
        """The headline: macro-F1, or the concordance correlation."""
        return _defined(self.metrics, self.headline)

    @property
    def risks(self) -> list[Fraction]:
        """The risk-coverage curve of single-label answers; empty of others."""
        return self.calibration.risks if self.calibration else []

    @property
    def macro_f1(self) -> float:
        """Macro-F1, of classes."""
        return _defined(self.metrics, "macro_f1")


@frozen
class Bootstrap:
    """Settings of the bootstrap that gave the intervals."""

    level: Fraction
    resamples: int
    unit: str
    videos: int
    seed: int


@frozen
class ClassBaselines:
    """The best that one answer for every sample can reach on one class."""

    metrics: Metrics

    @property
    def f1(self) -> float:
        """F1 of the class where it is predicted for every sample."""
        return _defined(self.metrics, "f1")


class Baseline(NamedTuple):
    """Scores without the input: their name, what they are in one sentence, and the metrics they are known for."""

    name: str
    meaning: str
    metrics: Metrics


@frozen
class Baselines:
    """Scores of guesses that ignore the input, on the same fold: a score says something where it is above both."""

    metrics: Metrics  # of the best constant guess, each metric by itself
    drawn_macro_f1: Fraction | None = None  # of answers drawn at random; None for multi-label, where it is the smaller
    classes: dict[str, ClassBaselines] = field(kw_only=True)

    @property
    def score(self) -> float:
        """Macro-F1 of the best constant guess."""
        return _defined(self.metrics, "macro_f1")

    @property
    def floor(self) -> float:
        """The macro-F1 that is reached without the input, by the better of both guesses."""
        return max(self.score, self.drawn_macro_f1 or 0.0)

    @property
    def named(self) -> list[Baseline]:
        """Each baseline with its explanation, for a table."""
        each = [Baseline("constant guess", "the best that one answer for every sample reaches", self.metrics)]
        if self.drawn_macro_f1 is not None:
            meaning = "classes drawn by their frequency, on average"
            each.append(Baseline("drawn at random", meaning, {"macro_f1": self.drawn_macro_f1}))
        return each


@frozen
class NumberBaselines:
    """Scores of one number for every sample, taken from the training fold: that of each guess by its name."""

    metrics: Metrics  # the better of the guesses, each metric by itself
    guesses: dict[str, Metrics]

    @property
    def score(self) -> float:
        """The concordance correlation of the better guess: 0, as of any one number for all."""
        return _defined(self.metrics, "ccc")

    @property
    def floor(self) -> float:
        """The concordance correlation that is reached without the input."""
        return self.score

    @property
    def named(self) -> list[Baseline]:
        """Each baseline with its explanation, for a table."""
        meaning = "this number for every sample"
        return [Baseline(name, meaning, metrics) for name, metrics in self.guesses.items()]


@frozen
class Abstention:
    """Decisions of the complete configuration where it is kept to a risk, as by `predict --max-risk`."""

    max_risk: Fraction  # share of errors among those of the validation fold
    decided: int  # samples
    wrong: int  # of them


@frozen
class ModalityAlarms:
    """Samples in which a modality is unlike those of the training."""

    samples: int  # that have the modality
    raised: int  # of them, those beyond its threshold
    highest: dict[str, float]  # {id: its distance over the threshold}, of some of those, the highest first


@frozen
class PairAlarms:
    """Samples in which two modalities do not fit each other, and how far all of them together do."""

    samples: int  # that have both
    raised: int  # of them, those that agree less than the threshold
    highest: dict[str, float]  # {id: how many times less}, of some of those, the highest first
    fit: float | None = None  # 1 as in validation, 0 as strangers (`predict.agreement.fit_of`)
    fit_interval: Range | None = None  # 95 %

    @property
    def are_strangers(self) -> bool:
        """True where they surely fit each other less than half as well as in validation."""
        return self.fit_interval is not None and self.fit_interval[1] < HALF

    def sentence(self, pair: str) -> str:
        """The sentence about a pair of strangers."""
        first, second = pair.split("+")
        return (
            f"{first} and {second} of these {self.samples:,} samples fit each other {max(self.fit or 0.0, 0.0):.0%} as "
            "well as in the run's validation fold, as if most were of two different samples. Look whether ids and "
            "times match; if they do, the run does not suit these data."
        )


@frozen
class Alarms:
    """Alarms on the fold; only of a run that has some, and warns of them or drops what raises them."""

    on_alarm: str  # "warn" | "drop": what the scores are of
    modalities: dict[str, ModalityAlarms]
    # {configuration: headline score} with what raises an alarm read as missing; empty where nothing would change, or
    # where that is not known.
    dropped: dict[str, Score] = field(factory=dict)
    pairs: dict[str, PairAlarms] = field(factory=dict)  # by pair, as `audio+visual`, of those whose agreement is known

    @property
    def all(self) -> dict[str, "ModalityAlarms | PairAlarms"]:
        """Those of modalities and of pairs."""
        return {**self.modalities, **self.pairs}


@frozen
class MetricMeaning:
    """A metric of a plugin: what its values under `extra` mean, and what is reached without the input."""

    title: str
    definition: str
    higher_is_better: bool
    guess: float | None  # the best of one answer for every sample; None where it is not defined

    def gain(self, value: float | None) -> float | None:
        """Distance of a score from the guess, positive where the score is the better one."""
        if value is None or self.guess is None:
            return None
        return value - self.guess if self.higher_is_better else self.guess - value


@frozen
class NamedScore:
    """The headline score of one configuration, by name."""

    configuration: str
    score: Score
    headline: str = "macro_f1"


@frozen(kw_only=True)
class Scores:
    """`scores.json`: one fold, all configurations. `scores["text+audio"]` is one of them."""

    dataset: str
    synthetic: bool
    fold: str
    no_emotion: str = "drop"
    samples: int
    objective: str
    classes: list[str]  # or the targets of a regression, and so they are called in its file
    modalities: list[str]
    configurations: dict[str, ConfigurationScores]
    mean: Score
    mean_interval: ScoreInterval | None
    complete: NamedScore
    worst: NamedScore
    constant: Baselines | NumberBaselines  # guesses that ignore the input
    interval: Bootstrap
    thresholds: dict[str, float] | None = None
    notes: list[str] = field(factory=list)
    plugin_metrics: dict[str, MetricMeaning] = field(factory=dict)  # by name, as under `extra`
    abstention: list[Abstention] = field(factory=list)  # of a single-label run that knows its risks
    alarms: Alarms | None = None
    headline: str = "macro_f1"

    @property
    def judged_by(self) -> "Headline":
        """The headline score."""
        from emotiwave_core.metrics.headline import headline_of  # NumPy, which `--help` does without

        return headline_of(self.objective)

    def __getitem__(self, configuration: str) -> ConfigurationScores:
        """The scores of a configuration, such as `text+audio`, its modalities in any order; else SettingsError."""
        refusal = f"There is no configuration '{configuration}'."
        return self.configurations[find_configuration(configuration, list(self.configurations), refusal)]

    def __iter__(self) -> Iterator[str]:
        """The names of the configurations, the complete one last."""
        return iter(self.configurations)

    def to_dict(self) -> dict[str, Any]:
        """The content of `scores.json`."""
        content: dict[str, Any] = converter.unstructure(self)
        for key in ("plugin_metrics", "abstention", "alarms"):
            if not content.get(key):  # so that scores without any are as they were before there were some
                content.pop(key, None)
        return content

    def to_frame(self) -> Any:
        """A pandas DataFrame: a row for each configuration, a column for each metric, the interval and the drops.

        SettingsError where pandas is not installed: Emotiwave does not depend on it.
        """
        try:
            pandas = importlib.import_module("pandas")
        except ImportError as error:
            raise SettingsError("A DataFrame needs pandas, which is not installed; to_dict() does not.") from error
        rows = []
        for entry in self.configurations.values():
            low, high = entry.interval or (None, None)
            interval: Metrics = {f"{self.headline}_low": low, f"{self.headline}_high": high}
            drops: Metrics = {"absolute_drop": entry.absolute_drop, "relative_drop": entry.relative_drop}
            rows.append({**entry.metrics, **interval, **drops, **entry.extra})
        return pandas.DataFrame(rows, index=pandas.Index(list(self.configurations), name="configuration"))


def find_configuration(asked: str, names: Sequence[str], refusal: str, others: Iterable[str] = ()) -> str:
    """The one of `names` that has the modalities of `asked`, in whatever order they stand there.

    SettingsError where there is none: the `refusal`, the nearest name, and all that could be said, `others` included.
    """
    by_members = {tuple(sorted(name.split("+"))): name for name in names}
    members = [member.strip() for member in asked.split("+")]
    if name := by_members.get(tuple(sorted(members))):
        return name
    modalities = [name for name in names if "+" not in name]
    near = [match for member in members for match in difflib.get_close_matches(member[:200], modalities, n=1)]
    meant = by_members.get(tuple(sorted(near)), asked) if len(near) == len(members) else asked
    raise SettingsError(f"{refusal}{choices(meant, [*others, *names])}")


def check_size(modalities: int, classes: int) -> None:
    """DataError where the scores of a run would be too large to be kept: said before it trains."""
    configurations = 2**modalities - 1
    if configurations * classes > MOST_ENTRIES:
        raise DataError(
            f"{modalities} modalities are {configurations} configurations, and with {classes} classes that is more "
            f"than the {MOST_ENTRIES} scores that a run keeps: use fewer modalities or classes (dataset.toml)."
        )


def without_large_matrices(scores: dict[str, ConfigurationScores], complete: str) -> dict[str, ConfigurationScores]:
    """The scores without the confusion matrices that would take too much: first those of all but the complete one."""
    cells = {name: sum(map(len, one.confusion)) for name, one in scores.items() if isinstance(one.confusion, list)}
    if sum(cells.values()) <= MOST_CELLS:
        return scores
    kept = complete if cells[complete] <= MOST_CELLS else None
    return {name: one if name == kept else attrs.evolve(one, confusion=[]) for name, one in scores.items()}


def write_scores(run: Path, scores: Scores) -> None:
    """Write `scores.json` into the folder of a run."""
    write_json(run / SCORES, scores.to_dict())


def read_scores(run: Path) -> Scores:
    """`scores.json` of a run; DataError where it is missing, damaged, of an earlier version or does not agree."""
    data, path = file_bytes(run, SCORES), run / SCORES
    try:
        scores = parse(data, Scores, str(path), anew(run))
    except DataError as error:
        if (
            data.lstrip().startswith(b"{")
            and b'"configurations"' in data
            and not any(f'"{key}_interval"'.encode() in data for key in ("macro_f1", "ccc"))
        ):
            raise DataError(f"{path} has no intervals: an earlier version wrote it; {anew(run)}.") from error
        raise
    if not _agrees(scores):
        raise DataError(
            f"{path} is damaged: its configurations, classes and confusion matrices do not agree; {anew(run)}."
        )
    return scores


def _agrees(scores: Scores) -> bool:
    """Checks what types cannot say: every name used as a key is one, and matrices have the size of the classes."""
    classes, square = set(scores.classes), [len(scores.classes)] * len(scores.classes)
    metrics = set(next(iter(scores.configurations.values())).metrics) if scores.configurations else set()
    numbers = scores.objective == "regression"

    def fits(one: ConfigurationScores) -> bool:
        if numbers:
            matrices = set(one.targets) == classes and one.metrics.get("ccc") is not None
        elif isinstance(one.confusion, dict):
            tables = [one.confusion.get(emotion, []) for emotion in scores.classes]
            matrices = scores.objective == "multi" and all([len(row) for row in table] == [2, 2] for table in tables)
        else:
            matrices = scores.objective == "single" and [len(row) for row in one.confusion or []] in (square, [])
        per_class = one.calibration is not None and set(one.classes) == classes
        return matrices and (numbers or per_class) and set(one.metrics) == metrics

    guesses = scores.constant
    known = isinstance(guesses, NumberBaselines) if numbers else set(getattr(guesses, "classes", ())) == classes
    return (
        bool(classes)
        and numbers == (scores.headline == "ccc")
        and {scores.complete.configuration, scores.worst.configuration} <= set(scores.configurations)
        and all(map(fits, scores.configurations.values()))
        and all(each.headline == scores.headline for each in (scores.complete, scores.worst))
        and known
        and set(scores.constant.metrics) >= metrics
        and _fits_alarms(scores)
        and all(one.wrong <= one.decided <= scores.samples for one in scores.abstention)
        and classes <= set(scores.classes if scores.thresholds is None else scores.thresholds)
    )


def _fits_alarms(scores: Scores) -> bool:
    """True where alarms are no more than the samples, and of the configurations that there are."""
    alarms = scores.alarms
    return alarms is None or (
        alarms.on_alarm in ("warn", "drop")
        and (not alarms.dropped or set(alarms.dropped) >= set(scores.configurations))
        and set(alarms.pairs) <= set(scores.configurations)
        and all(len(one.highest) <= one.raised <= one.samples <= scores.samples for one in alarms.all.values())
    )


def _defined(metrics: Metrics, key: str) -> float:
    """A metric that has a value for any samples."""
    value = metrics[key]
    assert value is not None, f"{key} is always defined"
    return value


def _flatten_metrics(
    kind: type,
    required: tuple[str, ...] = (),
    first: tuple[str, ...] = (),
    value: Any = Fraction,
    keys: Keys | None = None,
) -> None:
    """Let the metrics of a record stand beside its other keys in the file.

    Every key that is no field is a metric, of the type `value`. `required` ones are there and no null; `first` are keys
    in the order in which they are written, and the others follow in the order of the fields. With `keys` these are
    named by the headline, which is then what is required, and of numbers metrics are of any size.
    """
    structure_fields: Callable[[Any], Any]
    unstructure_fields: Callable[[Any], dict[str, Any]]
    names = {attribute.name for attribute in attrs.fields(kind)} - {"metrics"}
    if keys is None:
        read: Callable[[dict[str, Any], type], Any] = make_dict_structure_fn(kind, converter)
        structure_fields = lambda content: read(content, kind)  # noqa: E731
        unstructure_fields = make_dict_unstructure_fn(kind, converter)
    else:
        structure_fields, unstructure_fields = functions_by_headline(kind, keys, converter)
        names |= {key for renamed in keys.values() for key in renamed.values() if key is not None}

    def structure(content: dict[str, Any], _: type) -> Any:
        metrics, errors, needed, wanted_type = {}, [], required, value
        if keys is not None:
            numbers = next(iter(keys["ccc"].values())) in content
            needed, wanted_type = (("ccc",), float) if numbers else (("macro_f1",), Fraction)
        for key in dict.fromkeys([*needed, *(key for key in content if key not in names)]):
            wanted: Any = wanted_type if key in needed else wanted_type | None
            try:
                metrics[key] = converter.structure(content[key], wanted)
            except Exception as error:
                error.__notes__ = [cattrs.AttributeValidationNote(f"metric {key}", key, wanted)]
                errors.append(error)
        if errors:
            raise cattrs.ClassValidationError(f"while structuring {kind.__name__}", errors, kind)
        return structure_fields({key: content[key] for key in names if key in content} | {"metrics": metrics})

    def unstructure(record: Any) -> dict[str, Any]:
        content: dict[str, Any] = {}
        for key, value in unstructure_fields(record).items():
            content |= value if key == "metrics" else {key: value}
        return {key: content[key] for key in dict.fromkeys([*(key for key in first if key in content), *content])}

    converter.register_structure_hook(kind, structure)
    converter.register_unstructure_hook(kind, unstructure)


def _guesses(value: Any, _: Any) -> Baselines | NumberBaselines:
    """The guesses of numbers or of classes."""
    if isinstance(value, dict) and "guesses" in value:
        return converter.structure(value, NumberBaselines)
    return converter.structure(value, Baselines)


_CLASS_KEYS = ("precision", "recall", "f1", "support", "predicted", "weighted_accuracy", "weighted_f1")
_BASELINE_KEYS = ("macro_f1", "micro_f1", "weighted_f1", "accuracy", "drawn_macro_f1")

converter.register_unstructure_hook(Interval, list)
converter.register_unstructure_hook(ScoreInterval, list)
converter.register_unstructure_hook(Range, list)
_flatten_metrics(ClassScores, required=("f1",), first=_CLASS_KEYS)
_flatten_metrics(ClassBaselines, required=("f1",))
_flatten_metrics(TargetScores, required=("mae",), value=float)
_flatten_metrics(
    ConfigurationScores,
    keys={
        "macro_f1": {"interval": "macro_f1_interval", "targets": None},
        "ccc": {"interval": "ccc_interval", "classes": None, "confusion": None, "calibration": None},
    },
)
_flatten_metrics(Baselines, required=("macro_f1",), first=_BASELINE_KEYS)
_flatten_metrics(NumberBaselines, required=("ccc",), value=float)
converter.register_structure_hook(Baselines | NumberBaselines, _guesses)
name_by_headline(NamedScore, {"macro_f1": {"score": "macro_f1"}, "ccc": {"score": "ccc"}})
name_by_headline(
    Scores,
    {
        "macro_f1": {"mean": "mean_macro_f1", "mean_interval": "mean_macro_f1_interval"},
        "ccc": {
            "mean": "mean_ccc",
            "mean_interval": "mean_ccc_interval",
            "classes": "targets",
            "no_emotion": None,
            "thresholds": None,
            "abstention": None,
        },
    },
)
