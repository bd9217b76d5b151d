"""The model of a run, saved in `model.safetensors` and `model.json`, and rebuilt from them, which may be anyone's.

Only safetensors and JSON are read: they cannot run code. A stranger's file may ask for a layer of a billion units, or
for a billion layers. So the model is assembled on torch's meta device first, where it takes no memory, and no more
parts of it than the weights can fill.
"""

import contextlib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import attrs
import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks

from emotiwave_core.config.recipe import Recipe
from emotiwave_core.data.corpus import Corpus
from emotiwave_core.errors import DataError, PluginError, SettingsError, short
from emotiwave_core.interfaces import Tensors
from emotiwave_core.io.atomic import out_of_space, sha256_of, sha256_of_open, sync_folder
from emotiwave_core.io.tensors import on_cpu, read_tensors, write_tensors
from emotiwave_core.io.untrusted import open_file
from emotiwave_core.model.assemble import assemble
from emotiwave_core.model.calibration import LogitCalibration
from emotiwave_core.model.fusion_model import FusionModel
from emotiwave_core.objectives import Objective
from emotiwave_core.objectives.regression import Regression
from emotiwave_core.parts.registry import OVERLAY, Registry
from emotiwave_core.parts.resolved import ResolvedParts
from emotiwave_core.runs.alarm_file import read_alarm
from emotiwave_core.runs.model_file import (
    MODEL,
    BestEpoch,
    InitialFile,
    ModelDescription,
    ModelFile,
    TrainedInput,
    TrainingData,
    UsedPart,
    ValidationFit,
    check_agreement,
    check_calibration,
    check_fitted,
    check_model_file,
    read_model_file,
    write_model_file,
)

WEIGHTS = "model.safetensors"
NEXT = "model.next.safetensors"  # the new weights, until model.json names them and they have the name of the old ones
TRIES = 50  # of a reader, while a training writes epoch after epoch


class SavedModel(NamedTuple):
    """A model on the CPU and in eval(), what it was made from, and how the code of its parts has changed since."""

    model: FusionModel
    objective: Objective
    recipe: Recipe
    description: ModelFile
    changes: list[str]


def describe(
    parts: ResolvedParts,
    model: FusionModel,
    objective: Objective,
    corpus: Corpus,
    initialised_from: Sequence[InitialFile] = (),
) -> ModelDescription:
    """The description of a model that is to be trained on this corpus: enough to assemble it again."""
    from emotiwave_core.version import __version__

    return ModelDescription(
        emotiwave=__version__,
        recipe=parts.recipe.to_table(),
        plugins=[
            UsedPart(part.kind, part.name, stream, part.origin, part.version, part.source_sha256)
            for part, stream in parts.used_by(model.streams)
        ],
        features={s: model.features[s] for s in model.streams},
        steps=model.steps,
        classes=list(objective.classes),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        targets=list(corpus.store.targets),
        data=TrainingData(
            corpus.store.fingerprint,
            dict(corpus.store.facts.sources),
            {
                name: TrainedInput(
                    None if facts.columns is None else list(facts.columns), facts.extractor, facts.words is not None
                )
                for name, facts in corpus.store.facts.modalities.items()
            },
        ),
        initialised_from=list(initialised_from),
    )


def save_model(
    run: Path,
    model: FusionModel,
    description: ModelDescription,
    best: BestEpoch,
    fitted: ValidationFit,
    refit: int | None = None,
) -> None:
    """Write the weights beside the old ones, the description that names their SHA-256, and give them their name.

    So whoever reads meanwhile finds one whole version, and so does who comes after a kill. refit: see `ModelFile`.
    """
    write_tensors(run / NEXT, on_cpu(model.state_dict()))
    known = {field.name: getattr(description, field.name) for field in attrs.fields(ModelDescription)}
    sha256 = sha256_of(run / NEXT)
    write_model_file(
        run,
        ModelFile(
            **known,
            thresholds=fitted.thresholds,
            calibration=fitted.calibration,
            agreement=fitted.agreement,
            best=best,
            refit=refit,
            weights_sha256=sha256,
        ),
    )
    with out_of_space(run / WEIGHTS):
        (run / NEXT).replace(run / WEIGHTS)
        sync_folder(run)


def changed_parts(then: Iterable[UsedPart], now: ResolvedParts) -> list[str]:
    """Sentences about the parts whose code is not what a model was trained with, by its source and its version."""
    modalities = list(dict.fromkeys(part.modality for part in then if part.modality is not None))
    found = [
        (part.kind, part.name, part.origin, part.version, part.source_sha256) for part, _ in now.used_by(modalities)
    ]
    sentences = {}
    for before, (kind, name, origin, version, source) in zip(then, found, strict=False):
        known = before.source_sha256 is None or before.source_sha256 == source
        if (before.kind, before.name, before.version) != (kind, name, version) or not known:
            was, is_now = f"{before.distribution} {before.version}".strip(), f"{origin} {version}".strip()
            of = f"it was of {was} and is now of {is_now}" if was != is_now else f"the source of {was} has changed"
            sentences[kind, name] = f"The {kind} '{name}' is not the one of the training ({of}): results may differ."
    return list(sentences.values())


def refuse_changed_parts(run: Path, registry: Registry) -> None:
    """PluginError where the code of a part is not what a run was trained with."""
    description = read_model_file(run)
    check_model_file(description, run / MODEL)
    recipe = Recipe.from_table(description.recipe, str(run / MODEL))
    if changes := changed_parts(description.plugins, resolve_parts_of(run, description.plugins, recipe, registry)):
        raise PluginError(f"{' '.join(changes)} Put the code back, or leave out --strict to use {run} all the same.")


def load_model(run: Path, registry: Registry) -> SavedModel:
    """Rebuild the model of a run. DataError for a missing or damaged file, PluginError where a part has changed."""
    return _load(run, lambda recipe, used: resolve_parts_of(run, used, recipe, registry))


def reload_model(run: Path, parts: ResolvedParts) -> SavedModel:
    """Rebuild the model of a run that was trained with these parts, as `load_model`: none is looked up again."""
    return _load(run, lambda recipe, used: parts)


def resolve_parts_of(run: Path, used: Iterable[UsedPart], recipe: Recipe, registry: Registry) -> ResolvedParts:
    """Look up the parts of a run. PluginError where one is no longer there: it names who provided it."""
    try:
        return registry.resolve(recipe)
    except SettingsError:
        absent = {(one.kind, one.name): one for one in used if one.name not in registry.names_of(one.kind)}
        if not absent or registry.untrusted:  # of a file that is not trusted the registry says more
            raise
        told = [
            f"the {kind} {short(name)} of {short(one.distribution)} {one.version}".rstrip()
            for (kind, name), one in absent.items()
        ]
    raise PluginError(
        f"{run} was trained with {', '.join(told)}, which {'is' if len(told) == 1 else 'are'} not installed here. "
        f"Install what provides {'it' if len(told) == 1 else 'them'}, or name the file under [plugins] in "
        f"./{OVERLAY} or by --registry FILE."
    )


def _load(run: Path, resolve: Callable[[Recipe, Sequence[UsedPart]], ResolvedParts]) -> SavedModel:
    description, weights = _read_one_version(run)
    check_model_file(description, run / MODEL)
    recipe = Recipe.from_table(description.recipe, str(run / MODEL))
    parts = attrs.evolve(resolve(recipe, description.plugins), recipe=recipe)
    objective = parts.make_objective(tuple(description.targets))
    check_fitted(description, objective.kind, objective.classes, run / MODEL)
    if isinstance(objective, Regression):
        objective.restore(description.scale or {})
    changes = changed_parts(description.plugins, parts)
    try:
        model = _rebuild(parts, description, len(objective.classes), weights, run / WEIGHTS)
        restore(model, weights, run / WEIGHTS)
    except PluginError as error:
        if not changes:
            raise
        out = "Use the version that trained it, or train again."
        raise PluginError(" ".join([str(error), *(one.partition(":")[0] + "." for one in changes), out])) from error
    if not all(tensor.isfinite().all() for tensor in model.parameters()):
        raise DataError(f"{run / WEIGHTS} holds weights that are no finite numbers; train again.")
    _calibrate(model, objective, description, run / MODEL)
    model.alarm = read_alarm(run, model, description.weights_sha256)
    return SavedModel(model.eval(), objective, recipe, description, changes)


def _calibrate(model: FusionModel, objective: Objective, description: ModelFile, path: Path) -> None:
    """Give a model the calibration of its run; one of an earlier version has none, and no agreements either."""
    check_agreement(description, objective.kind, model.modalities, path)
    if description.calibration is not None:
        check_calibration(description.calibration, objective.kind, model.modalities, path)
        temperatures = {tuple(name.split("+")): one.temperature for name, one in description.calibration.items()}
        model.calibration = LogitCalibration(temperatures, model.modalities)


def _read_one_version(run: Path) -> tuple[ModelFile, Tensors]:
    """The description and the weights that it names, both of one epoch, also while a training writes others."""
    description = read_model_file(run)
    for _ in range(TRIES):
        for name in (WEIGHTS, NEXT, WEIGHTS):  # they may get their name between the first look and the second
            if (weights := _read_weights(run / name, description.weights_sha256)) is not None:
                return description, weights
        before, description = description, read_model_file(run)
        if description == before:
            break
    raise DataError(f"{run / WEIGHTS} is missing, damaged or unreadable, or does not belong to {MODEL}; train again.")


def _read_weights(path: Path, sha256: str) -> Tensors | None:
    """The tensors of a file; None where it is not there, or is another than the one with this SHA-256."""
    try:
        with open_file(path) as file:
            if sha256_of_open(file) != sha256:
                return None
            try:
                tensors, _ = read_tensors(path)
            except DataError:
                if _is_named(path, file):
                    raise
                return None  # it has another name by now
            return tensors if _is_named(path, file) else None
    except (OSError, ValueError):
        return None


def _is_named(path: Path, file: BinaryIO) -> bool:
    """True where the path still leads to the open file."""
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False


def restore(model: nn.Module, tensors: Tensors, path: Path) -> None:
    """Give a model the weights that were read from a file. PluginError where they do not fit."""
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise unfit(path, " ".join(str(error).split())) from error


def _rebuild(parts: ResolvedParts, description: ModelFile, classes: int, weights: Tensors, path: Path) -> FusionModel:
    """The model that `model.json` describes. PluginError where it is not of the size of its weights."""
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    with _limited_to(shapes, path):
        try:
            with torch.device("meta"):
                sketch = assemble(parts, description.features, classes, description.steps)
        except PluginError as error:
            if "meta" not in str(error.__cause__).lower():
                raise
            sketch = None  # a part needs the values of its tensors when it is made, and there they have none
        if sketch is not None:
            _check_fit(sketch, shapes, path)
        return assemble(parts, description.features, classes, description.steps)


def _check_fit(sketch: nn.Module, shapes: dict[str, tuple[int, ...]], path: Path) -> None:
    needed = {name: tuple(tensor.shape) for name, tensor in sketch.state_dict().items()}
    for name in sorted({*needed, *shapes}):
        if needed.get(name) != shapes.get(name):
            has, needs = shapes.get(name, "nothing"), needed.get(name, "nothing")
            raise unfit(path, f"of {short(name)} it has {has}, and {needs} is needed.")


def unfit(path: Path, reason: str) -> PluginError:
    """The error about whole weights that are not those of the model."""
    return PluginError(
        f"The weights in {path} do not fit the model that its recipe assembles now (was a plugin changed?): {reason}"
    )


@contextlib.contextmanager
def _limited_to(shapes: dict[str, tuple[int, ...]], path: Path) -> Iterator[None]:
    """DataError as soon as a model is made of far more parts or numbers than a file of weights can fill."""
    numbers = sum(math.prod(shape) for shape in shapes.values())
    left = {"parts": 20 * len(shapes) + 2_000, "values": 8 * numbers + (1 << 26)}

    def count(module: nn.Module, name: str, made: nn.Module | Tensor | None) -> None:
        left["parts"] -= 1
        if isinstance(made, Tensor) and not nn.parameter.is_lazy(made):
            left["values"] -= 0 if made.is_meta else made.numel()
        if min(left.values()) < 0:
            # No PluginError, which would be passed over on the meta device.
            raise DataError(str(unfit(path, f"it is far larger than {numbers} numbers.")))

    with contextlib.ExitStack() as held:
        for register in (
            hooks.register_module_parameter_registration_hook,
            hooks.register_module_buffer_registration_hook,
            hooks.register_module_module_registration_hook,
        ):
            held.callback(register(count).remove)
        yield
