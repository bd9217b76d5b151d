"""Assembly of a model from the parts of a recipe."""

from torch import nn

from emotiwave_core.config.recipe import Recipe
from emotiwave_core.errors import DataError, EmotiwaveError, PluginError, SettingsError
from emotiwave_core.interfaces import (
    AnsweringFusion,
    ContextFusion,
    DropoutPolicy,
    Encoder,
    Fusion,
    OutputSpace,
    WordEncoder,
)
from emotiwave_core.layers.masking import prepare_policies
from emotiwave_core.modalities import by_modality
from emotiwave_core.model.fusion_model import FusionModel, head_of, heads_alone
from emotiwave_core.model.members import ensemble_encoder, ensemble_fusion
from emotiwave_core.model.streams import joined_widths
from emotiwave_core.model.terms import needs_heads
from emotiwave_core.parts.guard import forbid_exit, in_words, preserve_global_state
from emotiwave_core.parts.resolved import ResolvedPart, ResolvedParts


def assemble(
    parts: ResolvedParts, features: dict[str, int], classes: int, steps: dict[str, int] | None = None
) -> FusionModel:
    """The model of a recipe's parts for feature widths {stream: F}. Its weights come from torch's global generator.

    DataError for a modality's name that torch cannot use for a part of a model.
    """
    for name in {**features, **by_modality(features)}:
        if "." in name or hasattr(nn.ModuleDict(), name):
            raise DataError(f"torch has no part of a model by the name '{name}'; name the modality otherwise.")
    members = range(parts.recipe.model.members)
    each = {s: [_encoder(parts.encoder_of(s), width) for _ in members] for s, width in features.items()}
    kind = parts.recipe.objective.kind
    space = OutputSpace("single" if kind == "auto" else kind, classes)
    widths = joined_widths({s: _width(encoders[0]) for s, encoders in each.items()})
    fusions = [_fusion(parts.fusion, widths, space) for _ in members]
    encoders = {s: one[0] if len(one) == 1 else ensemble_encoder(one) for s, one in each.items()}
    fusion = fusions[0] if len(fusions) == 1 else _ensemble(fusions, widths, space, parts.recipe)
    policy = _prepared(parts.dropout, tuple(by_modality(features)))
    model = FusionModel(encoders, fusion, policy, classes, features, parts.recipe)
    model.steps = steps or {}
    model.names = {part: parts.encoder_of(s).who for s, one in each.items() for part in (encoders[s], *one)}
    model.names |= dict.fromkeys((fusion, *fusions), parts.fusion.who) | {policy: parts.dropout.who}
    model.shows_states = parts.objective is not None and parts.objective.part.reads_states  # type: ignore[attr-defined]
    model.plugins = [part for part, _ in parts.used_by(features)]
    return model


def _encoder(part: ResolvedPart, width: int) -> Encoder:
    """An encoder for F features. SettingsError where one inside it reads words."""
    encoder: Encoder = part.make(width)
    if any(isinstance(inner, WordEncoder) for inner in encoder.modules() if inner is not encoder):
        raise SettingsError(
            f"{part.who} has an encoder inside that reads words, and only the outermost is given some: take another "
            "one there."
        )
    return encoder


def _fusion(part: ResolvedPart, widths: dict[str, int], space: OutputSpace) -> Fusion:
    """A fusion of modalities {m: D}, which knows the output space where it answers itself."""
    fusion: Fusion = part.make(widths)
    _width(fusion)
    _let_answer(part, fusion, space)
    return fusion


def _ensemble(fusions: list[Fusion], widths: dict[str, int], space: OutputSpace, recipe: Recipe) -> Fusion:
    """The fusions of the members as one, with the heads that they lack."""
    lacking = [one for one in fusions if not isinstance(one, AnsweringFusion)]
    heads = [head_of(one.out_features, space.size, recipe.model) for one in lacking]
    needed = widths if needs_heads(recipe.objective) else {}
    return ensemble_fusion(fusions, heads, [heads_alone(needed, one, space.size) for one in fusions], space)


def _let_answer(part: ResolvedPart, fusion: Fusion, space: OutputSpace) -> None:
    """Tell a fusion that answers itself the output space.

    SettingsError where it, or one that sees neighbours, stands inside a fusion that does not pass that on.
    """
    if isinstance(fusion, AnsweringFusion):
        with part.constructing():
            fusion.answer(space)
    for module in fusion.modules():
        if isinstance(module, AnsweringFusion) and module.space is None:
            raise SettingsError(
                f"{part.who} has a {type(module).__name__} inside, which answers itself and gives no vector to others: "
                "take another fusion there."
            )
        if isinstance(module, ContextFusion) and module is not fusion:
            raise SettingsError(
                f"{part.who} has a {type(module).__name__} inside, which sees the neighbours of a sample and is told "
                "of them as the outermost fusion alone: take another fusion there."
            )


def _prepared(part: ResolvedPart, modalities: tuple[str, ...]) -> DropoutPolicy:
    """The dropout policy, which knows the modalities. PluginError where it, or one inside it, fails at that."""
    policy: DropoutPolicy = part.make()
    failed = f"{part.who} fails when it is told of the modalities {', '.join(modalities)}"
    with forbid_exit(failed), preserve_global_state(part.who, "when it is told of the modalities", drawing="weights"):
        try:
            prepare_policies(policy, modalities)
        except EmotiwaveError:
            raise
        except Exception as error:
            raise PluginError(f"{failed}: {in_words(error)}") from error
    return policy


def _width(part: Encoder | Fusion) -> int:
    if not isinstance(getattr(part, "out_features", None), int):
        raise PluginError(f"{type(part).__name__} does not set self.out_features, the width of what it returns.")
    return part.out_features
