"""Finds parts by kind and name: entry points say what is installed, hooks offer it, registry.toml says what names mean.

`load_registry` reads the registry.toml files; `Registry.resolve` looks up all parts of a recipe.
"""

import copy
import os
import shlex
import warnings
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import attrs

from emotiwave_core.config.options import check_options, inner_kind, signature_options
from emotiwave_core.config.recipe import ObjectiveSettings, Part, Recipe, as_part, read_recipe
from emotiwave_core.errors import Notice, PassedOver, PluginError, SettingsError, choices
from emotiwave_core.io.untrusted import is_file, read_toml, why
from emotiwave_core.parts.kinds import AUGMENTATION, COMMAND, KINDS, OBJECTIVE, POLICY, WATCH, part_kind
from emotiwave_core.parts.loading import (
    Provider,
    installed,
    load_file,
    offers,
    same_distribution,
    watches,
    what_is_missing,
)
from emotiwave_core.parts.resolved import ResolvedPart, ResolvedParts
from emotiwave_core.parts.trust import trusted_sha256

if TYPE_CHECKING:
    import click

OVERLAY = "registry.toml"
TABLES = ("recipe", "extract")  # of names that stand for several parts


@attrs.frozen
class Registry:
    """The parts that are there and what the names mean. Nothing is imported until a part is asked for."""

    providers: tuple[Provider, ...]
    names: dict[str, dict[str, str]]  # kind -> name -> the distribution that owns it
    recipes: dict[str, dict[str, Any]]
    extracts: dict[str, dict[str, Any]]  # sets of extractors by name, each {modality: part}
    files: dict[str, Path]  # [plugins]: local files
    disabled: dict[str, Path]  # `KIND.NAME` -> the registry.toml that switches it off
    sums: dict[str, str] = attrs.Factory(dict)  # of `files` that must be what the user has trusted: their SHA-256
    untrusted: dict[str, Path] = attrs.Factory(dict)  # [plugins] of ./registry.toml without the user's word: never run

    def names_of(self, kind: str) -> list[str]:
        """List the names of a kind: installed, known, or of a local file."""
        installed = {provider.name for provider in self.providers if provider.kind == kind}
        local = {name for of, name in self.local_parts() if of == kind}
        return sorted(installed | local | set(self.names[kind]))

    def provider(self, kind: str, name: str) -> Provider:
        """Find who provides a name. SettingsError for an unknown one, PluginError for an absent or disputed one."""
        self._check_enabled(kind, name)
        candidates = [provider for provider in self.providers if (provider.kind, provider.name) == (kind, name)]
        owner = self.names[kind].get(name)
        if owner:
            candidates = [provider for provider in candidates if same_distribution(provider.origin, owner)]
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            rivals = " and ".join(sorted(provider.origin for provider in candidates))
            raise PluginError(
                f"The {kind} '{name}' is offered by {rivals}; say which one is meant in ./{OVERLAY}: "
                f'{name} = "{candidates[0].origin}" under [{kind}].'
            )
        if owner:
            raise PluginError(f"The {kind} '{name}' is not installed; it comes with: pip install {owner}")
        if self.untrusted:
            hint = f" Perhaps it is one that is not run: {untrusted(self.untrusted)}"
            raise SettingsError(f"There is no {kind} '{name}'.{choices(name, self.names_of(kind))}{hint}")
        hint = "" if self.files else f" One of your own is named under [plugins] in ./{OVERLAY}, or by --registry FILE."
        raise SettingsError(f"There is no {kind} '{name}'.{choices(name, self.names_of(kind))}{hint}")

    def part(self, kind: str, name: str) -> type:
        """The class of a part."""
        return self.find(kind, name)[0]

    def find(self, kind: str, name: str) -> tuple[type, str, str]:
        """The class of a part, who provides it and in which version. Local files come first: the user named them."""
        self._check_enabled(kind, name)
        local = self.local_parts()
        if (kind, name) in local:
            part, path = local[kind, name]
            for other in {
                provider.origin for provider in self.providers if (provider.kind, provider.name) == (kind, name)
            }:
                warnings.warn(f"The {kind} '{name}' is that of {path}, not the one of {other}.", Notice, stacklevel=2)
            return part, str(path), ""
        return self.find_installed(kind, name)

    def local_parts(self) -> dict[tuple[str, str], tuple[type, Path]]:
        """Load what the files under [plugins] offer. One that does not load, or offers nothing, is a warning."""
        parts: dict[tuple[str, str], tuple[type, Path]] = {}
        for label, path in self.files.items():
            try:
                module = self.load_local(label)
                offered = offers(module, str(path))
                if not offered and not watches(module):
                    raise PluginError(f"{path} offers no part: {what_is_missing(module)}")
            except PluginError as error:
                warnings.warn(f"{error} It is passed over.", PassedOver, stacklevel=2)  # it stops no other part
                continue
            parts |= {key: (part, path) for key, part in offered.items() if key not in parts}
        return parts

    def load_local(self, label: str) -> ModuleType:
        """Load a file under [plugins]. PluginError where it does not load, or is not what the user has trusted."""
        return load_file(label, self.files[label], self.sums.get(label))

    def find_installed(self, kind: str, name: str) -> tuple[type, str, str]:
        """As `find`, among what is installed alone."""
        provider, module = self._load(kind, name)
        offered = offers(module, provider.origin)
        if (kind, name) not in offered:
            raise PluginError(
                f"{provider.origin} has an entry point '{kind}.{name}', but {module.__name__} does not offer it: "
                f"{what_is_missing(module)}"
            )
        return offered[kind, name], provider.origin, provider.version

    def watcher(self, name: str) -> ModuleType:
        """The module of a watcher: a local file by its label, or an installed one."""
        self._check_enabled(WATCH, name)
        if name in self.files:
            return self.load_local(name)
        if name in self.untrusted:
            raise PluginError(f"The watcher '{name}' is not run: {untrusted(self.untrusted)}")
        return self._load(WATCH, name)[1]

    def command(self, name: str) -> "click.Command":
        """The command of a plugin: what its module has by that name. PluginError where that is no command."""
        import click

        provider, module = self._load(COMMAND, name)
        attribute = name.replace("-", "_")
        command = getattr(module, attribute, None)
        if not isinstance(command, click.Command):
            came = "nothing" if command is None else f"a {type(command).__name__}"
            raise PluginError(
                f"{provider.origin} has an entry point '{COMMAND}.{name}', but {module.__name__} has {came} of the "
                f"name {attribute}, where a command of click is due: decorate it with @click.command()."
            )
        return command

    def _load(self, kind: str, name: str) -> tuple[Provider, ModuleType]:
        provider = self.provider(kind, name)
        try:
            return provider, provider.load()
        except (Exception, SystemExit) as error:
            raise PluginError(
                f"The {kind} '{name}' of {provider.origin} does not load: {type(error).__name__}: {error}"
            ) from error

    def _check_enabled(self, kind: str, name: str) -> None:
        if where := self.disabled.get(f"{kind}.{name}"):
            raise PluginError(f"The {kind} '{name}' is disabled by {where}; take it out of `disabled` there to use it.")

    def resolve(self, recipe: Recipe) -> ResolvedParts:
        """Look up all parts of a recipe, their options checked and completed."""
        return ResolvedParts(
            recipe=recipe,
            encoders={modality: self.resolve_part("encoder", part) for modality, part in recipe.encoder.items()},
            fusion=self.resolve_part("fusion", recipe.fusion),
            dropout=self.resolve_part(POLICY, recipe.dropout),
            augmentation=[self.resolve_part(AUGMENTATION, part) for part in recipe.augmentation],
            objective=self._objective(recipe.objective),
        )

    def _objective(self, settings: ObjectiveSettings) -> ResolvedPart | None:
        """The objective that the settings name. SettingsError where they want another kind than it is of."""
        if settings.name is None:
            return None
        part = self.resolve_part(OBJECTIVE, Part(settings.name, settings.options or {}))
        if not hasattr(part.part, "kind"):
            raise PluginError(f"{part.who} must derive from SingleLabel, MultiLabel or Regression of emotiwave_core.")
        if settings.kind not in ("auto", part.part.kind):
            raise SettingsError(
                f"{part.who} is of the kind {part.part.kind}, and objective.kind is {settings.kind}: set "
                f"objective.kind={part.part.kind}, or take another objective."
            )
        return part

    def resolve_part(self, kind: str, part: Part) -> ResolvedPart:
        """A part and those inside it. SettingsError for an unknown name or a wrong option, PluginError as `find`."""
        cls, origin, version = self.find(kind, part.name)
        return self.with_options(kind, part, cls, origin, version)

    def with_options(self, kind: str, part: Part, cls: type, origin: str, version: str = "") -> ResolvedPart:
        """The class of a part with the options of `part`, checked and completed, and the parts inside it."""
        options = signature_options(cls, part_kind(kind).positional)
        values = check_options(part.options, options, f"The {kind} '{part.name}'")
        inner: dict[str, list[ResolvedPart] | ResolvedPart | None] = {}
        for name, option in options.items():
            inside, value = inner_kind(option.kind), values[name]
            if inside not in (None, POLICY, kind):
                raise PluginError(
                    f"The {kind} '{part.name}' has the option '{name}' for a part of the kind {inside}: it can hold a "
                    f"{part_kind(kind).title} or a dropout policy."
                )
            if inside is not None and isinstance(value, list):
                inner[name] = [self.resolve_part(inside, as_part(table)) for table in value]
            elif inside is not None:
                inner[name] = None if value is None else self.resolve_part(inside, as_part(value))
        return ResolvedPart(kind, part.name, cls, origin, version, values, inner)

    def complete(self, kind: str, part: Part) -> Part:
        """The part with every option checked and the defaults of the others written out."""
        return self.resolve_part(kind, part).settings

    def make(self, kind: str, part: Part, *arguments: Any) -> Any:
        """A part, constructed: see `ResolvedPart.make`."""
        return self.resolve_part(kind, part).make(*arguments)

    def recipe(self, name: str) -> dict[str, Any]:
        """The table of a recipe, to change as one likes; SettingsError for an unknown name."""
        if name not in self.recipes:
            raise SettingsError(f"There is no recipe '{name}'.{choices(name, self.recipes)}")
        return {"name": name, **copy.deepcopy(self.recipes[name])}

    def recipe_table(self, name: str) -> tuple[dict[str, Any], str]:
        """The table of a recipe by its name or `.toml` file, and what errors call it. SettingsError for neither."""
        if not name.endswith(".toml"):
            return self.recipe(name), f"The recipe '{name}'"
        if not Path(name).is_file():
            raise SettingsError(f"There is no recipe file {name}.")
        return read_recipe(Path(name)), name


def load_registry(extra: Path | None = None) -> Registry:
    """The packaged registry.toml, with `./registry.toml` and then `extra` laid over it.

    The code that `./registry.toml` names has the user's word or is left out, with a warning; `extra` is such a word.
    """
    names: dict[str, dict[str, str]] = {kind: {} for kind in KINDS}
    disabled: dict[str, Path] = {}
    recipes: dict[str, dict[str, Any]] = {}
    extracts: dict[str, dict[str, Any]] = {}
    files: dict[str, Path] = {}
    sums: dict[str, str] = {}
    strange: dict[str, Path] = {}
    for path in layers(extra):
        table = _read(path)
        for kind, owners in names.items():
            owners |= table.get(kind, {})
        disabled |= dict.fromkeys(table.get("disabled", []), path)
        recipes |= table.get("recipe", {})
        extracts |= table.get("extract", {})
        for label, file in table.get("plugins", {}).items():
            local = path.parent / file
            word = None if path == extra else trusted_sha256(local)
            if path != extra and word is None and is_file(local):
                strange[label] = local
                continue
            files[label] = local
            if path != extra:
                sums[label] = word or ""  # of a file that is not there yet, no content is right
    if strange:
        warnings.warn(untrusted(strange), PassedOver, stacklevel=2)
    return Registry(tuple(installed()), names, recipes, extracts, files, disabled, sums, strange)


def files_named_in(folder: Path) -> list[Path]:
    """The local files under [plugins] of a folder's registry.toml. SettingsError where there is none."""
    place = folder / OVERLAY
    if not is_file(place):
        raise SettingsError(f"There is no {place}: give the folder whose {OVERLAY} names your files.")
    files = [folder / file for file in _read(place).get("plugins", {}).values()]
    if not files:
        raise SettingsError(f"{place} names no file under [plugins].")
    return files


def untrusted(files: dict[str, Path]) -> str:
    """The sentence about code that has not the user's word."""
    names, here = ", ".join(dict.fromkeys(file.name for file in files.values())), Path.cwd()
    return (
        f"{here / OVERLAY} names code that you have not trusted, or that has changed since ({names}); it is not run. "
        f"Look at it, then: emotiwave plugins trust. For one call: --registry {OVERLAY}."
    )


def layers(extra: Path | None) -> list[Path]:
    """The registry.toml files that count, the first is the base."""
    package = Path(__file__).resolve().parent.parent
    base = next(path for path in (package / OVERLAY, package.parent / OVERLAY) if path.is_file())
    here = Path.cwd() / OVERLAY
    layers = [base]
    named = extra is not None and extra.absolute() == here
    if here.is_file() and here.resolve() != base and not named:
        if run := _run_around(here):
            warnings.warn(
                f"{here} is passed over: {run} is the folder of a run, which may be a stranger's, and plugins are code."
                f" To use it all the same: --registry {shlex.quote(str(here))}.",
                PassedOver,
                stacklevel=1,  # it is said once, whoever asks
            )
        else:
            layers.append(here)
    if extra is not None:
        layers.append(extra)
    return layers


def _run_around(file: Path) -> Path | None:
    """The run's folder that a file lies in, at whatever depth; None where it lies in none."""

    def is_run(folder: Path) -> bool:
        have = {name for name in ("model.json", "recipe.toml", "data.json") if os.path.lexists(folder / name)}
        return "model.json" in have or have == {"recipe.toml", "data.json"}

    return next((folder for folder in file.parents if is_run(folder)), None)


def _read(path: Path) -> dict[str, Any]:
    try:
        table = read_toml(path)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} is not a readable TOML file: {why(error)}.") from error
    known = [*KINDS, *TABLES, "plugins", "disabled"]
    for key, value in table.items():
        if key not in known:
            raise SettingsError(f"{path}: unknown table [{key}].{choices(key, known)}")
        if key == "disabled":
            if not isinstance(value, list) or not all(isinstance(name, str) and "." in name for name in value):
                raise SettingsError(f"{path}: 'disabled' must be a list such as [\"encoder.bilstm\"].")
            continue
        inner = dict if key in TABLES else str
        if not isinstance(value, dict) or not all(isinstance(entry, inner) for entry in value.values()):
            raise SettingsError(f"{path}: [{key}] must hold {'tables' if inner is dict else 'texts'} by name.")
    return table
