"""Sound metrics, and metrics with one defect each: `breaks` names exactly the laws that it breaks."""
# ruff: noqa: D101, D102 -- the name of a broken metric says what is wrong with it

from typing import Any, ClassVar

import numpy as np

from emotiwave_core.metrics import AnyMetric, ClassMean, Metric, Outcomes
from emotiwave_core.metrics.numbers import NumberMetric, PredictedNumbers


class SoundMetric(Metric):
    """Breaks no law; the broken ones differ from it in one place."""

    breaks: tuple[str, ...] = ()
    title = "Right"
    single_label = multi_label = "share of the answers that are right"

    def score(self, outcomes: Outcomes, each: list[float | None]) -> float | None:
        return float((outcomes.truth == outcomes.decided).mean())

    def guess(self, shares: Any, each: list[float | None], multi: bool) -> float | None:
        return float(np.maximum(shares, 1.0 - shares).mean()) if multi else float(shares.max())


class SoundClassMean(ClassMean):
    breaks = ()
    title, class_key, higher_is_better = "Errors", "errors", False
    single_label = multi_label = "share of wrong answers"

    def score_class(self, outcomes: Outcomes, c: int) -> float | None:
        return float((outcomes.present[:, c] != outcomes.predicted[:, c]).mean())

    def guess_class(self, share: float) -> float | None:
        return min(share, 1.0 - share)


class SoundNumberMetric(NumberMetric):
    breaks = ()
    title, meaning, higher_is_better = "Largest error", "largest distance from the truth", False

    def score(self, numbers: PredictedNumbers) -> float | None:
        return float(np.abs(numbers.truth - numbers.predicted).max())


class NeitherKind(AnyMetric):
    breaks = (
        *("is_a_metric", "gives_a_number_or_none", "survives_rare_cases", "perfect_is_best"),
        *("order_of_samples_does_not_matter", "keeps_no_state", "does_not_change_its_input"),
        *("options_survive_a_recipe", "seeds_nothing", "import_draws_nothing"),
    )
    title = "Neither"

    def definition(self, multi: bool = False) -> str:
        return "nothing"


class Untitled(SoundMetric):
    breaks = ("says_what_it_is",)
    title: ClassVar[str] = ""


class MeanOfNothing(SoundMetric):
    breaks = ("gives_a_number_or_none", "perfect_is_best", "no_guess_is_above_the_floor", "survives_rare_cases")

    def score(self, outcomes: Outcomes, each: list[float | None]) -> float | None:
        right = super().score(outcomes, each)
        return None if right is None else float("nan")


class DividesBySupport(SoundMetric):
    breaks = ("survives_rare_cases",)

    def score(self, outcomes: Outcomes, each: list[float | None]) -> float | None:
        with np.errstate(all="ignore"):
            recall = (outcomes.present & outcomes.predicted).sum(axis=0) / outcomes.present.sum(axis=0)
        return float(recall.mean())

    def guess(self, shares: Any, each: list[float | None], multi: bool) -> float | None:
        return 1.0


class SaysMoreIsBetter(SoundClassMean):
    breaks = ("perfect_is_best", "no_guess_is_above_the_floor")
    higher_is_better = True


class FloorOfNothing(SoundMetric):
    breaks = ("no_guess_is_above_the_floor",)

    def guess(self, shares: Any, each: list[float | None], multi: bool) -> float | None:
        return 0.0


class WeighsTheFirstSample(SoundMetric):
    breaks = ("order_of_samples_does_not_matter",)

    def score(self, outcomes: Outcomes, each: list[float | None]) -> float | None:
        right = (outcomes.truth == outcomes.decided).reshape(len(outcomes.truth), -1).mean(axis=1)
        weights = np.arange(len(right), 0, -1)
        return float((weights * right).sum() / weights.sum())

    def guess(self, shares: Any, each: list[float | None], multi: bool) -> float | None:
        return 1.0


class CountsItsCalls(SoundMetric):
    breaks = ("keeps_no_state",)

    def __init__(self) -> None:
        self.calls = 0

    def score(self, outcomes: Outcomes, each: list[float | None]) -> float | None:
        self.calls += 1
        right = super().score(outcomes, each)
        return None if right is None else right / (1 + self.calls // 3)


class SortsInPlace(SoundMetric):
    breaks = ("does_not_change_its_input",)

    def score(self, outcomes: Outcomes, each: list[float | None]) -> float | None:
        score = super().score(outcomes, each)
        outcomes.probabilities.sort(axis=0)
        return score


class AnyMetricOptions(SoundMetric):
    breaks = ("options_are_explicit",)

    def __init__(self, **options: float) -> None:
        super().__init__()
