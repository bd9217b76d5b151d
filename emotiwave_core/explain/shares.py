"""The part that each modality has in predictions: exact Shapley values, for which no label is needed."""

from typing import NamedTuple

import numpy as np

from emotiwave_core.data.corpus import Fold
from emotiwave_core.data.facts import FoldFacts
from emotiwave_core.data.loading.loader import open_loader
from emotiwave_core.data.store.store import Store
from emotiwave_core.errors import DataError
from emotiwave_core.explain.attribution import players_of, values_of
from emotiwave_core.explain.coalitions import Array, sample_values
from emotiwave_core.explain.shapley import shapley
from emotiwave_core.modalities import configurations, name_of
from emotiwave_core.objectives import prior_of
from emotiwave_core.objectives.regression import Regression
from emotiwave_core.predict.predictions import predict
from emotiwave_core.predict.predictor import Predictor
from emotiwave_core.runs.data_file import DATA, DataFile


class Shares(NamedTuple):
    """The part that each modality has in the answer about a sample, and the answers without some of them."""

    explained: str  # the class or target whose value is split
    shapley: dict[str, float]  # {modality: its part}
    configurations: dict[str, dict[str, float]]  # {configuration of what the sample has: {class or target: value}}


def shares_of(predictor: Predictor, store: Store, samples: Fold, data: DataFile | None) -> list[Shares]:
    """Of each sample the class or target that is explained, and each modality's Shapley value of its answer.

    It is the decided class; of several labels or targets the one furthest from nothing. Values begin at the class
    frequencies of the training fold, as its data.json has them, or at its mean.
    """
    model, objective, recipe = predictor.model, predictor.objective, predictor.recipe
    predictions = predict(
        model,
        objective,
        open_loader(store, predictor.device),
        samples,
        batch_size=recipe.training.batch_size,
        precision=recipe.training.precision,
    )
    present = np.stack([store.has(modality)[samples.rows] for modality in model.modalities], axis=1)
    present = players_of(present, store, samples.rows, model.neighbours)
    prior, complete = _prior(predictor, data), predictions.answers[-1]
    phi = shapley(sample_values(predictions.answers, prior, present))  # [M, N, C]
    if isinstance(objective, Regression):
        distances = np.abs(complete - prior) / objective.deviation.cpu().double().numpy()
    else:
        distances = complete if predictor.thresholds is None else complete - predictor.thresholds
    names = configurations(model.modalities)
    members = np.array([[modality in subset for modality in model.modalities] for subset in names])
    there = np.logical_not((members[:, None] & ~present).any(axis=2))  # [K, N]
    return [
        Shares(
            explained=objective.classes[c],
            shapley=dict(zip(model.modalities, phi[:, n, c].tolist(), strict=True)),
            configurations={
                name_of(subset): dict(zip(objective.classes, predictions.answers[k, n].tolist(), strict=True))
                for k, subset in enumerate(names)
                if there[k, n]
            },
        )
        for n, c in enumerate(distances.argmax(axis=1))
    ]


def _prior(predictor: Predictor, data: DataFile | None) -> Array:
    """Probabilities [C] of the classes in the run's training fold, as its loss weighs them; of a regression the means.

    DataError where the run does not tell them.
    """
    objective = predictor.objective
    if isinstance(objective, Regression):
        return values_of(objective, "number", np.zeros(len(objective.classes)))
    try:
        train = (data.folds or {}).get("train") if data is not None else None
        if not isinstance(train, FoldFacts):
            raise LookupError("the training has not ended")
        counts = np.array([train.classes[name] for name in objective.classes])
    except LookupError as error:
        raise DataError(
            f"The run does not tell the class frequencies of its training ({DATA}: {error}): resume it to its end, or "
            "`emotiwave evaluate` it."
        ) from error
    logits = prior_of(predictor.recipe.objective, objective.multi, counts, train.used)
    return values_of(objective, "probability", logits)
