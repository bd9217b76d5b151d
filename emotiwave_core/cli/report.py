"""`emotiwave report` (Train and score): Write a run's report.html anew; of several runs, a comparison."""

from pathlib import Path

import click

from emotiwave_core.cli.common import EXISTING, FOLDER, SectionedCommand, option, say

EXAMPLES = """\b
Examples:
  emotiwave report runs/default-1
  emotiwave report runs/default-1 runs/mine-1 --out runs/side-by-side
"""


@click.command(cls=SectionedCommand, epilog=EXAMPLES)
@click.argument("runs", metavar="RUN…", nargs=-1, required=True, type=EXISTING)
@option("--out", type=FOLDER, section="Several runs", help="The folder of their comparison.")
def report(runs: tuple[Path, ...], out: Path | None) -> None:
    """Write a run's report.html anew; of several runs, a comparison.

    Pictures and model-card.md come with it; its place is printed. Of several RUNs that have ended a comparison is
    written into OUT, as `emotiwave compare` does, and nothing is trained. Those of one recipe are a row, whatever their
    seed and fold; the others are compared with the first one's.
    """
    from emotiwave_core import api
    from emotiwave_core.cli.compare import print_comparison
    from emotiwave_core.monitor import TerminalMonitor

    if len(runs) == 1:
        if out is not None:
            raise click.UsageError("--out is the folder of a comparison of several runs; a run's report is in its own.")
        say(api.open_run(runs[0]).report())
        return
    if out is None:
        raise click.UsageError("Give --out, the folder of the comparison of these runs.")
    print_comparison(api.compare_runs(runs, out=out, monitor=TerminalMonitor()), out)
