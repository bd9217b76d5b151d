"""Predictions of every configuration: each modality is encoded once, then fused 2^M - 1 times."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from emotiwave_core.compute.device import autocast
from emotiwave_core.data.corpus import Fold
from emotiwave_core.data.loading.loader import Loader
from emotiwave_core.data.loading.plan import plan_batches
from emotiwave_core.modalities import configurations
from emotiwave_core.model.fusion_model import FusionModel
from emotiwave_core.monitor import SILENT, Monitor
from emotiwave_core.objectives import Objective

Array = NDArray[np.float64]


class Predictions(NamedTuple):
    """Logits and answers of N samples in all K = 2^M - 1 configurations, in the order of `configurations`."""

    logits: Array  # [K, N, C]
    answers: Array  # [K, N, C], probabilities of classes or predicted numbers
    nothing: Array  # [C], the logits where every modality is absent: the same for every sample
    present: NDArray[np.bool_]  # [N, M], the modalities that each sample has, in the order of the model's
    alarms: Array | None  # [N, M], the distances from those of the training over their threshold; None: not asked for


@torch.inference_mode()
def predict(
    model: FusionModel,
    objective: Objective,
    loader: Loader,
    fold: Fold,
    *,
    modalities: Sequence[str] | None = None,
    batch_size: int,
    precision: str = "fp32",
    monitor: Monitor = SILENT,
) -> Predictions:
    """Predict every sample of a fold in every configuration: each modality is encoded once and fused 2^M - 1 times.

    Where the fusion sees neighbours, these are the samples of the fold that are of the same video, and a configuration
    is that of all of them. modalities: those of which configurations are made, where that are not all of the model's.
    """
    model.eval()
    subsets = configurations(modalities or model.modalities)
    members = torch.tensor([[m in subset for m in model.modalities] for subset in subsets], device=loader.device)
    batches: list[torch.Tensor] = []  # of logits [K, B, C]
    patterns: list[torch.Tensor] = []  # [B, M]
    shares: list[torch.Tensor] = []  # [B, M]
    alarm = None if model.on_alarm == "ignore" else model.alarm
    nothing: torch.Tensor | None = None
    plan = plan_batches(loader.store, fold.rows, batch_size, neighbours=model.neighbours)
    with monitor.progress(f"Scoring {fold.name}", len(plan)) as step:
        for batch in plan.batches(loader, fold.rows, fold.targets):
            with autocast(loader.device, precision):
                encoded = model.encode(batch.inputs, batch.masks)
                absent = model.encode_absent(batch.inputs)
                present = model.present(batch.masks)
                logits = [
                    model.fuse(model.restrict(subset, encoded, absent), present & member, batch.videos).logits
                    for subset, member in zip(subsets, members, strict=True)
                ]
                if alarm is not None:
                    shares.append(alarm(encoded, present))
                if nothing is None:
                    nothing = model.fuse(absent, torch.zeros_like(present[:1])).logits[0].float()
            batches.append(torch.stack(logits).float())
            patterns.append(present)
            step()
    assert nothing is not None, "a fold has samples"
    all_logits = plan.restored(torch.cat(batches, dim=1), dim=1)
    present_in_all = plan.restored(torch.cat(patterns)).cpu().numpy()
    logits_and_answers = (_doubles(all_logits), _doubles(objective.answers(all_logits)))
    alarms = _doubles(plan.restored(torch.cat(shares))) if shares else None
    return Predictions(*logits_and_answers, _doubles(nothing), present_in_all, alarms)


def _doubles(tensor: torch.Tensor) -> Array:
    return np.asarray(tensor.cpu().double().numpy())
