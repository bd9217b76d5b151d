"""The report of a run: `report.html`, one self-contained page, and its charts as PNG for a paper.

Everything that is shown may be hostile (names, ids, notes, the recipe): jinja2 escapes all of it, every attribute is
quoted, and what goes into a `style` or a path is a number formatted here. The page holds no script and its content
security policy lets none run and nothing load.
"""

import math
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from matplotlib.ticker import MaxNLocator

from emotiwave_core.files import write_text
from emotiwave_core.report.facts import Epoch, Matrix, Model, Run, Scores, read_run
from emotiwave_core.report.pictures import write_pictures


def write_report(run: Path) -> Path:
    """Write the pictures and then `report.html` into the folder of a run, and return the page's path.

    DataError when a file of the run is missing or damaged, ResourceError when nothing can be written.
    """
    facts = read_run(run)
    write_pictures(facts)
    page = run / "report.html"
    write_text(page, render(facts))
    return page


def render(run: Run) -> str:
    """The page as HTML text."""
    scores = run.scores
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("emotiwave_core.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"score": score, "percent": percent, "count": count, "share": share, "series": series}
    return environment.get_template("report.html.j2").render(
        run=run,
        scores=scores,
        data=run.data,
        model=run.model,
        complete=scores.configurations[scores.complete.configuration],
        model_in_words=model_in_words(run.model),
        constant=constant_guess(scores),
        crowded=len(scores.classes) > 8 or max(map(len, scores.classes), default=0) > 12,
        row_shares=row_shares,
        panels=panels(run.history, run.model.best.epoch) if run.history else [],
        seed=seed_of(run.model.recipe),
        command=shlex.join(
            (
                "emotiwave",
                "run",
                f"{run.folder / 'recipe.toml'}",
                "--data",
                run.data.folder,
                "--out",
                f"{run.folder}-again",
            )
        ),
    )


def score(value: float | None) -> str:
    """Three decimals and a true minus; a dash for what is not defined."""
    return "–" if value is None else f"{value:.3f}".replace("-", "\N{MINUS SIGN}")


def percent(value: float | None) -> str:
    """A fraction as per cent with one decimal."""
    return "–" if value is None else f"{value * 100:.1f}%".replace("-", "\N{MINUS SIGN}")


def count(value: float | None) -> str:
    """A number of things, with separated thousands and without a needless decimal."""
    return "–" if value is None else f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def share(value: float | None) -> str:
    """A length or a depth of colour for a style attribute: a number from 0 to 1 and nothing else."""
    return f"{min(max(value or 0.0, 0.0), 1.0):.4f}"


def series(names: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *head, last = list(names) or ["nothing"]
    return f"{', '.join(head)} and {last}" if head else last


def model_in_words(model: Model) -> str:
    """The parts in the order of the model, modalities that share an encoder named together."""
    modalities: dict[tuple[str, str], list[str]] = {}
    for part in model.plugins:
        modalities.setdefault((part.kind, part.name), []).extend([part.modality] if part.modality else [])
    kinds = {"dropout": "dropout policy"}
    parts = [
        f"{kinds.get(kind, kind)} {name}{f' for {series(names)}' if names else ''}"
        for (kind, name), names in modalities.items()
    ]
    return f"A model of {count(model.parameters)} parameters ({'; '.join(parts)})"


def constant_guess(scores: Scores) -> float:
    """The macro-F1 of the best guess that ignores the input, for scale.

    A class that is always predicted has precision p, its share of the samples, and recall 1: F1 = 2p / (1 + p). With a
    single label only one class can be guessed and the others get 0; with several labels every emotion can.
    """
    classes = scores.configurations[scores.complete.configuration].classes.values()
    total = scores.samples if scores.objective == "multi" else sum(one.support for one in classes)
    each = [2 * one.support / (total + one.support) if total + one.support else 0.0 for one in classes]
    return (sum(each) if scores.objective == "multi" else max(each, default=0.0)) / max(len(each), 1)


def row_shares(matrix: Matrix) -> list[list[tuple[int, float | None]]]:
    """Each count with its share of the row, None where the row is empty."""
    return [[(cell, cell / sum(row) if sum(row) else None) for cell in row] for row in matrix]


def seed_of(recipe: dict[str, Any]) -> int | None:
    """The seed, at the top of the recipe or in one of its tables."""
    tables = [recipe, *(value for value in recipe.values() if isinstance(value, dict))]
    return next((table["seed"] for table in tables if isinstance(table.get("seed"), int)), None)


class Line(NamedTuple):
    """One curve; `path` is SVG path data in a box of 1000 x 1000, y downwards."""

    label: str
    stroke: str  # a class of the style sheet: first, second or third
    path: str


class Panel(NamedTuple):
    """One chart: ticks are (position from 0 to 1, from the left or the bottom; label)."""

    title: str
    words: str
    lines: list[Line]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    best: tuple[float, float] | None  # where the kept epoch stands, from the left and the bottom


def panels(history: Sequence[Epoch], best: int) -> list[Panel]:
    """The two charts of the learning curves: losses, and macro-F1 of the validation fold."""
    epochs = [epoch.epoch for epoch in history]
    losses = {"training": [one.train_loss for one in history], "validation": [one.valid.loss for one in history]}
    f1s: dict[str, list[float | None]] = {
        "mean of all configurations": [one.valid.mean_macro_f1 for one in history],
        "complete configuration": [one.valid.complete_macro_f1 for one in history],
        "worst configuration": [one.valid.worst_macro_f1 for one in history],
    }
    seen = {name: values for name, values in losses.items() if any(value is not None for value in values)}
    return [_panel("Loss", epochs, seen, None), _panel("Macro-F1 on the validation fold", epochs, f1s, best)]


def _panel(title: str, epochs: list[int], curves: dict[str, list[float | None]], best: int | None) -> Panel:
    values = [value for curve in curves.values() for value in curve if value is not None] or [0.0]
    room = 0.0 if max(values) > min(values) else 0.05  # a flat curve still needs an axis
    y_ticks = [float(tick) for tick in MaxNLocator(nbins=4).tick_values(min(values) - room, max(values) + room)]
    low, high, first = y_ticks[0], y_ticks[-1], epochs[0]
    span = max(epochs[-1] - first, 1)

    def x(epoch: float) -> float:
        return (epoch - first) / span if len(epochs) > 1 else 0.5

    def y(value: float) -> float:
        return (value - low) / (high - low)

    def path(curve: list[float | None]) -> str:
        steps, pen = [], "M"
        for epoch, value in zip(epochs, curve, strict=True):
            if value is None or not math.isfinite(y(value)):
                pen = "M"
                continue
            dot = "" if pen == "L" else "h0" if len(epochs) > 1 else "h14"  # seen although no line may follow
            steps.append(f"{pen}{x(epoch) * 1000:.1f} {1000 - y(value) * 1000:.1f}{dot}")
            pen = "L"
        return "".join(steps)

    x_ticks = MaxNLocator(nbins=5, integer=True).tick_values(first, epochs[-1])
    strokes = ("first", "second", "third")
    marked = curves["mean of all configurations"][epochs.index(best)] if best in epochs and best is not None else None
    ends = "; ".join(f"{name} from {score(curve[0])} to {score(curve[-1])}" for name, curve in curves.items())
    return Panel(
        title=title,
        words=f"{title} over {len(epochs)} epochs: {ends or 'not recorded'}.",
        lines=[Line(name, stroke, path(curve)) for (name, curve), stroke in zip(curves.items(), strokes, strict=False)],
        x_ticks=[(x(tick), f"{tick:.0f}") for tick in x_ticks if first <= tick <= epochs[-1]],
        y_ticks=[(y(tick), f"{tick:.4g}".replace("-", "\N{MINUS SIGN}")) for tick in y_ticks],
        best=None if marked is None or best is None else (x(best), y(marked)),
    )
