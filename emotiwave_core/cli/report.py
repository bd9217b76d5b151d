"""`emotiwave report` (Train and score): Write a run's report.html, pictures and model-card.md anew, and print where."""

from pathlib import Path

import click

from emotiwave_core.cli.common import EXISTING, say


@click.command(epilog="\b\nExample:\n  emotiwave report runs/default-1")
@click.argument("run", type=EXISTING)
def report(run: Path) -> None:
    """Write a run's report.html, pictures and model-card.md anew, and print where."""
    from emotiwave_core import api

    say(api.open_run(run).report())
