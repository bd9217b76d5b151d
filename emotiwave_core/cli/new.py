"""`emotiwave plugins new`."""

from pathlib import Path

import click

from emotiwave_core.cli.common import FOLDER, SectionedCommand, option, say
from emotiwave_core.parts.kinds import NARROWER, part_kind, part_kinds

EXAMPLES = """\b
Examples:
  emotiwave plugins new encoder convnet
  emotiwave plugins new fusion my-gate --folder ~/plugins
  emotiwave plugins new dropout bursts --single-file
"""


@click.command(cls=SectionedCommand, epilog=EXAMPLES)
@click.argument("kind", type=click.Choice([*(kind.name for kind in part_kinds()), *NARROWER]))
@click.argument("name")
@option("--single-file", is_flag=True, help="Write NAME.py alone, to be named in ./registry.toml.")
@option("--folder", type=FOLDER, default=Path(), help="Where to write it; it is made.  [default: the current folder]")
def new(kind: str, name: str, single_file: bool, folder: Path) -> None:
    """Write a plugin that works, with its tests, to make your own of.

    It is a project in a new folder emotiwave-NAME, or a file with --single-file. Nothing that exists is changed.
    """
    from emotiwave_core.parts.scaffold import NewPlugin, taken, write_file, write_project
    from emotiwave_core.parts.trust import trust

    plugin = NewPlugin(kind, name)
    notes = taken(plugin, single_file)
    if single_file:
        path = write_file(plugin, folder)
        trust([path])
        _say_file(plugin.kind, plugin.name, path, notes)
    else:
        _say_project(plugin.kind, plugin.name, write_project(plugin, folder), notes)


def _say_project(kind: str, name: str, project: Path, notes: list[str]) -> None:
    import shlex

    say(project)
    _say(
        f"The {kind} '{name}' works as it stands; make it your own in src.",
        notes,
        f"cd {shlex.quote(str(project))}",
        'pip install -e ".[test]"',
        "pytest",
        f"emotiwave plugins check {name}",
        *part_kind(kind).commands(name),
    )


def _say_file(kind: str, name: str, path: Path, notes: list[str]) -> None:
    import shlex

    import tomli_w

    from emotiwave_core.parts.registry import OVERLAY

    where = "Add this line under [plugins] in" if Path(OVERLAY).exists() else "Put this into"
    say(f"{path} is written. {where} ./{OVERLAY}:\n", err=True)
    say(tomli_w.dumps({"plugins": {name: path.as_posix()}}), end="")
    _say(
        "",
        notes,
        f"emotiwave plugins check {shlex.quote(str(path))}",
        "emotiwave plugins trust        after each change of the file",
        *part_kind(kind).commands(name),
    )


def _say(first: str, notes: list[str], *commands: str) -> None:
    for line in (first, *(f"Note: {note}" for note in notes), "Next:", *(f"  {command}" for command in commands)):
        say(line, err=True)
