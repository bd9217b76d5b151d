"""Calibration on the validation fold: what makes a probability of 70 % right in 70 % of all cases."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from emotiwave_core.metrics.aurc import selective_risks
from emotiwave_core.modalities import configurations, name_of
from emotiwave_core.model.calibration import LogitCalibration
from emotiwave_core.objectives import Objective
from emotiwave_core.runs.model_file import Calibrations, ConfigurationCalibration
from emotiwave_core.runs.schema import Fraction

Array = NDArray[np.float64]
LEVELS = 20  # of coverage, whose risks are kept
WIDEST = np.log(100.0)  # of the logarithm of a temperature


class Calibrated(NamedTuple):
    """The answers [K, N, C] of calibrated logits, and the calibration of each configuration; None without any."""

    answers: Array
    by_configuration: Calibrations | None


def calibrate(
    objective: Objective, logits: Array, truth: NDArray[Any], present: NDArray[np.bool_], modalities: Sequence[str]
) -> Calibrated:
    """Calibrate logits [K, N, C] of samples that have the modalities present [N, M], each configuration by itself.

    A configuration is fitted on the samples that have all of its modalities. Numbers are not calibrated, nor several
    labels, whose one threshold for all configurations would then miss what is rare in the weak ones; nor what is not
    finite.
    """
    as_tensor = torch.from_numpy(logits)
    if objective.kind != "single" or not np.isfinite(logits).all():
        return Calibrated(objective.answers(as_tensor.float()).double().numpy(), None)
    subsets = configurations(modalities)
    members = np.array([[modality in subset for modality in modalities] for subset in subsets])
    wholes = [(present | ~member).all(axis=1) for member in members]
    temperatures = {
        subset: fit_temperature(logits[k, whole], truth[whole])
        for k, (subset, whole) in enumerate(zip(subsets, wholes, strict=True))
        if whole.any()
    }
    calibration = LogitCalibration(temperatures, modalities)
    calibrated = torch.stack(
        [calibration(as_tensor[k], torch.from_numpy(present & member)) for k, member in enumerate(members)]
    )
    answers = objective.answers(calibrated).double().numpy()
    kept = {
        name_of(subset): _kept(temperatures[subset], answers[k, whole], truth[whole])
        for k, (subset, whole) in enumerate(zip(subsets, wholes, strict=True))
        if subset in temperatures
    }
    return Calibrated(answers, kept)


def _kept(temperature: float, answers: Array, truth: NDArray[Any]) -> ConfigurationCalibration:
    """The record of one configuration, with the risks of the samples [N] that it was fitted on."""
    confidences, risks = kept_risks(answers, truth)
    return ConfigurationCalibration(len(truth), temperature, confidences, risks)


def kept_risks(answers: Array, truth: NDArray[np.int64]) -> tuple[list[Fraction], list[Fraction]]:
    """The risk-coverage curve at the surest 1/20, 2/20, … of samples: answers [N, C], classes [N].

    The least confidence among them, and their share of errors: who answers where the confidence is at least so much
    has that share of errors.
    """
    confidence = answers.max(axis=1)
    risks, descending = selective_risks(confidence, answers.argmax(axis=1) != truth), -np.sort(-confidence)
    places = np.ceil(np.arange(1, LEVELS + 1) / LEVELS * len(truth)).astype(int) - 1
    return [Fraction(float(c)) for c in descending[places]], [Fraction(float(r)) for r in risks[places]]


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

    best = minimize_scalar(loss, bounds=(-WIDEST, WIDEST), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(best.x))
