"""Predictions on corrupted samples: one pass over the fold, in which only what is corrupted is encoded again."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emotiwave_core.compute.device import autocast
from emotiwave_core.compute.memory import retry_smaller_batches
from emotiwave_core.compute.runtime import Runtime
from emotiwave_core.data.loading.batch import Batch, gather
from emotiwave_core.data.loading.loader import open_loader
from emotiwave_core.data.loading.plan import plan_batches
from emotiwave_core.data.store.store import Store
from emotiwave_core.errors import PluginError
from emotiwave_core.evaluate.corruption import Corruption, Manifest, Sequences
from emotiwave_core.evaluate.corruptions import find_corruption
from emotiwave_core.interfaces import Encoded, Tensors
from emotiwave_core.modalities import by_modality, modality_of
from emotiwave_core.model.attribute_errors import attribute_errors
from emotiwave_core.model.fusion_model import FusionModel
from emotiwave_core.predict.trained import TrainedRun

Array = NDArray[np.float64]
Curves = dict[str, tuple[str, ...]]  # {name: the modalities that are corrupted together}


class CorruptedPredictions(NamedTuple):
    """Predictions of a model at each of the K levels of each curve."""

    answers: dict[str, Array]  # {curve: [K, N, C]}
    reached: dict[str, list[float]]  # {curve: [K]}, the measured share of what is corrupted


def predict_corrupted(trained: TrainedRun, manifest: Manifest, runtime: Runtime) -> CorruptedPredictions:
    """Predictions of a run at each level of each curve. Those at level 0 are of the complete configuration.

    PluginError where the model gives NaN.
    """
    work, size = partial(_predict, trained, manifest, runtime), trained.recipe.training.batch_size
    return retry_smaller_batches(work, size, trained.recipe, "scoring", runtime.monitor)


@torch.inference_mode()
def _predict(trained: TrainedRun, manifest: Manifest, runtime: Runtime, size: int) -> CorruptedPredictions:
    device = runtime.device
    model, fold, precision = trained.model.to(device).eval(), trained.fold, trained.recipe.training.precision
    levels, kind = range(len(manifest.levels)), find_corruption(manifest.protocol)
    curves = kind.curves_for(model.modalities)
    store = attrs.evolve(trained.corpus.store, speakers=None)  # what is corrupted is read as it was recorded
    corrupt = _corrupter(trained, store, manifest, device)
    counts = {modality: np.zeros((len(levels), 2), dtype=np.int64) for modality in model.modalities}
    logits: dict[str, list[list[Tensor]]] = {curve: [[] for _ in levels] for curve in curves}
    plan = plan_batches(store, fold.rows, size, neighbours=model.neighbours)
    total = len(plan) * len(levels)
    with attribute_errors(model), runtime.monitor.progress(f"Scoring under {manifest.protocol}", total) as step:
        for batch in plan.batches(open_loader(store, device), fold.rows, fold.targets):
            corruptions = corrupt(batch)
            with autocast(device, precision):
                clean = model.encode_streams(_by_speaker(trained, batch.rows, batch.inputs), batch.masks)
            counted = corruptions if kind.by_step else _whole(corruptions)
            for level in levels:
                corrupted = {s: c.apply(level) for s, c in corruptions.items() if level and c.touches(level)}
                inputs = _by_speaker(trained, batch.rows, {s: pair.x for s, pair in corrupted.items()})
                corrupted = {s: pair._replace(x=inputs[s]) for s, pair in corrupted.items()}
                with autocast(device, precision):
                    for curve, batch_logits in _fused(model, curves, batch, clean, corrupted).items():
                        logits[curve][level].append(batch_logits.float())
                for name, corruption in counted.items():
                    counts[modality_of(name)][level] += corruption.count(level)
                step()
    together = {
        curve: torch.stack([plan.restored(torch.cat(parts)) for parts in by_level])
        for curve, by_level in logits.items()
    }
    return CorruptedPredictions(
        {curve: _answers(trained, values) for curve, values in together.items()},
        {curve: _shares(np.sum([counts[m] for m in modalities], axis=0)) for curve, modalities in curves.items()},
    )


def _by_speaker(trained: TrainedRun, rows: NDArray[np.int64], inputs: Tensors) -> Tensors:
    """The features [B, T, F] of samples relative to their own speakers, whoever lent them."""
    speakers = trained.corpus.store.speakers
    if speakers is None:
        return inputs
    relative = {stream: x.clone() for stream, x in inputs.items()}
    for stream, x in relative.items():
        speakers.apply_batch_(stream, rows, x, np.full(len(rows), x.shape[1]))
    return relative


def _fused(
    model: FusionModel, curves: Curves, batch: Batch, clean: dict[str, Encoded], corrupted: dict[str, Sequences]
) -> dict[str, Tensor]:
    """Logits [B, C] of each curve, where its modalities are corrupted and the others clean."""
    encoded = model.encode_streams(
        {s: pair.x for s, pair in corrupted.items()}, {s: pair.mask for s, pair in corrupted.items()}
    )
    logits = {}
    for curve, modalities in curves.items():
        taken = [stream for stream in corrupted if modality_of(stream) in modalities]
        masks = {s: corrupted[s].mask if s in taken else batch.masks[s] for s in model.streams}
        parts = model.join({s: encoded[s] if s in taken else clean[s] for s in model.streams})
        logits[curve] = model.fuse(parts, model.present(masks), batch.videos).logits
    return logits


def _whole(corruptions: dict[str, Corruption]) -> dict[str, Corruption]:
    """A corruption for each modality, to count what is lost or lent whole: a sample has it in any of its streams."""
    whole = {}
    for modality, streams in by_modality(corruptions).items():
        parts = [corruptions[stream] for stream in streams]
        clean = parts[0].clean._replace(mask=torch.cat([part.clean.mask for part in parts], dim=1))
        whole[modality] = type(parts[0])(parts[0].manifest, streams[0], parts[0].indices, clean, parts[0].load)
    return whole


def _corrupter(
    trained: TrainedRun, store: Store, manifest: Manifest, device: torch.device
) -> Callable[[Batch], dict[str, Corruption]]:
    """A function from a batch of a store to its corruption, by stream."""
    kind = find_corruption(manifest.protocol)
    index_of, row_of = numbered(manifest.samples), numbered(store.ids)

    def load(stream: str, ids: Sequence[str]) -> Sequences:
        x, mask = gather(store, stream, np.array([row_of[sample] for sample in ids]))
        return Sequences(x.to(device), mask.to(device))

    def corrupt(batch: Batch) -> dict[str, Corruption]:
        indices = [index_of[store.ids[row]] for row in batch.rows]
        return {
            s: kind(manifest, s, indices, Sequences(batch.inputs[s], batch.masks[s]), partial(load, s))
            for s in trained.model.streams
        }

    return corrupt


def _answers(trained: TrainedRun, logits: Tensor) -> Array:
    """logits [K, N, C] -> answers. PluginError where one is not a number."""
    if not bool(logits.isfinite().all()):
        raise PluginError(
            f"The model of {trained.run} says NaN of damaged samples; one of its parts does not hold its interface: "
            "`emotiwave plugins check` finds which."
        )
    return np.asarray(trained.objective.answers(logits).cpu().double().numpy())


def _shares(counts: NDArray[np.int64]) -> list[float]:
    """Share of what is corrupted, [K], from the numbers of what is and of all [K, 2]."""
    return [corrupted / max(total, 1) for corrupted, total in counts.tolist()]


def numbered(names: Sequence[str]) -> dict[str, int]:
    """The index of each name."""
    return {name: index for index, name in enumerate(names)}
