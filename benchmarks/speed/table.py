"""A measurement as a row: what was measured, against which baseline, and what was hoped for."""

import operator
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

COMPARE = {"<=": operator.le, ">=": operator.ge, "=": operator.eq}


class Row(NamedTuple):
    """One figure; None where its measurement failed or needs what is not installed, and `note` says why.

    `goal` is a comparison and a number, such as ">= 0.8": of the ratio, or of the value where there is no baseline.
    """

    group: str
    what: str
    value: float | None
    unit: str
    baseline: str = ""
    baseline_value: float | None = None
    goal: str = ""
    note: str = ""
    installed: bool = True  # all that it measures

    @property
    def failed(self) -> bool:
        """True where there is no figure, though all that it measures is installed."""
        return self.value is None and self.installed

    @property
    def ratio(self) -> float | None:
        """value / baseline."""
        if self.value is None or not self.baseline_value:
            return None
        return self.value / self.baseline_value

    @property
    def met(self) -> bool | None:
        """True where the goal is reached; None where there is none, or nothing to hold against it."""
        judged = self.ratio if self.baseline else self.value
        if not self.goal or judged is None:
            return None
        sign, number = self.goal.split()
        return bool(COMPARE[sign](judged, float(number)))

    def table(self) -> dict[str, Any]:
        """For JSON, with what follows from the rest."""
        return self._asdict() | {"ratio": self.ratio, "met": self.met}


def medians(
    works: dict[str, Callable[[], Any]], runs: int = 5, settle: Callable[[], None] = lambda: None
) -> dict[str, float]:
    """The median seconds of each, measured in turn (A B A B …) so that a drifting machine meets all alike.

    The first of each is not counted: kernels are compiled and caches filled. `settle` waits for a device.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(runs + 1):
        for name, work in works.items():
            settle()
            began = time.perf_counter()
            work()
            settle()
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(some[1:]) for name, some in seconds.items()}


def markdown(rows: list[Row]) -> str:
    """The table for people."""
    lines = ["| | figure | baseline | ratio | goal | |", "| --- | ---: | --- | ---: | --- | --- |"]
    for row in rows:
        lacking = "failed" if row.failed else "not installed"
        figure = lacking if row.value is None else f"{row.value:.4g} {row.unit}".strip()
        compared = "" if row.baseline_value is None else f"{row.baseline}: {row.baseline_value:.4g} {row.unit}".strip()
        ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
        reached = {True: "yes", False: "no", None: ""}[row.met]
        cells = [f"{row.group}: {row.what}", figure, compared, ratio, row.goal, reached, row.note]
        lines.append("| " + " | ".join([*cells[:5], "; ".join(filter(None, cells[5:]))]) + " |")
    return "\n".join(lines)
