"""`emotiwave tune` (Train and score): Search for the best recipe by validation; the test fold is never read."""

import shlex
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
from emotiwave_core.errors import printable

if TYPE_CHECKING:
    from emotiwave_core.compare.search import Search

EXAMPLES = """\b
Examples:
  emotiwave tune DIR --space 'training.learning_rate=log(1e-4,1e-2)' --space 'encoder.hidden_size=[32,64]' --out runs/s
  emotiwave tune DIR default --space 'fusion=["concat","gated","tensor"]' --out runs/fusions
  emotiwave run runs/s/winner.toml --data DIR      reads the test fold, once, for the winner
"""
SHOWN = 5  # trials


@click.command(cls=SectionedCommand, epilog=EXAMPLES)
@click.argument("data", type=DATA)
@click.argument("recipe", default="default")
@option(
    "--space",
    multiple=True,
    required=True,
    metavar="KEY=VALUES",
    section="Search",
    help="A list, [32, 64], or log(lo, hi), uniform(lo, hi), int(lo, hi), for a value of the recipe or a part.",
)
@option("--set", "settings", multiple=True, metavar="KEY=VALUE", section="Search", help="A value that stays.")
@option("--trials", type=click.IntRange(1, 100_000), default=30, show_default=True, section="Search", help="How many.")
@option("--seed", type=click.IntRange(min=0), default=0, show_default=True, section="Search", help="Of the search.")
@option("--no-pruning", is_flag=True, section="Search", help="Train every trial to its end.")
@option("--jobs", type=click.IntRange(min=1), section="Search", help="Trials side by side.  [default: as processors]")
@option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, section="Result", help="The folder.")
@executor_options
@device_option
@json_option
@registry_option
def tune(
    data: Path,
    recipe: str,
    space: tuple[str, ...],
    settings: tuple[str, ...],
    trials: int,
    seed: int,
    no_pruning: bool,
    jobs: int | None,
    executor: str,
    address: str | None,
    slurm: tuple[str, ...],
    out: Path,
    device: str,
    as_json: bool,
    registry_file: Path | None,
) -> None:
    """Search for the best recipe by validation; the test fold is never read.

    Each trial is a run in OUT/runs that ends before its test. OUT gets winner.toml, trials.csv and a figure. Stopped,
    the same command goes on; more --trials add to those that are there.
    """
    from emotiwave_core import api
    from emotiwave_core.config.flags import override
    from emotiwave_core.execute.executor import read_slurm
    from emotiwave_core.monitor import TerminalMonitor
    from emotiwave_core.parts.registry import load_registry

    table, _ = load_registry(registry_file).recipe_table(recipe)
    search = api.tune(
        data,
        override(table, settings),
        space=space,
        trials=trials,
        seed=seed,
        prune=not no_pruning,
        jobs=jobs,
        executor=executor,
        address=address,
        slurm=read_slurm(slurm),
        out=out,
        device=device,
        registry=registry_file,
        monitor=TerminalMonitor(),
    )
    if as_json:
        print_json(search.to_dict())
    else:
        _print(search, data)


STATES = ("complete", "pruned", "failed", "running")  # the last of a process that is elsewhere, or has ended so


def _print(search: "Search", data: Path) -> None:
    done = sorted(
        (trial for trial in search.trials if trial.state == "complete"), key=lambda trial: -(trial.value or 0.0)
    )
    keys = list(search.settings)
    table = Table(*["trial", f"validation ({search.select})", *map(printable, keys)], box=None, pad_edge=False)
    for trial in done[:SHOWN]:
        cells = [f"{trial.number}", f"{trial.value:.3f}", *(_short(trial.settings[key]) for key in keys)]
        table.add_row(*(Text(printable(cell)) for cell in cells))
    tables().print(table)
    counts = {state: sum(trial.state == state for trial in search.trials) for state in STATES}
    click.echo(
        f"{len(search.trials)} trials: {', '.join(f'{count} {state}' for state, count in counts.items() if count)}."
    )
    winner = shlex.quote(str(search.out / "winner.toml"))
    click.echo(f"The winner's validation score is a maximum over {len(done)} trials, and too high by that.")
    click.echo(f"Its test fold is read, once, by: emotiwave run {winner} --data {shlex.quote(str(data))}")


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
