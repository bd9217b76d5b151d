"""A picture of what a run makes of a recording: probabilities over time, and the words beneath."""

import io
import warnings
from pathlib import Path

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from emotiwave_core.explain.recording import RecordingPrediction, SegmentPrediction
from emotiwave_core.interfaces import SpokenWord
from emotiwave_core.io.atomic import write_bytes
from emotiwave_core.report.pictures import STYLE, TWO_COLUMNS

MOST_LINES = 8  # classes; of more the likeliest
ROWS = 3  # of words, so that they do not lie on each other
LETTER = 0.011  # of the picture's width


def write_picture(path: Path, answer: RecordingPrediction) -> None:
    """Write the picture as a PNG. ResourceError where it cannot be written."""
    with matplotlib.style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a word without a glyph
        picture = io.BytesIO()
        drawn(answer).savefig(picture, format="png", dpi=200, metadata={"Software": None})
        write_bytes(path, picture.getvalue())


def drawn(answer: RecordingPrediction) -> Figure:
    """Lines of the probabilities at the middle of each window, or levels over all; grey where there is no evidence."""
    figure = Figure(figsize=(TWO_COLUMNS, 3.0), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    with_evidence = [segment for segment in answer.segments if segment.has_evidence]
    names = _likeliest(with_evidence)
    for name in names:
        _line(above, answer.segments, name)
    for segment in answer.segments:
        if not segment.has_evidence:
            above.axvspan(segment.start, segment.end, color="#e4e7e9", linewidth=0, zorder=0)
    if len(with_evidence) < len(answer.segments):
        above.plot([], [], color="#e4e7e9", linewidth=6, label="no evidence")
    is_number = any(segment.numbers for segment in with_evidence)
    above.set_ylabel("Predicted" if is_number else "Probability")
    if not is_number:
        above.set_ylim(0, 1.02)
    above.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=7)
    _words(below, answer.words, answer.seconds)
    below.set_xlim(0, max(answer.seconds, 0.1))
    below.set_xlabel("Seconds of the recording")
    lacks = f" (without {', '.join(answer.missing)})" if answer.missing else ""
    figure.suptitle(f"{Path(answer.file).name[:60]}{lacks}", fontsize=8)
    return figure


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
