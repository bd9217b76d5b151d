"""Writes a working plugin from templates: `write_project` one that can be installed, `write_file` a single file."""

import contextlib
import keyword
import re
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import attrs

from emotiwave_core.errors import SettingsError
from emotiwave_core.io.atomic import out_of_space
from emotiwave_core.parts.kinds import TEMPLATES, part_kind
from emotiwave_core.parts.loading import same_distribution
from emotiwave_core.parts.registry import OVERLAY, load_registry
from emotiwave_core.version import __version__

OURS = {
    "augmentations",
    "core",
    "dropout",
    "encoders",
    "extractors",
    "fusions",
    "metrics",
    "objectives",
    "watch",
}  # emotiwave_core and its sisters are Emotiwave itself
IMPORTED = {"emotiwave", "numpy", "pytest", "torch"}  # a file of this name would hide what a plugin imports
NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
LONGEST = 40


@attrs.frozen
class NewPlugin:
    """A plugin to be written, and what follows from its name. SettingsError for a name that cannot be used."""

    kind: str
    name: str = attrs.field()

    @name.validator
    def _usable(self, _: object, name: str) -> None:
        if not NAME.fullmatch(name) or len(name) > LONGEST:
            near = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")[:LONGEST]
            hint = f" Did you mean '{near}'?" if NAME.fullmatch(near) else ""
            raise SettingsError(
                f"'{name}' cannot be a name: take lower-case letters and digits, a letter first, single '-' or '_' "
                f"between them, {LONGEST} at most, such as 'convnet' or 'my-convnet'.{hint}"
            )
        if keyword.iskeyword(self.module):
            raise SettingsError(f"'{name}' is a word of Python's own; choose another name, such as 'my-{name}'.")
        if self.module in sys.stdlib_module_names | IMPORTED:
            raise SettingsError(f"'{name}' is a module that others import; choose another name, such as 'my-{name}'.")
        if name.startswith("test"):
            raise SettingsError(
                f"pytest would take '{name}' for a test; choose a name that does not begin with 'test'."
            )
        if name.startswith(("emotiwave-", "emotiwave_")):
            raise SettingsError(f"The package is called emotiwave-NAME by itself: say '{name[10:]}', not '{name}'.")
        if name in OURS:
            raise SettingsError(
                f"emotiwave_{name} is a package of Emotiwave itself; choose another name than '{name}'."
            )

    @property
    def module(self) -> str:
        """The name as Python writes it; of the file, where that is the plugin."""
        return self.name.replace("-", "_")

    @property
    def package(self) -> str:
        """The name by which the project's code is imported."""
        return f"emotiwave_{self.module}"

    @property
    def distribution(self) -> str:
        """The name of the project for pip, and of its folder."""
        return f"emotiwave-{self.name.replace('_', '-')}"

    @property
    def part(self) -> str:
        """The class. It ends in its kind, so that no name can meet one that the module imports."""
        return "".join(word.capitalize() for word in self.module.split("_")) + part_kind(self.kind).name.capitalize()


def write_project(plugin: NewPlugin, folder: Path) -> Path:
    """Write a project into a new folder in `folder`, made if need be; return it. SettingsError where it exists."""
    project = folder / plugin.distribution
    source, tests = project / "src" / plugin.package, project / "tests"
    files = {
        source / "__init__.py": part_kind(plugin.kind).template,
        tests / f"test_{plugin.module}.py": TEMPLATES / "test.py.j2",
        project / "pyproject.toml": TEMPLATES / "pyproject.toml.j2",
        project / "README.md": TEMPLATES / "README.md.j2",
        project / ".gitignore": TEMPLATES / "gitignore.j2",
    }
    texts = {path: _render(template, plugin) for path, template in files.items()}
    with _new(project):
        folder.mkdir(parents=True, exist_ok=True)
        project.mkdir()
        try:
            source.mkdir(parents=True)
            tests.mkdir()
            (source / "py.typed").touch()
            for path, text in texts.items():
                path.write_text(text, encoding="utf-8")
        except BaseException:
            shutil.rmtree(project, ignore_errors=True)
            raise
    return project


def write_file(plugin: NewPlugin, folder: Path) -> Path:
    """Write the module alone, as NAME.py in `folder`, made if need be; return it. SettingsError where it exists."""
    path = folder / f"{plugin.module}.py"
    text = _render(part_kind(plugin.kind).template, plugin)
    with _new(path):
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            try:
                file.write(text)
                file.flush()
            except BaseException:
                path.unlink()
                raise
    return path


def taken(plugin: NewPlugin, single: bool) -> list[str]:
    """List what to know before the name is used: who has it, by installed distributions and registry.toml."""
    registry, kind, name = load_registry(), part_kind(plugin.kind).name, plugin.name
    owner = registry.names[kind].get(name)
    origins = {provider.origin for provider in registry.providers if (provider.kind, provider.name) == (kind, name)}
    others = {other for other in origins | {owner} if other and not same_distribution(other, plugin.distribution)}
    notes = []
    if others and single:
        notes.append(f"The {kind} '{name}' of {_and(others)} gives way where registry.toml names your file.")
    elif others:
        notes.append(
            f"The {kind} '{name}' is already that of {_and(others)}. To run yours, and to pass its last test, put "
            f'{name} = "{plugin.distribution}" under [{kind}] in ./{OVERLAY}.'
        )
    with contextlib.suppress(PackageNotFoundError):
        installed = distribution(plugin.distribution)
        if not single:
            notes.append(f"{plugin.distribution} {installed.version} is installed; installing yours replaces it.")
    return notes


def _and(names: set[str]) -> str:
    return " and ".join(sorted(names))


@contextlib.contextmanager
def _new(path: Path) -> Iterator[None]:
    """Refuse a path that exists, and name one that cannot be written."""
    with out_of_space(path):
        try:
            yield
        except FileExistsError as error:
            raise SettingsError(f"{path} is already there; choose another name or --folder.") from error


def _render(template: Path, plugin: NewPlugin) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # Python, TOML and Markdown, made from a name that has been checked
    )
    kind = part_kind(plugin.kind)
    contract = kind.contract.partition(":")
    return environment.from_string(template.read_text(encoding="utf-8")).render(
        kind=kind.name,
        name=plugin.name,
        part=plugin.part,
        package=plugin.package,
        distribution=plugin.distribution,
        title=kind.title,
        contract_module=contract[0],
        contract=contract[2],
        signature=", ".join(("self", *kind.parameters)),
        arguments=", ".join([*(parameter.partition(":")[0] for parameter in kind.parameters), kind.small]).strip(", "),
        small=kind.small,
        example=kind.example,
        commands=kind.commands(plugin.name),
        tuned=kind.command(f"{plugin.name}:{kind.example}") + ("" if kind.use else " --data DIR"),
        version=__version__.rpartition(".")[0],
    )
