"""The metric `uar`: unweighted average recall."""

from collections.abc import Callable

from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.metrics import AnyMetric, Array, Metric, Outcomes, mean_of_defined


class UnweightedAverageRecall(Metric):
    """Unweighted average recall, UAR (Schuller et al. 2009, Interspeech challenge): the mean recall of the classes.

    Of the classes that have samples, each counts alike. Of several labels it is not defined: to say yes to all would
    reach 1.
    """

    title = "UAR"
    single_label = "mean over the classes of the share of their samples that are found"
    multi_label = "not defined where a sample may have several classes"

    def score(self, outcomes: Outcomes, each: list[float | None]) -> float | None:
        """The mean recall of the classes that have samples."""
        if outcomes.multi:
            return None
        found, there = (outcomes.present & outcomes.predicted).sum(axis=0), outcomes.present.sum(axis=0)  # [C]
        return mean_of_defined(
            [hits / support if support else None for hits, support in zip(found, there, strict=True)]
        )

    def guess(self, shares: Array, each: list[float | None], multi: bool) -> float | None:
        """One class for all: recall 1 of it, and 0 of each other one that has samples."""
        return None if multi or not (shares > 0).any() else 1.0 / float((shares > 0).sum())


@hookimpl
def register_metrics(register: Callable[[str, type[AnyMetric]], None]) -> None:
    """Offer `uar`."""
    register("uar", UnweightedAverageRecall)
