"""An export from start to end: traced, translated, compared with the run, and only then written."""

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import torch

from emotiwave_core.config.recipe import Recipe
from emotiwave_core.errors import DataError, PluginError, SettingsError
from emotiwave_core.export import onnx_file
from emotiwave_core.export.compare import SAMPLES, Runner, answer_fold, compare_generated
from emotiwave_core.export.graph import mask_of, trace, trace_of_any_length
from emotiwave_core.export.torch_file import TorchModel, to_torch_file
from emotiwave_core.io.atomic import out_of_space, write_bytes
from emotiwave_core.layers.standardise import CLIP
from emotiwave_core.modalities import modality_of, setting_of
from emotiwave_core.monitor import Monitor
from emotiwave_core.parts.registry import Registry
from emotiwave_core.predict.trained import TrainedRun, open_trained_run
from emotiwave_core.runs.contents import read_trained
from emotiwave_core.runs.data_file import DataFile
from emotiwave_core.runs.export_manifest import (
    MANIFEST,
    ExportComparison,
    ExportedStream,
    ExportManifest,
    ExportSource,
    Preparation,
    Quantisation,
    QuantisationCost,
    Target,
    read_manifest,
    write_manifest,
)
from emotiwave_core.runs.provenance import read_provenance
from emotiwave_core.runs.saved_model import SavedModel, load_model

FILES: dict[Target, str] = {"onnx": "model.onnx", "torch-export": "model.pt2"}
MOST_DIFFERENCE = 1e-4  # of an answer of a file whose weights are those of the run: more than rounding is a fault
DECISIONS = {
    "single": "the class of the largest probability",
    "multi": "every class whose probability is above its threshold",
    "regression": "the number itself",
}


@attrs.frozen
class Exported:
    """A folder that an export was written into, and its manifest."""

    folder: Path
    manifest: ExportManifest


@attrs.frozen(eq=False)
class _File:
    """The content of a file, and how it answers."""

    content: bytes
    runner: Runner
    versions: dict[str, str]


def export(
    run: Path, registry: Registry, monitor: Monitor, *, to: Target, quantise: Quantisation | None, out: Path | None
) -> Exported:
    """Write the model of a run and a manifest into `out`, else a folder beside the run's.

    SettingsError for a folder that holds other files, a training that has not ended and a quantisation that the format
    has not; PackageNotHere without the extra; PluginError for a part that cannot be exported. Nothing is written then.
    """
    if quantise is not None and to != "onnx":
        raise SettingsError(f"--quantise {quantise} is for --to onnx: torch.export has no quantised recurrences.")
    if to == "onnx":
        onnx_file.check_packages()
    folder = out or run.with_name("-".join(filter(None, (run.resolve().name, to, quantise))))
    data, loaded = read_trained(run), load_model(run, registry)
    loaded.model.refuse_neighbours("An export, which is asked about single samples,")
    loaded.model.refuse_words("An export")
    if loaded.model.on_alarm == "drop":
        monitor.say("Note: an export knows no alarms: a modality that this run reads as missing for one is read there.")
    loaded.model.set_alarm("ignore")
    for change in loaded.changes:
        monitor.say(f"Note: {change}")
    outputs = ["logits", "numbers" if loaded.objective.kind == "regression" else "probabilities"]
    for stream in loaded.model.streams:
        if stream in outputs:
            raise SettingsError(f"A modality of {run} is called '{stream}', as an output of the file is: rename it.")
    _take(folder)
    try:
        with monitor.progress(f"Exporting {run.name} to {to}", 3) as step:
            file, plain = _made(loaded, to, quantise, outputs, step)
        trained = _open_fold(run, registry, monitor)
        compared, cost = _compared(file, plain, loaded, trained, monitor)
        manifest = ExportManifest(
            to=to,
            quantised=quantise,
            file=FILES[to],
            sha256=hashlib.sha256(file.content).hexdigest(),
            bytes=len(file.content),
            outputs=outputs,
            compared=compared,
            cost=cost,
            source=_source(run, loaded, data),
            versions=file.versions,
            **_described(loaded),
        )
        _write(folder, manifest, file.content)
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()  # only where nothing has been written
    return Exported(folder, manifest)


def _take(folder: Path) -> None:
    """Make the folder. SettingsError where it holds anything but an export."""
    with out_of_space(folder):
        if folder.is_dir():
            names = {path.name for path in folder.iterdir() if path not in _torn(folder)}
            if names and not (names <= {MANIFEST, *FILES.values()} and _is_export(folder)):
                raise SettingsError(f"{folder} is not empty and holds no export: choose another --out.")
        folder.mkdir(parents=True, exist_ok=True)


def _is_export(folder: Path) -> bool:
    """True where the manifest is one of ours: programs of other kinds have files of that name too."""
    try:
        read_manifest(folder)
    except DataError:
        return False
    return True


def _write(folder: Path, manifest: ExportManifest, content: bytes) -> None:
    """Write both files. A kill between them leaves a manifest without a model, never one of another model."""
    with out_of_space(folder):
        for path in [*(folder / name for name in FILES.values()), *_torn(folder)]:
            path.unlink(missing_ok=True)
    write_manifest(folder, manifest)
    write_bytes(folder / manifest.file, content)


def _torn(folder: Path) -> list[Path]:
    """The files that a kill has left half written (`io.atomic.write_bytes` names them so)."""
    return [path for name in (MANIFEST, *FILES.values()) for path in folder.glob(f".{name}.????????.part")]


def _made(
    loaded: SavedModel, to: Target, quantise: Quantisation | None, outputs: list[str], step: Callable[[], None]
) -> tuple[_File, _File]:
    """The file that is asked for, and the same without quantisation."""
    model, objective = loaded.model, loaded.objective
    known = {"torch": str(torch.__version__)}
    if to == "torch-export":
        program = trace_of_any_length(model, objective)
        step()
        content = to_torch_file(program)
        step()
        file = _File(content, TorchModel(content), known)
        step()
        return file, file
    program = trace(model, objective)
    step()
    known |= onnx_file.versions()
    content = onnx_file.to_onnx(program, model.streams, outputs)
    plain = _File(content, onnx_file.OnnxModel(content, model.streams), known)
    step()
    if quantise is None:
        step()
        return plain, plain
    content = onnx_file.quantised(content)
    file = _File(content, onnx_file.OnnxModel(content, model.streams), known)
    step()
    return file, plain


def _open_fold(run: Path, registry: Registry, monitor: Monitor) -> TrainedRun | None:
    """The run on its test fold; None where its data are not at hand, which is said."""
    try:
        return open_trained_run(run, registry, monitor, on_alarm="ignore")
    except DataError as error:
        monitor.say(f"Note: the export is compared with the run on generated features alone. {error}")
        return None


def _compared(
    file: _File, plain: _File, loaded: SavedModel, trained: TrainedRun | None, monitor: Monitor
) -> tuple[ExportComparison, QuantisationCost | None]:
    """The distance of the file's answers from the run's, and the cost of quantisation.

    PluginError where the file without quantisation answers otherwise than the run.
    """
    compared = compare_generated(plain.runner, loaded.model, loaded.objective)
    _check_near(compared)
    if trained is None:
        return (compared if file is plain else compare_generated(file.runner, loaded.model, loaded.objective)), None
    answers = answer_fold(plain.runner, trained, SAMPLES, monitor)
    _check_near(answers.comparison())
    if file is plain:
        return answers.comparison(), None
    answers = answer_fold(file.runner, trained, None, monitor)
    return answers.comparison(), answers.cost(len(plain.content))


def _check_near(compared: ExportComparison) -> None:
    if compared.largest_difference > MOST_DIFFERENCE:
        raise PluginError(
            f"The exported model's answers differ from the run's by up to {compared.largest_difference:.2g} on "
            f"{compared.data}: a part computes otherwise where torch traces it. Nothing was written."
        )


def _described(loaded: SavedModel) -> dict[str, Any]:
    """The fields of the manifest that the model itself tells."""
    model, objective, recipe, description, _ = loaded
    inputs, steps = description.data.inputs, description.steps
    downsample = recipe.data.downsample
    return {
        "objective": objective.kind,
        "classes": list(objective.classes),
        "decision": DECISIONS[objective.kind],
        "thresholds": description.thresholds,
        "modalities": list(model.modalities),
        "streams": [
            ExportedStream(
                stream=stream,
                modality=modality_of(stream),
                features=stream,
                mask=mask_of(stream),
                width=width,
                max_steps=steps.get(stream),
                downsample=downsample if isinstance(downsample, int) else setting_of(stream, downsample) or 1,
                columns=inputs[stream].columns if stream in inputs else None,
                extractor=inputs[stream].extractor if stream in inputs else None,
            )
            for stream, width in description.features.items()
        ],
        "preparation": _preparation(recipe),
    }


def _preparation(recipe: Recipe) -> Preparation:
    return Preparation(
        unit=recipe.data.unit,
        align=recipe.data.align,
        filler=recipe.data.filler,
        absent="a mask without a step that is set, of at least one step; what stands in masked steps is never read",
        cleaning="in the file: values that are not finite become 0; an average of steps is to leave them out",
        standardisation=_standardisation(recipe.model.standardise),
    )


def _standardisation(mode: bool | str) -> str:
    if mode is False:
        return "none"
    before = (
        "" if mode is True else f"; before that, in the program, relative to the speaker ({mode}, docs/speakers.md)"
    )
    return f"in the file, clipped at {CLIP:g} deviations{before}"


def _source(run: Path, loaded: SavedModel, data: DataFile) -> ExportSource:
    description, provenance = loaded.description, read_provenance(run)
    return ExportSource(
        run=run.resolve().name,
        recipe=loaded.recipe.name,
        dataset=data.dataset,
        synthetic=data.synthetic,
        fingerprint=description.data.fingerprint,
        weights_sha256=description.weights_sha256,
        emotiwave=description.emotiwave,
        trained=provenance.finished if provenance else None,
        precision=loaded.recipe.training.precision,
    )
