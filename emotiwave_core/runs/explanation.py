"""`explanation.json`: which modality decided, over the fold and in chosen samples, and the occlusion of each stretch.

The same records tell one sample in full (`emotiwave explain --sample`).
"""

import os
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from emotiwave_core.errors import DataError
from emotiwave_core.io.atomic import write_json
from emotiwave_core.modalities import modality_of
from emotiwave_core.runs.schema import Fraction, anew, converter, file_bytes, name_by_headline, parse
from emotiwave_core.runs.scores import Scores

if TYPE_CHECKING:
    from emotiwave_core.metrics.headline import Headline

EXPLANATION = "explanation.json"
FORMAT = 1
SMALLEST_SCALE = 0.1  # log-odds: a bar of full length stands for no less, or noise would look like a reason
SMALLEST_SHARE = 0.05  # of the deviation of a target: likewise


@frozen
class OcclusionWindow:
    """A stretch of one stream of a modality, and what masking it out does."""

    start: float  # seconds of the video
    end: float
    # How far the log-odds of the explained class, or the number of the target, fall without it; below 0 they rise.
    occlusion: float
    attention: float | None = None  # the share of its steps in what the encoder pools, where it weighs them
    word: str | None = None  # what is said meanwhile, where the words are known


@frozen
class ScoreAttribution:
    """The headline score of the fold, split over the modalities."""

    empty: float
    complete: float
    shapley: dict[str, float]
    share: dict[str, Fraction | None]
    interaction: dict[str, float]  # of every pair
    cooperation: dict[str, float]  # of every configuration of two or more


@frozen
class ClassAttribution:
    """The samples decided for one class: how many, and the mean Shapley values for that class.

    Of a target all samples, and the mean of the absolute Shapley values.
    """

    samples: int
    shapley: dict[str, float | None]


@frozen(kw_only=True)
class SampleAttribution:
    """One sample: its Shapley values sum from `empty` to `complete`, the values of the explained class or target."""

    id: str
    start: float
    end: float
    truth: str
    predicted: str
    explained: str  # the class or target, `class` or `target` in the file
    present: list[str] | None = None  # the modalities it has; None where the file does not say
    confidence: Fraction | None = None  # the probability of what is decided, of several labels their mean
    risk: Fraction | None = None  # the least that `predict --max-risk` can be given and it is decided
    # {modality: its distance from the training's}, and {pair: how many times less it agrees}, beyond the threshold of 1
    alarms: dict[str, float] = field(factory=dict)
    empty: float
    complete: float
    shapley: dict[str, float]
    interaction: dict[str, float] = field(factory=dict)
    moments: dict[str, list[OcclusionWindow]] = field(factory=dict)  # {stream: …}
    smallest_scale: float = SMALLEST_SCALE  # a bar of full length stands for no less; in the file of numbers alone
    headline: str = "macro_f1"

    @property
    def unit(self) -> str:
        """The value that occlusion is measured in."""
        return "predicted number" if self.headline == "ccc" else "log-odds"

    @property
    def absent(self) -> list[str]:
        """The modalities that were not recorded of it."""
        return [] if self.present is None else [m for m in self.shapley if m not in self.present]


@frozen(kw_only=True)
class ChosenSample(SampleAttribution):
    """A sample worth a look."""

    why: str  # "right" | "wrong" | "changed"
    changed_by: str | None = None  # the modality without which its probabilities move most


@frozen(kw_only=True)
class ExplanationFile:
    """The file."""

    format: int = FORMAT
    fold: str
    value: str  # what is split: "probability" | "logit" | "number"
    empty: str  # what stands for no modality: "prior" | "zeros"
    modalities: list[str]
    classes: list[str]  # or targets: `targets` and `by_target` in the file of numbers
    samples: int
    absent: dict[str, list[str]] = field(factory=dict)  # {id: the modalities that this sample lacks}
    score: ScoreAttribution  # `macro_f1` or `ccc` in the file
    decided: dict[str, Fraction | None]  # share of the samples in which a modality has the largest Shapley value
    share: dict[str, Fraction | None]  # mean MM-SHAP share
    by_class: dict[str, ClassAttribution]
    chosen: list[ChosenSample]
    headline: str = "macro_f1"

    @property
    def judged_by(self) -> "Headline":
        """The score that is split."""
        from emotiwave_core.metrics.headline import headline_of  # NumPy, which `--help` does without

        return headline_of("regression" if self.headline == "ccc" else "single")

    def to_dict(self) -> dict[str, Any]:
        """The content of the file, for JSON."""
        return dict(converter.unstructure(self))


@frozen
class ClassOfSample:
    """One class of one sample, or one target with its numbers."""

    predicted: bool | float
    true: bool | float
    empty: float
    complete: float
    shapley: dict[str, float]
    interaction: dict[str, float]


@frozen
class ConfigurationOfSample:
    """The answer of one configuration about one sample."""

    predicted: str
    answers: dict[str, float]  # probabilities, or numbers


@frozen
class SampleDetails:
    """One sample in full: also every class and every configuration."""

    fold: str
    value: str
    empty_coalition: str
    sample: SampleAttribution
    share: dict[str, float]
    cooperation: dict[str, float]
    classes: dict[str, ClassOfSample]
    configurations: dict[str, ConfigurationOfSample]

    def to_dict(self) -> dict[str, Any]:
        """All of it for JSON, with the values of `sample` beside the others."""
        numbers, content = self.sample.headline == "ccc", dict[str, Any]()
        names = {"classes": "targets", "answers": "numbers"} if numbers else {"answers": "probabilities"}
        for key, value in converter.unstructure(self).items():
            content |= value if key == "sample" else {names.get(key, key): value}
        for name, answer in content["configurations"].items():
            content["configurations"][name] = {names.get(key, key): value for key, value in answer.items()}
        return content


for _record in (SampleAttribution, ChosenSample):
    name_by_headline(
        _record, {"macro_f1": {"explained": "class", "smallest_scale": None}, "ccc": {"explained": "target"}}
    )
name_by_headline(
    ExplanationFile,
    {
        "macro_f1": {"score": "macro_f1"},
        "ccc": {"score": "ccc", "classes": "targets", "by_class": "by_target"},
    },
)


def write_explanation(run: Path, explanation: ExplanationFile) -> None:
    """Write `explanation.json` of a run."""
    write_json(run / EXPLANATION, explanation.to_dict())


def _modalities_in(names: Iterable[str]) -> set[str]:
    """The modalities of names, of which some are of pairs, as `audio+visual`."""
    return {modality for name in names for modality in name.split("+")}


def read_explanation(run: Path, scores: Scores) -> ExplanationFile | None:
    """The explanation of a run, None where it was not asked for; DataError where it does not fit the scores."""
    if not os.path.lexists(run / EXPLANATION):
        return None
    read = parse(file_bytes(run, EXPLANATION), ExplanationFile, str(run / EXPLANATION), anew(run))
    modalities = set(read.modalities)
    pairs = {"+".join(pair) for pair in combinations(read.modalities, 2)}
    fold = read.score
    fits = (
        (read.modalities, read.classes) == (scores.modalities, scores.classes)
        and read.headline == scores.headline
        and read.value in (("number",) if scores.headline == "ccc" else ("probability", "logit"))
        and all(set(keys) == modalities for keys in (fold.shapley, fold.share, read.decided, read.share))
        and pairs <= set(fold.interaction)
        and all(set(attribution.shapley) == modalities for attribution in read.by_class.values())
        and all(set(sample.shapley) == modalities for sample in read.chosen)
        and all({modality_of(key), key} & modalities for sample in read.chosen for key in sample.moments)
        and all(sample.why in ("right", "wrong", "changed") for sample in read.chosen)
        and all({*(sample.present or ()), *_modalities_in(sample.alarms)} <= modalities for sample in read.chosen)
        and all(set(absent) < modalities for absent in read.absent.values())
    )
    if not fits:
        raise DataError(f"{run / EXPLANATION} does not fit the scores beside it; {anew(run)}.")
    return read
