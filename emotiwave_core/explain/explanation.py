"""Explains a trained run: which modality decided, in every sample and over the fold. No encoder runs for it."""

from itertools import combinations
from typing import Any

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from emotiwave_core.errors import DataError, PluginError, SettingsError
from emotiwave_core.explain.coalitions import (
    Array,
    Empty,
    Value,
    fold_values,
    log_odds,
    prior_logits,
    sample_values,
)
from emotiwave_core.explain.shapley import cooperation, interaction, shapley, share
from emotiwave_core.metrics.decisions import one_hot
from emotiwave_core.metrics.macro_f1 import macro_f1
from emotiwave_core.modalities import configurations, name_of
from emotiwave_core.model.objective import Objective
from emotiwave_core.predict.predictions import Predictions
from emotiwave_core.predict.trained import TrainedRun
from emotiwave_core.runs.data_file import DATA, read_data, read_data_folder

Binary = NDArray[np.int64]
TINY = 1e-9  # what differs less is equal but for rounding


@attrs.frozen(eq=False)
class Explanation:
    """N samples of a fold, explained: M modalities, P pairs of them, C classes, K configurations."""

    modalities: tuple[str, ...]
    classes: tuple[str, ...]
    value: Value
    empty: Empty
    multi: bool
    probabilities: Array  # [K, N, C]
    decided: Binary  # [K, N, C] of 0 and 1, in every configuration
    truth: Binary  # [N, C] of 0 and 1
    guess: Binary  # [C] of 0 and 1, what is decided of the empty coalition
    present: NDArray[np.bool_]  # [N, M]
    games: Array  # [2^M, N, C], what every coalition is worth
    shapley: Array  # [M, N, C]
    interaction: Array  # [P, N, C]
    subject: NDArray[np.int64]  # [N], the class that is explained of each sample: the decided one

    @property
    def pairs(self) -> list[str]:
        """The names of the pairs."""
        return [name_of(pair) for pair in combinations(self.modalities, 2)]

    def of_subject(self, values: Array | Binary) -> Array:
        """values [..., N, C] -> [..., N], of the class that is explained of each sample."""
        return np.asarray(values[..., np.arange(len(self.subject)), self.subject])

    def about_fold(self) -> dict[str, Any]:
        """What `explanation.json` says of the whole fold."""
        phi, complete = self.of_subject(self.shapley), self.decided[-1].astype(bool)  # [M, N], [N, C]
        # A modality that a sample lacks has 0 and did not decide, even where all others are below 0.
        able = np.where(self.present.T, phi, -np.inf)
        first = able >= able.max(axis=0) - TINY
        decided = (first / first.sum(axis=0)).mean(axis=1)  # those that are equal share the sample
        return {
            "macro_f1": self._macro_f1(),
            "decided": self._named(decided),
            "share": self._named(share(phi).mean(axis=1)),
            "by_class": {
                name: {
                    "samples": int(complete[:, c].sum()),
                    "shapley": self._named(self.shapley[:, complete[:, c], c].mean(axis=1))
                    if complete[:, c].any()
                    else dict.fromkeys(self.modalities),
                }
                for c, name in enumerate(self.classes)
            },
        }

    def _macro_f1(self) -> dict[str, Any]:
        """Macro-F1 as a game: a coalition is worth what `scores.json` says of its configuration."""
        guesses = np.broadcast_to(self.guess, self.truth.shape)
        empty, *scores = (macro_f1(self.truth, one, len(self.classes)) for one in [guesses, *self.decided])
        v = fold_values(scores, empty)
        phi = shapley(v)
        return {
            "empty": empty,
            "complete": scores[-1],
            "shapley": self._named(phi),
            "share": self._named(share(phi)),
            "interaction": dict(zip(self.pairs, interaction(v).tolist(), strict=True)),
            "cooperation": self.cooperation(v),
        }

    def cooperation(self, v: Array) -> dict[str, float]:
        """SHAPE cooperation of every configuration of two or more modalities, of one game [2^M]."""
        found = cooperation(v)
        return {
            name_of(kept): float(found[sum(1 << self.modalities.index(m) for m in kept)])
            for kept in configurations(self.modalities)
            if len(kept) > 1
        }

    def _named(self, values: Array) -> dict[str, float]:
        return dict(zip(self.modalities, values.tolist(), strict=True))

    def about_sample(self, place: int) -> dict[str, Any]:
        """The decision about one sample and what it is made of, for the class that is explained."""
        c = int(self.subject[place])
        return {
            "truth": self.words(self.truth[place]),
            "predicted": self.words(self.decided[-1, place]),
            "class": self.classes[c],
            "present": self.has(place),
            **self.about_class(place, c),
        }

    def about_class(self, place: int, c: int) -> dict[str, Any]:
        """What each modality adds to the value of one class of a sample."""
        return {
            "empty": float(self.games[0, place, c]),
            "complete": float(self.games[-1, place, c]),
            "shapley": self._named(self.shapley[:, place, c]),
            "interaction": dict(zip(self.pairs, self.interaction[:, place, c].tolist(), strict=True)),
        }

    def has(self, place: int) -> list[str]:
        """The modalities that a sample has."""
        return [m for m, there in zip(self.modalities, self.present[place], strict=True) if there]

    def words(self, decision: Binary) -> str:
        """A decision [C] as it stands in `predictions.csv`: several emotions as `happy+fear`, none as nothing."""
        return "+".join(name for name, found in zip(self.classes, decision, strict=True) if found)


def explain(
    trained: TrainedRun, predictions: Predictions, *, value: Value = "probability", empty: Empty = "prior"
) -> Explanation:
    """The exact Shapley values and interactions of every sample and class of the fold.

    value: what is split, the probability of a class or its log-odds. empty: what the empty coalition is worth: "prior",
    the class frequencies of the run's training fold as its loss weighs them, or "zeros", what the model says when every
    modality is absent.

    SettingsError for the log-odds of a single class, PluginError where the model says NaN or infinity.
    """
    objective, modalities, thresholds = trained.objective, trained.model.modalities, trained.thresholds
    if value == "logit" and not objective.multi and len(objective.classes) < 2:
        raise SettingsError("The log-odds of the only class are infinite; use --value probability.")
    values = values_of(objective, value, predictions.logits)
    if not np.isfinite(values).all():
        raise PluginError(f"The model says NaN or infinity of samples in the fold '{trained.fold.name}'.")
    present = np.stack([trained.corpus.store.has(m)[trained.fold.rows] for m in modalities], axis=1)
    logits, guess = _empty(trained, predictions, empty)
    games = sample_values(values, values_of(objective, value, logits), present)
    complete = predictions.probabilities[-1]  # [N, C]
    margins = complete if thresholds is None else complete - thresholds

    def decide(probabilities: Array) -> Binary:
        return one_hot(objective.decide(probabilities, thresholds), len(objective.classes))

    return Explanation(
        modalities=modalities,
        classes=objective.classes,
        value=value,
        empty=empty,
        multi=objective.multi,
        probabilities=predictions.probabilities,
        decided=np.stack([decide(one) for one in predictions.probabilities]),
        truth=one_hot(trained.fold.targets.cpu().numpy().astype(np.int64), len(objective.classes)),
        guess=decide(values_of(objective, "probability", logits)[None])[0] if guess is None else guess,
        present=present,
        games=games,
        shapley=shapley(games),
        interaction=interaction(games),
        subject=margins.argmax(axis=1),  # of several emotions, or of none: the one furthest above its threshold
    )


def values_of(objective: Objective, value: Value, logits: Array) -> Array:
    """What is explained of logits [..., C]: probabilities or log-odds, [..., C]."""
    if value == "probability":
        return objective.probabilities(torch.from_numpy(logits)).numpy()
    return logits if objective.multi else log_odds(logits)


def _empty(trained: TrainedRun, predictions: Predictions, empty: Empty) -> tuple[Array, Binary | None]:
    """The logits [C] of the empty coalition; and the class that is decided of it, where that is not their decision.

    Class weights leave no class that is more probable than another: then it is the most frequent one.
    """
    if empty == "zeros":
        return predictions.nothing, None
    counts, used = training_counts(trained)
    multi, settings = trained.objective.multi, trained.recipe.objective
    kept = (0.0 if settings.class_weights else 1.0) - settings.logit_adjustment
    most = np.eye(len(counts), dtype=np.int64)[counts.argmax()]
    return prior_logits(counts, used, multi, kept), None if multi else most


def training_counts(trained: TrainedRun) -> tuple[NDArray[np.int64], int]:
    """How many samples of each class the run's own training fold has, [C], and of how many samples in all.

    DataError where the run does not say so and is asked about other data, or its `data.json` is damaged.
    """
    known = read_data(trained.run)
    if known is not None and known.folds is not None:
        folds = known.folds
    else:
        if read_data_folder(trained.run) != trained.corpus.dataset.folder.resolve():
            raise DataError(
                f"{trained.run} has no class counts of its training fold: `emotiwave evaluate {trained.run}` first, or "
                "--empty zeros."
            )
        folds = {"train": trained.corpus.fold_facts("train", trained.objective)}
    try:
        train = folds["train"]
        return np.array([train.classes[name] for name in trained.objective.classes]), train.used
    except LookupError as error:
        raise DataError(
            f"{trained.run / DATA} is damaged ({error}); `emotiwave evaluate {trained.run}` mends it."
        ) from error
