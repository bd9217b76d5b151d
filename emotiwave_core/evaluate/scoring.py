"""Scores of every configuration: each modality is encoded once, then fused 2^M - 1 times."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from emotiwave_core.compute.device import autocast
from emotiwave_core.data.corpus import Corpus, Fold
from emotiwave_core.data.loading.loader import Loader
from emotiwave_core.errors import PluginError
from emotiwave_core.evaluate.baselines import constant_baselines
from emotiwave_core.evaluate.bootstrap import bootstrap_settings, percentiles, resampled_f1
from emotiwave_core.evaluate.calibration import calibration
from emotiwave_core.evaluate.metrics import score
from emotiwave_core.io.atomic import csv_line, write_text
from emotiwave_core.layers.masking import present_in
from emotiwave_core.modalities import configurations, name_of
from emotiwave_core.model.fusion_model import FusionModel
from emotiwave_core.model.objective import Objective
from emotiwave_core.monitor import SILENT, Monitor
from emotiwave_core.parts.watchers import NOBODY, Watchers

Array = NDArray[np.float64]


class Predictions(NamedTuple):
    """What a model says of N samples in all K = 2^M - 1 configurations, in the order of `configurations`."""

    logits: Array  # [K, N, C]
    probabilities: Array  # [K, N, C]
    nothing: Array  # [C], the logits where every modality is absent: the same for every sample


@torch.inference_mode()
def predict(
    model: FusionModel,
    objective: Objective,
    feed: Loader,
    fold: Fold,
    *,
    batch_size: int,
    precision: str = "fp32",
    monitor: Monitor = SILENT,
) -> Predictions:
    """Every configuration of every sample of a fold. Each modality is encoded once and fused 2^M - 1 times."""
    model.eval()
    kept = configurations(model.modalities)
    columns = torch.tensor([[m in some for m in model.modalities] for some in kept], device=feed.device)  # [K, M]
    found: list[torch.Tensor] = []
    nothing: torch.Tensor | None = None
    with monitor.progress(f"Scoring {fold.name}", -(-len(fold.rows) // batch_size)) as step:
        for batch in feed.batches(fold.rows, fold.targets, batch_size):
            with autocast(feed.device, precision):
                encoded = model.encode(batch.inputs, batch.masks)
                absent = model.encode_absent(batch.inputs)
                present = present_in({m: batch.masks[m] for m in model.modalities})
                logits = [
                    model.fuse(model.restrict(some, encoded, absent), present & column).logits
                    for some, column in zip(kept, columns, strict=True)
                ]
                if nothing is None:
                    nothing = model.fuse(absent, torch.zeros_like(present[:1])).logits[0].float()
            found.append(torch.stack(logits).float())
            step()
    assert nothing is not None, "a fold has samples"
    together = torch.cat(found, dim=1)
    pieces = (together, objective.probabilities(together), nothing)
    return Predictions(*(piece.cpu().double().numpy() for piece in pieces))


def score_all(
    objective: Objective,
    modalities: tuple[str, ...],
    targets: torch.Tensor,
    probabilities: Array,
    thresholds: NDArray[np.float64] | None,
    videos: Sequence[str],
    watchers: Watchers = NOBODY,
) -> dict[str, Any]:
    """What `scores.json` holds: every configuration, its drop against the complete one, mean, worst, constant guess.

    probabilities [K, N, C], the video of each sample [N]. The intervals are by bootstrap over videos; where there is
    one video only they are None. PluginError where a probability is not a finite number.
    """
    truth = targets.cpu().numpy().astype(np.int64)
    names = [name_of(configuration) for configuration in configurations(modalities)]
    decided = np.stack([objective.decide(one, thresholds) for one in probabilities])
    scores = {}
    for k, name in enumerate(names):
        _check_finite(probabilities[k], name)
        scores[name] = score(truth, decided[k], probabilities[k], objective.classes)
        scores[name]["calibration"] = calibration(truth, decided[k], probabilities[k])
        scores[name]["extra"] = watchers.metrics(truth, decided[k], probabilities[k], objective.classes)
    mean_interval = _add_intervals(scores, resampled_f1(truth, decided, videos, len(objective.classes)))
    complete = scores[names[-1]]["macro_f1"]
    for entry in scores.values():
        entry["absolute_drop"] = complete - entry["macro_f1"]
        entry["relative_drop"] = (complete - entry["macro_f1"]) / complete if complete > 0 else None
    worst = min(names, key=lambda name: scores[name]["macro_f1"])
    return {
        "samples": len(truth),
        "objective": "multi" if objective.multi else "single",
        "classes": list(objective.classes),
        "modalities": list(modalities),
        "configurations": scores,
        "mean_macro_f1": float(np.mean([entry["macro_f1"] for entry in scores.values()])),
        "mean_macro_f1_interval": mean_interval,
        "complete": {"configuration": names[-1], "macro_f1": complete},
        "worst": {"configuration": worst, "macro_f1": scores[worst]["macro_f1"]},
        "constant": constant_baselines(truth, objective.classes),
        "interval": bootstrap_settings(videos),
        "thresholds": None if thresholds is None else dict(zip(objective.classes, thresholds.tolist(), strict=True)),
        "notes": _notes(scores, mean_interval is None),
    }


def write_predictions(
    path: Path,
    corpus: Corpus,
    objective: Objective,
    modalities: tuple[str, ...],
    fold: Fold,
    probabilities: Array,
    thresholds: NDArray[np.float64] | None,
) -> None:
    """A row for each sample and configuration: id, interval, truth, prediction and the probability of every class.

    Several emotions of one sample stand together as `happy+fear`; none is empty.
    """
    head = ["id", "start", "end", "configuration", "truth", "predicted", *(f"p({c})" for c in objective.classes)]
    lines = [csv_line(head)]
    truth = [_words(row, objective.classes) for row in fold.targets.numpy()]
    for k, configuration in enumerate(configurations(modalities)):
        decided = objective.decide(probabilities[k], thresholds)
        for place, row in enumerate(fold.rows):
            start, end = corpus.store.intervals[row].tolist()
            about = [corpus.store.ids[row], f"{start:.3f}", f"{end:.3f}", name_of(configuration)]
            shown = [f"{value:.6f}" for value in probabilities[k, place]]
            lines.append(csv_line([*about, truth[place], _words(decided[place], objective.classes), *shown]))
    write_text(path, "".join(lines))


def _words(decision: Any, classes: tuple[str, ...]) -> str:
    if np.ndim(decision) == 0:
        return classes[int(decision)]
    return "+".join(name for name, value in zip(classes, decision, strict=True) if value)


def _check_finite(probabilities: Array, name: str) -> None:
    bad = int((~np.isfinite(probabilities)).any(axis=1).sum())
    if bad:
        raise PluginError(
            f"With {name} the model says NaN of {bad} of {len(probabilities)} samples: their features are too large "
            "for it (`emotiwave data inspect`), or a part does not hold its interface (`emotiwave plugins check`)."
        )


def _add_intervals(scores: dict[str, Any], resampled: Array | None) -> list[float] | None:
    """Give every configuration and class its interval, from F1 in every resample [R, K, C]; that of the mean."""
    for k, entry in enumerate(scores.values()):
        entry["macro_f1_interval"] = None if resampled is None else percentiles(resampled[:, k].mean(axis=1)).tolist()
        for c, one in enumerate(entry["classes"].values()):
            one["f1_interval"] = None if resampled is None else percentiles(resampled[:, k, c]).tolist()
    return None if resampled is None else percentiles(resampled.mean(axis=(1, 2))).tolist()


def _notes(scores: dict[str, Any], one_video: bool) -> list[str]:
    complete = next(reversed(scores.values()))
    empty = [name for name, entry in complete["classes"].items() if not entry["support"]]
    notes = [f"No sample of {', '.join(empty)} in this fold: its F1 counts as 0 in every macro-F1."] if empty else []
    if one_video:
        notes.append("All samples are of one video: there is nothing to resample, and no score has an interval.")
    return notes
