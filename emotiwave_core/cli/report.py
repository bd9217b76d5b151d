"""`emotiwave report`."""

from pathlib import Path

import click

from emotiwave_core.cli.common import EXISTING


@click.command(epilog="\b\nExample:\n  emotiwave report runs/default-1")
@click.argument("run", type=EXISTING)
def report(run: Path) -> None:
    """Write a run's report.html and pictures anew, and print where."""
    from emotiwave_core.report.page import write_report
    from emotiwave_core.runs.folder import adding_to

    with adding_to(run):
        page = write_report(run)
    click.echo(page)
