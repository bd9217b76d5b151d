"""The charts of a run as PNG files that fit a paper: one column wide or two, 300 dots an inch, 8 point type.

Names are data: they are shortened, and `$` in them is a dollar sign and not the start of a formula.
"""

import io
import math
import warnings
from typing import Any

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from emotiwave_core.io.atomic import write_bytes
from emotiwave_core.runs.contents import Run
from emotiwave_core.runs.protocol_scores import ProtocolScores
from emotiwave_core.runs.schema import Matrix

ACCENT, PALE, INK, GREY = "#0f6e84", "#8fbcc7", "#1b2125", "#6b747b"
LINES = ((ACCENT, "-"), (INK, "--"), ("#b3471d", "-."), ("#7a4a9e", ":"), ("#7d4f00", "-"), (GREY, "--"), (PALE, "-"))
HEAT = LinearSegmentedColormap.from_list("heat", ["#ffffff", "#6ea7b3"])  # pale enough for dark numbers on it
COLUMN, TWO_COLUMNS = 3.4, 7.0  # inches
STYLE: dict[str, Any] = {
    "font.size": 8, "axes.labelsize": 8, "xtick.labelsize": 7, "ytick.labelsize": 7, "legend.fontsize": 7,
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": GREY, "axes.linewidth": 0.6,
    "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "legend.frameon": False,
    "xtick.major.width": 0.6, "ytick.major.width": 0.6, "text.parse_math": False,
}  # fmt: skip


def write_pictures(run: Run) -> list[str]:
    """Write the charts into the folder of the run as PNG, one for each protocol too, and return their names."""
    drawn = {
        "configurations.png": configurations,
        "confusion.png": confusion,
        "reliability.png": reliability,
        "learning_curves.png": learning_curves,
    }
    # The reader's own matplotlibrc must not change a paper's figures, nor a name without glyphs clutter the terminal.
    with matplotlib.style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        figures = {name: draw(run) for name, draw in drawn.items()}
        figures |= {f"protocol_{one.protocol}.png": protocol_curves(one, run.guess(one)) for one in run.protocols}
        for name, figure in figures.items():
            picture = io.BytesIO()
            figure.savefig(picture, format="png", dpi=300, metadata={"Software": None})
            write_bytes(run.folder / name, picture.getvalue())
    return list(figures)


def configurations(run: Run) -> Figure:
    """Macro-F1 of each configuration as bars with their intervals, and the mean as a line."""
    scores = run.scores
    values = [one.macro_f1 for one in scores.configurations.values()]
    figure = Figure(figsize=(COLUMN, 0.7 + 0.19 * len(values)), layout="constrained")
    axes = figure.subplots()
    colours = [ACCENT if name == scores.complete.configuration else PALE for name in scores.configurations]
    axes.axvline(scores.mean_macro_f1, color=INK, linewidth=0.8, linestyle=(0, (4, 2)))
    axes.text(scores.mean_macro_f1, -0.7, f"mean {scores.mean_macro_f1:.3f}", ha="center", va="bottom", fontsize=7)
    bars = axes.barh(range(len(values)), values, height=0.66, color=colours)
    ends = [one.macro_f1_interval or (one.macro_f1, one.macro_f1) for one in scores.configurations.values()]
    axes.hlines(range(len(values)), [low for low, _ in ends], [high for _, high in ends], color=INK, linewidth=0.7)
    # The number stands right of the interval; a bar without a colour carries it.
    bars = axes.barh(range(len(values)), [max(v, high) for v, (_, high) in zip(values, ends, strict=True)], alpha=0)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # keeps the line of the mean out of the numbers
    axes.bar_label(bars, [f"{value:.3f}" for value in values], padding=3, fontsize=7, bbox=box)
    axes.set_yticks(range(len(values)), [short(name, 36) for name in scores.configurations])
    axes.tick_params(axis="y", length=0)
    axes.set(xlim=(0, 1), ylim=(len(values) - 0.4, -0.6), xlabel=f"Macro-F1 ({short(scores.fold, 20)} fold)")
    return figure


def confusion(run: Run) -> Figure:
    """The confusion of the complete configuration: one matrix, or a 2 x 2 one for each emotion."""
    scores = run.scores
    matrices = scores.configurations[scores.complete.configuration].confusion
    names = [short(name, 16) for name in scores.classes]
    if isinstance(matrices, list):
        size = min(max(1.3 + 0.36 * len(names), COLUMN), TWO_COLUMNS)
        figure = Figure(figsize=(size, size * 0.94), layout="constrained")
        _heat(figure.subplots(), matrices, names)
        return figure
    columns = min(len(names), 4) or 1
    rows = math.ceil(len(names) / columns) or 1
    figure = Figure(figsize=(1.75 * columns, 1.8 * rows), layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, name, emotion in zip(grid, names, scores.classes, strict=False):
        _heat(axes, matrices[emotion], ["no", "yes"])
        axes.set_title(name, fontsize=8)
    for axes in grid[len(names) :]:
        axes.set_axis_off()
    return figure


def _heat(axes: Axes, matrix: Matrix, names: list[str]) -> None:
    """Rows are normalised; numbers are written in while there is room for them."""
    shares = [[cell / max(sum(row), 1) for cell in row] for row in matrix]
    ticks = range(len(names))
    axes.imshow(shares or [[0.0]], vmin=0, vmax=1, cmap=HEAT)
    axes.set_xticks(ticks, names, rotation=0 if max(map(len, names), default=0) < 5 else 90)
    axes.set_yticks(ticks, names)
    axes.set(xlabel="Predicted", ylabel="True")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for row, column in ((row, column) for row in ticks for column in ticks if matrix[row][column] and len(names) <= 20):
        words = f"{shares[row][column] * 100:.0f}%\n{matrix[row][column]}" if len(names) <= 8 else matrix[row][column]
        axes.text(column, row, str(words), ha="center", va="center", fontsize=6, linespacing=1.1)


def learning_curves(run: Run) -> Figure:
    """Losses on the left, macro-F1 of the validation fold with the kept epoch on the right."""
    figure = Figure(figsize=(TWO_COLUMNS, 2.3), layout="constrained")
    losses, f1s = figure.subplots(1, 2)
    epochs = [one.epoch for one in run.history]
    nan = float("nan")
    marker = "o" if len(epochs) == 1 else None
    train = [nan if one.train_loss is None else one.train_loss for one in run.history]
    valid = [nan if one.valid.loss is None else one.valid.loss for one in run.history]
    losses.plot(epochs, train, color=ACCENT, label="training", marker=marker)
    if not all(math.isnan(value) for value in valid):
        losses.plot(epochs, valid, color=INK, linestyle="--", linewidth=1, label="validation", marker=marker)
    f1s.plot(epochs, [one.valid.mean_macro_f1 for one in run.history], color=ACCENT, label="mean", marker=marker)
    for label, dashes in (("complete", "--"), ("worst", ":")):
        line = [getattr(one.valid, f"{label}_macro_f1") for one in run.history]
        f1s.plot(epochs, line, color=INK, linewidth=1, linestyle=dashes, label=label, marker=marker)
    if run.model.best.epoch in epochs:
        f1s.axvline(run.model.best.epoch, color=GREY, linewidth=0.8, label=f"best: epoch {run.model.best.epoch}")
    losses.set_ylabel("Loss")
    f1s.set_ylabel("Macro-F1 (validation fold)")
    for axes in (losses, f1s):
        axes.set_xlabel("Epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, columnspacing=1.2, handlelength=1.8)
    return figure


def reliability(run: Run) -> Figure:
    """Observed frequency over predicted probability in the complete configuration, with the size of each bin."""
    calibration = run.scores.configurations[run.scores.complete.configuration].calibration
    xs, ys = [one.confidence for one in calibration.bins], [one.frequency for one in calibration.bins]
    total = max(sum(one.count for one in calibration.bins), 1)
    figure = Figure(figsize=(COLUMN, COLUMN * 0.9), layout="constrained")
    axes = figure.subplots()
    axes.bar(xs, [one.count / total for one in calibration.bins], width=0.024, color=PALE, label="share of predictions")
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=(0, (1, 2)), label="perfect")
    axes.plot(xs, ys, color=ACCENT, marker="o", markersize=3, label=f"ECE {calibration.ece:.3f}")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="Predicted probability", ylabel="Observed frequency")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, columnspacing=1.2, handlelength=1.8)
    return figure


def protocol_curves(protocol: ProtocolScores, guess: float | None = None) -> Figure:
    """Macro-F1 of the complete configuration over the level of the damage, a line for each curve, with intervals.

    `guess` is what is reached without the input, a dashed line.
    """
    figure = Figure(figsize=(COLUMN, 2.6), layout="constrained")
    axes = figure.subplots()
    others = protocol.against.curves if protocol.against else {}
    for place, (name, curve) in enumerate(protocol.curves.items()):
        colour, dashes = LINES[place % len(LINES)]
        look: dict[str, Any] = {"color": colour, "linestyle": dashes}
        axes.plot(curve.levels, curve.macro_f1, marker="o", markersize=2, label=short(name, 24), **look)
        known = [(level, ends) for level, ends in zip(curve.levels, curve.intervals or [], strict=False) if ends]
        if known and len(protocol.curves) < 4:
            levels, lows, highs = zip(*((level, low, high) for level, (low, high) in known), strict=True)
            axes.fill_between(levels, lows, highs, color=colour, alpha=0.12, linewidth=0)
        if protocol.against and name in others:
            label = f"{short(name, 24)} ({short(protocol.against.run, 16)})"
            axes.plot(curve.levels, others[name].macro_f1, linewidth=0.6, label=label, **look)
    if guess is not None:
        axes.axhline(guess, color=GREY, linewidth=0.8, linestyle=(0, (4, 2)), label="guess without the input")
    axes.set(xlabel=f"Level ({short(protocol.protocol, 20)})", ylabel=f"Macro-F1 ({short(protocol.fold, 20)} fold)")
    axes.set_ylim(0, 1)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, columnspacing=1.2, handlelength=2.2)
    return figure


def short(name: str, length: int) -> str:
    """A name that fits: cut, with an ellipsis."""
    return name if len(name) <= length else f"{name[: length - 1]}…"
