"""The table of a protocol: macro-F1 by level, a column for each curve."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from emotiwave_core.errors import printable
from emotiwave_core.evaluate.corruptions import PROTOCOLS

SUMMARIES = {"AUILC": "auilc", "relative": "relative_robustness", "effective": "effective_robustness"}
UNHURT = {  # why nothing may be damaged
    "shift": " (of one step a sample nothing can be shifted)",
    "frozen": " (of one step a sample nothing can be frozen)",
    "swap": " (a swap needs two samples that have it)",
}


def print_curves(result: dict[str, Any]) -> None:
    """The scores of a protocol, on stdout."""
    curves, by_share = result["curves"], PROTOCOLS[result["protocol"]].by_share
    table = Table(box=None, pad_edge=False)
    for name in ("level", *curves):
        table.add_column(Text(printable(name)), justify="right")
    first = next(iter(curves.values()))
    rows = [[_cell(curve, k, by_share) for curve in curves.values()] for k in range(len(first["levels"]))]
    for level, row in zip(first["levels"], rows, strict=True):
        table.add_row(f"{level:g}", *row)
    for label, key in SUMMARIES.items():
        if first[key] is not None:
            table.add_row(label, *(_summary(curve, key) for curve in curves.values()))
    console = Console(highlight=False)
    console.print(Text(printable(_title(result))), soft_wrap=True)
    console.print(table)
    bracket = "; in brackets the share that was reached" if any("(" in cell for row in rows for cell in row) else ""
    notes = [f"Macro-F1 of all that remains. Level: {result['unit']}{bracket}."]
    why = UNHURT.get(result["protocol"], "")
    for name in (name for name, curve in curves.items() if not any(curve["reached"])):
        notes.append(f"In '{name}' nothing is damaged at any level{why}: its scores say nothing about robustness.")
    if result["against"] is not None:
        notes.append(f"Effective robustness is against {result['against']['run']}, which met the same manifest.")
    for note in notes:
        console.print(Text(printable(note)), soft_wrap=not console.is_terminal)  # in a pipe a note is one line


def _title(result: dict[str, Any]) -> str:
    """What was scored; that the data are synthetic is said once."""
    fold = "all folds" if result["fold"] == "all" else f"{result['fold']} fold"
    about = f"{result['dataset']}: {result['protocol']}, {fold}, {result['samples']} samples, seed {result['seed']}"
    return about + (" (synthetic)" if result["synthetic"] and "synthetic" not in about.lower() else "")


def _summary(curve: dict[str, Any], key: str) -> str:
    """The number of a curve in which something is damaged."""
    sign = "+" if key == "effective_robustness" else ""
    return f"{curve[key]:{sign}.3f}" if any(curve["reached"]) else "–"


def _cell(curve: dict[str, Any], k: int, by_share: bool) -> str:
    """The score, and in brackets the share that was reached where that is not the level."""
    score, reached, level = curve["macro_f1"][k], curve["reached"][k], curve["levels"][k]
    return f"{score:.3f}" if not by_share or abs(reached - level) < 0.02 else f"{score:.3f} ({reached:.2f})"
