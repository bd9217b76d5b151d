"""What a model says of damaged samples: one pass over the fold, in which only what is damaged is encoded again."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emotiwave_core.compute.device import autocast
from emotiwave_core.compute.memory import retry_smaller_batches
from emotiwave_core.data.loading.batch import Batch, gather
from emotiwave_core.data.loading.loader import open_loader
from emotiwave_core.errors import PluginError
from emotiwave_core.evaluate.corruptions import curves_of
from emotiwave_core.evaluate.corruptions.apply import DAMAGES, Lost, Pair
from emotiwave_core.evaluate.corruptions.manifest import Manifest
from emotiwave_core.layers.masking import present_in
from emotiwave_core.model.attribute_errors import attribute_errors
from emotiwave_core.monitor import SILENT, Monitor
from emotiwave_core.predict.trained import TrainedRun

Array = NDArray[np.float64]


class Answers(NamedTuple):
    """What a model says at each of the K levels of each curve."""

    probabilities: dict[str, Array]  # {curve: [K, N, C]}
    reached: dict[str, list[float]]  # {curve: [K]}, the measured share of what is damaged


def ask(trained: TrainedRun, manifest: Manifest, device: torch.device, monitor: Monitor = SILENT) -> Answers:
    """What a run says at each level of each curve. At level 0 it is what it says of the complete configuration."""
    work, size = partial(_ask, trained, manifest, device, monitor), trained.recipe.training.batch_size
    return retry_smaller_batches(work, size, trained.recipe, "scoring", monitor)


@torch.inference_mode()
def _ask(trained: TrainedRun, manifest: Manifest, device: torch.device, monitor: Monitor, size: int) -> Answers:
    model, fold, training = trained.model.to(device).eval(), trained.fold, trained.recipe.training
    levels, curves = range(len(manifest.levels)), curves_of(manifest.protocol, model.modalities)
    damages_of = _damager(trained, manifest, device)
    counts = {m: np.zeros((len(levels), 2), dtype=np.int64) for m in model.modalities}
    found: dict[str, list[list[Tensor]]] = {curve: [[] for _ in levels] for curve in curves}
    total = -(-len(fold.rows) // size) * len(levels)
    with attribute_errors(model), monitor.progress(f"Scoring under {manifest.protocol}", total) as step:
        for batch in open_loader(trained.corpus.store, device).batches(fold.rows, fold.targets, size):
            damages = damages_of(batch)
            with autocast(device, training.precision):
                clean = model.encode(batch.inputs, batch.masks)
            for level in levels:
                pairs = {m: damage.apply(level) for m, damage in damages.items() if level and damage.touches(level)}
                with autocast(device, training.precision):
                    inputs, masks = ({m: pair[k] for m, pair in pairs.items()} for k in (0, 1))
                    hurt = model.encode(inputs, masks)
                    for curve, some in curves.items():
                        taken = [m for m in some if m in hurt]
                        left = {m: masks[m] if m in taken else batch.masks[m] for m in model.modalities}
                        encoded = {m: hurt[m] if m in taken else clean[m] for m in model.modalities}
                        found[curve][level].append(model.fuse(encoded, present_in(left)).logits.float())
                for m, damage in damages.items():
                    counts[m][level] += damage.counts(level)
                step()
    answers = {curve: torch.stack([torch.cat(pieces) for pieces in some]) for curve, some in found.items()}
    return Answers(
        {curve: _probabilities(trained, logits) for curve, logits in answers.items()},
        {curve: _shares(np.sum([counts[m] for m in some], axis=0)) for curve, some in curves.items()},
    )


def _damager(trained: TrainedRun, manifest: Manifest, device: torch.device) -> Callable[[Batch], dict[str, Lost]]:
    """A function from a batch to its damage, by modality."""
    store, kind = trained.corpus.store, DAMAGES[manifest.protocol]
    place_of, row_of = numbered(manifest.samples), numbered(store.ids)

    def fetch(modality: str, ids: Sequence[str]) -> Pair:
        x, mask = gather(store, modality, np.array([row_of[sample] for sample in ids]))
        return x.to(device), mask.to(device)

    def damages(batch: Batch) -> dict[str, Lost]:
        places = [place_of[store.ids[row]] for row in batch.rows]
        return {
            m: kind(manifest, m, places, batch.inputs[m], batch.masks[m], partial(fetch, m))
            for m in trained.model.modalities
        }

    return damages


def _probabilities(trained: TrainedRun, logits: Tensor) -> Array:
    """logits [K, N, C] -> probabilities. PluginError where one is not a number."""
    if not bool(logits.isfinite().all()):
        raise PluginError(
            f"The model of {trained.run} says NaN of damaged samples; one of its parts does not hold its interface: "
            "`emotiwave plugins check` finds which."
        )
    return np.asarray(trained.objective.probabilities(logits).cpu().double().numpy())


def _shares(counts: NDArray[np.int64]) -> list[float]:
    """What is damaged of all there is, from both [K, 2]."""
    return [hit / max(whole, 1) for hit, whole in counts.tolist()]


def numbered(names: Sequence[str]) -> dict[str, int]:
    """The place of each name."""
    return {name: number for number, name in enumerate(names)}
