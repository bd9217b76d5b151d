"""Figures of a run that fit a paper: one column wide or two, 8 point type, as PNG of 300 dots an inch, PDF and SVG.

Names are data: they are shortened, and `$` in them is a dollar sign and not the start of a formula.
"""

import io
import math
import warnings
from collections.abc import Callable
from typing import Any

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from emotiwave_core.io.atomic import write_bytes
from emotiwave_core.report.charts import FIRM
from emotiwave_core.report.numbers import score, side, signed
from emotiwave_core.report.shown_classes import most_frequent, shown_matrix
from emotiwave_core.runs.contents import RunContents
from emotiwave_core.runs.explanation import ExplanationFile
from emotiwave_core.runs.protocol_scores import ProtocolScores
from emotiwave_core.runs.schema import Matrix

ACCENT, PALE, INK, GREY = "#0f6e84", "#8fbcc7", "#1b2125", "#6b747b"
AGAINST = "#b5533c"  # what speaks against a class
LINES = ((ACCENT, "-"), (INK, "--"), ("#b3471d", "-."), ("#7a4a9e", ":"), ("#7d4f00", "-"), (GREY, "--"), (PALE, "-"))
CHANCE = "#7d4f00"
HEAT = LinearSegmentedColormap.from_list("heat", ["#ffffff", "#6ea7b3"])  # pale enough for dark numbers on it
SIDES = LinearSegmentedColormap.from_list("sides", ["#dd9c8c", "#ffffff", "#6ea7b3"])
COLUMN, TWO_COLUMNS = 3.4, 7.0  # inches
MOST_CURVES = 4  # of single modalities, beside the complete configuration
STYLE: dict[str, Any] = {
    "font.size": 8, "axes.labelsize": 8, "xtick.labelsize": 7, "ytick.labelsize": 7, "legend.fontsize": 7,
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": GREY, "axes.linewidth": 0.6,
    "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "legend.frameon": False,
    "xtick.major.width": 0.6, "ytick.major.width": 0.6, "text.parse_math": False,
    "pdf.fonttype": 42, "svg.hashsalt": "emotiwave",
}  # fmt: skip


FORMATS: dict[str, dict[str, None]] = {  # without dates and versions, so that a run always gives the same bytes
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
}


def write_pictures(run: RunContents) -> list[str]:
    """Write the figures into the folder of the run, each as PNG, PDF and SVG, and return the names of the PNGs.

    One for each protocol too, and who decided where that was worked out.
    """
    own: dict[str, Callable[[RunContents], Figure]] = (
        {"scatter": scatter}
        if run.scores.objective == "regression"
        else {"confusion": confusion, "reliability": reliability}
    )
    drawn = {"configurations": configurations, **own, "learning_curves": learning_curves}
    # The reader's own matplotlibrc must not change a paper's figures, nor a name without glyphs clutter the terminal.
    with matplotlib.style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        figures = {name: draw(run) for name, draw in drawn.items()}
        if run.explanation and run.explanation.modalities[1:]:
            figures["shapley"] = shapley(run.explanation)
        if run.scores.configurations[run.scores.complete.configuration].risks:
            figures["risk_coverage"] = risk_coverage(run)
        figures |= {f"protocol_{it.protocol}": protocol_curves(it, run.guess(it)) for it in run.protocols}
        for name, figure in figures.items():
            for suffix, metadata in FORMATS.items():
                picture = io.BytesIO()
                figure.savefig(picture, format=suffix, dpi=300, metadata=metadata)
                figure.set_layout_engine("none")  # laid out once: the same in all formats
                write_bytes(run.folder / f"{name}.{suffix}", picture.getvalue())
    return [f"{name}.png" for name in figures]


def configurations(run: RunContents) -> Figure:
    """The score of each configuration as bars with their intervals; the mean and chance as lines."""
    scores = run.scores
    values = [scored.score for scored in scores.configurations.values()]
    figure = Figure(figsize=(COLUMN, 0.7 + 0.19 * len(values)), layout="constrained")
    axes = figure.subplots()
    colours = [ACCENT if name == scores.complete.configuration else PALE for name in scores.configurations]
    mean, chance = scores.mean, scores.constant.floor
    axes.axvline(mean, color=INK, linewidth=0.8, linestyle=(0, (4, 2)), label=f"mean {mean:.3f}")
    axes.axvline(chance, color=CHANCE, linewidth=0.8, linestyle=(0, (1, 1.5)), label=f"chance {chance:.3f}")
    axes.barh(range(len(values)), values, height=0.66, color=colours)
    ends = [scored.interval or (scored.score,) * 2 for scored in scores.configurations.values()]
    axes.hlines(range(len(values)), [low for low, _ in ends], [high for _, high in ends], color=INK, linewidth=0.7)
    # The number stands right of the interval; a bar without a colour carries it.
    bars = axes.barh(range(len(values)), [max(v, high) for v, (_, high) in zip(values, ends, strict=True)], alpha=0)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # keeps the lines out of the numbers
    axes.bar_label(bars, [f"{value:.3f}" for value in values], padding=3, fontsize=7, bbox=box)
    axes.set_yticks(range(len(values)), [short(name, 36) for name in scores.configurations])
    axes.tick_params(axis="y", length=0)
    axes.set(xlim=(min(0.0, *(low for low, _ in ends)), 1), ylim=(len(values) - 0.4, -0.6))
    axes.set_xlabel(f"{scores.judged_by.title} ({short(scores.fold, 20)} fold)")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, columnspacing=1.2, handlelength=2.2)
    return figure


def confusion(run: RunContents) -> Figure:
    """The confusion of the complete configuration: one matrix, or a 2 x 2 one for each frequent emotion."""
    scores = run.scores
    complete = scores.configurations[scores.complete.configuration]
    matrices, classes = complete.confusion or {}, scores.classes
    if isinstance(matrices, list):
        matrices, classes = shown_matrix(matrices, classes)
    else:
        classes = most_frequent({name: complete.classes[name].support for name in classes})
    names = [short(name, 16) for name in classes]
    if isinstance(matrices, list):
        size = min(max(1.3 + 0.36 * len(names), COLUMN), TWO_COLUMNS)
        figure = Figure(figsize=(size, size * 0.94), layout="constrained")
        _heat(figure.subplots(), matrices, names)
        return figure
    columns = min(len(names), 4) or 1
    rows = math.ceil(len(names) / columns) or 1
    figure = Figure(figsize=(1.75 * columns, 1.8 * rows), layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, name, emotion in zip(grid, names, classes, strict=False):
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


def learning_curves(run: RunContents) -> Figure:
    """Losses on the left, the score of the validation fold with the kept epoch on the right."""
    figure = Figure(figsize=(TWO_COLUMNS, 2.3), layout="constrained")
    losses, scores = figure.subplots(1, 2)
    epochs = [epoch.epoch for epoch in run.history]
    nan = float("nan")
    marker = "o" if len(epochs) == 1 else None
    train = [nan if epoch.train_loss is None else epoch.train_loss for epoch in run.history]
    valid = [nan if epoch.valid.loss is None else epoch.valid.loss for epoch in run.history]
    losses.plot(epochs, train, color=ACCENT, label="training", marker=marker)
    if not all(math.isnan(value) for value in valid):
        losses.plot(epochs, valid, color=INK, linestyle="--", linewidth=1, label="validation", marker=marker)
    scores.plot(epochs, [epoch.valid.mean for epoch in run.history], color=ACCENT, label="mean", marker=marker)
    for label, dashes in (("complete", "--"), ("worst", ":")):
        line = [getattr(epoch.valid, label) for epoch in run.history]
        scores.plot(epochs, line, color=INK, linewidth=1, linestyle=dashes, label=label, marker=marker)
    if run.model.best.epoch in epochs:
        scores.axvline(run.model.best.epoch, color=GREY, linewidth=0.8, label=f"best: epoch {run.model.best.epoch}")
    losses.set_ylabel("Loss")
    scores.set_ylabel(f"{run.scores.judged_by.title} (validation fold)")
    for axes in (losses, scores):
        axes.set_xlabel("Epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, columnspacing=1.2, handlelength=1.8)
    return figure


def reliability(run: RunContents) -> Figure:
    """Observed frequency over predicted probability in the complete configuration, with the size of each bin.

    The area of a dot is the size of its bin; only neighbours of at least FIRM predictions are joined.
    """
    calibration = run.scores.configurations[run.scores.complete.configuration].calibration
    assert calibration is not None, "classes have a calibration"
    bins = calibration.bins
    confidences, counts = [in_bin.confidence for in_bin in bins], [in_bin.count for in_bin in bins]
    total, most = max(sum(counts), 1), max([*counts, 1])
    figure = Figure(figsize=(COLUMN, COLUMN * 0.9), layout="constrained")
    axes = figure.subplots()
    axes.bar(confidences, [size / total for size in counts], width=0.024, color=PALE, label="share of predictions")
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=(0, (1, 2)), label="perfect")
    firm = [in_bin.frequency if in_bin.count >= FIRM else float("nan") for in_bin in bins]
    axes.plot(confidences, firm, color=ACCENT, linewidth=1, label=f"ECE {calibration.ece:.3f}")
    for label, face, edge, chosen in (
        (None, ACCENT, ACCENT, [in_bin for in_bin in bins if in_bin.count >= FIRM]),
        (f"fewer than {FIRM}", "white", GREY, [in_bin for in_bin in bins if in_bin.count < FIRM]),
    ):
        if chosen:
            xs, ys = [in_bin.confidence for in_bin in chosen], [in_bin.frequency for in_bin in chosen]
            sizes = [4 + 40 * in_bin.count / most for in_bin in chosen]
            axes.scatter(
                xs, ys, sizes, facecolor=face, edgecolor=edge, label=label, linewidth=0.5, zorder=3, clip_on=False
            )
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="Predicted probability", ylabel="Observed frequency")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, columnspacing=1.2, handlelength=1.8)
    return figure


def risk_coverage(run: RunContents) -> Figure:
    """Errors among the surest answers (risk) over their share of all (coverage): complete and single modalities."""
    figure = Figure(figsize=(COLUMN, COLUMN * 0.8), layout="constrained")
    axes = figure.subplots()
    configurations, complete = run.scores.configurations, run.scores.complete.configuration
    drawn = [name for name in configurations if "+" not in name and name != complete][:MOST_CURVES]
    dashes = dict(zip(drawn, ("--", ":", "-.", (0, (1, 3))), strict=False))
    for name in [complete, *drawn]:
        risks = configurations[name].risks
        shares = [(k + 1) / len(risks) for k in range(len(risks))]
        look = {"color": ACCENT} if name == complete else {"color": INK, "linewidth": 1}
        axes.plot(shares, risks, linestyle=dashes.get(name, "-"), label=name, **look)
    axes.set(xlim=(0, 1), ylim=(0, None), xlabel="Coverage: share of answers given", ylabel="Risk: share of errors")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, columnspacing=1.2, handlelength=1.8)
    return figure


def scatter(run: RunContents) -> Figure:
    """Predicted over true numbers of each target in the complete configuration, on one scale."""
    samples = run.predicted.number_samples if run.predicted else []
    names = run.scores.classes
    columns = min(len(names), 2)
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(COLUMN * columns, COLUMN * rows), layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for c, (axes, name) in enumerate(zip(grid, names, strict=False)):
        truth, predicted = [it.truth[c] for it in samples], [it.numbers[-1][c] for it in samples]
        ends = [min([*truth, *predicted], default=0.0), max([*truth, *predicted], default=1.0)]
        axes.plot(ends, ends, color=GREY, linewidth=0.8, linestyle=(0, (1, 2)))
        axes.scatter(truth, predicted, 6, color=ACCENT, alpha=0.5, linewidth=0)
        axes.set_aspect("equal", adjustable="datalim")
        axes.set(xlabel=f"True {short(name, 24)}", ylabel=f"Predicted {short(name, 24)}")
    for axes in grid[len(names) :]:
        axes.set_axis_off()
    return figure


def shapley(explanation: ExplanationFile) -> Figure:
    """The score from no modality to all above, and the mean Shapley value for each class below (of the largest)."""
    fold, names = explanation.score, explanation.modalities
    values_of = {c: [explanation.by_class[c].shapley[name] for name in names] for c in explanation.classes}
    classes = most_frequent(
        {c: max((abs(value or 0.0) for value in values), default=0.0) for c, values in values_of.items()}
    )
    rows = 0.19 * (len(names) + 2), 0.19 * len(classes)
    figure = Figure(figsize=(COLUMN, 1.75 + sum(rows)), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=rows)
    before, labels = fold.empty, ["no modality", *(short(name, 16) for name in names), "all modalities"]
    above.barh([0, len(names) + 1], [fold.empty, fold.complete], height=0.66, color=GREY)
    for row, name in enumerate(names, start=1):
        phi = fold.shapley[name]
        above.barh(row, phi, left=before, height=0.66, color=ACCENT if side(phi) == "for" else AGAINST)
        before += phi
    values = [score(fold.empty), *(signed(fold.shapley[name]) for name in names), score(fold.complete)]
    above.secondary_yaxis("right").set_yticks(range(len(values)), values)
    above.axvline(0, color=GREY, linewidth=0.6)
    above.set_yticks(range(len(labels)), labels)
    above.set(
        ylim=(len(labels) - 0.4, -0.6), xlabel=f"{explanation.judged_by.title} ({short(explanation.fold, 20)} fold)"
    )
    above.margins(x=0.02)
    _signed_heat(below, [values_of[c] for c in classes])
    below.set_xticks(range(len(names)), [short(name, 40 // len(names)) for name in names])
    below.set_yticks(range(len(classes)), [short(name, 16) for name in classes])
    unit = "probability" if explanation.value == "probability" else "log-odds"
    words = f"Mean Shapley value ({unit}) for the decided class"
    below.set_xlabel("Mean absolute Shapley value" if explanation.value == "number" else words)
    for axes in (above, below, *above.child_axes):
        axes.tick_params(axis="y", length=0)
        axes.spines[:].set_visible(axes is above)
    above.spines[["top", "right", "left"]].set_visible(False)
    return figure


def _signed_heat(axes: Axes, values: list[list[float | None]]) -> None:
    """Numbers on the colour of their side, the deeper the larger; a dash where nothing was decided."""
    known = [[value or 0.0 for value in row] for row in values]
    most = max((abs(value) for row in known for value in row), default=0.0) or 1.0
    axes.imshow(known, vmin=-most, vmax=most, cmap=SIDES, aspect="auto")
    for row, column in ((r, c) for r, numbers in enumerate(values) for c in range(len(numbers))):
        axes.text(column, row, signed(values[row][column]), ha="center", va="center", fontsize=6)


def protocol_curves(protocol: ProtocolScores, guess: float | None = None) -> Figure:
    """The score of the complete configuration over the level of the damage, a line for each curve, with intervals.

    `guess` is what is reached without the input, the line of chance.
    """
    figure = Figure(figsize=(COLUMN, 2.6), layout="constrained")
    axes = figure.subplots()
    others = protocol.against.curves if protocol.against else {}
    for index, (name, curve) in enumerate(protocol.curves.items()):
        colour, dashes = LINES[index % len(LINES)]
        look: dict[str, Any] = {"color": colour, "linestyle": dashes}
        axes.plot(curve.levels, curve.score, marker="o", markersize=2, label=short(name, 24), **look)
        known = [(level, ends) for level, ends in zip(curve.levels, curve.intervals or [], strict=False) if ends]
        if known and len(protocol.curves) < 4:
            levels, lows, highs = zip(*((level, low, high) for level, (low, high) in known), strict=True)
            axes.fill_between(levels, lows, highs, color=colour, alpha=0.12, linewidth=0)
        if protocol.against and name in others:
            label = f"{short(name, 24)} ({short(protocol.against.run, 16)})"
            axes.plot(curve.levels, others[name].score, linewidth=0.6, label=label, **look)
    if guess is not None:
        axes.axhline(guess, color=CHANCE, linewidth=0.8, linestyle=(0, (1, 1.5)), label=f"chance {guess:.3f}")
    axes.set_xlabel(f"Level ({short(protocol.protocol, 20)})")
    axes.set_ylabel(f"{protocol.judged_by.title} ({short(protocol.fold, 20)} fold)")
    axes.set_ylim(min(0.0, *(value for curve in protocol.curves.values() for value in curve.score)), 1)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, columnspacing=1.2, handlelength=2.2)
    return figure


def short(name: str, length: int) -> str:
    """A name that fits: cut, with an ellipsis."""
    return name if len(name) <= length else f"{name[: length - 1]}…"
