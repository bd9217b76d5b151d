"""Recipes and parts that are known, and the check of a part against its contract."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from emotiwave_core.api.arguments import FilePath, open_registry
from emotiwave_core.errors import SettingsError, choices

if TYPE_CHECKING:
    from emotiwave_core.parts.check.in_process import CheckedPart
    from emotiwave_core.parts.registry import Registry


def recipes(registry: "Registry | FilePath | None" = None) -> dict[str, dict[str, Any]]:
    """Recipes by name, each the table of what it sets beside the defaults; any of them is a `recipe` for `train`."""
    known = open_registry(registry)
    return {name: known.recipe(name) for name in known.recipes}


@attrs.frozen
class PartInfo:
    """A part that is known: installed, of a local file, or named in a registry.toml."""

    kind: str
    name: str
    state: str  # installed, local, shadowed, disabled, missing, broken or untrusted
    provider: str  # the distribution and its version, or a file
    summary: str  # the first line of its docstring, or why it does not load
    options: dict[str, Any]  # by name, with their defaults


def parts(kind: str | None = None, registry: FilePath | None = None) -> list[PartInfo]:
    """Parts that are known, of one kind ("encoder", "fusion", "dropout", "objective", "metric", …) or of all.

    Each is loaded once, in a process of its own, so that a broken one is listed as broken. SettingsError for another
    kind.
    """
    from emotiwave_core.parts.survey import survey

    path = None if registry is None else Path(registry)
    known = open_registry(path)
    if kind is not None and kind not in known.names:
        raise SettingsError(f"There is no kind of part '{kind}'.{choices(kind, known.names)}")
    fields = [field.name for field in attrs.fields(PartInfo)]
    rows = (row for row in survey(known, path) if kind in (None, row["kind"]))
    return [PartInfo(**{name: row[name] for name in fields}) for row in rows]


def check(part: type, /, **options: Any) -> "CheckedPart":
    """Hold the class of a part to the contract of its kind, in this process; options go to its constructor.

    `print` of the result tells every law; `holds` is true where none is broken. SettingsError for a class that is no
    part, PluginError where its constructor fails. A part that may hang is better checked by `emotiwave plugins check`.
    """
    from emotiwave_core.parts.check.in_process import check_class

    return check_class(part, options)
