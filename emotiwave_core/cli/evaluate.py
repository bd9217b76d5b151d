"""`emotiwave evaluate` (Train and score): Score a trained run on every configuration, or under a protocol."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from emotiwave_core.cli.common import (
    DATA,
    EXISTING,
    FILE,
    SectionedCommand,
    device_option,
    json_option,
    on_alarm_option,
    option,
    print_json,
    registry_option,
    strict_option,
)
from emotiwave_core.data.folds import FOLDS
from emotiwave_core.evaluate.corruptions import CONFIGURATIONS, corruption_names

if TYPE_CHECKING:
    from emotiwave_core.config.recipe import OnAlarm

EXAMPLES = """\b
Examples:
  emotiwave evaluate runs/default-1
  emotiwave evaluate runs/default-1 --data OTHER --fold all --json
  emotiwave evaluate runs/default-1 --protocol noise --against runs/robust-1
"""


@click.command(cls=SectionedCommand, epilog=EXAMPLES)
@click.argument("run", type=EXISTING)
@option("--data", type=DATA, section="Data", help="Another data set of the same form.  [default: the run's own]")
@option("--fold", type=click.Choice([*FOLDS, "all"]), default="test", show_default=True, section="Data")
@option(
    "--metric",
    multiple=True,
    metavar="NAME[:OPTIONS]",
    section="Data",
    help="A further score of a plugin, instead of those of the recipe.",
)
@on_alarm_option("Data")
@option(
    "--protocol",
    "protocols",
    multiple=True,
    type=click.Choice([CONFIGURATIONS, *corruption_names()]),
    default=(CONFIGURATIONS,),
    show_default=CONFIGURATIONS,
    section="Protocol",
    help="What is absent or damaged (docs/protocols.md); several, one after another.",
)
@option("--seed", type=click.IntRange(min=0), section="Protocol", help="What the damage is drawn from.  [default: 0]")
@option("--manifest", type=FILE, section="Protocol", help="Damage that was drawn before, instead of a seed.")
@option("--against", type=EXISTING, section="Protocol", help="Another run that meets the same damage.")
@device_option
@strict_option
@json_option
@registry_option
def evaluate(
    run: Path,
    data: Path | None,
    fold: str,
    metric: tuple[str, ...],
    on_alarm: "OnAlarm | None",
    protocols: tuple[str, ...],
    seed: int | None,
    manifest: Path | None,
    against: Path | None,
    device: str,
    strict: bool,
    as_json: bool,
    registry_file: Path | None,
) -> None:
    """Score a trained run on every configuration, or under a protocol.

    On the test fold of its own data the scores, predictions and report in RUN are written anew (of a protocol: the
    scores and the manifest in RUN/protocols); otherwise, and with --on-alarm, RUN stays as it is and the scores are
    only printed.
    """
    protocols, is_scored = tuple(dict.fromkeys(protocols)), CONFIGURATIONS in protocols
    if is_scored and len(protocols) > 1:
        raise click.UsageError(f"--protocol {CONFIGURATIONS} damages nothing: leave it or the others out.")
    if is_scored and (seed, manifest, against) != (None, None, None):
        raise click.UsageError("--seed, --manifest and --against need a --protocol that draws something.")
    if not is_scored and metric:
        raise click.UsageError("A protocol has the headline score alone: leave --metric out.")
    if manifest is not None and seed is not None:
        raise click.UsageError("--manifest was drawn from a seed of its own; leave --seed out.")
    if manifest is not None and len(protocols) > 1:
        raise click.UsageError("--manifest is of one protocol: leave the others out.")

    from emotiwave_core import api
    from emotiwave_core.cli.console import print_protocol, print_scores
    from emotiwave_core.monitor import TerminalMonitor
    from emotiwave_core.parts.stdout import quiet

    console = TerminalMonitor()
    opened = api.open_run(run, device=device, registry=registry_file, monitor=console, strict=strict, on_alarm=on_alarm)
    if is_scored:
        with quiet():
            scores = opened.evaluate(data, fold=fold, metric=metric or None)
        print_json(scores.to_dict()) if as_json else print_scores(scores)
        return
    told = []
    for protocol in protocols:
        with quiet():
            curves = opened.robustness(
                protocol, against=against, seed=seed or 0, manifest=manifest, dataset=data, fold=fold
            )
        told.append(curves.to_dict())
        if not as_json:
            print_protocol(curves)
    if as_json:
        print_json(told if len(told) > 1 else told[0])
    elif data is None and fold == "test" and on_alarm is None:
        console.say(f"Curves and manifest: {run / 'protocols'}")
