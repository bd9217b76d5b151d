"""Tables on stdout."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from emotiwave_core.errors import printable

WIDE = 10_000  # characters of a line in a pipe


def tables() -> Console:
    """For tables on stdout: as wide as the terminal; in a pipe as wide as they need, so that nothing is cut."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDE)


def print_scores(scores: dict[str, Any]) -> None:
    """The table of configurations, on stdout; the last lines are what guesses that ignore the input reach."""
    fold = "all folds" if scores["fold"] == "all" else f"{scores['fold']} fold"
    title = f"{scores['dataset']}: {fold}, {scores['samples']} samples"
    if scores["synthetic"] and "synthetic" not in title.lower():
        title += " (synthetic)"
    table = Table(title=printable(title), title_justify="left", box=None, pad_edge=False)
    table.add_column("configuration", vertical="bottom")
    for name in ("macro-F1", "95 % interval", "change", "relative", "weighted\naccuracy"):
        table.add_column(name, justify="right", vertical="bottom")
    for name, entry in scores["configurations"].items():
        relative = entry["relative_drop"]
        is_complete = name == scores["complete"]["configuration"]
        table.add_row(
            Text(printable(name)),
            f"{entry['macro_f1']:.3f}",
            _interval(entry["macro_f1_interval"]),
            "" if is_complete else f"{0.0 - entry['absolute_drop']:+.3f}",
            "" if is_complete or relative is None else f"{0.0 - relative:+.0%}",
            _number(entry["weighted_accuracy"]),
        )
    table.add_section()
    constant, worst = scores["constant"], scores["worst"]
    table.add_row("mean", f"{scores['mean_macro_f1']:.3f}", _interval(scores["mean_macro_f1_interval"]))
    table.add_row(Text(printable(f"worst ({worst['configuration']})")), f"{worst['macro_f1']:.3f}")
    weighted = _number(constant["weighted_accuracy"])
    table.add_row("constant guess", f"{constant['macro_f1']:.3f}", "", "", "", weighted)
    if constant["drawn_macro_f1"] is not None:
        table.add_row("drawn at random", f"{constant['drawn_macro_f1']:.3f}")
    console = tables()
    console.print(table)
    collapsed = {name: entry["collapsed"] for name, entry in scores["configurations"].items() if entry["collapsed"]}
    for note in [*(f"With {name} {what}." for name, what in collapsed.items()), *scores["notes"]]:
        console.print(Text(printable(f"Note: {note}")), soft_wrap=True)


def _interval(interval: list[float] | None) -> str:
    return "–" if interval is None else f"{interval[0]:.3f}–{interval[1]:.3f}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
