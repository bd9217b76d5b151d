"""The space of a search: which values of a recipe are tried."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from emotiwave_core.compare.plan import PARTS
from emotiwave_core.config.flags import override, parse_value
from emotiwave_core.errors import SettingsError, short

RANGE = re.compile(r"(log|uniform|int)\(\s*([^,()]+)\s*,\s*([^,()]+)\s*\)")


@attrs.frozen
class Dimension:
    """One value of a recipe and what it may be."""

    key: str
    choices: tuple[Any, ...] = ()  # of a list
    kind: str = "choice"  # or log, uniform, int
    low: float = 0.0
    high: float = 0.0

    @property
    def ends(self) -> tuple[Any, ...]:
        """All choices, or the two ends of a range."""
        return self.choices or tuple(int(end) if self.kind == "int" else end for end in (self.low, self.high))

    @property
    def distribution(self) -> Any:
        """The same as optuna has it."""
        from optuna import distributions

        if self.kind == "choice":
            return distributions.CategoricalDistribution(range(len(self.choices)))
        if self.kind == "int":
            return distributions.IntDistribution(int(self.low), int(self.high))
        return distributions.FloatDistribution(self.low, self.high, log=self.kind == "log")

    def suggest(self, trial: Any) -> Any:
        """The value that an optuna trial takes."""
        if self.kind == "choice":
            return self.choices[trial.suggest_categorical(self.key, list(range(len(self.choices))))]
        if self.kind == "int":
            return trial.suggest_int(self.key, int(self.low), int(self.high))
        return trial.suggest_float(self.key, self.low, self.high, log=self.kind == "log")


def read_space(flags: Sequence[str]) -> tuple[Dimension, ...]:
    """The dimensions from `KEY=[a, b]`, `KEY=log(lo, hi)`, `KEY=uniform(lo, hi)` or `KEY=int(lo, hi)`.

    KEY is a value of the recipe such as training.learning_rate, or one of `PARTS`. SettingsError where a flag is not
    written so.
    """
    dimensions = []
    for flag in flags:
        key, equals, text = flag.partition("=")
        key, text = key.strip(), text.strip()
        if not equals or not key:
            raise SettingsError(f'--space takes KEY=VALUES, such as fusion=["concat", "gated"]: {short(flag)}.')
        if (match := RANGE.fullmatch(text)) is not None:
            dimensions.append(_range(flag, key, *match.groups()))
            continue
        values = parse_value(text) if text.startswith("[") else None
        if not isinstance(values, list) or not values:
            raise SettingsError(
                f"--space {short(flag)[1:-1]}: give a list, [32, 64], or a range: log(1e-4, 1e-2), uniform(0, 1) or "
                "int(1, 4)."
            )
        dimensions.append(Dimension(key, tuple(values)))
    names = [dimension.key for dimension in dimensions]
    if len(set(names)) < len(names):
        raise SettingsError(f"--space names {next(name for name in names if names.count(name) > 1)} twice.")
    if not dimensions:
        raise SettingsError("Name at least one --space, such as training.learning_rate=log(1e-4,1e-2).")
    return tuple(dimensions)


def _range(flag: str, key: str, kind: str, low: str, high: str) -> Dimension:
    try:
        ends = float(low), float(high)
    except ValueError as error:
        raise SettingsError(f"--space {short(flag)[1:-1]}: the ends of a range are numbers.") from error
    if not ends[0] < ends[1] or (kind == "log" and ends[0] <= 0) or not all(map(math.isfinite, ends)):
        raise SettingsError(f"--space {short(flag)[1:-1]}: the first end is below the second one, and of log above 0.")
    return Dimension(key, kind=kind, low=ends[0], high=ends[1])


def laid_over(table: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's table with these values laid over it, which is changed and returned. SettingsError as `override`."""
    parts = {key: str(value) for key, value in values.items() if key in PARTS}
    several = {key: [parts.pop(key)] for key in ("encoder", "augmentation") if key in parts}
    override(table, encoder=several.get("encoder", []), augmentation=several.get("augmentation", []), **parts)
    return override(table, [f"{key}={_toml(value)}" for key, value in values.items() if key not in PARTS])


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else repr(value)
