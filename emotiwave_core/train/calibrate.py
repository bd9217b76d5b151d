"""Calibration on the validation fold: what makes a probability of 70 % right in 70 % of all cases."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from emotiwave_core.metrics.aurc import selective_risks
from emotiwave_core.modalities import configurations, name_of
from emotiwave_core.model.calibration import LogitCalibration, LogitMap
from emotiwave_core.objectives import Objective
from emotiwave_core.runs.model_file import Calibrations, ConfigurationCalibration
from emotiwave_core.runs.schema import Fraction

Array = NDArray[np.float64]
LEVELS = 20  # of coverage, whose risks are kept
WIDEST = np.log(100.0)  # of the logarithm of a temperature
STEPS = 100  # of Newton's method, which needs some ten
RIDGE = 1e-3  # of its Hessian where the emotions are told apart without an error: an infinite scale would be best


class Calibrated(NamedTuple):
    """The answers [K, N, C] of calibrated logits, and the calibration of each configuration; None of numbers."""

    answers: Array
    by_configuration: Calibrations | None


def calibrate(
    objective: Objective, logits: Array, truth: NDArray[Any], present: NDArray[np.bool_], modalities: Sequence[str]
) -> Calibrated:
    """Calibrate logits [K, N, C] of samples that have the modalities present [N, M], each configuration by itself.

    A configuration is fitted on the samples that have all of its modalities. Numbers are not calibrated, and neither is
    what is not finite.
    """
    as_tensor = torch.from_numpy(logits)
    if objective.kind == "regression" or not np.isfinite(logits).all():
        return Calibrated(objective.answers(as_tensor.float()).double().numpy(), None)
    subsets = configurations(modalities)
    members = np.array([[modality in subset for modality in modalities] for subset in subsets])
    wholes = [(present | ~member).all(axis=1) for member in members]
    fit = fit_platt if objective.multi else fit_temperature
    maps = {
        subset: fit(logits[k, whole], truth[whole])
        for k, (subset, whole) in enumerate(zip(subsets, wholes, strict=True))
        if whole.any()
    }
    calibration = LogitCalibration(maps, modalities, logits.shape[2])
    calibrated = torch.stack(
        [calibration(as_tensor[k], torch.from_numpy(present & member)) for k, member in enumerate(members)]
    )
    answers = objective.answers(calibrated).double().numpy()
    kept = {
        name_of(subset): _kept(maps[subset], answers[k, whole], truth[whole])
        for k, (subset, whole) in enumerate(zip(subsets, wholes, strict=True))
        if subset in maps
    }
    return Calibrated(answers, kept)


def _kept(fitted: LogitMap, answers: Array, truth: NDArray[Any]) -> ConfigurationCalibration:
    """The record of one configuration, with the risks of the samples [N] that it was fitted on."""
    if isinstance(fitted.scale, list):
        return ConfigurationCalibration(len(truth), scale=fitted.scale, shift=list(fitted.shift))  # type: ignore[arg-type]
    confidences, risks = kept_risks(answers, truth)
    return ConfigurationCalibration(len(truth), 1.0 / fitted.scale, confidences=confidences, risks=risks)


def kept_risks(answers: Array, truth: NDArray[np.int64]) -> tuple[list[Fraction], list[Fraction]]:
    """The risk-coverage curve at the surest 1/20, 2/20, … of samples: answers [N, C], classes [N].

    The least confidence among them, and their share of errors: who answers where the confidence is at least so much
    has that share of errors.
    """
    confidence = answers.max(axis=1)
    risks, descending = selective_risks(confidence, answers.argmax(axis=1) != truth), -np.sort(-confidence)
    places = np.ceil(np.arange(1, LEVELS + 1) / LEVELS * len(truth)).astype(int) - 1
    return [Fraction(float(c)) for c in descending[places]], [Fraction(float(r)) for r in risks[places]]


def fit_temperature(logits: Array, truth: NDArray[Any]) -> LogitMap:
    """The temperature T of single-label logits [N, C] against classes [N]: scale = 1 / T (Guo et al. 2017).

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
    return LogitMap(scale=float(np.exp(-best.x)))


def fit_platt(logits: Array, truth: NDArray[Any]) -> LogitMap:
    """A scale and a shift for each emotion's logits [N, C] against its presence [N, C] (Platt 1999).

    They minimise the cross-entropy to (N+ + 1) / (N+ + 2) where the emotion is present and 1 / (N- + 2) where it is
    not, as Platt has it, and (scale - 1)^2 / 2 beside it. An emotion whose scale would not be positive has the logits
    turned round, which no validation fold of this size can show: there the scale is 0 and the shift its frequency's.
    """
    maps = [_platt(logits[:, c], truth[:, c]) for c in range(logits.shape[1])]
    return LogitMap([scale for scale, _ in maps], [shift for _, shift in maps])


def _platt(z: Array, present: NDArray[Any]) -> tuple[float, float]:
    """Newton's method with halved steps (Lin, Lin and Weng 2007): the scale and the shift of one emotion."""
    count = int(present.sum())
    target = np.where(present > 0, (count + 1.0) / (count + 2.0), 1.0 / (len(z) - count + 2.0))

    def loss(at: Array) -> float:
        value = at[0] * z + at[1]
        return float((np.logaddexp(0.0, value) - target * value).sum() + 0.5 * (at[0] - 1.0) ** 2)

    at = np.array([1.0, 0.0])
    for _ in range(STEPS):
        p = 0.5 * (1.0 + np.tanh(0.5 * (at[0] * z + at[1])))  # the sigmoid, without overflow
        gradient = np.array([((p - target) * z).sum() + at[0] - 1.0, (p - target).sum()])
        if np.abs(gradient).max() < 1e-8 * max(1, len(z)):
            break
        w = p * (1.0 - p)
        hessian = np.array([[(w * z * z).sum() + 1.0, (w * z).sum()], [(w * z).sum(), w.sum() + RIDGE]])
        step, before = np.linalg.solve(hessian, gradient), loss(at)
        for _ in range(STEPS):
            if loss(at - step) <= before:
                break
            step = step / 2.0
        at = at - step
    if at[0] > 0.0:
        return float(at[0]), float(at[1])
    share = float(target.mean())
    return 0.0, float(np.log(share / (1.0 - share)))
