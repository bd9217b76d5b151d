"""Occlusion of one sample: how far the log-odds of its class fall, or its number, when a stretch is masked out.

For the page as SVG paths and for a paper as a picture, both on one scale for all modalities, so that a modality that
hardly matters looks flat. What no window covers was not read, which is not the same as no effect: it is hatched.
"""

import io
import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from emotiwave_core.io.atomic import write_bytes
from emotiwave_core.report.charts import Axis
from emotiwave_core.report.numbers import MINUS, score, side, signed
from emotiwave_core.report.pictures import ACCENT, AGAINST, GREY, INK, STYLE, TWO_COLUMNS, short
from emotiwave_core.runs.explanation import OcclusionWindow, SampleAttribution

SHORTEST_GAP = 0.02  # of the sample: a shorter one lies between two steps
LABELLED_GAP = 0.18  # of the sample: in a narrower one the words "not read" have no room


class Token(NamedTuple):
    """A word and how much it speaks for or against the class, from 0 to 1."""

    word: str
    side: str  # "for" or "against"
    depth: float
    about: str


class Gap(NamedTuple):
    """A stretch that was not read; left and width are from 0 to 1."""

    left: float
    width: float
    labelled: bool


class OcclusionPlot(NamedTuple):
    """One modality: paths in a box of 1000 x 100; attention, where there is any, at the foot of it."""

    modality: str
    about: str
    zero: int  # the height of the line between for and against
    above: str
    below: str
    attention: str
    gaps: list[Gap]
    words: list[Token]


def scale_of(moments: Mapping[str, Sequence[OcclusionWindow]], least: float) -> float:
    """The occlusion that a bar of full length stands for, in all modalities of a sample: the largest of them.

    Never less than `least`, so that noise does not look like a reason.
    """
    return max(least, *(abs(moment.occlusion) for windows in moments.values() for moment in windows), 0.0)


def unread(windows: Sequence[OcclusionWindow], start: float, end: float) -> list[tuple[float, float]]:
    """The stretches from `start` to `end`, in seconds, that no window covers, but for those between two steps."""
    gaps, read = [], start
    for low, high in [*sorted(sorted((window.start, window.end)) for window in windows), [end, end]]:
        gaps.append((read, min(low, end)))
        read = max(read, high)
    return [(low, high) for low, high in gaps if high - low > SHORTEST_GAP * (end - start)]


def occlusion_plots(moments: Mapping[str, list[OcclusionWindow]], axis: Axis, least: float) -> list[OcclusionPlot]:
    """A plot for each modality that has moments, on one scale, over the seconds of `axis`."""
    worded, scale = _worded(moments), scale_of(moments, least)
    attentive = any(len(_attended(windows)) > 1 for windows in moments.values())
    zero = 36 if attentive else 50  # the same in all, or bars of one length would stand for two numbers
    return [
        _plot(modality, windows, axis, scale, zero, words=modality == worded)
        for modality, windows in moments.items()
        if windows
    ]


def _worded(moments: Mapping[str, list[OcclusionWindow]]) -> str | None:
    """The modality to show the words with: the one whose steps tell them apart best."""

    def repeats(modality: str) -> int:
        return sum(moment.word == following.word for moment, following in pairwise(moments[modality]))

    return min((m for m in moments if any(moment.word for moment in moments[m])), key=repeats, default=None)


def _attended(windows: list[OcclusionWindow]) -> list[OcclusionWindow]:
    """The windows with a share of the attention, none where all shares are 0."""
    known = [window for window in windows if window.attention is not None]
    return known if any((window.attention or 0.0) > 0 for window in known) else []


def _plot(
    modality: str, windows: list[OcclusionWindow], axis: Axis, scale: float, zero: int, *, words: bool
) -> OcclusionPlot:
    def across(seconds: float) -> float:
        return min(max(axis.at(seconds), 0.0), 1.0) * 1000

    def bar(window: OcclusionWindow) -> str:
        left, right = sorted((across(window.start), across(window.end)))
        height = (zero - 3) * window.occlusion / scale
        return f"M{left:.1f} {zero}V{zero - height:.1f}H{max(right, left + 2):.1f}V{zero}Z"

    attended = _attended(windows)
    most = max((window.attention or 0.0 for window in attended), default=1.0)
    dots = [
        f"{across((window.start + window.end) / 2):.1f} {98 - 24 * max(window.attention or 0.0, 0.0) / most:.1f}"
        for window in attended
    ]
    gaps = unread(windows, axis.low, axis.high)
    return OcclusionPlot(
        modality=modality,
        about=_in_words(modality, windows, gaps),
        zero=zero,
        above="".join(bar(window) for window in windows if window.occlusion > 0),
        below="".join(bar(window) for window in windows if window.occlusion < 0),
        attention=f"M{'L'.join(dots)}" if len(dots) > 1 else "",
        gaps=[
            Gap(axis.at(low), axis.at(high) - axis.at(low), axis.at(high) - axis.at(low) > LABELLED_GAP)
            for low, high in gaps
        ],
        words=[
            Token(window.word, side(window.occlusion), abs(window.occlusion) / scale, _about(window))
            for window in windows
            if words and window.word
        ],
    )


def _in_words(modality: str, windows: list[OcclusionWindow], gaps: list[tuple[float, float]]) -> str:
    strongest = sorted(windows, key=lambda window: -abs(window.occlusion))[:3]
    missing = ", ".join(f"{low:.2f} to {high:.2f} s" for low, high in gaps)
    return (
        f"{modality}, {len(windows)} steps. Strongest: {'; '.join(map(_about, strongest))}."
        f"{f' Not read: {missing}.' if missing else ''}"
    )


def _about(window: OcclusionWindow) -> str:
    word = f"{window.word}, " if window.word else ""
    return f"{word}{window.start:.2f} to {window.end:.2f} s: {signed(window.occlusion)}"


def write_picture(path: Path, sample: SampleAttribution) -> None:
    """Write the occlusion of a sample as a PNG."""
    with matplotlib.style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a word without a glyph
        picture = io.BytesIO()
        occlusion(sample).savefig(picture, format="png", dpi=300, metadata={"Software": None})
        write_bytes(path, picture.getvalue())


def occlusion(sample: SampleAttribution) -> Figure:
    """Bars as long as the log-odds or the number fall when a stretch is missing; attention as a line; words on top."""
    moments = {m: windows for m, windows in sample.moments.items() if windows}
    without = "".join(f", no {short(m, 16)}" for m in sample.moments if m not in moments)
    every = [window for windows in moments.values() for window in windows]
    start, end = min(sample.start, *(w.start for w in every)), max(sample.end, *(w.end for w in every))
    scale = scale_of(moments, sample.smallest_scale)
    figure = Figure(figsize=(TWO_COLUMNS, 0.9 + 1.1 * len(moments)), layout="constrained")
    grid = figure.subplots(len(moments), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, (modality, windows) in zip(grid, moments.items(), strict=True):
        _bars(axes, modality, windows)
        for low, high in unread(windows, start, end):
            _hatch(axes, low, high, labelled=high - low > LABELLED_GAP * (end - start))
        axes.tick_params(labelleft=axes is grid[0])  # the one scale is printed once
    _words(grid[0], next(iter(moments.values())))
    grid[0].set_yticks([-scale, 0, scale], [f"{MINUS}{score(scale)}", "0", f"+{score(scale)}"])
    grid[0].set_ylim(-1.08 * scale, 1.08 * scale)
    grid[-1].set_xlim(start, end)
    grid[-1].set_xlabel("Seconds of the video")
    predicted, truth = (short(text or "nothing", 30) for text in (sample.predicted, sample.truth))
    figure.suptitle(f"{short(sample.id, 40)}: predicted {predicted}, true {truth}{without}", fontsize=8)
    figure.supylabel(f"Drop of the {sample.unit} of {short(sample.explained, 16)}\n(one scale)", fontsize=8)
    return figure


def _bars(axes: Axes, modality: str, windows: list[OcclusionWindow]) -> None:
    """One modality: bars as wide as their stretch, and the attention on it as a line with a scale of its own."""
    starts, widths = [w.start for w in windows], [w.end - w.start for w in windows]
    colours = [ACCENT if window.occlusion >= 0 else AGAINST for window in windows]
    drops = [window.occlusion for window in windows]
    axes.bar(starts, drops, width=widths, align="edge", color=colours, edgecolor="white", linewidth=0.4)
    axes.axhline(0, color=GREY, linewidth=0.6)
    axes.set_ylabel(short(modality, 16))
    if any(window.attention is not None for window in windows):
        other = axes.twinx()
        middles = [start + width / 2 for start, width in zip(starts, widths, strict=True)]
        other.plot(middles, [w.attention or 0.0 for w in windows], color=INK, linewidth=0.8, linestyle="--")
        other.set_ylim(bottom=0)
        other.set_ylabel("attention")
        other.spines["right"].set_visible(True)


def _hatch(axes: Axes, low: float, high: float, *, labelled: bool) -> None:
    """A stretch that was not read."""
    axes.axvspan(low, high, facecolor="white", edgecolor="#c9cfd3", hatch="/////", linewidth=0, zorder=0.5)
    if labelled:
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        axes.annotate("not read", ((low + high) / 2, 0.5), xycoords=("data", "axes fraction"), ha="center", va="center",
                      fontsize=6, color=GREY, bbox=box)  # fmt: skip


def _words(axes: Axes, windows: list[OcclusionWindow]) -> None:
    """The words over their stretches, each once where several stretches share it."""
    spans: list[tuple[str, float, float]] = []
    for window in windows:
        if spans and window.word == spans[-1][0]:
            spans[-1] = (spans[-1][0], spans[-1][1], window.end)
        elif window.word:
            spans.append((window.word, window.start, window.end))
    for word, start, end in spans:
        top = ((start + end) / 2, 1.02)
        axes.annotate(short(word, 24), top, xycoords=("data", "axes fraction"), rotation=60, fontsize=6, va="bottom")
