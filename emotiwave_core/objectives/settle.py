"""The objective of a recipe for the labels of a data set: which one it is, and whether the two go together."""

from collections.abc import Callable, Mapping

import attrs

from emotiwave_core.config.recipe import ObjectiveSettings
from emotiwave_core.errors import SettingsError
from emotiwave_core.interfaces import ObjectiveKind
from emotiwave_core.objectives import Objective
from emotiwave_core.objectives.multi import MultiLabel
from emotiwave_core.objectives.regression import Regression
from emotiwave_core.objectives.single import NO_EMOTION, SingleLabel

OF_KIND: Mapping[ObjectiveKind, type[Objective]] = {
    "single": SingleLabel,
    "multi": MultiLabel,
    "regression": Regression,
}
# The objectives that labels of a kind can be learned by; the first one where the recipe leaves it to the labels.
KINDS_FOR: Mapping[str, tuple[ObjectiveKind, ...]] = {
    "intensities": ("single", "multi", "regression"),
    "classes": ("single", "multi"),
    "multi": ("multi",),
    "regression": ("regression",),
}


def settle(settings: ObjectiveSettings, targets: tuple[str, ...], label_kind: str) -> ObjectiveSettings:
    """The settings with the kind of objective that labels of a kind are to be learned by, where it was left to them.

    SettingsError for an objective that the labels contradict, for a setting that means nothing to it, and for a task of
    one class.
    """
    possible = KINDS_FOR[label_kind]
    kind = possible[0] if settings.kind == "auto" else settings.kind
    if kind not in possible and settings.name is not None:
        raise SettingsError(
            f"The objective '{settings.name}' is of the kind {kind}, and the labels are of the kind \"{label_kind}\": "
            f"take one of the kind {_in_words(possible)}, or say what the labels mean by `kind` under [labels] in "
            "dataset.toml."
        )
    if kind not in possible:
        raise SettingsError(
            f'objective.kind is "{kind}", and the labels are of the kind "{label_kind}": set it to '
            f'{_in_words(possible)}, or to "auto", or say what the labels mean by `kind` under [labels] in '
            "dataset.toml."
        )
    if kind == "regression":
        for name, idle in (("logit_adjustment", 0.0), ("no_emotion", "drop"), ("asymmetric", None), ("smoothing", 0.0)):
            if getattr(settings, name) != idle:
                raise SettingsError(f"objective.{name} is for classes, and the labels are numbers: leave it out.")
        return attrs.evolve(settings, kind=kind, class_weights=False)
    if settings.loss is not None:
        raise SettingsError(f"objective.loss is for numbers, and the labels are {label_kind}: leave it out.")
    if kind == "single" and len(targets) == 1 and settings.no_emotion != "class":
        raise SettingsError(
            f"This is a task of one class, {targets[0]}: there is nothing to tell apart. Name more `targets` under "
            '[labels] in dataset.toml, or set objective.kind to "multi" (it is there or not) or objective.no_emotion '
            'to "class".'
        )
    if kind == "single" and settings.no_emotion == "class" and NO_EMOTION in targets:
        raise SettingsError(
            f"A target is called '{NO_EMOTION}', and so is the class that objective.no_emotion adds: leave that "
            "setting out, or name the targets without it under [labels] in dataset.toml."
        )
    return attrs.evolve(settings, kind=kind)


def _in_words(kinds: tuple[ObjectiveKind, ...]) -> str:
    return ", ".join(f'"{kind}"' for kind in kinds)


def make_objective(
    settings: ObjectiveSettings,
    targets: tuple[str, ...],
    make: Callable[[tuple[str, ...]], Objective] | None = None,
) -> Objective:
    """The objective of settled settings, for the data set's targets: by `make`, or that of its kind."""
    kind: ObjectiveKind = "single" if settings.kind == "auto" else settings.kind
    with_none = kind == "single" and settings.no_emotion == "class"
    objective = (make or OF_KIND[kind])((*targets, NO_EMOTION) if with_none else targets)
    objective.settings = settings
    return objective
