"""Validation of an epoch: the loss, the score of every configuration, and what is fitted on that fold."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from emotiwave_core.compute.memory import retry_smaller_batches
from emotiwave_core.data.corpus import Fold
from emotiwave_core.errors import DivergedError
from emotiwave_core.metrics.decisions import tune_thresholds
from emotiwave_core.modalities import configurations, name_of
from emotiwave_core.model.fusion_model import FusionModel
from emotiwave_core.objectives import Objective
from emotiwave_core.predict.predictions import Predictions, predict
from emotiwave_core.runs.history import Validation
from emotiwave_core.runs.model_file import ValidationFit
from emotiwave_core.runs.scores import find_configuration
from emotiwave_core.train.calibrate import calibrate
from emotiwave_core.train.fit_agreement import fit_agreements
from emotiwave_core.train.step import TrainingSetup

Array = NDArray[np.float64]


def validate(
    setup: TrainingSetup, model: FusionModel, validation: Fold, is_best: Callable[[Validation], bool]
) -> tuple[Validation, ValidationFit]:
    """The scores of an epoch on the validation fold, and what is fitted on it: thresholds, of a best epoch more.

    `model` is the one that is kept: that of the setup, or its average. Of several processes each predicts its share,
    and rank 0 judges. DivergedError where an answer is not a finite number.
    """
    group = setup.group
    own = group.own(len(validation.rows))
    share, predictions = Fold(validation.name, validation.rows[own], validation.targets[own]), None
    if len(share.rows):
        training, size = setup.recipe.training, -(-setup.recipe.training.batch_size // setup.microbatches.count)

        def ask(size: int) -> Predictions:
            return predict(model, setup.objective, setup.loader, share, batch_size=size, precision=training.precision)

        predictions = retry_smaller_batches(ask, size, setup.recipe, "validation", setup.monitor)
    shares = [each for each in group.everyone(predictions) if each is not None]
    logits = np.concatenate([each.logits for each in shares], axis=1)  # [K, N, C]
    present = np.concatenate([each.present for each in shares])
    answers = np.concatenate([each.answers for each in shares], axis=1)
    truth, modalities = setup.objective.truth(validation.targets), model.modalities

    def judge() -> tuple[Validation, ValidationFit]:
        valid, thresholds = _judge(model, setup.objective, validation, logits[-1], answers)
        if not is_best(valid):
            return valid, ValidationFit(thresholds)
        calibration = calibrate(setup.objective, logits, truth, present, modalities)
        agreement = fit_agreements(setup.objective, logits, calibration, present, modalities)
        return valid, ValidationFit(thresholds, calibration, agreement)

    return group.first(judge)


def _judge(
    model: FusionModel, objective: Objective, validation: Fold, logits: Array, answers: Array
) -> tuple[Validation, dict[str, float] | None]:
    """The scores and thresholds from the complete configuration's logits [N, C] and all answers [K, N, C]."""
    if not np.isfinite(answers).all():
        bad = int((~np.isfinite(answers)).any(axis=(0, 2)).sum())
        raise DivergedError(
            f"The model says NaN of {bad} of {len(validation.rows)} samples of the fold '{validation.name}', which no "
            "score can be made of. Lower training.learning_rate, or where features are huge set model.standardise=true."
        )
    truth = objective.truth(validation.targets)
    tuned = tune_thresholds(truth, answers) if objective.multi else None
    names = [name_of(configuration) for configuration in configurations(model.modalities)]
    scores = {
        name: objective.headline.overall(truth, objective.decide(answers[k], tuned), len(objective.classes))
        for k, name in enumerate(names)
    }
    valid = Validation(
        mean=float(np.mean(list(scores.values()))),
        complete=scores[names[-1]],
        worst=min(scores.values()),
        configurations=scores,
        loss=validation_loss(objective, logits, validation.targets),
        headline=objective.headline.key,
    )
    return valid, None if tuned is None else dict(zip(objective.classes, tuned.tolist(), strict=True))


@torch.inference_mode()
def validation_loss(objective: Objective, logits: Array, targets: torch.Tensor) -> float | None:
    """The objective's loss of the complete configuration: logits [N, C], targets [N] or [N, C].

    Without further terms and a fusion's own loss, which belong to training. None where it is not a finite number, as
    where no sample has a class that weighs anything.
    """
    device = next(objective.buffers()).device
    loss = float(objective.losses(torch.from_numpy(logits).float().to(device), targets.to(device))[0])
    return loss if np.isfinite(loss) else None


def selection(select: str, modalities: tuple[str, ...]) -> str | None:
    """The configuration whose score chooses the best epoch; None for the mean. SettingsError for an unknown one."""
    names = [name_of(configuration) for configuration in configurations(modalities)]
    if select == "mean":
        return None
    if select == "complete":
        return names[-1]
    return find_configuration(select, names, f"training.select cannot be '{select}'.", ["mean", "complete"])
