"""The moments of one sample as a picture: one strip a modality, over the seconds of the video."""

import io
import warnings
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from emotiwave_core.io.atomic import write_bytes
from emotiwave_core.report.pictures import ACCENT, GREY, INK, STYLE, TWO_COLUMNS, short

AGAINST = "#b5533c"  # what speaks against the class


def write_picture(path: Path, about: dict[str, Any]) -> None:
    """Write the moments of a sample, as `emotiwave explain --sample ID --json` has them, as a PNG."""
    with matplotlib.style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a word without a glyph
        picture = io.BytesIO()
        moments(about).savefig(picture, format="png", dpi=300, metadata={"Software": None})
        write_bytes(path, picture.getvalue())


def moments(about: dict[str, Any]) -> Figure:
    """How far the log-odds fall when a stretch is missing, as bars; attention as a line; words on top."""
    strips = {m: some for m, some in about["moments"].items() if some}
    without = "".join(f", no {short(m, 16)}" for m in about["moments"] if m not in strips)
    figure = Figure(figsize=(TWO_COLUMNS, 0.9 + 1.1 * len(strips)), layout="constrained")
    grid = figure.subplots(len(strips), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, (m, some) in zip(grid, strips.items(), strict=True):
        _strip(axes, m, some)
    _words(grid[0], next(iter(strips.values())))
    every = [one for some in strips.values() for one in some]
    grid[-1].set_xlim(min(one["start"] for one in every), max(one["end"] for one in every))
    grid[-1].set_xlabel("Seconds of the video")
    predicted, truth = (short(about[key] or "nothing", 30) for key in ("predicted", "truth"))
    figure.suptitle(f"{short(about['id'], 40)}: predicted {predicted}, true {truth}{without}", fontsize=8)
    figure.supylabel(f"Drop of the log-odds of {short(about['class'], 16)}", fontsize=8)
    return figure


def _strip(axes: Axes, m: str, some: list[dict[str, Any]]) -> None:
    """One modality: bars as wide as their stretch, and the attention on it as a line with a scale of its own."""
    starts = [one["start"] for one in some]
    widths = [one["end"] - one["start"] for one in some]
    drops = [one["occlusion"] for one in some]
    colours = [ACCENT if drop >= 0 else AGAINST for drop in drops]
    axes.bar(starts, drops, width=widths, align="edge", color=colours, edgecolor="white", linewidth=0.4)
    axes.axhline(0, color=GREY, linewidth=0.6)
    axes.set_ylabel(short(m, 16))
    if any(one["attention"] is not None for one in some):
        other = axes.twinx()
        middles = [start + width / 2 for start, width in zip(starts, widths, strict=True)]
        other.plot(middles, [one["attention"] or 0.0 for one in some], color=INK, linewidth=0.8, linestyle="--")
        other.set_ylim(bottom=0)
        other.set_ylabel("attention")
        other.spines["right"].set_visible(True)


def _words(axes: Axes, some: list[dict[str, Any]]) -> None:
    """The words over their stretches, each once where several stretches share it."""
    runs: list[tuple[str, float, float]] = []
    for one in some:
        word = one["word"]
        if runs and word == runs[-1][0]:
            runs[-1] = (word, runs[-1][1], one["end"])
        elif word:
            runs.append((word, one["start"], one["end"]))
    for word, start, end in runs:
        place = ((start + end) / 2, 1.02)
        axes.annotate(short(word, 24), place, xycoords=("data", "axes fraction"), rotation=60, fontsize=6, va="bottom")
