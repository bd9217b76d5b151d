"""Worth of a run's certainty on a fold: decisions that are kept to a risk, and alarms, read or dropped."""

import numpy as np
from numpy.typing import NDArray

from emotiwave_core.modalities import configurations, name_of
from emotiwave_core.predict.agreement import pair_alarms, raised_in
from emotiwave_core.predict.certainty import Array, alone_in, trusted
from emotiwave_core.predict.predictions import Predictions
from emotiwave_core.predict.trained import TrainedRun
from emotiwave_core.runs.predictions import Certainty
from emotiwave_core.runs.schema import Fraction, Score
from emotiwave_core.runs.scores import Abstention, Alarms, ModalityAlarms

MAX_RISKS = (0.05, 0.1, 0.2, 0.3)


def abstentions(certainty: Certainty, wrong: NDArray[np.bool_]) -> list[Abstention]:
    """The decisions of the complete configuration at some risks of the validation fold; wrong [N]."""
    if certainty.risk is None:
        return []
    told = []
    for most in MAX_RISKS:
        decided = certainty.risk[-1] <= most  # False for NaN
        told.append(Abstention(Fraction(most), int(decided.sum()), int((decided & wrong).sum())))
    return told


def alarm_scores(trained: TrainedRun, predictions: Predictions, certainty: Certainty) -> Alarms | None:
    """The samples that raise an alarm, and the scores if what raises it were dropped; None without alarms."""
    if not certainty.alarms:
        return None
    ids = [trained.corpus.store.ids[row] for row in trained.fold.rows]
    modalities = {}
    for modality in trained.modalities:
        if (shares := certainty.alarms.get(modality)) is None:
            continue
        modalities[modality] = ModalityAlarms(int((~np.isnan(shares)).sum()), *raised_in(ids, shares))
    pairs = pair_alarms(ids, trained.agreement, *alone_in(trained, predictions), trained.objective.multi)
    return Alarms(trained.model.on_alarm, modalities, _dropped(trained, predictions), pairs)


def _dropped(trained: TrainedRun, predictions: Predictions) -> dict[str, Score]:
    """The headline score of each configuration with what raises an alarm read as missing.

    The answer is then that of the configuration without it, which is at hand. Not so where the fusion sees neighbours,
    for the configurations are those of a whole video.
    """
    alarms, model, objective = predictions.alarms, trained.model, trained.objective
    if alarms is None or model.on_alarm == "drop" or model.neighbours is not None or not (alarms > 1.0).any():
        return {}
    subsets = configurations(trained.modalities)
    place = {subset: k for k, subset in enumerate(subsets)}
    truth = objective.truth(trained.fold.targets)
    scores = {}
    for k, subset in enumerate(subsets):
        member = np.array([m in subset for m in model.modalities])
        present = predictions.present & member
        left = trusted(present[None], alarms)[0]
        answers: Array = predictions.answers[k].copy()
        for n in np.flatnonzero((left != present).any(axis=1)):
            answers[n] = predictions.answers[place[tuple(np.array(model.modalities)[left[n]].tolist())], n]
        decided = objective.decide(answers, trained.thresholds)
        score = objective.headline.overall(truth, decided, len(objective.classes))
        scores[name_of(subset)] = Score(float(score))
    return scores
