"""`emotiwave plugins check` and `emotiwave plugins show`."""

from pathlib import Path
from typing import Any

import click

from emotiwave_core.cli.common import SectionedCommand, json_option, option, print_json, registry_option
from emotiwave_core.parts.kinds import part_kinds

CHECK = """\b
Examples:
  emotiwave plugins check bilstm
  emotiwave plugins check my_encoder.py --option width=32
  emotiwave plugins check bernoulli:p=0.5 --json

Exit code 0 if no law is broken, 1 if one is, 2 for a wrong name or option, 4 if it does not load.
"""
kind_option = option(
    "--kind", type=click.Choice([kind.name for kind in part_kinds()]), help="Where a name has several."
)


@click.command(cls=SectionedCommand, epilog=CHECK)
@click.argument("target", metavar="NAME[:OPTIONS]|FILE")
@kind_option
@option("--option", "settings", multiple=True, metavar="KEY=VALUE", help="An option of the part, as in NAME:OPTIONS.")
@json_option
@registry_option
@click.pass_context
def check(
    context: click.Context,
    target: str,
    kind: str | None,
    settings: tuple[str, ...],
    as_json: bool,
    registry_file: Path | None,
) -> None:
    """Hold a part to the laws of its kind, one by one, and measure it.

    NAME is any part that `emotiwave plugins` lists; FILE is a .py file, of which all parts are checked.
    """
    from emotiwave_core.cli.checked import gather, print_event, print_verdict
    from emotiwave_core.config.flags import parse_part, parse_value
    from emotiwave_core.parts.check import check as events

    options = {"name": target} if target.endswith(".py") else parse_part(target)
    name = str(options.pop("name"))
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise click.UsageError(f"--option takes KEY=VALUE, such as width=32, not '{setting}'.")
        options[key.strip()] = parse_value(value.strip())
    parts: list[dict[str, Any]] = []
    for event in events(name, kind, options, registry_file):
        gather(parts, event)
        if not as_json:
            print_event(parts, event)
    if as_json:
        print_json(parts)
    else:
        print_verdict(parts[-1])
    context.exit(0 if all(part["holds"] for part in parts) else 1)


@click.command(cls=SectionedCommand, epilog="\b\nExample:\n  emotiwave plugins show crossmodal")
@click.argument("name")
@kind_option
@json_option
@registry_option
def show(name: str, kind: str | None, as_json: bool, registry_file: Path | None) -> None:
    """Say all that is known of a part.

    That is: what it does, its source, its options, who provides it.
    """
    from emotiwave_core.cli.checked import print_part
    from emotiwave_core.parts.check.describe import describe

    rows = describe(name, kind, registry_file)
    if as_json:
        print_json(rows)
    else:
        print_part(rows)
