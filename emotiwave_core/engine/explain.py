"""Explains a trained run: which modality decided, in every sample and over the fold. No encoder runs for it."""

from itertools import combinations
from typing import Any

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from emotiwave_core.configurations import configurations, name_of
from emotiwave_core.data.corpus import Corpus, Fold
from emotiwave_core.engine.evaluate import Predictions
from emotiwave_core.engine.trained import DATA, Trained, read_data
from emotiwave_core.errors import DataError, PluginError, SettingsError
from emotiwave_core.explain.games import (
    Array,
    Empty,
    Value,
    fold_game,
    log_odds,
    prior_log_odds,
    prior_probabilities,
    sample_games,
)
from emotiwave_core.explain.shapley import cooperation, interaction, shapley, share
from emotiwave_core.metrics import macro_f1, one_hot
from emotiwave_core.objective import Objective

Binary = NDArray[np.int64]


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
        strongest = np.where(self.present.T, phi, -np.inf).argmax(axis=0)
        decided = np.bincount(strongest, minlength=len(self.modalities)) / len(strongest)
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
        v = fold_game(scores, empty)
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

    def words(self, decision: Binary) -> str:
        """A decision [C] as it stands in `predictions.csv`: several emotions as `happy+fear`, none as nothing."""
        return "+".join(name for name, found in zip(self.classes, decision, strict=True) if found)


def explain(
    trained: Trained, predictions: Predictions, *, value: Value = "probability", empty: Empty = "prior"
) -> Explanation:
    """The exact Shapley values and interactions of every sample and class of the fold.

    value: what is split, the probability of a class or its log-odds. empty: what the empty coalition is worth: "prior",
    the class frequencies of the run's training fold, or "zeros", what the model says when every modality is absent.

    SettingsError for the log-odds of a single class, PluginError where the model says NaN or infinity.
    """
    objective, modalities, thresholds = trained.objective, trained.model.modalities, trained.thresholds
    if value == "logit" and not objective.multi and len(objective.classes) < 2:
        raise SettingsError("The log-odds of the only class are infinite; use --value probability.")
    values = values_of(objective, value, predictions.logits)
    if not np.isfinite(values).all():
        raise PluginError(f"The model says NaN or infinity of samples in the fold '{trained.fold.name}'.")
    present = present_in(trained.corpus, trained.fold, modalities)
    chances, worth = _empty(trained, predictions, value, empty)
    games = sample_games(values, worth, present)
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
        guess=decide(chances[None])[0],
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


def present_in(corpus: Corpus, fold: Fold, modalities: tuple[str, ...]) -> NDArray[np.bool_]:
    """Which modalities each sample of a fold has, [N, M]."""
    store = corpus.store
    return np.array([[bool(store.present(m, int(row)).any()) for m in modalities] for row in fold.rows])


def _empty(trained: Trained, predictions: Predictions, value: Value, empty: Empty) -> tuple[Array, Array]:
    """The probabilities and the value of every class without any modality, [C] and [C]."""
    objective = trained.objective
    if empty == "zeros":
        chances = values_of(objective, "probability", predictions.nothing)
        return chances, values_of(objective, value, predictions.nothing)
    counts, used = training_counts(trained)
    chances = prior_probabilities(counts, used)
    return chances, chances if value == "probability" else prior_log_odds(counts, used)


def training_counts(trained: Trained) -> tuple[NDArray[np.int64], int]:
    """How many samples of each class the run's own training fold has, [C], and of how many samples in all.

    DataError where the run does not say so and is asked about other data, or its `data.json` is damaged.
    """
    known = read_data(trained.run)
    facts: Any = known.get("folds")
    if facts is None:
        if known["folder"] != str(trained.corpus.dataset.folder.resolve()):
            raise DataError(
                f"{trained.run} has no class counts of its training fold: `emotiwave evaluate {trained.run}` first, or "
                "--empty zeros."
            )
        facts = {"train": trained.corpus.fold_facts("train", trained.objective)}
    try:
        train = facts["train"]
        counts = [int(train["classes"][name]) for name in trained.objective.classes]
        return np.array(counts), int(train["used"])
    except (LookupError, TypeError, ValueError) as error:
        raise DataError(
            f"{trained.run / DATA} is damaged ({error}); `emotiwave evaluate {trained.run}` mends it."
        ) from error
