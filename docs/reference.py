"""Prints docs/reference.md: the help of every command and the table of shipped parts. `make docs` writes it."""

from collections.abc import Iterator

import click

from emotiwave_core.cli import emotiwave
from emotiwave_core.probe import survey
from emotiwave_core.registry import load_registry


def commands(command: click.Command, parent: click.Context | None = None) -> Iterator[tuple[str, str]]:
    """Every command with its help, depth first."""
    name = command.name if parent else "emotiwave"
    settings = command.context_settings | {"terminal_width": 100, "max_content_width": 100}
    context = click.Context(command, info_name=name, parent=parent, **settings)
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            if (found := command.get_command(context, child)) is not None:
                yield from commands(found, context)


def main() -> None:
    """Print the page."""
    click.echo("# Reference\n\nWritten by `make docs`; do not edit.\n\n## Parts\n")
    click.echo("| kind | name | what it is | options |\n| --- | --- | --- | --- |")
    for row in survey(load_registry(), None):
        if row["provider"].startswith("emotiwave "):
            options = "<br>".join(f"`{name} = {default!r}`" for name, default in row["options"].items())
            click.echo(f"| {row['kind']} | `{row['name']}` | {row['summary']} | {options} |")
    click.echo("\n## Commands")
    for path, text in commands(emotiwave):
        click.echo(f"\n### {path}\n\n```\n{text}\n```")


if __name__ == "__main__":
    main()
