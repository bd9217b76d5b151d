"""Describes all that is known of a name, for `emotiwave plugins show`; a child process imports what must be."""

from pathlib import Path
from typing import Any

import attrs

from emotiwave_core.errors import SettingsError, choices
from emotiwave_core.parts.registry import load_registry
from emotiwave_core.parts.survey import survey

STATES = (
    "local",
    "installed",
    "broken",
    "disabled",
    "missing",
    "shadowed",
    "untrusted",
)  # what a name means, best first


def describe(name: str, kind: str | None, registry_file: Path | None) -> list[dict[str, Any]]:
    """A row for each that offers the name, what it means first. SettingsError for an unknown or ambiguous name."""
    registry = load_registry(registry_file)
    mine = attrs.evolve(
        registry,
        providers=tuple(provider for provider in registry.providers if provider.name == name),
        names={known: {n: owner for n, owner in names.items() if n == name} for known, names in registry.names.items()},
    )
    rows = [row for row in survey(mine, registry_file) if row["name"] == name and kind in (None, row["kind"])]
    kinds = {row["kind"] for row in rows} - {"file"}
    if len(kinds) > 1:
        raise SettingsError(
            f"'{name}' is the name of more than one part: say --kind {' or --kind '.join(sorted(kinds))}."
        )
    if not rows:
        known = {n for of in registry.names if kind in (None, of) for n in registry.names_of(of)}
        raise SettingsError(f"There is no {kind or 'part'} '{name}'.{choices(name, known)}")
    return sorted(rows, key=lambda row: STATES.index(row["state"]))
