"""Shapley values as the steps of a waterfall, from no modality to all."""

from collections.abc import Mapping
from typing import NamedTuple

from emotiwave_core.report.charts import Axis
from emotiwave_core.report.numbers import side


class Step(NamedTuple):
    """One row of a waterfall; left and width are from 0 to 1."""

    label: str
    value: float
    kind: str  # "level" of a coalition, or what a modality adds: "up" or "down"
    left: float
    width: float


def waterfall(empty: float, complete: float, shapley: Mapping[str, float], ends: tuple[float, float]) -> list[Step]:
    """Steps from the empty coalition to the complete configuration, one for each modality.

    The scale holds `ends` and every level that is reached.
    """
    levels = [empty]
    for value in shapley.values():
        levels.append(levels[-1] + value)
    low, high = min(*levels, complete, *ends), max(*levels, complete, *ends)
    axis = Axis(low, high, [])

    def step(label: str, value: float, kind: str, start: float, end: float) -> Step:
        return Step(label, value, kind, axis.at(min(start, end)), abs(axis.at(end) - axis.at(start)))

    origin = max(low, min(0.0, high))
    return [
        step("no modality", empty, "level", origin, empty),
        *(
            step(modality, value, "up" if side(value) == "for" else "down", before, before + value)
            for (modality, value), before in zip(shapley.items(), levels, strict=False)
        ),
        step("all modalities", complete, "level", origin, complete),
    ]
