"""A search that has ended: its trials, the one that won, and its table and figure."""

import io
import warnings
from pathlib import Path
from typing import Any

import attrs
import matplotlib.style
import numpy as np
from matplotlib.figure import Figure

from emotiwave_core.compare.space import Dimension
from emotiwave_core.io.atomic import csv_line, write_bytes, write_text
from emotiwave_core.report.pictures import ACCENT, COLUMN, FORMATS, GREY, INK, STYLE

TABLE, FIGURE = "trials.csv", "trials"


@attrs.frozen
class Trial:
    """One trial of a search."""

    number: int
    state: str  # complete, pruned, failed or running
    value: float | None  # the best validation score
    epochs: int
    settings: dict[str, Any]
    reason: str = ""  # of a failure


@attrs.frozen
class Search:
    """A search that has ended: its trials, and the one that won."""

    out: Path
    select: str  # the validation score: mean, complete or a configuration
    trials: list[Trial]
    winner: int
    settings: dict[str, Any]  # of the winner

    @property
    def best(self) -> Trial:
        """The trial that won."""
        return next(trial for trial in self.trials if trial.number == self.winner)

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON can hold it."""
        return {**attrs.asdict(self), "out": str(self.out)}


def write_search(search: Search, space: tuple[Dimension, ...]) -> None:
    """Write trials.csv, and the figure as PNG, PDF and SVG. ResourceError for a full disk."""
    _write_table(search, space)
    _write_figure(search)


def _write_table(search: Search, space: tuple[Dimension, ...]) -> None:
    lines = [["trial", "state", f"validation ({search.select})", "epochs", *(d.key for d in space), "reason"]]
    for trial in search.trials:
        settings = [trial.settings.get(dimension.key, "") for dimension in space]
        value = "" if trial.value is None else repr(trial.value)
        lines.append([str(trial.number), trial.state, value, str(trial.epochs), *map(str, settings), trial.reason])
    write_text(search.out / TABLE, "".join(map(csv_line, lines)))


def _write_figure(search: Search) -> None:
    with matplotlib.style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        figure = drawn(search)
        for suffix, metadata in FORMATS.items():
            picture = io.BytesIO()
            figure.savefig(picture, format=suffix, dpi=300, metadata=metadata)
            figure.set_layout_engine("none")
            write_bytes(search.out / f"{FIGURE}.{suffix}", picture.getvalue())


def drawn(search: Search) -> Figure:
    """The validation score of each trial, pruned ones hollow, and the best so far as a line."""
    figure = Figure(figsize=(COLUMN, 2.2), layout="constrained")
    axes = figure.subplots()
    for state, face in (("complete", ACCENT), ("pruned", "none")):
        own = [trial for trial in search.trials if trial.state == state and trial.value is not None]
        if own:
            axes.scatter(
                [trial.number for trial in own], [trial.value or 0.0 for trial in own], s=12, facecolor=face,
                edgecolor=ACCENT if state == "complete" else GREY, linewidth=0.7, label=state, zorder=3,
            )  # fmt: skip
    done = [trial for trial in search.trials if trial.state == "complete"]
    best = np.maximum.accumulate([trial.value or 0.0 for trial in done])
    axes.step([trial.number for trial in done], best, where="post", color=INK, linewidth=0.9, label="best so far")
    axes.set_xlabel("Trial")
    axes.set_ylabel(f"Validation ({search.select[:30]})")
    axes.legend(fontsize=6.5)
    return figure
