"""`emotiwave recipes` (Parts): List the recipes, or show one."""

from pathlib import Path
from typing import Any

import click

from emotiwave_core.cli.common import registry_option, say
from emotiwave_core.parts.kinds import OBJECTIVE, part_kinds


@click.group(invoke_without_command=True, epilog="\b\nExample:\n  emotiwave recipes show notebook > mine.toml")
@click.pass_context
def recipes(context: click.Context) -> None:
    """List the recipes, or show one."""
    if context.invoked_subcommand is None:
        from emotiwave_core import api

        for name, table in api.recipes().items():
            kinds = [kind.name for kind in part_kinds() if kind.name != OBJECTIVE]  # which has a table of settings
            said = [_short(table[key]) for key in kinds if key in table]
            said += [f"{key}.{_short(value)}" for key, value in table.items() if key not in (*kinds, "name")]
            say(f"{name:12} {', '.join(said)}")


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
    say(tomli_w.dumps(recipe.to_table()), end="")
