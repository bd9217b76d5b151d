"""`emotiwave recipes` and `emotiwave plugins`."""

from pathlib import Path
from typing import Any

import click

from emotiwave_core.cli.check import check
from emotiwave_core.cli.check import show as show_part
from emotiwave_core.cli.common import json_option, option, print_json, registry_option
from emotiwave_core.cli.new import new
from emotiwave_core.parts.kinds import part_kinds


@click.group(invoke_without_command=True, epilog="\b\nExample:\n  emotiwave recipes show notebook > mine.toml")
@click.pass_context
def recipes(context: click.Context) -> None:
    """List the recipes, or show one."""
    if context.invoked_subcommand is None:
        from emotiwave_core import api

        for name, table in api.recipes().items():
            said = [_short(table[key]) for key in (kind.name for kind in part_kinds()) if key in table]
            said += [f"{key}.{_short(table[key])}" for key in ("objective", "training") if key in table]
            click.echo(f"{name:12} {', '.join(said)}")


def _short(value: Any) -> str:
    """A part or settings of a recipe as a flag would say them, or a part of each modality."""
    if not isinstance(value, dict):
        return str(value)
    name = value.get("name")
    options = ",".join(f"{key}={_short(option)}" for key, option in value.items() if key != "name")
    return options if name is None else f"{name}:{options}" if options else str(name)


@recipes.command()
@click.argument("name")
@registry_option
def show(name: str, registry_file: Path | None) -> None:
    """Print a recipe in full.

    It is TOML that `emotiwave run FILE.toml` takes; docs/reference.md says what each value means.
    """
    import tomli_w

    from emotiwave_core.config.recipe import Recipe
    from emotiwave_core.parts.registry import load_registry
    from emotiwave_core.parts.stdout import quiet
    from emotiwave_core.parts.watchers import load_watchers

    with quiet():
        registry = load_registry(registry_file)
        table, source = registry.recipe_table(name)
        recipe = registry.resolve(Recipe.from_table(table, source)).completed()
        load_watchers(recipe.watch, registry)
    click.echo(tomli_w.dumps(recipe.to_table()), nl=False)


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
        click.echo(f"{row['kind']:8} {row['name']:12} {row['state']:10} {row['provider']}")
        if row["summary"]:
            click.echo(f"{'':22}{row['summary']}{f' ({options})' if options else ''}")


plugins.add_command(new)
plugins.add_command(check)
plugins.add_command(show_part)
