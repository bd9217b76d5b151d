"""Certainty of a run about the samples of a fold, as `predict` has it: confidence, risk and alarms."""

import numpy as np
import torch
from numpy.typing import NDArray

from emotiwave_core.modalities import configurations, name_of
from emotiwave_core.model.alarm import trusted_in
from emotiwave_core.predict.agreement import pair_shares
from emotiwave_core.predict.predictions import Predictions
from emotiwave_core.predict.trained import TrainedRun
from emotiwave_core.runs.model_file import ConfigurationCalibration
from emotiwave_core.runs.predictions import Certainty

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]


def certainty_of(trained: TrainedRun, predictions: Predictions) -> Certainty:
    """The certainty of K configurations about N samples; a risk is that of the modalities that are read of a sample."""
    confidence = confidence_in(trained, predictions.answers)
    risk = None if confidence is None else _risks(trained, predictions, confidence)
    return Certainty(confidence, risk, _alarms(trained, predictions))


def confidence_in(trained: TrainedRun, answers: Array) -> Array | None:
    """The probability of what is decided [K, N], of several labels the mean of what is given to each one's decision.

    answers [K, N, C]. None of numbers.
    """
    objective = trained.objective
    if objective.kind == "regression":
        return None
    if not objective.multi:
        return np.asarray(answers.max(axis=2))
    decided = np.stack([objective.decide(given, trained.thresholds) for given in answers])
    return np.asarray(np.where(decided > 0, answers, 1.0 - answers).mean(axis=2))


def read_in(trained: TrainedRun, predictions: Predictions) -> Bools:
    """The modalities of the model that are read of each sample in each configuration, [K, N, M]."""
    subsets = configurations(trained.modalities)
    members = np.array([[m in subset for m in trained.model.modalities] for subset in subsets])
    present: Bools = predictions.present & members[:, None]
    if predictions.alarms is None or trained.model.on_alarm != "drop":
        return present
    return trusted(present, predictions.alarms)


def trusted(present: Bools, alarms: Array) -> Bools:
    """present [K, N, M] without what raises an alarm [N, M], where something is left (`model.alarm.trusted_in`)."""
    flat = torch.from_numpy(present).flatten(0, 1)
    shares = torch.from_numpy(alarms).repeat(len(present), 1)
    return np.asarray(trusted_in(flat, shares).reshape(present.shape).numpy())


def alone_in(trained: TrainedRun, predictions: Predictions) -> tuple[dict[str, Array], dict[str, Bools]]:
    """Answers of each modality alone [N, C], and the samples that have it [N]."""
    alone = dict(zip(trained.modalities, predictions.answers, strict=False))  # single ones are the first configurations
    present = dict(zip(trained.model.modalities, predictions.present.T, strict=True))
    return alone, {modality: present[modality] for modality in alone}


def _alarms(trained: TrainedRun, predictions: Predictions) -> dict[str, Array]:
    """The alarms [N] of each modality and pair of them that has some, NaN where a sample lacks the modality."""
    model, shares = trained.model, predictions.alarms
    if model.on_alarm == "ignore":
        return {}
    pairs = pair_shares(trained.agreement, *alone_in(trained, predictions), trained.objective.multi)
    if shares is None or model.alarm is None:
        return pairs
    told = np.where(predictions.present, shares, np.nan)
    columns = {m: told[:, k] for k, m in enumerate(model.modalities)}
    return {m: columns[m] for m in trained.modalities if m in model.alarm.densities} | pairs


def _risks(trained: TrainedRun, predictions: Predictions, confidence: Array) -> Array | None:
    """The risks [K, N] of decisions of this confidence [K, N]; None where the run knows none."""
    if not trained.calibration:
        return None
    read, names, risks = read_in(trained, predictions), trained.model.modalities, np.full(confidence.shape, np.nan)
    for pattern in np.unique(read.reshape(-1, len(names)), axis=0):
        have = name_of(tuple(name for name, is_read in zip(names, pattern, strict=True) if is_read))
        if have in trained.calibration:
            same = (read == pattern).all(axis=2)
            risks[same] = risks_at(trained.calibration[have], confidence[same])
    return risks


def risks_at(calibration: ConfigurationCalibration, confidence: Array) -> Array:
    """The least share of errors that a run can be kept to and still decides with this confidence [N]; NaN with none.

    With a lower one it abstains (`Predictor.selective`): the least risk of all whose confidence is not above this one.
    """
    least = np.minimum.accumulate([*calibration.risks, np.inf][::-1])[::-1]
    places = np.searchsorted(-np.array(calibration.confidences), -confidence, side="left")
    found = least[places]
    return np.where(np.isfinite(found), found, np.nan)
