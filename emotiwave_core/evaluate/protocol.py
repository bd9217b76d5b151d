"""A trained run under a protocol: the same damage for every model, drawn once and kept beside the scores."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from emotiwave_core.data.loading.batch import feature_statistics
from emotiwave_core.data.store.store import Store
from emotiwave_core.errors import DataError, SettingsError, short
from emotiwave_core.evaluate.bootstrap import macro_f1_interval
from emotiwave_core.evaluate.corrupted import Answers, ask, numbered
from emotiwave_core.evaluate.corruptions import PROTOCOLS
from emotiwave_core.evaluate.corruptions.draw import Samples, draw
from emotiwave_core.evaluate.corruptions.manifest import MOST_SEED, Manifest, parse, read_manifest
from emotiwave_core.evaluate.metrics import macro_f1
from emotiwave_core.evaluate.robustness import auilc, effective_robustness, relative_robustness
from emotiwave_core.io.atomic import own_folder, write_bytes, write_json
from emotiwave_core.monitor import SILENT, Monitor
from emotiwave_core.parts.registry import Registry
from emotiwave_core.predict.trained import TrainedRun, open_trained_run
from emotiwave_core.runs.folder import adding_to

FOLDER = "protocols"


def evaluate_protocol(
    run: Path,
    protocol: str,
    registry: Registry,
    device: torch.device,
    monitor: Monitor = SILENT,
    *,
    seed: int = 0,
    manifest: Path | None = None,
    against: Path | None = None,
    data: Path | None = None,
    fold: str = "test",
    write: bool = False,
) -> dict[str, Any]:
    """Score the complete configuration of a run at every level of a protocol, drawn from the seed or in a manifest.

    `against` is another run that meets the same damage. `write` keeps scores and manifest in the run's folder and
    draws its report anew; "manifest" is the name of its file there, and None where nothing is written.
    """
    if not 0 <= seed <= MOST_SEED:
        raise SettingsError(f"The seed of a protocol must be between 0 and 2^64 - 1, not {short(seed)}.")
    trained = open_trained_run(run, registry, monitor, data=data, fold=fold)
    _check_two(trained, protocol)
    other = None if against is None else open_trained_run(against, registry, monitor, data=data, fold=fold)
    if other is not None:
        _check_same(trained, other)
    for note in dict.fromkeys([*trained.notes, *([] if other is None else other.notes)]):
        monitor.say(f"Note: {note}")
    if manifest is None:
        raw = draw(protocol, samples_of(trained), seed).to_bytes()
        drawn = parse(raw, protocol, "that was drawn")  # as it will be read again
    else:
        drawn, raw = read_manifest(manifest, protocol)
    check_fits(drawn, trained)
    if other is not None:
        check_fits(drawn, other)
    curves = _curves(trained, drawn, ask(trained, drawn, device, monitor))
    name = f"{protocol}.manifest.json"
    result = {
        "format": 1,
        "protocol": protocol,
        "unit": PROTOCOLS[protocol].unit,
        "dataset": trained.corpus.dataset.name,
        "synthetic": trained.corpus.dataset.synthetic,
        "fold": fold,
        "samples": len(trained.fold.rows),
        "seed": drawn.seed,
        "manifest": name if write else None,
        "manifest_sha256": hashlib.sha256(raw).hexdigest(),
        "curves": curves,
        "against": None,
    }
    if other is not None:
        result["against"] = _compare(curves, _curves(other, drawn, ask(other, drawn, device, monitor)), other.run)
    if write:
        _keep(run, name, raw, result)
    return result


def _keep(run: Path, name: str, manifest: bytes, result: dict[str, Any]) -> None:
    """Put a manifest of this name and the scores into the run's folder, and draw its report anew."""
    from emotiwave_core.report.page import write_report

    with adding_to(run):
        write_bytes(own_folder(run / FOLDER) / name, manifest)
        write_json(run / FOLDER / f"{result['protocol']}.json", result)
        write_report(run)


def samples_of(trained: TrainedRun) -> Samples:
    """What a protocol needs to know of the samples of the fold."""
    store, rows, modalities = trained.corpus.store, trained.fold.rows, trained.model.modalities

    def deviation(modality: str) -> list[float]:
        training = trained.corpus.rows("train")
        if not len(training):
            raise DataError(f"{trained.corpus.dataset.name} has no training fold to take the size of the noise from.")
        scale = feature_statistics(store, modality, training)[1].double().numpy()
        return [1.0 / one if one > 0.0 else 0.0 for one in scale.tolist()]

    return Samples(
        dataset=trained.corpus.dataset.name,
        fold=trained.fold.name,
        ids=_ids(trained),
        videos=[store.videos[row] for row in rows],
        steps={m: _steps(store, m)[rows].tolist() for m in modalities},
        times=lambda modality, place: np.asarray(store.times(modality, int(rows[place]))),
        deviation=deviation,
    )


def check_fits(manifest: Manifest, trained: TrainedRun) -> None:
    """DataError where the manifest is not of these modalities, samples and steps."""
    store, modalities = trained.corpus.store, trained.model.modalities
    if set(manifest.modalities) != set(modalities):
        known = ", ".join(modalities)
        raise DataError(f"The manifest is of the modalities {short(manifest.modalities)}, {trained.run} of: {known}.")
    for m, values in manifest.deviation.items():
        if len(values) != store.features[m]:
            raise DataError(f"The manifest knows {len(values)} features of {m}, and the data have {store.features[m]}.")
    place_of, row_of, needed = numbered(manifest.samples), numbered(store.ids), _ids(trained)
    for sample in needed:
        if sample not in place_of:
            raise DataError(
                f"The manifest lacks the sample {short(sample)} of {trained.run}: it was drawn for {len(place_of)} "
                f"samples of {short(manifest.dataset)}, fold {short(manifest.fold)}."
            )
    for m in modalities:
        partners = [manifest.partners[m][place_of[sample]] for sample in needed] if manifest.partners else []
        steps = _steps(store, m)
        for sample in [*needed, *(partner for partner in partners if partner is not None)]:
            due, found = manifest.steps[m][place_of[sample]], steps[row_of[sample]] if sample in row_of else "none"
            if due != found:
                raise DataError(
                    f"The manifest has {due} steps of {m} for {short(sample)}, and {trained.run} reads {found}: both "
                    "must cut the same data alike (the [data] settings of their recipes)."
                )


def _steps(store: Store, modality: str) -> NDArray[np.int64]:
    """The steps of every sample in a modality, [N]: 0 where no step holds anything, as may be in an aligned store."""
    return np.where(store.has(modality), store.lengths(modality), 0)


def _check_two(trained: TrainedRun, protocol: str) -> None:
    """SettingsError where whole modalities would be lost and there is only one."""
    modalities = trained.model.modalities
    if protocol == "random" and len(modalities) < 2:
        raise SettingsError(
            f"The protocol 'random' takes away modalities and needs two; {trained.run} has only {modalities[0]}: "
            "--protocol frames."
        )


def _check_same(one: TrainedRun, other: TrainedRun) -> None:
    """DataError where two runs are not scored on the same samples with the same classes."""
    if _ids(one) != _ids(other) or not torch.equal(one.fold.targets, other.fold.targets):
        raise DataError(
            f"{one.run} and {other.run} are not scored on the same samples and classes ({len(_ids(one))} and "
            f"{len(_ids(other))} samples): their [data] and [objective] settings must agree."
        )


def _ids(trained: TrainedRun) -> list[str]:
    return [trained.corpus.store.ids[row] for row in trained.fold.rows]


def _curves(trained: TrainedRun, manifest: Manifest, answers: Answers) -> dict[str, dict[str, Any]]:
    """The scores of every curve."""
    classes = len(trained.objective.classes)
    truth = trained.fold.targets.cpu().numpy().astype(np.int64)
    videos = [trained.corpus.store.videos[row] for row in trained.fold.rows]
    curves = {}
    for name, probabilities in answers.probabilities.items():
        decided = np.stack([trained.objective.decide(one, trained.thresholds) for one in probabilities])
        scores = [macro_f1(truth, one, classes) for one in decided]
        intervals = macro_f1_interval(truth, decided, videos, classes)
        reached = answers.reached[name]
        rates = reached if manifest.protocol == "random" else manifest.levels  # only there a level may be out of reach
        curves[name] = {
            "levels": manifest.levels,
            "reached": reached,
            "macro_f1": scores,
            "accuracy": [float((truth == one).mean()) for one in decided],
            "intervals": None if intervals is None else intervals.tolist(),
            "auilc": auilc(rates, scores),
            "relative_robustness": relative_robustness(rates, scores),
            "effective_robustness": None,
        }
    return curves


def _compare(curves: dict[str, dict[str, Any]], baseline: dict[str, dict[str, Any]], other: Path) -> dict[str, Any]:
    """Give every curve its effective robustness; what the other run scores."""
    for name, curve in curves.items():
        curve["effective_robustness"] = effective_robustness(curve["macro_f1"], baseline[name]["macro_f1"])
    scores = {name: {"macro_f1": curve["macro_f1"]} for name, curve in baseline.items()}
    return {"run": other.resolve().name, "curves": scores}
