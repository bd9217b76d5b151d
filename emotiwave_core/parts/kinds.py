"""The kinds of plugin, a row of `KINDS` each: a new kind of part is its base class and a row here.

Classes are named as `module:Class` and imported when they are asked for: to list commands or parts needs no torch.
"""

import pkgutil
from pathlib import Path
from typing import Any

import attrs

TEMPLATES = Path(__file__).parent / "scaffold" / "templates"


@attrs.frozen
class Kind:
    """A kind of plugin: entry points are called KIND.NAME, and registry.toml has a table [KIND] of owners."""

    name: str
    title: str  # in sentences


@attrs.frozen
class PartKind(Kind):
    """A kind of part: a plugin's hook offers classes of it by name."""

    hook: str  # of the plugin's module
    base: str  # `module:Class` from which every part of the kind derives
    contract: str  # `module:Class` of the laws, a `testing.PluginContract`
    parameters: tuple[str, ...]  # of the constructor before the options, as Python writes them
    template: Path  # of a new plugin's module, for `plugins new`
    small: str = ""  # options, as Python writes them, with which the laws of a new plugin are quick
    example: str = ""  # options, as a flag has them, that a new plugin's README shows
    use: str = ""  # the command that takes such a part, called NAME there; by default a flag of `run`
    data: str = ""  # the command that writes a data set for `use`, where it needs one
    workload: str | None = None  # `module:NAME` of the `check.measure.Workload` to measure a part with
    reference: str | None = None  # the shipped part that is measured beside it

    def command(self, part: str) -> str:
        """The command that takes a part, for a person to type."""
        return (self.use or f"emotiwave run --{self.name} NAME").replace("NAME", part)

    def commands(self, part: str) -> list[str]:
        """The same, and before it the one that writes the data set, where it needs one."""
        return [*([self.data] if self.data else []), self.command(part)]

    @property
    def positional(self) -> int:
        """The number of the constructor's parameters before the options."""
        return len(self.parameters)

    @property
    def base_class(self) -> type:
        """The class from which every part of the kind derives."""
        return _resolve(self.base)  # type: ignore[no-any-return]

    @property
    def contract_class(self) -> Any:
        """The contract whose laws every part of the kind keeps."""
        return _resolve(self.contract)


def _resolve(name: str) -> Any:
    return pkgutil.resolve_name(name)


WATCH = "watch"  # offers no part: its hooks are called while a run goes on
COMMAND = "command"  # offers no part: a command of the command line
ENCODER = "encoder"
POLICY = "dropout"  # parts of this kind may be options of all others; of another kind, of their own kind alone
AUGMENTATION = "augmentation"
OBJECTIVE = "objective"
METRIC = "metric"
READER = "reader"
EXTRACTOR = "extractor"

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        PartKind(
            name=ENCODER,
            title="encoder",
            hook="register_encoders",
            base="emotiwave_core.interfaces:Encoder",
            contract="emotiwave_core.testing:EncoderContract",
            parameters=("in_features: int",),
            template=TEMPLATES / "encoder.py.j2",
            small="width=8",
            example="width=128,layers=4",
            workload="emotiwave_core.parts.check.measure:ENCODER",
            reference="bilstm",
        ),
        PartKind(
            name="fusion",
            title="fusion",
            hook="register_fusions",
            base="emotiwave_core.interfaces:Fusion",
            contract="emotiwave_core.testing:FusionContract",
            parameters=("in_features: dict[str, int]",),
            template=TEMPLATES / "fusion.py.j2",
            small="width=8",
            example="width=128",
            workload="emotiwave_core.parts.check.measure:FUSION",
            reference="concat",
        ),
        PartKind(
            name=POLICY,
            title="dropout policy",
            hook="register_dropout_policies",
            base="emotiwave_core.interfaces:DropoutPolicy",
            contract="emotiwave_core.testing:DropoutPolicyContract",
            parameters=(),
            template=TEMPLATES / "dropout.py.j2",
            example="share=0.3",
            workload="emotiwave_core.parts.check.measure:DROPOUT",
            reference="uniform",
        ),
        PartKind(
            name=AUGMENTATION,
            title="augmentation",
            hook="register_augmentations",
            base="emotiwave_core.interfaces:Augmentation",
            contract="emotiwave_core.testing:AugmentationContract",
            parameters=(),
            template=TEMPLATES / "augmentation.py.j2",
            example="most=0.2",
            reference="noise",
        ),
        PartKind(
            name=OBJECTIVE,
            title="objective",
            hook="register_objectives",
            base="emotiwave_core.objectives:Objective",
            contract="emotiwave_core.testing:ObjectiveContract",
            parameters=("classes: tuple[str, ...]",),
            template=TEMPLATES / "objective.py.j2",
            example="smoothing=0.2",
            reference="single",
        ),
        PartKind(
            name=METRIC,
            title="metric",
            hook="register_metrics",
            base="emotiwave_core.metrics:AnyMetric",
            contract="emotiwave_core.testing:MetricContract",
            parameters=(),
            template=TEMPLATES / "metric.py.j2",
            reference="uar",
        ),
        PartKind(
            name=READER,
            title="reader",
            hook="register_readers",
            base="emotiwave_core.reading:Reader",
            contract="emotiwave_core.testing:ReaderContract",
            parameters=("source: Source",),
            template=TEMPLATES / "reader.py.j2",
            use="emotiwave data inspect DIR  # in its dataset.toml: reader = NAME",
            reference="csd",
        ),
        PartKind(
            name=EXTRACTOR,
            title="extractor",
            hook="register_extractors",
            base="emotiwave_core.interfaces:Extractor",
            contract="emotiwave_core.testing:ExtractorContract",
            parameters=(),
            template=TEMPLATES / "extractor.py.j2",
            example="step=0.05",
            use="emotiwave extract CLIPS/ --with NAME",
            reference="faces",
        ),
        Kind(name=WATCH, title="watcher"),
        Kind(name=COMMAND, title="command"),
    )
}


def part_kinds() -> list[PartKind]:
    """The kinds of part, in the order in which they are listed."""
    return [kind for kind in KINDS.values() if isinstance(kind, PartKind)]


def _row(name: str) -> PartKind:
    kind = KINDS[name]
    if not isinstance(kind, PartKind):
        raise KeyError(name)
    return kind


NARROWER: dict[str, PartKind] = {  # kinds within a kind, which keep further laws and have a template of their own
    "word-encoder": attrs.evolve(
        _row(ENCODER),
        title="encoder of words",
        base="emotiwave_core.interfaces:WordEncoder",
        contract="emotiwave_core.testing:WordEncoderContract",
        template=TEMPLATES / "word_encoder.py.j2",
        example="width=128",
        use="emotiwave run --data build/spoken --encoder bilstm --encoder text=NAME",
        data="emotiwave data sample build/spoken --words",
        workload="emotiwave_core.parts.check.measure:WORD_ENCODER",
        reference="hashed",
    ),
}


def part_kind(name: str) -> PartKind:
    """The kind of part of this name, or the kind within one; KeyError for another."""
    return NARROWER[name] if name in NARROWER else _row(name)


def narrowest(name: str, part: type) -> PartKind:
    """The row of a kind for parts of a class: that of a kind within it, where the class is of one."""
    within = (kind for kind in NARROWER.values() if kind.name == name and issubclass(part, kind.base_class))
    return next(within, part_kind(name))


def kind_of(part: object) -> PartKind | None:
    """The kind of part whose base class this class derives from, if any."""
    kinds = part_kinds() if isinstance(part, type) else []
    return next((kind for kind in kinds if issubclass(part, kind.base_class)), None)  # type: ignore[arg-type]


def base_names() -> str:
    """The base classes of all kinds of part, in a sentence."""
    *others, last = (kind.base_class.__name__ for kind in part_kinds())
    return f"{', '.join(others)} or {last}"
