"""The score of an epoch: macro-F1 of every configuration on the validation fold, and the thresholds tuned there."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotiwave_core.compute.memory import retry_smaller_batches
from emotiwave_core.data.corpus import Fold
from emotiwave_core.errors import DivergedError, SettingsError, choices
from emotiwave_core.evaluate.metrics import macro_f1, tune_thresholds
from emotiwave_core.modalities import configurations, name_of
from emotiwave_core.model.fusion_model import FusionModel
from emotiwave_core.model.objective import Objective
from emotiwave_core.predict.predictions import Predictions, predict
from emotiwave_core.train.step import Setup


def validate(setup: Setup, model: FusionModel, validation: Fold) -> tuple[dict[str, Any], dict[str, float] | None]:
    """The macro-F1 of every configuration on the validation fold, and the thresholds that were tuned on it.

    `model` is the one that is kept: that of the setup, or its average. Of several processes each predicts its share,
    and rank 0 judges.
    """
    group = setup.group
    own = group.own(len(validation.rows))
    share, found = Fold(validation.name, validation.rows[own], validation.targets[own]), None
    if len(share.rows):
        training, size = setup.recipe.training, -(-setup.recipe.training.batch_size // setup.pieces.count)

        def ask(size: int) -> Predictions:
            return predict(model, setup.objective, setup.feed, share, batch_size=size, precision=training.precision)

        found = retry_smaller_batches(ask, size, setup.recipe, "validation", setup.monitor).probabilities
    probabilities = np.concatenate([one for one in group.everyone(found) if one is not None], axis=1)
    return group.first(lambda: _judge(model, setup.objective, validation, probabilities))


def _judge(
    model: FusionModel, objective: Objective, validation: Fold, probabilities: NDArray[np.float64]
) -> tuple[dict[str, Any], dict[str, float] | None]:
    """The scores and thresholds from probabilities [K, N, C]. DivergedError where one is not a finite number."""
    if not np.isfinite(probabilities).all():
        bad = int((~np.isfinite(probabilities)).any(axis=(0, 2)).sum())
        raise DivergedError(
            f"The model says NaN of {bad} of {len(validation.rows)} samples of the fold '{validation.name}', which no "
            "score can be made of. Lower training.learning_rate, or where features are huge set model.standardise=true."
        )
    truth = validation.targets.numpy().astype(np.int64)
    tuned = tune_thresholds(truth, probabilities) if objective.multi else None
    names = [name_of(configuration) for configuration in configurations(model.modalities)]
    scores = {
        name: macro_f1(truth, objective.decide(probabilities[k], tuned), len(objective.classes))
        for k, name in enumerate(names)
    }
    valid = {
        "mean_macro_f1": float(np.mean(list(scores.values()))),
        "complete_macro_f1": scores[names[-1]],
        "worst_macro_f1": min(scores.values()),
        "configurations": scores,
    }
    return valid, None if tuned is None else dict(zip(objective.classes, tuned.tolist(), strict=True))


def selection(select: str, modalities: tuple[str, ...]) -> str | None:
    """The configuration whose macro-F1 chooses the best epoch; None for the mean. SettingsError for an unknown one."""
    names = [name_of(configuration) for configuration in configurations(modalities)]
    if select == "mean":
        return None
    if select == "complete":
        return names[-1]
    if select not in names:
        raise SettingsError(f"training.select cannot be '{select}'.{choices(select, ['mean', 'complete', *names])}")
    return select
