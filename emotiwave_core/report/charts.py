"""Line charts of the page, as SVG path data in a box of 1000 x 1000 with y downwards, and ticks from 0 to 1."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.ticker import MaxNLocator

from emotiwave_core.report.numbers import MINUS, score
from emotiwave_core.runs.history import Epoch
from emotiwave_core.runs.protocol_scores import ProtocolScores
from emotiwave_core.runs.scores import Calibration

STROKES = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh")  # classes of the style sheet


FIRM = 10  # predictions: the frequency in a smaller bin says little, its standard error is up to .16 and more


class Line(NamedTuple):
    """One curve and the band of its intervals."""

    label: str
    stroke: str
    path: str
    band: str = ""


class Dot(NamedTuple):
    """A point from the left and the bottom; its area grows with `size`, from 0 to 1."""

    x: float
    y: float
    size: float
    firm: bool


class Chart(NamedTuple):
    """One chart: ticks are (position from 0 to 1, from the left or the bottom; label)."""

    title: str
    words: str
    lines: list[Line]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    marked: tuple[float, float, str] | None = None  # a point with its label, from the left and the bottom
    dots: Sequence[Dot] = ()
    area: str = ""


class Axis(NamedTuple):
    """From numbers to positions."""

    low: float
    high: float
    ticks: list[float]

    def at(self, value: float) -> float:
        """The position of a value, 0 at the low end and 1 at the high one."""
        return (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5

    def labels(self) -> list[tuple[float, str]]:
        """Position and words of each tick."""
        return [(self.at(tick), f"{tick:.4g}".replace("-", MINUS)) for tick in self.ticks]


def axis_around(values: Sequence[float]) -> Axis:
    """An axis that starts and ends at a tick; a flat curve still gets one."""
    low, high = (min(values), max(values)) if values else (0.0, 0.0)
    room = 0.0 if high > low else 0.05
    ticks = [float(tick) for tick in MaxNLocator(nbins=4).tick_values(low - room, high + room)]
    return Axis(ticks[0], ticks[-1], ticks)


def axis_of(low: float, high: float, *, integer: bool = False, most: int = 5) -> Axis:
    """An axis from `low` to `high`, with ticks between them."""
    ticks = MaxNLocator(nbins=most, integer=integer, steps=[1, 2, 5, 10]).tick_values(low, high)
    little = 1e-9 * (high - low)  # 7 * 0.1 is a little above 0.7
    return Axis(low, high, [float(tick) for tick in ticks if low - little <= tick <= high + little])


def path_of(xs: Sequence[float], ys: Sequence[float | None], x: Axis, y: Axis) -> str:
    """A curve with gaps; a point without neighbours is a dot."""
    steps, pen = [], "M"
    for position, value in zip(xs, ys, strict=True):
        if value is None or not math.isfinite(y.at(value)):
            pen = "M"
            continue
        dot = "" if pen == "L" else "h0" if len(xs) > 1 else "h14"  # seen although no line may follow
        steps.append(f"{pen}{x.at(position) * 1000:.1f} {1000 - y.at(value) * 1000:.1f}{dot}")
        pen = "L"
    return "".join(steps)


def band_of(xs: Sequence[float], intervals: Sequence[tuple[float, float] | None] | None, x: Axis, y: Axis) -> str:
    """The outline of the band of the intervals, along their low ends and back along the high ones."""
    known = [(position, ends) for position, ends in zip(xs, intervals or [None] * len(xs), strict=True) if ends]
    outline = [(at, low) for at, (low, _) in known] + [(at, high) for at, (_, high) in reversed(known)]
    corners = (f"{x.at(position) * 1000:.1f} {1000 - y.at(value) * 1000:.1f}" for position, value in outline)
    return f"M{'L'.join(corners)}Z" if len(known) > 1 else ""


def learning_charts(history: Sequence[Epoch], best: int, title: str) -> list[Chart]:
    """The two charts of the learning curves: losses, and the headline score of the validation fold."""
    epochs = [epoch.epoch for epoch in history]
    losses = {
        "training": [epoch.train_loss for epoch in history],
        "validation": [epoch.valid.loss for epoch in history],
    }
    scores: dict[str, list[float | None]] = {
        "mean of all configurations": [epoch.valid.mean for epoch in history],
        "complete configuration": [epoch.valid.complete for epoch in history],
        "worst configuration": [epoch.valid.worst for epoch in history],
    }
    seen = {name: values for name, values in losses.items() if any(value is not None for value in values)}
    return [
        _learning_chart("Loss", epochs, seen, None),
        _learning_chart(f"{title} on the validation fold", epochs, scores, best),
    ]


def _learning_chart(title: str, epochs: list[int], curves: dict[str, list[float | None]], best: int | None) -> Chart:
    x = axis_of(epochs[0], epochs[-1], integer=True)
    y = axis_around([value for curve in curves.values() for value in curve if value is not None])
    best_score = (
        curves["mean of all configurations"][epochs.index(best)] if best in epochs and best is not None else None
    )
    ends = "; ".join(f"{name} from {score(curve[0])} to {score(curve[-1])}" for name, curve in curves.items())
    return Chart(
        title=f"{title}, by epoch",
        words=f"{title} over {len(epochs)} epochs: {ends or 'not recorded'}.",
        lines=[
            Line(name, stroke, path_of(epochs, curve, x, y))
            for (name, curve), stroke in zip(curves.items(), STROKES, strict=False)
        ],
        x_ticks=x.labels(),
        y_ticks=y.labels(),
        marked=None if best_score is None or best is None else (x.at(best), y.at(best_score), f"best: epoch {best:,}"),
    )


def reliability_chart(calibration: Calibration) -> Chart:
    """Observed frequency over predicted probability; bars below say how many predictions lie in each bin.

    Only neighbours of at least FIRM predictions are joined.
    """
    unit, title = axis_of(0.0, 1.0), "Observed frequency, by predicted probability"
    bins = calibration.bins
    confidences = [in_bin.confidence for in_bin in bins]
    total, most = max(sum(in_bin.count for in_bin in bins), 1), max((in_bin.count for in_bin in bins), default=1)
    bars = (
        f"M{in_bin.confidence * 1000 - 12:.1f} 1000h24V{1000 - min(max(in_bin.count / total, 0), 1) * 1000:.1f}h-24Z"
        for in_bin in bins
    )
    firm = [in_bin.frequency if in_bin.count >= FIRM else None for in_bin in bins]
    return Chart(
        title=title,
        words=f"{title}: expected calibration error {score(calibration.ece)}.",
        lines=[
            Line("this model", "first", path_of(confidences, firm, unit, unit)),
            Line("perfect calibration", "third", path_of([0.0, 1.0], [0.0, 1.0], unit, unit)),
        ],
        x_ticks=unit.labels(),
        y_ticks=unit.labels(),
        dots=[
            Dot(in_bin.confidence, in_bin.frequency, max(in_bin.count, 0) / max(most, 1), in_bin.count >= FIRM)
            for in_bin in bins
        ],
        area="".join(bars),
    )


def risk_chart(risks: Sequence[float]) -> Chart:
    """The share of errors among the surest answers, over their share of all: risks of the surest 1/K, 2/K, …, all."""
    shares = [(k + 1) / len(risks) for k in range(len(risks))]
    unit, y = axis_of(0.0, 1.0), axis_of(0.0, max(*risks, 0.1))
    title = "Share of errors, by the share of answers that are given"
    return Chart(
        title=title,
        words=f"{title}: {score(risks[0])} of the surest {score(shares[0])}, {score(risks[-1])} of all.",
        lines=[
            Line("the surest answers", "first", path_of(shares, risks, unit, y)),
            Line("of all answers", "third", path_of([0.0, 1.0], [risks[-1]] * 2, unit, y)),
        ],
        x_ticks=unit.labels(),
        y_ticks=y.labels(),
    )


def scatter_chart(target: str, truth: Sequence[float], predicted: Sequence[float]) -> Chart:
    """Predicted over true numbers of a target, [N] each; on one scale, with the line on which both are the same."""
    both = [*truth, *predicted]
    axis, title = axis_around(both), f"Predicted {target}, by true {target}"
    ends = [axis.low, axis.high]
    points = "".join(path_of([x], [y], axis, axis).replace("h14", "h0") for x, y in zip(truth, predicted, strict=True))
    return Chart(
        title=title,
        words=f"{title}: {len(truth)} points, true from {score(min(truth))} to {score(max(truth))}, predicted from "
        f"{score(min(predicted))} to {score(max(predicted))}.",
        lines=[Line("samples", "points", points), Line("predicted as it is", "third", path_of(ends, ends, axis, axis))],
        x_ticks=axis.labels(),
        y_ticks=axis.labels(),
    )


def protocol_chart(protocol: ProtocolScores, guess: float | None = None) -> Chart:
    """The score over the level of the damage: a line for each curve, and a thin one for the model held against it.

    The scale is from 0 (less where a score is) to 1 whatever was lost; `guess` is what is reached without the input.
    """
    curves = list(protocol.curves.items())
    others = protocol.against.curves if protocol.against else {}
    x = axis_of(min(curve.levels[0] for _, curve in curves), max(curve.levels[-1] for _, curve in curves), most=10)
    y = axis_of(min(0.0, *(value for _, curve in curves for value in curve.score)), 1.0)
    lines = []
    for index, (name, curve) in enumerate(curves):
        stroke = STROKES[index % len(STROKES)]
        band = band_of(curve.levels, curve.intervals, x, y) if len(curves) < 4 else ""
        lines.append(Line(name, stroke, path_of(curve.levels, curve.score, x, y), band))
        if protocol.against and name in others:
            thin = path_of(curve.levels, others[name].score, x, y)
            lines.append(Line(f"{name} ({protocol.against.run})", f"{stroke} thin", thin))
    if guess is not None:
        flat = f"M0 {1000 - y.at(guess) * 1000:.1f}H1000"
        lines.append(Line(f"chance, a guess without the input: {score(guess)}", "guess", flat))
    ends = "; ".join(f"{name} from {score(curve.score[0])} to {score(curve.score[-1])}" for name, curve in curves)
    title = f"{protocol.judged_by.title} of the complete configuration, by level"
    return Chart(title, f"{title}: {ends}.", lines, x.labels(), y.labels())
