"""Shared by the commands: options under headings, folders as arguments, and JSON on stdout."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from emotiwave_core.errors import printable

F = TypeVar("F", bound=Callable[..., Any])


class Utf8Path(click.Path):
    """A path that can be written into a run's files, and read there again."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path; a usage error where its name is no UTF-8."""
        try:
            str(value).encode()
        except UnicodeEncodeError:
            self.fail(f"{str(value)!r} has a name that is no UTF-8: rename it.", param, ctx)
        return super().convert(value, param, ctx)


FOLDER = Utf8Path(path_type=Path, file_okay=False)
EXISTING = Utf8Path(path_type=Path, file_okay=False, exists=True)
DATA = Utf8Path(path_type=Path, exists=True)  # a data set: a folder, or a file that holds all of one
FILE = Utf8Path(path_type=Path, dir_okay=False, exists=True)


class SectionedOption(click.Option):
    """An option that stands under a heading in the help."""

    def __init__(self, *args: Any, section: str = "Options", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


class SectionedCommand(click.Command):
    """A command whose help lists its options by heading."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, section by section."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record and isinstance(parameter, click.Option):
                sections.setdefault(getattr(parameter, "section", "Other"), []).append(record)
        for title, records in sorted(sections.items(), key=lambda item: item[0] == "Other"):
            with formatter.section(title):
                formatter.write_dl(records)


def option(*names: str, section: str = "Options", **settings: Any) -> Callable[[F], F]:
    """`click.option` under a heading."""
    return click.option(*names, cls=SectionedOption, section=section, **settings)


registry_option = option(
    "--registry", "registry_file", type=FILE, section="Other", help="A registry.toml laid over the others."
)
device_option = option(
    "--device", default="auto", show_default=True, section="Computing", help="auto, cpu, cuda or cuda:N."
)


def executor_options(command: F) -> F:
    """Options of a command whose jobs may be carried out elsewhere."""

    def computing(name: str, **settings: Any) -> Callable[[F], F]:
        return option(name, section="Computing", **settings)

    command = computing("--slurm", multiple=True, metavar="KEY=VALUE", help="Of Slurm, such as time=30.")(command)
    command = computing("--address", metavar="HOST:PORT", help="A Ray cluster, or auto.  [default: a new one]")(command)
    kinds = click.Choice(["local", "ray", "slurm"])
    where = "Processes of this machine, Ray or Slurm (docs/scaling.md)."
    return computing("--executor", type=kinds, default="local", show_default=True, help=where)(command)


strict_option = option(
    "--strict", is_flag=True, section="Other", help="Refuse a run whose parts have other code by now."
)


def on_alarm_option(section: str) -> Callable[[F], F]:
    """`--on-alarm`, in a section of the help."""
    return option(
        "--on-alarm",
        type=click.Choice(["warn", "drop", "ignore"]),
        section=section,
        help="A modality that is unlike those of the training: warn, or read as missing.  [default: the recipe's]",
    )


json_option = option("--json", "as_json", is_flag=True, section="Other", help="JSON on stdout, for programs.")


def say(text: object = "", *, err: bool = False, end: str = "\n") -> None:
    """Print a text, on stdout or stderr, of which no terminal obeys anything. Every command prints by it."""
    click.echo(f"{printable(str(text))}{end}", nl=False, err=err)


def print_json(value: Any) -> None:
    """JSON on stdout, in ASCII where stdout knows no more; what a terminal could obey is an escape in every case."""
    ascii_alone = "utf" not in (getattr(sys.stdout, "encoding", None) or "").lower()
    text = json.dumps(value, indent=2, ensure_ascii=ascii_alone)
    click.echo("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text))
