"""Shapley values as steps of a waterfall, and the moments of a sample as strips over its time axis."""

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

from emotiwave_core.report.charts import Axis, axis_of
from emotiwave_core.report.numbers import side, signed
from emotiwave_core.runs.explanation import Chosen, Explanation, Moment


class Step(NamedTuple):
    """One row of a waterfall; left and width are from 0 to 1."""

    label: str
    value: float
    kind: str  # "level" of a coalition, or what a modality adds: "up" or "down"
    left: float
    width: float


class Token(NamedTuple):
    """A word and how much it speaks for or against the class, from 0 to 1."""

    word: str
    side: str  # "for" or "against"
    depth: float
    about: str


class Strip(NamedTuple):
    """One modality: paths in a box of 1000 x 100; attention, where there is any, at the foot of it."""

    modality: str
    about: str
    most: float  # the occlusion that a bar of full length stands for
    zero: int
    above: str
    below: str
    attention: str
    words: list[Token]


class Story(NamedTuple):
    """A chosen sample, ready to draw."""

    sample: Chosen
    steps: list[Step]
    strips: list[Strip]
    ticks: list[tuple[float, str]]


WHY = {
    "right": "Most confident and right",
    "wrong": "Most confident and wrong",
    "changed": "Most changed by a missing modality",
}
NOTHING = 1e-3  # less would make noise look like a reason


def waterfall(empty: float, complete: float, shapley: Mapping[str, float], ends: tuple[float, float]) -> list[Step]:
    """From the empty coalition to the complete configuration, one step for each modality.

    The scale holds `ends` and every level that is reached.
    """
    levels = [empty]
    for value in shapley.values():
        levels.append(levels[-1] + value)
    low, high = min(*levels, complete, *ends), max(*levels, complete, *ends)
    axis = Axis(low, high, [])

    def bar(label: str, value: float, kind: str, start: float, end: float) -> Step:
        return Step(label, value, kind, axis.at(min(start, end)), abs(axis.at(end) - axis.at(start)))

    origin = max(low, min(0.0, high))
    return [
        bar("no modality", empty, "level", origin, empty),
        *(
            bar(name, value, "up" if side(value) == "for" else "down", before, before + value)
            for (name, value), before in zip(shapley.items(), levels, strict=False)
        ),
        bar("all modalities", complete, "level", origin, complete),
    ]


def stories(explanation: Explanation) -> dict[str, list[Story]]:
    """The chosen samples by the reason for the choice."""
    ends = (0.0, 1.0) if explanation.value == "probability" else (0.0, 0.0)
    found: dict[str, list[Story]] = {}
    for one in explanation.chosen:
        axis = axis_of(one.start, max(one.end, one.start + 1e-3), most=6)
        worded = _worded(one.moments)
        strips = [_strip(name, each, axis, words=name == worded) for name, each in one.moments.items() if each]
        labelled = {f"{name} (absent)" if name in one.absent else name: phi for name, phi in one.shapley.items()}
        steps = waterfall(one.empty, one.complete, labelled, ends)
        found.setdefault(WHY[one.why], []).append(Story(one, steps, strips, axis.labels()))
    return {title: found[title] for title in WHY.values() if title in found}


def _worded(moments: Mapping[str, list[Moment]]) -> str | None:
    """The modality to show the words with: the one whose steps tell them apart best."""

    def repeats(name: str) -> int:
        return sum(one.word == other.word for one, other in pairwise(moments[name]))

    return min((name for name in moments if any(one.word for one in moments[name])), key=repeats, default=None)


def _strip(modality: str, moments: list[Moment], axis: Axis, *, words: bool) -> Strip:
    """Bars as long as their occlusion against the largest of the modality, and flat where that is next to nothing."""
    largest = max(*(abs(one.occlusion) for one in moments), NOTHING)

    def place(seconds: float) -> float:
        return min(max(axis.at(seconds), 0.0), 1.0) * 1000

    def bar(moment: Moment) -> str:
        left, right = sorted((place(moment.start), place(moment.end)))
        height = (zero - 3) * moment.occlusion / largest
        return f"M{left:.1f} {zero}V{zero - height:.1f}H{max(right, left + 2):.1f}V{zero}Z"

    most = max((one.attention or 0.0 for one in moments), default=0.0)
    seen = [one for one in moments if one.attention is not None] if most > 0 else []
    zero = 36 if len(seen) > 1 else 50
    dots = (
        f"{place((one.start + one.end) / 2):.1f} {98 - 24 * max(one.attention or 0.0, 0.0) / most:.1f}" for one in seen
    )
    strongest = sorted(moments, key=lambda one: -abs(one.occlusion))[:3]
    return Strip(
        modality=modality,
        about=f"{modality}, {len(moments)} steps. Strongest: {'; '.join(map(_about, strongest))}.",
        most=largest,
        zero=zero,
        above="".join(bar(one) for one in moments if one.occlusion > 0),
        below="".join(bar(one) for one in moments if one.occlusion < 0),
        attention=f"M{'L'.join(dots)}" if len(seen) > 1 else "",
        words=[
            Token(one.word, side(one.occlusion), abs(one.occlusion) / largest, _about(one))
            for one in moments
            if words and one.word
        ],
    )


def _about(moment: Moment) -> str:
    word = f"{moment.word}, " if moment.word else ""
    return f"{word}{moment.start:.2f} to {moment.end:.2f} s: {signed(moment.occlusion)}"
