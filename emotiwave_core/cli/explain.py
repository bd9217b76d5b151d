"""`emotiwave explain`."""

import shlex
from pathlib import Path
from typing import get_args

import click
from click.core import ParameterSource

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
from emotiwave_core.errors import SettingsError
from emotiwave_core.explain.coalitions import Empty, Value

EXAMPLES = """\b
Examples:
  emotiwave explain runs/default-1
  emotiwave explain runs/default-1 --sample "ID" --picture moments.png
"""


@click.command(cls=SectionedCommand, epilog=EXAMPLES)
@click.argument("run", type=EXISTING)
@option("--sample", section="What", help="One sample by its id, as in predictions.csv.  [default: the whole fold]")
@option(
    "--value",
    type=click.Choice(get_args(Value)),
    default="probability",
    show_default=True,
    section="What",
    help="What is split over the modalities: the probability of a class, or its log-odds.",
)
@option(
    "--empty",
    type=click.Choice(get_args(Empty)),
    default="prior",
    show_default=True,
    section="What",
    help="Without any modality: the class frequencies of the training fold as its loss weighs them, or what the model "
    "says of nothing.",
)
@option(
    "--picture", type=click.Path(path_type=Path, dir_okay=False), section="What", help="A PNG of --sample's moments."
)
@option("--data", type=EXISTING, section="Data", help="Another data set of the same form.  [default: the run's own]")
@option("--fold", type=click.Choice([*FOLDS, "all"]), default="test", show_default=True, section="Data")
@device_option
@json_option
@registry_option
def explain(
    run: Path,
    sample: str | None,
    value: Value,
    empty: Empty,
    picture: Path | None,
    data: Path | None,
    fold: str,
    device: str,
    as_json: bool,
    registry_file: Path | None,
) -> None:
    """Show which modality decided, and at which moments.

    Over a fold, or for one sample. Shapley values are exact: the model is asked about every combination of
    modalities. They sum to what is explained. Nothing in RUN is changed.
    """
    if picture is not None and sample is None:
        raise click.UsageError("--picture shows the moments of one sample: give its --sample.")
    if picture is not None and picture.suffix.lower() != ".png":
        raise SettingsError(f"--picture writes a PNG: name it {picture.with_suffix('.png')}.")

    from emotiwave_core import api
    from emotiwave_core.cli.explained import print_fold, print_sample
    from emotiwave_core.io.atomic import out_of_space
    from emotiwave_core.monitor import TerminalMonitor
    from emotiwave_core.parts.stdout import quiet

    if picture is not None:
        with out_of_space(picture.parent):
            picture.parent.mkdir(parents=True, exist_ok=True)  # before the work, so that it is not lost
    with quiet():
        opened = api.open_run(run, device=device, registry=registry_file, monitor=TerminalMonitor())
        about = opened.explain(sample, value=value, empty=empty, dataset=data, fold=fold)
    if sample is None:
        print_json(about) if as_json else print_fold(about, shlex.join(_asked(run)))
        return
    if picture is not None:
        from emotiwave_core.report.occlusion import write_picture

        write_picture(picture, about)
    print_json(about) if as_json else print_sample(about)
    if picture is not None and not as_json:
        click.echo(f"Picture: {picture}")


def _asked(run: Path) -> list[str]:
    """The words of the command as it was given, to ask again with more."""
    context = click.get_current_context()
    given = (
        (one.opts[0], str(context.params[one.name]))
        for one in context.command.params
        if one.name and isinstance(one, click.Option)
        if context.get_parameter_source(one.name) is ParameterSource.COMMANDLINE
    )
    return ["emotiwave", "explain", str(run), *(word for pair in given for word in pair)]
