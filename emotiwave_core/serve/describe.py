"""A run in words, for whoever asks a server what it is: what it reads and says, and how well, measured on what."""

import contextlib
import os
from pathlib import Path
from typing import Any

import attrs

from emotiwave_core.config.recipe import Recipe
from emotiwave_core.errors import DataError
from emotiwave_core.modalities import by_modality, configurations, name_of
from emotiwave_core.runs.data_file import read_data
from emotiwave_core.runs.model_file import TrainedInput, read_model_file
from emotiwave_core.runs.scores import Scores, read_scores
from emotiwave_core.serve.arrays import Shape
from emotiwave_core.serve.limits import Limits
from emotiwave_core.version import __version__

CARD = "model-card.md"
MEANING = (
    "A recognised emotion is a guess about an expression in this material, not knowledge of what somebody feels. "
    "It is not to be used for decisions about people."
)


@attrs.frozen(eq=False)
class Described:
    """A run: what may be asked of it, and all that is known of it."""

    about: dict[str, Any]  # the answer of /model
    shape: Shape
    classes: tuple[str, ...]
    kind: str  # single, multi or regression
    reads_recordings: bool  # its features were made by extractors that it knows

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities of the run."""
        return tuple(by_modality(self.shape.widths))


def describe(run: Path, limits: Limits) -> Described:
    """Read what a run folder tells of itself. DataError where it holds no model, or is damaged."""
    model = read_model_file(run)
    recipe = Recipe.from_table(model.recipe, str(run))
    scores: Scores | None = None
    with contextlib.suppress(DataError):  # it is not scored yet
        scores = read_scores(run)
    kind = "multi" if model.thresholds is not None else "regression" if model.scale else "single"
    inputs = model.data.inputs
    extractors = {stream: _extractor(inputs.get(stream)) for stream in model.features}
    align = recipe.data.align
    return Described(
        about={
            "emotiwave": __version__,
            "recipe": recipe.name,
            "kind": kind,
            "classes": model.classes,
            "thresholds": model.thresholds,
            "modalities": {name: list(streams) for name, streams in by_modality(model.features).items()},
            "configurations": [name_of(each) for each in configurations(list(by_modality(model.features)))],
            "features": {
                stream: {"width": width, "extractor": extractors[stream], "columns": _columns(inputs.get(stream))}
                for stream, width in model.features.items()
            },
            "align": align,
            "needs_times": align != "none",
            "recordings": any(extractors.values()),
            "parameters": model.parameters,
            "trained_on": _trained_on(run, scores),
            "scores": None if scores is None else _scores(scores),
            "means": MEANING,
        },
        shape=Shape(
            dict(model.features),
            None if isinstance(align, str) else align,
            limits,
            frozenset(stream for stream, trained in inputs.items() if trained.words),
        ),
        classes=tuple(model.classes),
        kind=kind,
        reads_recordings=any(extractors.values()),
    )


def _extractor(trained: TrainedInput | None) -> dict[str, Any] | None:
    """The extractor of a stream, with no folder of the machine on which it was trained."""
    identity = None if trained is None else trained.extractor
    if not identity or "name" not in identity:
        return None
    return {key: _without_folders(value) for key, value in identity.items()}


def _without_folders(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_folders(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_folders(each) for each in value]
    is_path = isinstance(value, str) and (os.path.isabs(value) or value.startswith((".", "~")))  # noqa: PTH117
    return Path(value).name if is_path else value


def _columns(trained: TrainedInput | None) -> list[str] | None:
    return None if trained is None else trained.columns


def _trained_on(run: Path, scores: Scores | None) -> dict[str, Any]:
    with contextlib.suppress(DataError):
        if (data := read_data(run)) is not None:
            return {"dataset": data.dataset, "synthetic": data.synthetic}
    return {"dataset": None if scores is None else scores.dataset, "synthetic": None}


def _scores(scores: Scores) -> dict[str, Any]:
    """The headline of every configuration, and what it was measured on."""
    return {
        "metric": scores.headline,
        "measured_on": {
            "dataset": scores.dataset,
            "synthetic": scores.synthetic,
            "fold": scores.fold,
            "samples": scores.samples,
        },
        "mean": scores.mean,
        "configurations": {
            name: {"score": entry.score, "interval": entry.interval} for name, entry in scores.configurations.items()
        },
        "best_guess_without_input": scores.constant.floor,
        "notes": scores.notes,
    }


def card_of(run: Path) -> str | None:
    """The text of the run's model card, where it has one."""
    path = run / CARD
    return path.read_text(encoding="utf-8") if path.is_file() else None
