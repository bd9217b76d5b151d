"""The model of a run in words, for the page and the card."""

from collections.abc import Callable
from typing import Any

from emotiwave_core.parts.kinds import KINDS
from emotiwave_core.report.numbers import count, series
from emotiwave_core.runs.model_file import ModelFile


def model_in_words(model: ModelFile, escape: Callable[[str], str] = str) -> str:
    """The parts in the order of the model, modalities that share an encoder named together; names by `escape`."""
    modalities: dict[tuple[str, str], list[str]] = {}
    for part in model.plugins:
        modalities.setdefault((part.kind, part.name), []).extend([part.modality] if part.modality else [])
    parts = [
        escape(f"{KINDS[kind].title if kind in KINDS else kind} {name}{f' for {series(names)}' if names else ''}")
        for (kind, name), names in modalities.items()
    ]
    members, parameters = model.recipe.get("model", {}).get("members", 1), f"{count(model.parameters)} parameters"
    size = f"A model of {parameters}" if members == 1 else f"An ensemble of {members} networks, {parameters} in all"
    return f"{size} ({'; '.join(parts)})"


def seed_of(recipe: dict[str, Any]) -> int | None:
    """The seed, at the top of the recipe or in one of its tables."""
    tables = [recipe, *(value for value in recipe.values() if isinstance(value, dict))]
    return next((table["seed"] for table in tables if isinstance(table.get("seed"), int)), None)
