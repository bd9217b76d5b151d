"""`emotiwave compare` (Train and score): Train several recipes with several seeds and folds, and test what differs."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table
from rich.text import Text

from emotiwave_core.cli.common import (
    DATA,
    SectionedCommand,
    device_option,
    executor_options,
    json_option,
    option,
    print_json,
    registry_option,
)
from emotiwave_core.cli.console import tables
from emotiwave_core.errors import DataError, SettingsError, counted, printable
from emotiwave_core.evaluate.corruptions import corruption_names

if TYPE_CHECKING:
    from emotiwave_core.compare.comparison import Comparison
    from emotiwave_core.compare.score_tables import ScoreTable

EXAMPLES = """\b
Examples:
  emotiwave compare DIR --recipe concat=default --recipe gated=default,fusion=gated --seeds 5 --out runs/fusions
  emotiwave compare DIR --recipe a=default --recipe b=robust --folds cv.json --specialists b --baseline --out runs/cv
  emotiwave compare DIR --recipe a=default --recipe b=robust --protocol noise --protocol blocks --out runs/bad
  emotiwave compare DIR --recipe a=default --recipe b=mine.toml --out runs/ab        stopped, the same command goes on
"""


@click.command(cls=SectionedCommand, epilog=EXAMPLES)
@click.argument("data", type=DATA)
@option(
    "--recipe",
    "recipes",
    multiple=True,
    required=True,
    metavar="NAME=RECIPE[,KEY=VALUE…]",
    section="Rows",
    help="A row; others are compared with the first. KEY: a part, such as fusion, or a value of the recipe.",
)
@option(
    "--specialists", multiple=True, metavar="ROW", section="Rows", help="Beside a row: a run for each configuration."
)
@option(
    "--baseline",
    is_flag=True,
    section="Rows",
    help="A row `linear`: logistic (of numbers ridge) regressions over means and deviations of the features.",
)
@option(
    "--protocol",
    "protocols",
    multiple=True,
    type=click.Choice(corruption_names()),
    section="Runs",
    help="Score the runs under a corruption too (docs/protocols.md).",
)
@option("--seeds", type=click.IntRange(min=1, max=1000), default=5, show_default=True, section="Runs", help="How many.")
@option(
    "--folds", metavar="FILE", section="Runs", help="Folds in the data set's folder, each tested on once (cv.json)."
)
@option(
    "--jobs", type=click.IntRange(min=1), section="Runs", help="Side by side.  [default: one for each processor or GPU]"
)
@option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, section="Result", help="The folder.")
@executor_options
@device_option
@json_option
@registry_option
def compare(
    data: Path,
    recipes: tuple[str, ...],
    specialists: tuple[str, ...],
    baseline: bool,
    protocols: tuple[str, ...],
    seeds: int,
    folds: str | None,
    jobs: int | None,
    executor: str,
    address: str | None,
    slurm: tuple[str, ...],
    out: Path,
    device: str,
    as_json: bool,
    registry_file: Path | None,
) -> None:
    """Train several recipes with several seeds and folds, and test what differs.

    Every recipe with every seed and fold is a run of the usual kind in OUT/runs; one that is done is not done again,
    and one that was cut goes on. OUT gets comparison.html, .json, .tex (booktabs) and figures (PNG, PDF, SVG).
    """
    from emotiwave_core import api
    from emotiwave_core.compare.plan import read_row
    from emotiwave_core.execute.executor import read_slurm
    from emotiwave_core.monitor import TerminalMonitor

    rows = [read_row(flag) for flag in recipes]
    names = [name for name, _ in rows]
    if len(set(names)) < len(names):
        raise SettingsError(f"Two rows are named {printable(next(n for n in names if names.count(n) > 1))}.")
    result = api.compare(
        data,
        dict(rows),
        out=out,
        seeds=seeds,
        folds=folds,
        specialists=specialists,
        baseline=baseline,
        protocols=tuple(dict.fromkeys(protocols)),
        jobs=jobs,
        executor=executor,
        address=address,
        slurm=read_slurm(slurm),
        device=device,
        registry=registry_file,
        monitor=TerminalMonitor(),
    )
    if as_json:
        print_json(result.to_dict())
    else:
        print_comparison(result, out)
    if failed := sum(len(row.failed) for row in result.rows):
        are = "is" if failed == 1 else "are"
        raise DataError(f"{counted(failed, 'run')} failed and {are} left out; the page says why.")
    if result.unscored:
        told = counted(len(result.unscored), "run")
        raise DataError(f"{told} could not be scored under the protocols; the page says why.")


def print_comparison(result: "Comparison", out: Path) -> None:
    """Print the table of a comparison, its verdict and notes, and where its page is."""
    from emotiwave_core.compare.pages import columns, probability, verdict

    names = columns(result)
    last_column = ["p"] if len(result.rows) > 1 else []
    table = Table(*["recipe", *map(printable, names), "runs", *last_column], box=None, pad_edge=False)
    for row in result.rows:
        cells = []
        for name in names:
            star = "*" if name in row.differences and row.differences[name].is_significant else ""
            cells.append(f"{row.scores[name].mean:.3f}{star}")
        last = row.differences.get(names[-1])
        p = [] if len(result.rows) < 2 else ["" if last is None else probability(last.p_holm)]
        table.add_row(*map(_text, [row.name, *cells, str(row.runs), *p]))
    tables().print(table)
    for own in result.tables:
        _print_table(own)
    click.echo(("\n" if result.tables else "") + printable(verdict(result)))
    for note in result.notes:
        click.echo(f"Note: {printable(note)}")
    click.echo(f"Page: {printable(str(out / 'comparison.html'))}")


def _print_table(scores: "ScoreTable") -> None:
    """Print the table of a score beside the headline, below an empty line."""
    from emotiwave_core.compare.pages import number

    better = "higher" if scores.higher_is_better else "lower"
    click.echo(printable(f"\n{scores.title} ({better} is better): {scores.definition}"))
    table = Table("recipe", *map(printable, scores.columns), box=None, pad_edge=False)
    for name, cells in scores.rows.items():
        stars = ["*" if scores.is_significant(name, column) else "" for column in scores.columns]
        numbers = [number(cells.get(column)) for column in scores.columns]
        table.add_row(*map(_text, [name, *(told + star for told, star in zip(numbers, stars, strict=True))]))
    tables().print(table)


def _text(text: str) -> Text:
    return Text(printable(text))
