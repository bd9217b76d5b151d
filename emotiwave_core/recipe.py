"""Recipes: a complete choice of data options, parts, objective and training options. TOML in, TOML out."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, cast

import attrs
from attrs import validators

from emotiwave_core.errors import SettingsError
from emotiwave_core.options import CONVERTER, is_policy, structure

ALL = "*"  # the key of the encoder that every modality takes which is not named
PerModality = int | dict[str, int]
Align = Literal["none", "words"] | float
QUOTED = re.compile(r""" "[^"]*" | '[^']*' """, re.VERBOSE)


def _at_least(limit: float) -> Any:
    return validators.ge(limit)


def _each_at_least_one(_: Any, field: Any, value: Any) -> None:
    for number in value.values() if isinstance(value, dict) else [value]:
        if number < 1:
            raise ValueError(f"'{field.name}' must be 1 or more, not {number}")


@attrs.frozen
class Part:
    """A part by name, with its options."""

    name: str
    options: dict[str, Any] = attrs.Factory(dict)


@attrs.frozen
class DataSettings:
    """How the data set is cut and split."""

    unit: Literal["segment", "video"] = "segment"
    complete_only: bool = False
    max_steps: PerModality = attrs.field(default=300, validator=_each_at_least_one)
    downsample: PerModality = attrs.field(default=1, validator=_each_at_least_one)
    align: Align = attrs.field(default="none")  # average every modality over its words, or to so many steps a second
    folds: str = "auto"  # "auto": the data set's own, else random; "random"; or a file in the data set's folder
    rotation: int | None = None  # which fold of a file with fold0, fold1, … is the test fold
    ratios: list[float] = attrs.field(factory=lambda: [0.8, 0.1, 0.1])
    split_seed: int = attrs.field(default=42, validator=_at_least(0))

    @align.validator
    def _align(self, _: Any, value: Align) -> None:
        if value == "none":
            return
        if not isinstance(value, str) and value <= 0:
            raise ValueError(f"'align' must be above 0 steps a second, not {value:g}")
        each = self.downsample.values() if isinstance(self.downsample, dict) else [self.downsample]
        if any(number != 1 for number in each):
            raise ValueError("'align' averages steps already: leave 'downsample' at 1, or set 'align' to none")
        if isinstance(self.max_steps, dict):
            raise ValueError("aligned modalities share their steps: with 'align', 'max_steps' is one number for all")

    @ratios.validator
    def _ratios(self, _: Any, value: list[float]) -> None:
        if len(value) != 3 or min(value) <= 0 or abs(sum(value) - 1) > 1e-6:
            raise ValueError(f"'ratios' must be three positive numbers that sum to 1, not {value}")


@attrs.frozen
class ModelSettings:
    """What stands around the parts."""

    standardise: bool = True  # features to zero mean and unit deviation of the training fold, clipped
    absent: Literal["mask", "zeros"] = (
        "mask"  # "zeros": fed as zeros and taken for present, as most published code does
    )
    head: int = attrs.field(default=128, validator=_at_least(1))
    head_dropout: float = attrs.field(default=0.3, validator=[validators.ge(0.0), validators.lt(1.0)])


@attrs.frozen
class Asymmetric:
    """The asymmetric loss of multi-label (Ridnik et al. 2021); the defaults are the paper's, which weighs no class."""

    gamma_positive: float = attrs.field(default=0.0, validator=_at_least(0.0))
    gamma_negative: float = attrs.field(default=4.0, validator=_at_least(0.0))
    margin: float = attrs.field(default=0.05, validator=[validators.ge(0.0), validators.lt(1.0)])


@attrs.frozen
class ObjectiveSettings:
    """What is learned from the intensities. The weights of further losses are 0 where they are not wanted."""

    kind: Literal["single", "multi"] = "single"
    no_emotion: Literal["drop", "first", "class"] = "drop"  # rows without any emotion, for `single`
    class_weights: bool = True
    complete: float = attrs.field(default=0.0, validator=_at_least(0.0))  # the same loss before the dropout policy
    distillation: float = attrs.field(default=0.0, validator=_at_least(0.0))  # what all say teaches what is kept
    unimodal: float = attrs.field(default=0.0, validator=_at_least(0.0))  # a head of its own for each modality
    logit_adjustment: float = attrs.field(default=0.0, validator=_at_least(0.0))  # tau; instead of class_weights
    asymmetric: Asymmetric | None = attrs.field(default=None)  # in the place of cross-entropy, for `multi`

    @asymmetric.validator
    def _only_multi(self, _: Any, value: Asymmetric | None) -> None:
        if value is not None and self.kind != "multi":
            raise ValueError("'asymmetric' is a loss for kind = \"multi\"")


@attrs.frozen
class TrainingSettings:
    """How it is trained."""

    epochs: int = attrs.field(default=40, validator=_at_least(1))
    batch_size: int = attrs.field(default=16, validator=_at_least(1))
    learning_rate: float = attrs.field(default=1e-3, validator=validators.gt(0.0))
    schedule: Literal["constant", "one-cycle"] = "constant"  # of the learning rate
    weight_decay: float = attrs.field(default=1e-2, validator=_at_least(0.0))
    clip: float = attrs.field(default=1.0, validator=validators.gt(0.0))
    patience: int = attrs.field(default=10, validator=_at_least(1))
    select: str = "mean"  # the validation macro-F1 that chooses the best epoch: "mean", "complete" or a configuration
    ema: float = attrs.field(default=0.0, validator=[validators.ge(0.0), validators.lt(1.0)])  # decay of the average
    precision: Literal["fp32", "bf16"] = "fp32"


@attrs.frozen
class Recipe:
    """Everything that a run is made from, apart from the data itself."""

    name: str = "default"
    seed: int = attrs.field(default=0, validator=[validators.ge(0), validators.lt(2**32)])
    encoder: dict[str, Part] = attrs.Factory(lambda: {ALL: Part("bilstm")})
    fusion: Part = attrs.Factory(lambda: Part("concat"))
    dropout: Part = attrs.Factory(lambda: Part("uniform"))
    watch: list[str] = attrs.Factory(list)  # plugins that watch the run
    data: DataSettings = attrs.Factory(DataSettings)
    model: ModelSettings = attrs.Factory(ModelSettings)
    objective: ObjectiveSettings = attrs.Factory(ObjectiveSettings)
    training: TrainingSettings = attrs.Factory(TrainingSettings)

    @classmethod
    def from_table(cls, table: Mapping[str, Any], source: str) -> "Recipe":
        """A recipe from a TOML table; what is not given has its default. SettingsError where a value is not right."""
        return structure(dict(table), cls, source)

    def to_table(self) -> dict[str, Any]:
        """The complete recipe as a TOML table: `from_table` of it is the same recipe."""
        table: dict[str, Any] = attrs.asdict(self, recurse=True)
        encoders = {name: part_table(part) for name, part in self.encoder.items()}
        table["encoder"] = encoders[ALL] if set(encoders) == {ALL} else encoders
        table |= {"fusion": part_table(self.fusion), "dropout": part_table(self.dropout)}
        for settings in ("data", "objective"):  # TOML has no word for None
            table[settings] = {key: value for key, value in table[settings].items() if value is not None}
        return table

    def encoder_of(self, modality: str) -> Part:
        """The encoder of a modality; SettingsError where the recipe has none."""
        part = self.encoder.get(modality) or self.encoder.get(ALL)
        if part is None:
            raise SettingsError(
                f"The recipe '{self.name}' has no encoder for '{modality}': add --encoder {modality}=NAME."
            )
        return part


def read_recipe(path: Path) -> dict[str, Any]:
    """The table of a recipe file. SettingsError where it is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SettingsError(f"{path} is not a readable TOML file: {error}.") from error


def parse_part(text: str) -> dict[str, Any]:
    """`bilstm:hidden_size=256,layers=2` as a table; commas in brackets belong to a value: `a:x=[1, 2],y={b=1}`."""
    name, _, rest = text.partition(":")
    table: dict[str, Any] = {"name": name.strip()}
    for pair in filter(None, _pairs(rest)):
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise SettingsError(f"'{text}': options are written NAME:option=value,option=value.")
        table[key.strip()] = parse_value(value.strip())
    return table


def _pairs(text: str) -> Iterator[str]:
    """The pieces between commas that stand in no bracket."""
    pair = ""
    for piece in text.split(","):
        pair = f"{pair},{piece}" if pair else piece
        bare = QUOTED.sub("", pair)  # brackets and commas in quotes are part of a text
        whole = not ('"' in bare or "'" in bare)
        if whole and all(bare.count(opened) == bare.count(closed) for opened, closed in ("[]", "{}")):
            yield pair
            pair = ""
    yield pair


def parse_value(text: str) -> Any:
    """A value as TOML has it (5, 0.1, true, [1, 2]), else a text. SettingsError for a torn list or table."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError as error:
        if text.startswith(("[", "{")):
            due = '["a", "b"] or {name = "a"}'
            raise SettingsError(
                f"{text}: brackets must be closed, and texts inside them stand in quotes, as in {due}."
            ) from error
        return text


def part_table(part: Part) -> dict[str, Any]:
    """A part as a TOML table, which has no word for None."""
    return {"name": part.name} | {key: value for key, value in part.options.items() if value is not None}


def as_part(value: Any) -> Part:
    """A part from its name or its table; ValueError where it is neither."""
    table = {"name": value} if isinstance(value, str) else value
    if not isinstance(table, Mapping) or not isinstance(table.get("name"), str):
        raise ValueError(f"{value!r} is not the name of a part, nor a table with a 'name'")
    return Part(table["name"], {key: option for key, option in table.items() if key != "name"})


def _encoders(value: Any, _: Any) -> dict[str, Part]:
    if isinstance(value, str) or (isinstance(value, Mapping) and isinstance(value.get("name"), str)):
        return {ALL: as_part(value)}
    if not isinstance(value, Mapping) or not value:
        raise ValueError(f"{value!r} is neither an encoder's name nor a table of one for each modality")
    return {name: as_part(part) for name, part in value.items()}


def _align(value: Any, _: Any) -> Align:
    if value in ("none", "words"):
        return cast(Align, value)
    if isinstance(value, str | bool):
        raise ValueError(f"{value!r} is neither none, words nor a number of steps a second")
    return CONVERTER.structure(value, float)


def _per_modality(value: Any, _: Any) -> PerModality:
    if isinstance(value, Mapping):
        return {str(name): CONVERTER.structure(number, int) for name, number in value.items()}
    return CONVERTER.structure(value, int)


CONVERTER.register_structure_hook(Part, lambda value, _: as_part(value))
CONVERTER.register_structure_hook_func(is_policy, lambda value, _: part_table(as_part(value)))  # a part inside a part
CONVERTER.register_structure_hook_func(lambda kind: kind == dict[str, Part], _encoders)
CONVERTER.register_structure_hook_func(lambda kind: kind == PerModality, _per_modality)
CONVERTER.register_structure_hook_func(lambda kind: kind == Align, _align)
