"""Calibration on the validation fold: what makes a probability of 70 % right in 70 % of all cases."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from emotiwave_core.metrics.aurc import at_levels, selective_risks
from emotiwave_core.modalities import configurations, name_of
from emotiwave_core.model.calibration import COLDEST, HOTTEST
from emotiwave_core.objectives import Objective
from emotiwave_core.runs.model_file import Calibrations, ConfigurationCalibration
from emotiwave_core.runs.schema import Fraction

Array = NDArray[np.float64]


def calibrate(
    objective: Objective, logits: Array, truth: NDArray[Any], present: NDArray[np.bool_], modalities: Sequence[str]
) -> Calibrations | None:
    """The temperature of each configuration: logits [K, N, C] of samples that have the modalities present [N, M].

    A configuration is fitted on the samples that have all of its modalities. Numbers are not calibrated, nor several
    labels, whose one threshold for all configurations would then miss what is rare in the weak ones.
    """
    if objective.kind != "single":
        return None
    fitted = {}
    for k, subset in enumerate(configurations(modalities)):
        member = np.array([modality in subset for modality in modalities])
        whole = (present | ~member).all(axis=1)
        if whole.any():
            fitted[name_of(subset)] = _calibrated(logits[k, whole], truth[whole])
    return fitted


def _calibrated(logits: Array, truth: NDArray[np.int64]) -> ConfigurationCalibration:
    """The record of one configuration: its temperature, and its risks with it. logits [N, C], classes [N]."""
    temperature = fit_temperature(logits, truth)
    answers = torch.from_numpy(logits / temperature).softmax(dim=1).numpy()
    confidence = answers.max(axis=1)
    risks, places = selective_risks(confidence, answers.argmax(axis=1) != truth), at_levels(len(truth))
    kept = ([Fraction(float(value)) for value in curve[places]] for curve in (-np.sort(-confidence), risks))
    return ConfigurationCalibration(len(truth), temperature, *kept)


def fit_temperature(logits: Array, truth: NDArray[Any]) -> float:
    """The temperature T of single-label logits [N, C] against classes [N] (Guo et al. 2017).

    It minimises the sum of -log softmax(z / T)[y] over the samples, and (log T)^2 / 2: a standard normal prior, so that
    a handful of samples does not make a model certain. Without samples T = 1.
    """
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        scaled = logits * np.exp(-log_temperature)
        largest = scaled.max(axis=1)
        normaliser = largest + np.log(np.exp(scaled - largest[:, None]).sum(axis=1))
        own = np.take_along_axis(scaled, truth[:, None], axis=1)[:, 0]
        return float((normaliser - own).sum() + 0.5 * log_temperature**2)

    best = minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(best.x).clip(COLDEST, HOTTEST))
