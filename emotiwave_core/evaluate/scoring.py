"""Scores of a fold in every configuration, as `scores.json` holds them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from emotiwave_core.errors import PluginError
from emotiwave_core.evaluate.baselines import constant_baselines
from emotiwave_core.evaluate.bootstrap import bootstrap_settings, percentiles, resampled_f1
from emotiwave_core.evaluate.calibration import calibration
from emotiwave_core.evaluate.metrics import score
from emotiwave_core.modalities import configurations, name_of
from emotiwave_core.model.objective import Objective
from emotiwave_core.parts.watchers import NOBODY, Watchers

Array = NDArray[np.float64]


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
