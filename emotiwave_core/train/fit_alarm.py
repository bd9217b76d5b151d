"""Densities of a trained model's encodings, for alarms: fitted on the training fold, their thresholds on validation."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from emotiwave_core.compute.device import autocast
from emotiwave_core.compute.memory import retry_smaller_batches
from emotiwave_core.compute.runtime import Runtime
from emotiwave_core.data.corpus import Corpus, Fold
from emotiwave_core.data.loading.loader import open_loader
from emotiwave_core.data.loading.speakers import relative_to_speakers
from emotiwave_core.data.store.store import Store
from emotiwave_core.model.alarm import QUANTILE, Density
from emotiwave_core.model.attribute_errors import attribute_errors
from emotiwave_core.model.fusion_model import FusionModel
from emotiwave_core.parts.resolved import ResolvedParts
from emotiwave_core.runs.alarm_file import write_alarm
from emotiwave_core.runs.saved_model import reload_model

Array = NDArray[np.float64]
LEAST = 10  # samples of a modality, in each fold: of fewer nothing is known
TINY = 1e-6
MARGIN = 1.01
LARGEST = 1e9  # beyond it squares, and what they sum to, are no finite float32


def fit_alarm(run: Path, parts: ResolvedParts, corpus: Corpus, runtime: Runtime) -> None:
    """Write `alarm.safetensors` of a run that has been trained on this corpus.

    A modality of few samples, or whose encodings are no finite numbers, has no alarm; of the latter that is said.
    """
    saved = reload_model(run, parts)
    model, recipe = saved.model.to(runtime.device), saved.recipe
    model.alarm = None
    store = corpus.store.with_tokens(model.tokens)
    store = relative_to_speakers(store, corpus.dataset.base, recipe, model.statistics)
    folds = [corpus.fold(name, saved.objective) for name in ("train", "valid")]

    def in_batches_of(size: int) -> list[dict[str, Array]]:
        return [_pooled(model, store, fold, size, recipe.training.precision) for fold in folds]

    size, monitor = recipe.training.batch_size, runtime.monitor
    with attribute_errors(model):
        training, validation = retry_smaller_batches(in_batches_of, size, recipe, "fitting the alarms", monitor)
    densities = {}
    for modality in model.modalities:
        rows, others = training[modality], validation[modality]
        if min(len(rows), len(others)) < LEAST:
            continue
        if not all(np.abs(each).max(initial=0.0) < LARGEST for each in (rows, others)):  # False for NaN as well
            monitor.say(f"Note: {modality} has no alarm, for its encodings are too large or no numbers.")
            continue
        densities[modality] = density_of(rows, others)
    write_alarm(run, densities, saved.description.weights_sha256)


@torch.inference_mode()
def _pooled(model: FusionModel, store: Store, fold: Fold, batch_size: int, precision: str) -> dict[str, Array]:
    """The pooled vectors [N, D] of the samples of a fold that have each modality."""
    device = next(model.parameters()).device
    rows: dict[str, list[torch.Tensor]] = {modality: [] for modality in model.modalities}
    for batch in open_loader(store, device).batches(fold.rows, fold.targets, batch_size):
        with autocast(device, precision):
            encoded = model.encode(batch.inputs, batch.masks)
        for has, (modality, one) in zip(model.present(batch.masks).unbind(dim=1), encoded.items(), strict=True):
            rows[modality].append(one.pooled[has].float().cpu())
    return {modality: torch.cat(parts).double().numpy() for modality, parts in rows.items()}


def density_of(training: Array, validation: Array) -> Density:
    """The normal distribution of pooled vectors [N, D], and the distance that 1 in 200 of validation's [V, D] exceed.

    The covariance of the features at deviation 1 is shrunk as Ledoit and Wolf (2004) have it. The threshold is a
    hundredth above that distance: where all samples say one of two sentences, all have it but for rounding.
    """
    from sklearn.covariance import LedoitWolf

    mean, deviation = training.mean(axis=0), training.std(axis=0)
    scale = 1.0 / np.maximum(deviation, TINY + 1e-3 * deviation.max())  # a feature that hardly varies counts little
    covariance = LedoitWolf(assume_centered=True).fit((training - mean) * scale).covariance_
    floor = TINY * np.eye(len(mean))  # where no feature varies at all
    whitening = np.linalg.inv(np.linalg.cholesky(covariance + floor)) * scale
    distances = np.linalg.norm((validation - mean) @ whitening.T, axis=1)
    threshold = max(MARGIN * float(np.quantile(distances, QUANTILE)), TINY)
    return Density(*(torch.tensor(value, dtype=torch.float32) for value in (mean, whitening, threshold)))
