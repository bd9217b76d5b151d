"""The runs of a comparison: every row (a recipe) with every seed and every fold."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from emotiwave_core.config.flags import override, split_pairs
from emotiwave_core.config.recipe import Recipe
from emotiwave_core.errors import SettingsError, short
from emotiwave_core.modalities import configurations, name_of
from emotiwave_core.parts.kinds import METRIC
from emotiwave_core.parts.registry import Registry

ROW_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,59}")
PARTS = ("encoder", "fusion", "dropout", "augmentation", "objective")
MOST_RUNS = 10_000


@attrs.frozen
class Row:
    """A recipe that is compared. A specialist is trained, chosen and scored on one configuration alone."""

    name: str
    recipe: Recipe  # with seed and fold still open
    specialist_of: str | None = None  # the row that it stands beside
    configuration: str | None = None  # of a specialist


@attrs.frozen
class PlannedRun:
    """One run: a row with a seed, and a fold to test on where there are several."""

    row: Row
    seed: int
    rotation: int | None

    @property
    def folder(self) -> str:
        """Its folder in that of the comparison."""
        fold = "" if self.rotation is None else f"-fold-{self.rotation}"
        return f"runs/{self.row.name}/seed-{self.seed}{fold}"

    def recipe(self) -> Recipe:
        """The recipe with its seed and fold."""
        data = attrs.evolve(self.row.recipe.data, rotation=self.rotation)
        return attrs.evolve(self.row.recipe, seed=self.seed, data=data)


def read_row(flag: str) -> tuple[str, dict[str, Any] | str]:
    """The name of a row and its recipe from `NAME=RECIPE[,KEY=VALUE…]`. SettingsError where it is not written so.

    A KEY is one of `PARTS` or metric, with `NAME[:OPTIONS]`, or a value of the recipe such as training.epochs.
    """
    name, equals, rest = flag.partition("=")
    if not equals or not rest:
        raise SettingsError(
            f"--recipe takes NAME=RECIPE[,KEY=VALUE,…], such as wide=default,fusion=mean: {short(flag)}."
        )
    return name.strip(), rest.strip()


def row_of(name: str, recipe: "str | Mapping[str, Any]", registry: Registry, folds: str | None) -> Row:
    """A row of a comparison. recipe: `RECIPE[,KEY=VALUE…]`, or a table. SettingsError for a name that is not valid."""
    if not ROW_NAME.fullmatch(name):
        raise SettingsError(f"{short(name)} cannot name a row: use letters, digits, '.', '_', '+' and '-'.")
    if isinstance(recipe, str):
        table, source = _table(recipe, registry)
    else:
        table, source = dict(recipe), f"The recipe of {name}"
    if folds is not None:
        table["data"] = {**table.get("data", {}), "folds": folds}
    checked = Recipe.from_table(table, source)
    completed = registry.resolve(checked).completed()
    return Row(name, attrs.evolve(completed, metric=[registry.complete(METRIC, part) for part in checked.metric]))


def _table(text: str, registry: Registry) -> tuple[dict[str, Any], str]:
    recipe, *pairs = split_pairs(text)
    table, source = registry.recipe_table(recipe.strip())
    flags: dict[str, list[str]] = {"set": []}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise SettingsError(
                f"{short(text)}: after the recipe stand KEY=VALUE, such as fusion=mean, not {short(pair)}."
            )
        if key.strip() in (*PARTS, METRIC):
            flags.setdefault(key.strip(), []).append(value.strip())
        else:
            flags["set"].append(pair)
    for part in ("fusion", "dropout", "objective"):
        if len(flags.get(part, [])) > 1:
            raise SettingsError(f"{short(text)}: {part} is given twice.")
    override(
        table,
        flags["set"],
        encoder=flags.get("encoder", []),
        fusion=flags.get("fusion", [None])[0],
        dropout=flags.get("dropout", [None])[0],
        augmentation=flags.get("augmentation", []),
        objective=flags.get("objective", [None])[0],
        metric=flags.get("metric", []),
    )
    return table, source


def specialists_of(row: Row, modalities: Sequence[str], registry: Registry) -> list[Row]:
    """A row for each configuration, with the row's parts: nothing that it learns from has seen another modality."""
    rows = []
    for kept in configurations(tuple(modalities)):
        configuration = name_of(kept)
        table = row.recipe.to_table()
        table["dropout"] = {"name": "weighted", "weights": {configuration: 1.0}, "other": 0.0}
        table["training"] = {**table.get("training", {}), "select": configuration}
        table["objective"] = {**table.get("objective", {}), "complete": 0.0, "distillation": 0.0}
        recipe = registry.resolve(Recipe.from_table(table, f"The specialist of {configuration}")).completed()
        rows.append(Row(f"{row.name}.only.{configuration}", recipe, row.name, configuration))
    return rows


def planned_runs(rows: Sequence[Row], seeds: Sequence[int], rotations: Sequence[int | None]) -> list[PlannedRun]:
    """Every row with every seed and fold, the rows in turn, so that all of them have something early."""
    runs = [PlannedRun(row, seed, rotation) for seed in seeds for rotation in rotations for row in rows]
    if len(runs) > MOST_RUNS:
        raise SettingsError(f"{len(runs)} runs are more than {MOST_RUNS}: compare fewer recipes, seeds or folds.")
    return runs


def run_folder(out: Path, run: PlannedRun) -> Path:
    """The folder of a run of the comparison in `out`."""
    return out / run.folder
