"""Scores of a trained run under a protocol: the same corruption for every model, drawn once and kept beside them."""

import hashlib
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from emotiwave_core.compute.runtime import Runtime
from emotiwave_core.config.recipe import OnAlarm
from emotiwave_core.data.loading.batch import feature_statistics
from emotiwave_core.data.store.store import Store
from emotiwave_core.errors import DataError, SettingsError, short
from emotiwave_core.evaluate.bootstrap import score_interval
from emotiwave_core.evaluate.corruption import Corruption, Manifest
from emotiwave_core.evaluate.corruptions import find_corruption
from emotiwave_core.evaluate.drawing import SampleFacts
from emotiwave_core.evaluate.manifest import MOST_SEED, draw_manifest, parse_manifest, read_manifest
from emotiwave_core.evaluate.predict_corrupted import CorruptedPredictions, numbered, predict_corrupted
from emotiwave_core.evaluate.robustness import auilc, effective_robustness, relative_robustness
from emotiwave_core.objectives import Objective
from emotiwave_core.parts.registry import Registry
from emotiwave_core.predict.trained import TrainedRun, open_trained_run
from emotiwave_core.runs.folder import adding_to
from emotiwave_core.runs.protocol_scores import (
    Curve,
    OtherCurve,
    OtherRun,
    ProtocolScores,
    manifest_name,
    write_protocol,
)
from emotiwave_core.runs.schema import Fraction, Score, ScoreInterval


@attrs.frozen(kw_only=True)
class ProtocolRequest:
    """A protocol, drawn from a seed or in a manifest, and the samples to score under it."""

    protocol: str
    seed: int = 0
    manifest: Path | None = None  # drawn before, instead of from the seed
    against: Path | None = None  # another run, scored under the same manifest
    data: Path | None = None  # another data set than the run's own
    fold: str = "test"
    on_alarm: OnAlarm | None = None  # in the place of the recipe's


def evaluate_protocol(
    run: Path,
    request: ProtocolRequest,
    registry: Registry,
    runtime: Runtime,
    *,
    write: bool = False,
) -> ProtocolScores:
    """Score the complete configuration of a run at every level of a protocol.

    `write` keeps scores and manifest in the run's folder and draws its report anew. SettingsError for a protocol or a
    seed that is not valid, or a run of too few modalities; DataError where the manifest or the other run does not fit.
    """
    corruption = find_corruption(request.protocol)
    if not 0 <= request.seed <= MOST_SEED:
        raise SettingsError(f"The seed of a protocol must be between 0 and 2^64 - 1, not {short(request.seed)}.")
    monitor = runtime.monitor
    data, fold = request.data, request.fold
    trained = open_trained_run(run, registry, monitor, data=data, fold=fold, on_alarm=request.on_alarm)
    if corruption.reads_numbers:
        trained.model.refuse_words(f"The protocol '{corruption.name}'")
    _check_modalities(trained, corruption)
    other = None
    if request.against is not None:
        other = open_trained_run(request.against, registry, monitor, data=data, fold=fold)
        _check_same(trained, other)
    runs = [trained] if other is None else [trained, other]
    for note in dict.fromkeys(note for opened in runs for note in opened.notes):
        monitor.say(f"Note: {note}")
    manifest, drawn = _manifest(request, corruption, trained)
    for opened in runs:
        check_fits(manifest, opened)
    curves, *baseline = [
        _curves(opened, corruption, manifest, predict_corrupted(opened, manifest, runtime)) for opened in runs
    ]
    scores = ProtocolScores(
        protocol=request.protocol,
        unit=corruption.unit,
        dataset=trained.corpus.dataset.name,
        synthetic=trained.corpus.dataset.synthetic,
        fold=request.fold,
        samples=len(trained.fold.rows),
        seed=manifest.seed,
        manifest=manifest_name(request.protocol) if write else None,
        manifest_sha256=hashlib.sha256(drawn).hexdigest(),
        curves=curves,
    )
    if other is not None:
        scores = _compare(scores, other.run, *baseline)
    if write:
        _keep(run, scores, drawn)
    return scores


def _manifest(request: ProtocolRequest, corruption: type[Corruption], trained: TrainedRun) -> tuple[Manifest, bytes]:
    """The manifest that was asked for, and its bytes."""
    if request.manifest is not None:
        return read_manifest(request.manifest, corruption)
    data = draw_manifest(corruption, samples_of(trained), request.seed).to_bytes()
    return parse_manifest(data, corruption, "that was drawn"), data  # as it will be read again


def _keep(run: Path, scores: ProtocolScores, manifest: bytes) -> None:
    """Put a manifest and the scores into the run's folder, and draw its report anew."""
    from emotiwave_core.report.page import write_report

    with adding_to(run):
        write_protocol(run, scores, manifest)
        write_report(run)


def samples_of(trained: TrainedRun) -> SampleFacts:
    """The samples of the fold, to draw a corruption for."""
    store, rows = trained.corpus.store, trained.fold.rows

    def deviation(stream: str) -> list[float]:
        training = trained.corpus.rows("train")
        if not len(training):
            raise DataError(f"{trained.corpus.dataset.name} has no training fold to take the size of the noise from.")
        scale = feature_statistics(store, stream, training)[1].double().numpy()  # 1 / deviation, or 0
        return [1.0 / value if value > 0.0 else 0.0 for value in scale.tolist()]

    return SampleFacts(
        dataset=trained.corpus.dataset.name,
        fold=trained.fold.name,
        ids=_ids(trained),
        videos=[store.videos[row] for row in rows],
        steps={stream: _steps(store, stream)[rows].tolist() for stream in trained.model.streams},
        times=lambda stream, index: np.asarray(store.times(stream, int(rows[index]))),
        deviation=deviation,
    )


def check_fits(manifest: Manifest, trained: TrainedRun) -> None:
    """DataError where the manifest is not of a run's modalities, samples and steps."""
    store, streams = trained.corpus.store, trained.model.streams
    if set(manifest.modalities) != set(streams):
        known = ", ".join(streams)
        raise DataError(f"The manifest is of the modalities {short(manifest.modalities)}, {trained.run} of: {known}.")
    for stream, deviation in manifest.deviation.items():
        features = store.features[stream]
        if len(deviation) != features:
            raise DataError(f"The manifest knows {len(deviation)} features of {stream}, and the data have {features}.")
    index_of, row_of, needed = numbered(manifest.samples), numbered(store.ids), _ids(trained)
    for sample in needed:
        if sample not in index_of:
            raise DataError(
                f"The manifest lacks the sample {short(sample)} of {trained.run}: it was drawn for {len(index_of)} "
                f"samples of {short(manifest.dataset)}, fold {short(manifest.fold)}."
            )
    for stream in streams:
        partners = [manifest.partners[stream][index_of[sample]] for sample in needed] if manifest.partners else []
        steps = _steps(store, stream)
        for sample in [*needed, *(partner for partner in partners if partner is not None)]:
            drawn_for, read = (
                manifest.steps[stream][index_of[sample]],
                steps[row_of[sample]] if sample in row_of else "none",
            )
            if drawn_for != read:
                raise DataError(
                    f"The manifest has {drawn_for} steps of {stream} for {short(sample)}, and {trained.run} reads "
                    f"{read}: both must cut the same data alike (the [data] settings of their recipes)."
                )


def _steps(store: Store, stream: str) -> NDArray[np.int64]:
    """Number of steps of every sample in a stream, [N]: 0 where no step holds anything, as in an aligned store."""
    return np.where(store.has(stream), store.lengths(stream), 0)


def _check_modalities(trained: TrainedRun, corruption: type[Corruption]) -> None:
    """SettingsError where the corruption needs two modalities and there is one."""
    modalities = trained.model.modalities
    if trained.modalities != modalities:
        lacking = ", ".join(modality for modality in modalities if modality not in trained.modalities)
        raise DataError(
            f"{trained.corpus.dataset.name} lacks {lacking}, and a protocol corrupts what the complete configuration "
            "has; without --protocol the configurations that are there are scored."
        )
    if corruption.needs_two and len(modalities) < 2:
        raise SettingsError(
            f"The protocol '{corruption.name}' {corruption.needs_two} and needs two; {trained.run} has only "
            f"{modalities[0]}: --protocol frames."
        )


def _check_same(trained: TrainedRun, other: TrainedRun) -> None:
    """DataError where two runs are not scored on the same samples with the same classes."""
    if trained.objective.headline is not other.objective.headline:
        raise DataError(
            f"{trained.run} is a {trained.objective.kind} run and {other.run} a {other.objective.kind} one: their "
            "scores cannot be held against each other."
        )
    if _ids(trained) != _ids(other) or not torch.equal(trained.fold.targets, other.fold.targets):
        raise DataError(
            f"{trained.run} and {other.run} are not scored on the same samples and classes ({len(_ids(trained))} and "
            f"{len(_ids(other))} samples): their [data] and [objective] settings must agree."
        )


def _ids(trained: TrainedRun) -> list[str]:
    return [trained.corpus.store.ids[row] for row in trained.fold.rows]


def _curves(
    trained: TrainedRun, corruption: type[Corruption], manifest: Manifest, predictions: CorruptedPredictions
) -> dict[str, Curve]:
    """Scores of every curve; the effective robustness is left open."""
    objective, classes = trained.objective, len(trained.objective.classes)
    truth, headline = objective.truth(trained.fold.targets), objective.headline
    videos = [trained.corpus.store.groups[row] for row in trained.fold.rows]
    curves = {}
    for name, answers in predictions.answers.items():
        decided = np.stack([objective.decide(given, trained.thresholds) for given in answers])
        scores = [headline.overall(truth, decisions, classes) for decisions in decided]
        intervals = score_interval(truth, decided, videos, classes, headline)
        rates = corruption.area_over(manifest.levels, predictions.reached[name])
        curves[name] = Curve(
            levels=manifest.levels,
            reached=[Fraction(share) for share in predictions.reached[name]],
            score=[Score(score) for score in scores],
            beside=[_beside(objective, truth, decisions) for decisions in decided],
            intervals=None if intervals is None else [ScoreInterval((low, high)) for low, high in intervals.tolist()],
            auilc=auilc(rates, scores),
            relative_robustness=relative_robustness(rates, scores),
            effective_robustness=None,
            headline=headline.key,
        )
    return curves


def _beside(objective: Objective, truth: NDArray[Any], decided: NDArray[Any]) -> float:
    """The accuracy of classes, the mean absolute error of numbers."""
    return float(np.abs(truth - decided).mean() if objective.kind == "regression" else (truth == decided).mean())


def _compare(scores: ProtocolScores, other: Path, baseline: dict[str, Curve]) -> ProtocolScores:
    """The scores with those of another run, and with the effective robustness against it."""
    curves = {
        name: attrs.evolve(curve, effective_robustness=effective_robustness(curve.score, baseline[name].score))
        for name, curve in scores.curves.items()
    }
    others = {name: OtherCurve(score=curve.score, headline=curve.headline) for name, curve in baseline.items()}
    return attrs.evolve(scores, curves=curves, against=OtherRun(run=other.resolve().name, curves=others))
