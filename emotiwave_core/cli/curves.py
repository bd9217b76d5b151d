"""The table of a protocol: macro-F1 by level, a column for each curve."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from emotiwave_core.cli import printable
from emotiwave_core.protocols import PROTOCOLS

SUMMARIES = {"AUILC": "auilc", "relative": "relative_robustness", "effective": "effective_robustness"}


def print_curves(result: dict[str, Any]) -> None:
    """The scores of a protocol, on stdout."""
    curves, against = result["curves"], result["against"]
    about = f"{result['dataset']}: {result['protocol']}, {result['fold']} fold, {result['samples']} samples"
    title = f"{about}, seed {result['seed']}" + (" (synthetic)" if result["synthetic"] else "")
    table = Table(box=None, pad_edge=False)
    for name in ("level", *curves):
        table.add_column(Text(printable(name)), justify="right")
    first, by_share = next(iter(curves.values())), PROTOCOLS[result["protocol"]].by_share
    for k, level in enumerate(first["levels"]):
        table.add_row(f"{level:g}", *(_cell(curve, k, by_share) for curve in curves.values()))
    for label, key in SUMMARIES.items():
        values = [curve[key] for curve in curves.values()]
        if None not in values:
            table.add_row(label, *(f"{value:{'+' if label == 'effective' else ''}.3f}" for value in values))
    console = Console(highlight=False)
    console.print(Text(printable(title)), soft_wrap=True)
    console.print(table)
    bracket = "; in brackets the share that was reached" if by_share else ""
    notes = [f"Macro-F1 of all that remains. Level: {result['unit']}{bracket}."]
    if against is not None:
        notes.append(f"Effective robustness is against {against['run']}, which met the same manifest.")
    for note in notes:
        console.print(Text(printable(note)), soft_wrap=True)


def _cell(curve: dict[str, Any], k: int, by_share: bool) -> str:
    """The score, and in brackets the share that was reached where that is not the level."""
    score, reached, level = curve["macro_f1"][k], curve["reached"][k], curve["levels"][k]
    return f"{score:.3f}" if not by_share or abs(reached - level) < 0.02 else f"{score:.3f} ({reached:.2f})"
