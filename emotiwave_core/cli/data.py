"""`emotiwave data inspect | sample | prepare`."""

from pathlib import Path
from typing import Any

import click

from emotiwave_core.cli.common import (
    EXISTING,
    FOLDER,
    SectionedCommand,
    json_option,
    option,
    print_json,
    registry_option,
)


@click.group()
def data() -> None:
    """Inspect a data set, write the synthetic sample, prepare a store."""


@data.command(cls=SectionedCommand, epilog="\b\nExample:\n  emotiwave data inspect DIR --json > facts.json")
@click.argument("folder", type=EXISTING)
@json_option
@click.pass_context
def inspect(context: click.Context, folder: Path, as_json: bool) -> None:
    """Say what is in a folder of .csd files, and what is wrong.

    Leaves with exit code 3 when a file cannot be read.
    """
    from emotiwave_core.data.inspect import inspect_folder
    from emotiwave_core.monitor import TerminalMonitor

    facts = inspect_folder(folder, TerminalMonitor())
    if as_json:
        print_json(facts)
    else:
        from emotiwave_core.cli.doctor import print_facts

        print_facts(facts)
    if any("error" in file for file in facts["files"].values()) or "error" in (facts["folds"] or {}):
        context.exit(3)


@data.command(epilog="\b\nExample:\n  emotiwave data sample synthetic")
@click.argument("folder", type=FOLDER)
def sample(folder: Path) -> None:
    """Write the synthetic sample data set.

    It has real .csd files, planted emotions and a known best score.
    """
    from emotiwave_core.data.synthetic.sample import write_sample
    from emotiwave_core.errors import SettingsError

    if folder.exists() and any(folder.iterdir()):
        raise SettingsError(f"{folder} is not empty; choose a new folder for the sample.")
    write_sample(folder)
    click.echo(folder)


@data.command(cls=SectionedCommand, epilog="\b\nExample:\n  emotiwave data prepare DIR --recipe notebook")
@click.argument("folder", type=EXISTING)
@option("--recipe", default="default", show_default=True, help="Whose data options to use: a name or a .toml file.")
@option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A value of the recipe, such as data.unit=video.")
@json_option
@registry_option
def prepare(folder: Path, recipe: str, settings: tuple[str, ...], as_json: bool, registry_file: Path | None) -> None:
    """Cut and pack a data set now.

    Runs with the same data options then start at once.
    """
    from emotiwave_core.config.flags import override
    from emotiwave_core.config.recipe import Recipe
    from emotiwave_core.data.corpus import open_corpus
    from emotiwave_core.monitor import TerminalMonitor
    from emotiwave_core.parts.registry import load_registry

    table, source = load_registry(registry_file).recipe_table(recipe)
    chosen = Recipe.from_table(override(table, settings), source)
    corpus = open_corpus(folder, chosen.data, TerminalMonitor())
    facts: dict[str, Any] = {"store": str(corpus.store.path), **corpus.facts()}
    if as_json:
        print_json(facts)
        return
    click.echo(f"{facts['store']}: {facts['samples']} samples of {facts['videos']} videos of {facts['dataset']}")
    for name, about in facts["modalities"].items():
        click.echo(
            f"  {name}: {about['features']} features, {about['median_steps']:g} steps (median), missing in "
            f"{about['missing']} samples, {about['nan']} NaN and {about['inf']} infinite values replaced"
        )
    for reason, count in facts["left_out"].items():
        if count:
            click.echo(f"  left out, {reason}: {count}")
    for note in facts["notes"]:
        click.echo(f"  {note}")
