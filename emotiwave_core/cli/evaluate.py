"""`emotiwave evaluate`."""

from pathlib import Path

import click

from emotiwave_core.cli.common import (
    EXISTING,
    SectionedCommand,
    device_option,
    json_option,
    option,
    print_json,
    registry_option,
)
from emotiwave_core.data.folds import FOLDS

EXAMPLES = """\b
Examples:
  emotiwave evaluate runs/default-1
  emotiwave evaluate runs/default-1 --data OTHER --fold all --json
"""


@click.command(cls=SectionedCommand, epilog=EXAMPLES)
@click.argument("run", type=EXISTING)
@option("--data", type=EXISTING, section="Data", help="Another data set of the same form.  [default: the run's own]")
@option("--fold", type=click.Choice([*FOLDS, "all"]), default="test", show_default=True, section="Data")
@device_option
@json_option
@registry_option
def evaluate(run: Path, data: Path | None, fold: str, device: str, as_json: bool, registry_file: Path | None) -> None:
    """Score a trained run on every configuration.

    On the test fold of its own data the scores, predictions and report in RUN are written anew; otherwise RUN stays as
    it is and the scores are only printed.
    """
    from emotiwave_core.cli.console import Console, print_scores
    from emotiwave_core.engine import run as engine
    from emotiwave_core.engine.device import find_device
    from emotiwave_core.registry import load_registry

    own = data is None and fold == "test"
    scores = engine.evaluate(
        run, load_registry(registry_file), find_device(device), Console(), data=data, fold=fold, write=own
    )
    if as_json:
        print_json(scores)
    else:
        print_scores(scores)
