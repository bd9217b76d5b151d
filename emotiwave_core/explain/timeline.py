"""A recording over time as a run takes it, as a picture or a page: probabilities, who decided, and the words."""

import base64
import io
import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from emotiwave_core.explain.recording import RecordingPrediction, SegmentPrediction
from emotiwave_core.interfaces import SpokenWord
from emotiwave_core.io.atomic import write_bytes, write_text
from emotiwave_core.report.page import environment
from emotiwave_core.report.pictures import ACCENT, GREY, INK, PALE, STYLE, TWO_COLUMNS
from emotiwave_core.version import __version__

MOST_LINES = 8  # classes; of more the likeliest
ROWS = 3  # of words, so that they do not lie on each other
NOTHING = "#e4e7e9"  # where there is no evidence
SHARES = (ACCENT, "#c98b2b", "#7a4a9e", PALE, GREY)
LETTER = 0.011  # of the picture's width


def write_timeline(path: Path, answer: RecordingPrediction) -> None:
    """Write a PNG, or a page where the path ends in `.html`. ResourceError where it cannot be written."""
    if path.suffix.lower() == ".html":
        write_text(path, page(answer))
    else:
        write_bytes(path, _saved(answer, "png"))


def page(answer: RecordingPrediction) -> str:
    """One self-contained page, which loads nothing and runs no script: the picture, and the same as a table."""
    drawing = _saved(answer, "svg").decode("utf-8")
    return (
        environment()
        .get_template("timeline.html.j2")
        .render(
            answer=answer,
            name=Path(answer.file).name,
            drawing=base64.b64encode(drawing.encode()).decode(),
            version=__version__,
        )
    )


def _saved(answer: RecordingPrediction, form: str) -> bytes:
    metadata = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}[form]
    with matplotlib.style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a word without a glyph
        picture = io.BytesIO()
        drawn(answer).savefig(picture, format=form, dpi=200, metadata=metadata)
        return picture.getvalue()


def drawn(answer: RecordingPrediction) -> Figure:
    """Lines of the probabilities at the middle of each window, or levels over all; grey where there is no evidence.

    Beneath, what each modality adds to the value of the class that is decided; then the words.
    """
    with_evidence = [segment for segment in answer.segments if segment.has_evidence]
    modalities = list(dict.fromkeys(name for segment in with_evidence for name in segment.shapley))
    heights = (4, 1.6, 1) if modalities else (4, 1)
    figure = Figure(figsize=(TWO_COLUMNS, 0.6 * sum(heights)), layout="constrained")
    above, *between, below = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    for name in _likeliest(with_evidence):
        _line(above, answer.segments, name)
    for segment in answer.segments:
        if not segment.has_evidence:
            above.axvspan(segment.start, segment.end, color=NOTHING, linewidth=0, zorder=0)
    if len(with_evidence) < len(answer.segments):
        above.plot([], [], color=NOTHING, linewidth=6, label="no evidence")
    is_number = any(segment.numbers for segment in with_evidence)
    above.set_ylabel("Predicted" if is_number else "Probability")
    if not is_number:
        above.set_ylim(0, 1.02)
    above.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=7)
    if between:
        _shares(between[0], answer, modalities)
    _words(below, answer.words, answer.seconds)
    below.set_xlim(0, max(answer.seconds, 0.1))
    below.set_xlabel("Seconds of the recording")
    lacks = f" (without {', '.join(answer.missing)})" if answer.missing else ""
    figure.suptitle(f"{Path(answer.file).name[:60]}{lacks}", fontsize=8)
    return figure


def _shares(axes: Axes, answer: RecordingPrediction, modalities: Sequence[str]) -> None:
    """Bars of what each modality adds in a segment, stacked; what speaks against lies below zero."""
    starts = [segment.start for segment in answer.segments]
    steps = [after - before for before, after in pairwise(starts)]
    for number, modality in enumerate(modalities):
        colour = SHARES[number % len(SHARES)]
        for n, segment in enumerate(answer.segments):
            value = segment.shapley.get(modality, 0.0)
            own = [segment.shapley.get(other, 0.0) for other in modalities[:number]]
            base = sum(other for other in own if (other > 0) == (value > 0))
            wide = min(segment.end - segment.start, steps[min(n, len(steps) - 1)] if steps else np.inf)
            middle = (segment.start + segment.end) / 2
            axes.bar(middle, value, width=0.92 * wide, bottom=base, color=colour, linewidth=0)
        axes.bar([0], [0], color=colour, label=modality)
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.set_ylabel("Added by")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=7)


def answers_of(segment: SegmentPrediction) -> dict[str, float]:
    """The probabilities of the classes, or the numbers of a regression."""
    return segment.numbers or segment.probabilities


def _likeliest(segments: list[SegmentPrediction]) -> list[str]:
    if not segments:
        return []
    names = answers_of(segments[0])
    highest = {name: max(answers_of(segment)[name] for segment in segments) for name in names}
    kept = sorted(highest, key=lambda name: -highest[name])[:MOST_LINES]
    return [name for name in highest if name in kept]


def _line(axes: Axes, segments: tuple[SegmentPrediction, ...], name: str) -> None:
    """A class: a line through the middles of the windows, broken where there is no evidence."""
    values = [answers_of(segment).get(name, np.nan) for segment in segments]
    if len(segments) == 1:
        axes.plot([segments[0].start, segments[0].end], values * 2, label=name, linewidth=1.4)
        return
    middles = [(segment.start + segment.end) / 2 for segment in segments]
    axes.plot(middles, values, label=name, linewidth=1.4, marker="o", markersize=2)


def _words(axes: Axes, words: tuple[SpokenWord, ...] | None, seconds: float) -> None:
    """The words at their times, in rows; one that would lie on another is left out."""
    axes.set_yticks([])
    axes.set_ylim(-0.5, ROWS - 0.5)
    axes.set_ylabel("Words", rotation=0, ha="right", va="center")
    taken = [-np.inf] * ROWS
    for word in words or ():
        end = word.start + max(seconds, 0.1) * LETTER * (len(word.text) + 1)
        row = next((number for number in range(ROWS) if taken[number] <= word.start), None)
        if row is not None:
            axes.text(word.start, ROWS - 1 - row, word.text, fontsize=6.5, va="center", clip_on=True)
            taken[row] = end
    if not words:
        said = "not known" if words is None else "none are said"
        axes.text(0.01, 0.5, said, transform=axes.transAxes, fontsize=6.5, va="center", color="#6b7680")
