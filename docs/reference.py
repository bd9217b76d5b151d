"""Prints docs/reference.md: the shipped parts, the settings of a recipe and the help of every command.

`make docs` writes it. Default, type, range and meaning of a setting are those of its field in the code.
"""

import json
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import attrs
import click

from emotiwave_core.cli import emotiwave
from emotiwave_core.config.options import bare
from emotiwave_core.config.recipe import Part, Recipe
from emotiwave_core.parts.registry import load_registry
from emotiwave_core.parts.survey import survey

PART = "the name of a part, or a table of its `name` and options"
WORDS: dict[Any, str] = {
    bool: "`true`, `false`",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Part: PART,
    dict[str, Any]: "a table",
    list[Part]: f"{PART}; or a list of these",
    dict[str, Part]: f"{PART}; or a table of one for each modality",
}
RECIPE = """\

## Recipe

What a recipe sets: in its TOML file (`epochs = 5` under `[training]`), or by `emotiwave run --set training.epochs=5`.
`emotiwave recipes show NAME` prints one in full.

| key | default | allowed | meaning |
| --- | --- | --- | --- |"""


def commands(command: click.Command, parent: click.Context | None = None) -> Iterator[tuple[str, str]]:
    """Every command with its help, depth first."""
    name = command.name if parent else "emotiwave"
    wide: dict[str, Any] = {**command.context_settings, "terminal_width": 100, "max_content_width": 100}
    context = click.Context(command, info_name=name, parent=parent, **wide)
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            if (found := command.get_command(context, child)) is not None:
                yield from commands(found, context)


def settings(kind: type[Any], before: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Key, default, what is allowed and meaning of every setting of a recipe; those of a table after its own."""
    for field in attrs.fields(kind):
        inner, meaning = bare(field.type), field.metadata.get("meaning")
        table = attrs.has(inner) and inner is not Part
        if meaning is not None:
            limits = [word for validator in parts_of(field.validator) if (word := limit(validator))]
            allowed = "a table of the next keys" if table else in_words(inner)
            yield f"{before}{field.name}", default(field.default), ", ".join([allowed, *limits]), meaning
        if table:
            yield from settings(inner, f"{before}{field.name}.")


def in_words(kind: Any) -> str:
    """A type as a person says it."""
    if get_origin(kind) is Literal:
        return ", ".join(f'`"{choice}"`' for choice in get_args(kind))
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(in_words(choice) for choice in get_args(kind) if choice is not NoneType)
    if get_origin(kind) is list and kind not in WORDS:
        return "a list of texts" if get_args(kind) == (str,) else "a list of numbers"
    return WORDS.get(kind, "a table of one for each modality")


def parts_of(validator: Any) -> tuple[Any, ...]:
    """The validators that attrs has made one of."""
    return () if validator is None else tuple(getattr(validator, "_validators", (validator,)))


def limit(validator: Any) -> str | None:
    """The range of a validator of attrs, or the docstring of one of ours."""
    if hasattr(validator, "compare_op"):
        return f"`{validator.compare_op} {validator.bound:.10g}`"
    return str(validator.__doc__) if validator.__doc__ else None


def default(value: Any) -> str:
    """As TOML has it; nothing where there is none."""
    value = value.factory() if isinstance(value, attrs.Factory) else value  # type: ignore[arg-type]
    if isinstance(value, dict):
        (value,) = value.values()  # the part of all modalities
    value = value.name if isinstance(value, Part) else value
    return "" if value is None else f"`{json.dumps(value)}`"  # which TOML reads as well


def main() -> None:
    """Print the page."""
    click.echo("# Reference\n\nWritten by `make docs`; do not edit.\n\n## Parts\n")
    click.echo("| kind | name | what it is | options |\n| --- | --- | --- | --- |")
    for row in survey(load_registry(), None):
        if row["provider"].startswith("emotiwave "):
            options = "<br>".join(f"`{name} = {default!r}`" for name, default in row["options"].items())
            click.echo(f"| {row['kind']} | `{row['name']}` | {row['summary']} | {options} |")
    click.echo(RECIPE)
    for key, value, allowed, meaning in settings(Recipe):
        click.echo(f"| `{key}` | {value} | {allowed} | {meaning} |")
    click.echo("\n## Commands")
    for path, text in commands(emotiwave):
        click.echo(f"\n### {path}\n\n```\n{text}\n```")


if __name__ == "__main__":
    main()
