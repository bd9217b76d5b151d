"""Recipes: a complete choice of data options, parts, objective and training options. TOML in, TOML out."""

# ruff: noqa: RUF009  (`_setting` is a field, not a value that all recipes would share)

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import attrs
from attrs import validators

from emotiwave_core.config.options import CONVERTER, is_part, structure
from emotiwave_core.errors import SettingsError, short
from emotiwave_core.io.untrusted import read_toml, why
from emotiwave_core.modalities import setting_of

MOST = 10**9  # of anything that is counted: a product of two still fits 64 bits
ALL = "*"  # the key of the encoder that every stream takes which is not named, nor its modality
PerModality = int | dict[str, int]
Align = Literal["none", "words"] | float
Filler = Literal["absent", "keep"]
Standardise = bool | Literal["own", "enrolled"]
OnAlarm = Literal["warn", "drop", "ignore"]
NO_EMOTION_CLIPS = "no_emotion"  # the value of `data.enrolment` that is not the name of a file


def _setting(default: Any, meaning: str, *held: Any) -> Any:
    """A field: its default (or what makes it), its meaning as docs/reference.md tells it, what it is held to."""
    made = attrs.Factory(default) if callable(default) else default
    return attrs.field(default=made, validator=list(held) or None, metadata={"meaning": meaning})


def _at_least(limit: float) -> Any:
    return validators.ge(limit)


def _each_at_least_one(_: Any, field: Any, value: Any) -> None:
    """1 or more"""
    for number in value.values() if isinstance(value, dict) else [value]:
        if not 1 <= number <= MOST:
            raise ValueError(f"'{field.name}' must be 1 or more, and at most {MOST}, not {number}")


_counted = validators.and_(_at_least(1), validators.le(MOST))


@attrs.frozen
class Part:
    """A part by name, with its options."""

    name: str
    options: dict[str, Any] = attrs.Factory(dict)


@attrs.frozen
class DataSettings:
    """The cut and the split of the data set."""

    unit: Literal["segment", "video"] = _setting("segment", "A sample: a labelled segment or a whole video.")
    complete_only: bool = _setting(False, "Leave out samples that lack a modality.")
    max_steps: PerModality = _setting(300, "Steps of a sample that are kept, from its start.", _each_at_least_one)
    downsample: PerModality = _setting(1, "Number of steps that are averaged into one.", _each_at_least_one)
    filler: Filler = _setting(
        "absent", "A sample of zeros alone in a modality: without it, or kept as features. So are zeros at the end."
    )
    align: Align = _setting("none", "Average every modality over its words, or to so many steps a second.")
    folds: str = _setting(
        "auto", '"auto": the data set\'s own, else random; "random"; or a file in the data set\'s folder.'
    )
    rotation: int | None = _setting(None, "Number of the test fold, for a file with fold0, fold1 and so on.")
    ratios: list[float] = _setting(lambda: [0.8, 0.1, 0.1], "Shares of train, valid and test of random folds.")
    split_seed: int = _setting(42, "Seed of random folds.", _at_least(0), validators.lt(2**32))
    enrolment: str | None = _setting(
        None,
        'Clips that tell what is usual for their speaker, for `model.standardise = "enrolled"`: a file of ids, one a '
        f'line, in the data set\'s folder, or "{NO_EMOTION_CLIPS}", those without any emotion.',
    )

    @align.validator
    def _align(self, _: Any, value: Align) -> None:
        """above 0; with `downsample` 1 and one `max_steps` for all"""
        if value == "none":
            return
        if not isinstance(value, str) and value <= 0:
            raise ValueError(f"'align' must be above 0 steps a second, not {value:g}")
        each = self.downsample.values() if isinstance(self.downsample, dict) else [self.downsample]
        if any(number != 1 for number in each):
            raise ValueError("'align' averages steps already: leave 'downsample' at 1, or set 'align' to none")
        if isinstance(self.max_steps, dict):
            raise ValueError("'align' gives all modalities the same steps: 'max_steps' is one number for all")

    @ratios.validator
    def _ratios(self, _: Any, value: list[float]) -> None:
        """three above 0 that sum to 1"""
        if len(value) != 3 or min(value) <= 0 or abs(sum(value) - 1) > 1e-6:
            raise ValueError(f"'ratios' must be three positive numbers that sum to 1, not {short(value)}")


@attrs.frozen
class ModelSettings:
    """The model around the parts: standardisation, absent modalities, the head."""

    standardise: Standardise = _setting(
        True,
        "Features to mean 0 and deviation 1 of the training fold, clipped. Before that those of each speaker (group) "
        'to the training fold\'s: "own", by all clips of the speaker at hand; "enrolled", by those of '
        "`data.enrolment`.",
    )
    absent: Literal["mask", "zeros"] = _setting(
        "mask", '"zeros": an absent modality is fed as zeros and taken for present, as most published code does.'
    )
    on_alarm: OnAlarm = _setting(
        "warn",
        "A modality whose encoding is unlike those of the training fold: predictions warn of it, or read the sample as "
        'if it had no such modality ("drop"), or neither ("ignore").',
    )
    members: int = _setting(
        1,
        "Networks of an ensemble in one model: each has encoders and a fusion of its own and learns by itself; answers "
        "are averaged.",
        _at_least(1),
        validators.le(64),
    )
    head: int = _setting(128, "Hidden width of the head.", _at_least(1), validators.le(2**20))
    head_dropout: float = _setting(0.3, "Dropout inside the head.", _at_least(0.0), validators.lt(1.0))


@attrs.frozen
class Asymmetric:
    """The asymmetric loss of multi-label (Ridnik et al. 2021); the defaults are the paper's, which weighs no class."""

    gamma_positive: float = _setting(0.0, "Focusing parameter of positives: easy ones count less.", _at_least(0.0))
    gamma_negative: float = _setting(4.0, "Focusing parameter of negatives: easy ones count less.", _at_least(0.0))
    margin: float = _setting(
        0.05, "Probability margin: a negative below it counts nothing.", _at_least(0.0), validators.lt(1.0)
    )


@attrs.frozen
class ObjectiveSettings:
    """The objective: targets made of the labels, and the weights of further losses (0: off)."""

    kind: Literal["auto", "single", "multi", "regression"] = _setting(
        "auto", "Single-label (the strongest emotion), multi-label (each of them) or numbers; auto: as the labels are."
    )
    no_emotion: Literal["drop", "first", "class"] = _setting(
        "drop", "Samples without any emotion, for `single`: left out, of the first class, or a class of their own."
    )
    class_weights: bool = _setting(True, "Rare classes weigh more in the loss; numbers have no classes.")
    loss: Literal["mse", "mae"] | None = _setting(
        None, "Loss of a regression on standardised targets: mse (squared error, the default) or mae (absolute error)."
    )
    complete: float = _setting(0.0, "Weight of the same loss on the sample before the dropout policy.", _at_least(0.0))
    distillation: float = _setting(
        0.0,
        "Weight of the KL divergence from the prediction on all modalities (teacher) to the one after dropout; half "
        "the squared distance of numbers.",
        _at_least(0.0),
    )
    unimodal: float = _setting(0.0, "Weight of the loss of an auxiliary head for each modality.", _at_least(0.0))
    logit_adjustment: float = _setting(
        0.0, "Tau of logit adjustment by the class frequencies; instead of `class_weights`.", _at_least(0.0)
    )
    smoothing: float = _setting(
        0.0, "Label smoothing: so much of each target is spread over all classes.", _at_least(0.0), validators.lt(1.0)
    )
    asymmetric: Asymmetric | None = _setting(None, "The asymmetric loss in the place of cross-entropy.")
    name: str | None = _setting(None, "Objective of a plugin, by its name; without one it is that of its kind.")
    options: dict[str, Any] | None = _setting(None, "Options of the objective that is named.")

    @asymmetric.validator
    def _only_multi(self, _: Any, value: Asymmetric | None) -> None:
        """for `multi` alone"""
        if value is not None and self.kind != "multi":
            raise ValueError("'asymmetric' is a loss for kind = \"multi\"")
        self._own_loss_of("asymmetric", value, "multi")

    @options.validator
    def _of_a_name(self, _: Any, value: dict[str, Any] | None) -> None:
        """with a `name`"""
        if value and self.name is None:
            raise ValueError("'options' are those of an objective with a 'name': give that too")

    def _own_loss_of(self, field: str, value: object, objective: str) -> None:
        """ValueError where the loss of an objective is set for another one, which does not read it."""
        if value is not None and self.name not in (None, objective):
            raise ValueError(f"'{field}' is a loss of the objective {objective}, and not of {short(self.name)}")

    @loss.validator
    def _only_regression(self, _: Any, value: str | None) -> None:
        """for `regression` alone"""
        if value is not None and self.kind not in ("auto", "regression"):
            raise ValueError(f'\'loss\' is for kind = "regression", not "{self.kind}"')
        self._own_loss_of("loss", value, "regression")


@attrs.frozen
class TrainingSettings:
    """The training: epochs, batches, optimiser, early stopping."""

    epochs: int = _setting(40, "Epochs at most.", _counted)
    batch_size: int = _setting(16, "Samples in a step.", _counted)
    buckets: int = _setting(
        1, "Number of batches whose samples are sorted by length together; 1: no sorting.", _counted
    )
    learning_rate: float = _setting(1e-3, "Learning rate of AdamW; the highest of a schedule.", validators.gt(0.0))
    schedule: Literal["constant", "one-cycle"] = _setting("constant", "Schedule of the learning rate.")
    weight_decay: float = _setting(1e-2, "Weight decay of AdamW.", _at_least(0.0))
    decayed: Literal["weights", "all"] = _setting(
        "weights",
        "Parameters that weight decay shrinks: matrices and kernels alone, or all, as torch does by default: biases, "
        "norms and learned vectors too.",
    )
    clip: float = _setting(1.0, "The largest norm of the gradient.", validators.gt(0.0))
    patience: int = _setting(10, "Epochs without a better one after which training stops.", _counted)
    select: str = _setting(
        "mean",
        'The validation score (macro-F1 or CCC) that chooses the best epoch: "mean", "complete" or a configuration.',
    )
    ema: float = _setting(
        0.0, "Decay of the moving average of the weights; 0: no average.", _at_least(0.0), validators.lt(1.0)
    )
    refit: bool = _setting(
        False,
        "Once the best epoch is known, train again from the start for as many epochs on the training and the "
        "validation fold, and keep that.",
    )
    precision: Literal["fp32", "bf16"] = _setting("fp32", "Precision of the arithmetic in the model.")


@attrs.frozen
class ComputingSettings:
    """The computing. Results are the same but for rounding, and for the noise that encoders draw."""

    present_only: bool = _setting(True, "Samples that lack a modality pass its encoder as one (on a CPU).")
    keep_on_device: bool = _setting(True, "Keep the data in the GPU's memory where they fit into half of the free one.")
    auto_batch: bool = _setting(
        False, "Compute a batch in microbatches where memory runs out; its gradient stays the same."
    )
    deterministic: bool = _setting(False, "Only algorithms that give the same bits every time; slower on a GPU.")


@attrs.frozen
class Recipe:
    """A complete choice of data options, parts, objective and training: all of a run but the data itself."""

    name: str = _setting("default", "Names the folder of the run.")
    seed: int = _setting(0, "Seed of weights, order and dropout.", _at_least(0), validators.lt(2**32))
    encoder: dict[str, Part] = _setting(
        lambda: {ALL: Part("bilstm")}, "Encoder of each modality: its sequence to one vector."
    )
    fusion: Part = _setting(lambda: Part("concat"), "Fusion: all modalities to one vector.")
    dropout: Part = _setting(lambda: Part("uniform"), "Dropout policy: the modalities that training takes away.")
    augmentation: list[Part] = _setting(list, "Augmentations: changes of the features in training, one after another.")
    metric: list[Part] = _setting(list, "Metrics of plugins, which scores have besides the usual ones.")
    watch: list[str] = _setting(list, "Plugins that watch the run.")
    data: DataSettings = attrs.Factory(DataSettings)
    model: ModelSettings = attrs.Factory(ModelSettings)
    objective: ObjectiveSettings = attrs.Factory(ObjectiveSettings)
    training: TrainingSettings = attrs.Factory(TrainingSettings)
    computing: ComputingSettings = attrs.Factory(ComputingSettings)

    @classmethod
    def from_table(cls, table: Mapping[str, Any], source: str) -> "Recipe":
        """A recipe from a TOML table, with defaults for the rest. SettingsError where a value is not right."""
        return structure(dict(table), cls, source)

    def to_table(self) -> dict[str, Any]:
        """The complete recipe as a TOML table: `from_table` of it is the same recipe."""
        table: dict[str, Any] = attrs.asdict(self, recurse=True)
        encoders = {name: part_table(part) for name, part in self.encoder.items()}
        table["encoder"] = encoders[ALL] if set(encoders) == {ALL} else encoders
        table |= {"fusion": part_table(self.fusion), "dropout": part_table(self.dropout)}
        for several in ("augmentation", "metric"):
            table[several] = [part_table(part) for part in getattr(self, several)]
            if not table[several]:  # so that the recipe of a run from before there were any is the same
                del table[several]
        for settings in ("data", "objective"):  # TOML has no word for None
            table[settings] = {key: value for key, value in table[settings].items() if value is not None}
        return table

    def encoder_of(self, stream: str) -> Part:
        """The encoder of a stream: its own, that of its modality, that of all; SettingsError where there is none."""
        part = setting_of(stream, self.encoder) or self.encoder.get(ALL)
        if part is None:
            raise SettingsError(f"The recipe '{self.name}' has no encoder for '{stream}': add --encoder {stream}=NAME.")
        return part


def read_recipe(path: Path) -> dict[str, Any]:
    """The table of a recipe file. SettingsError where it is not TOML."""
    try:
        return read_toml(path)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} is not a readable TOML file: {why(error)}.") from error


def part_table(part: Part) -> dict[str, Any]:
    """A part as a TOML table, which has no word for None."""
    return {"name": part.name} | {key: value for key, value in part.options.items() if value is not None}


def as_part(value: Any) -> Part:
    """A part from its name or its table; ValueError where it is neither."""
    table = {"name": value} if isinstance(value, str) else value
    if not isinstance(table, Mapping) or not isinstance(table.get("name"), str):
        raise ValueError(f"{short(value)} is not the name of a part, nor a table with a 'name'")
    if ":" in table["name"]:
        raise ValueError(
            f'{short(table["name"])} is no name: options stand beside it, as in {{name="bilstm",layers=2}}'
        )
    return Part(table["name"], {key: option for key, option in table.items() if key != "name"})


def _encoders(value: Any, _: Any) -> dict[str, Part]:
    if isinstance(value, str) or (isinstance(value, Mapping) and isinstance(value.get("name"), str)):
        return {ALL: as_part(value)}
    if not isinstance(value, Mapping) or not value:
        raise ValueError(f"{short(value)} is neither an encoder's name nor a table of one for each modality")
    return {name: as_part(part) for name, part in value.items()}


def _parts(value: Any, _: Any) -> list[Part]:
    return [as_part(part) for part in (value if isinstance(value, list | tuple) else [value])]


def _align(value: Any, _: Any) -> Align:
    if isinstance(value, str) and value in ("none", "words"):
        return cast(Align, value)
    if isinstance(value, str | bool):
        raise ValueError(f"{short(value)} is neither none, words nor a number of steps a second")
    return CONVERTER.structure(value, float)


def _standardise(value: Any, _: Any) -> Standardise:
    if value not in (True, False, "own", "enrolled") or not isinstance(value, bool | str):
        raise ValueError(f"{short(value)} is not true, false, own or enrolled")
    return cast(Standardise, value)


def _per_modality(value: Any, _: Any) -> PerModality:
    if isinstance(value, Mapping):
        return {str(name): CONVERTER.structure(number, int) for name, number in value.items()}
    return CONVERTER.structure(value, int)


CONVERTER.register_structure_hook(Part, lambda value, _: as_part(value))
CONVERTER.register_structure_hook_func(is_part, lambda value, _: part_table(as_part(value)))  # a part inside a part
CONVERTER.register_structure_hook_func(lambda kind: kind == dict[str, Part], _encoders)
CONVERTER.register_structure_hook_func(lambda kind: kind == list[Part], _parts)
CONVERTER.register_structure_hook_func(lambda kind: kind == PerModality, _per_modality)
CONVERTER.register_structure_hook_func(lambda kind: kind == Align, _align)
CONVERTER.register_structure_hook_func(lambda kind: kind == Standardise, _standardise)
