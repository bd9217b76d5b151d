"""`emotiwave plugins` (Parts): List all parts: who provides each, and whether it works."""

from pathlib import Path

import click

from emotiwave_core.cli.check import check
from emotiwave_core.cli.check import show as show_part
from emotiwave_core.cli.common import EXISTING, json_option, option, print_json, registry_option, say
from emotiwave_core.cli.new import new


@click.group(invoke_without_command=True, epilog="\b\nExample:\n  emotiwave plugins --json")
@json_option
@option("--again", is_flag=True, help="Load every part, also those known to load and unchanged since.")
@registry_option
@click.pass_context
def plugins(context: click.Context, as_json: bool, again: bool, registry_file: Path | None) -> None:
    """List all parts: who provides each, and whether it works."""
    if context.invoked_subcommand is not None:
        return
    from emotiwave_core.parts.registry import load_registry
    from emotiwave_core.parts.survey import survey

    rows = survey(load_registry(registry_file), registry_file, again)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        options = ", ".join(f"{name}={default!r}" for name, default in row["options"].items())
        say(f"{row['kind']:12} {row['name']:22} {row['state']:10} {row['provider']}")
        if row["summary"]:
            say(f"{'':36}{row['summary']}{f' ({options})' if options else ''}")


@plugins.command(epilog="\b\nExample:\n  emotiwave plugins trust")
@click.argument("folder", type=EXISTING, default=Path())
def trust(folder: Path) -> None:
    """Give the local files that FOLDER's registry.toml names your word.

    Without it their code is not run: the folder may be a stranger's. It holds until a file changes. FOLDER is the one
    that you work in, unless another is given.
    """
    from emotiwave_core.parts.registry import files_named_in
    from emotiwave_core.parts.trust import trust as give_word

    files = files_named_in(folder)
    give_word(files)
    for file in files:
        say(f"Trusted as it is now: {file}")


plugins.add_command(new)
plugins.add_command(check)
plugins.add_command(show_part)
