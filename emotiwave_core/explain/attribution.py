"""Attribution to the modalities: exact Shapley values of every sample and of the fold. No encoder runs for it."""

from itertools import combinations
from typing import Any, TypedDict

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from emotiwave_core.data.facts import NumberFoldFacts
from emotiwave_core.data.loading.plan import videos_of
from emotiwave_core.data.store.store import Store
from emotiwave_core.errors import DataError, PluginError, SettingsError
from emotiwave_core.explain.coalitions import (
    Array,
    Empty,
    Value,
    fold_values,
    log_odds,
    sample_values,
)
from emotiwave_core.explain.shapley import cooperation, interaction, shapley, share
from emotiwave_core.interfaces import Neighbours
from emotiwave_core.metrics.decisions import one_hot
from emotiwave_core.metrics.headline import Headline, headline_of
from emotiwave_core.modalities import configurations, name_of
from emotiwave_core.objectives import Objective, prior_of
from emotiwave_core.objectives.regression import Regression
from emotiwave_core.predict.certainty import certainty_of
from emotiwave_core.predict.predictions import Predictions
from emotiwave_core.predict.trained import TrainedRun
from emotiwave_core.runs.data_file import DATA, read_data, read_data_folder
from emotiwave_core.runs.explanation import ClassAttribution, ScoreAttribution
from emotiwave_core.runs.predictions import Certainty
from emotiwave_core.runs.schema import Fraction

Decided = NDArray[Any]  # 0 and 1 of classes, numbers of a regression
TINY = 1e-9  # what differs less is equal but for rounding


class ClassValues(TypedDict):
    """The value of one class of a sample without any modality and with all, and what lies between."""

    empty: float
    complete: float
    shapley: dict[str, float]
    interaction: dict[str, float]


@attrs.frozen(eq=False)
class Explanation:
    """N samples of a fold, explained: M modalities, P pairs of them, C classes or targets, K configurations."""

    modalities: tuple[str, ...]
    classes: tuple[str, ...]
    value: str  # "probability", "logit" or "number"
    empty: Empty
    kind: str  # of the objective
    answers: Array  # [K, N, C], probabilities or numbers
    decided: Decided  # [K, N, C], in every configuration
    truth: Decided  # [N, C]
    guess: Decided  # [C], what is decided of the empty coalition
    unit: Array  # [C], what is a lot in an answer: 1 of a probability, the deviation of a target
    present: NDArray[np.bool_]  # [N, M]
    coalitions: Array  # [2^M, N, C], the value of every coalition
    shapley: Array  # [M, N, C]
    interaction: Array  # [P, N, C]
    subject: NDArray[np.int64]  # [N], the class that is explained of each sample: the decided one
    certainty: Certainty

    def alarms_of(self, n: int) -> dict[str, float]:
        """The modalities of sample n, and the pairs of them, that raise an alarm, with how far it is beyond 1."""
        return {m: float(shares[n]) for m, shares in self.certainty.alarms.items() if shares[n] > 1.0}

    @property
    def of_numbers(self) -> bool:
        """True where numbers are explained and not classes."""
        return self.kind == "regression"

    @property
    def headline(self) -> Headline:
        """The score of the fold that is split."""
        return headline_of(self.kind)

    @property
    def pairs(self) -> list[str]:
        """The names of the pairs."""
        return [name_of(pair) for pair in combinations(self.modalities, 2)]

    def of_subject(self, values: Decided) -> Array:
        """values [..., N, C] -> [..., N], of the class that is explained of each sample."""
        return np.asarray(values[..., np.arange(len(self.subject)), self.subject])

    def score(self) -> ScoreAttribution:
        """The headline split over the modalities: a coalition is worth what `scores.json` says of its configuration."""
        guesses, of = np.broadcast_to(self.guess, self.truth.shape), self.headline.overall
        empty, *scores = (of(self.truth, decided, len(self.classes)) for decided in [guesses, *self.decided])
        v = fold_values(scores, empty)
        phi = shapley(v)
        return ScoreAttribution(
            empty=empty,
            complete=scores[-1],
            shapley=self.named(phi),
            share=self._shares(share(phi)),
            interaction=dict(zip(self.pairs, interaction(v).tolist(), strict=True)),
            cooperation=self.cooperation(v),
        )

    def decided_by(self) -> dict[str, Fraction | None]:
        """The share of the samples in which each modality has the largest Shapley value of the explained class.

        Of numbers the largest absolute one, for a number may be moved up or down. Equal ones share the sample. A
        modality that a sample lacks has 0 and did not decide, even where all others are below 0.
        """
        values = self.of_subject(self.shapley)
        phi = np.where(self.present.T, np.abs(values) if self.of_numbers else values, -np.inf)  # [M, N]
        first = phi >= phi.max(axis=0) - TINY
        return self._shares((first / first.sum(axis=0)).mean(axis=1))

    def mean_share(self) -> dict[str, Fraction | None]:
        """The mean MM-SHAP share of each modality over the samples."""
        return self._shares(share(self.of_subject(self.shapley)).mean(axis=1))

    def by_class(self) -> dict[str, ClassAttribution]:
        """Of each class the samples decided for it, and their mean Shapley values.

        Of a target all samples, and how far each modality moves the number: the mean of the absolute values.
        """
        if self.of_numbers:
            N, moved = len(self.subject), np.abs(self.shapley).mean(axis=1)  # [M, C]
            return {name: ClassAttribution(N, dict(self.named(moved[:, c]))) for c, name in enumerate(self.classes)}
        attributions = {}
        for c, name in enumerate(self.classes):
            decided = self.decided[-1, :, c].astype(bool)  # [N]
            means = self.named(self.shapley[:, decided, c].mean(axis=1)) if decided.any() else {}
            shapley_values: dict[str, float | None] = {m: means.get(m) for m in self.modalities}
            attributions[name] = ClassAttribution(int(decided.sum()), shapley_values)
        return attributions

    def of_class(self, n: int, c: int) -> ClassValues:
        """Shapley values and interactions of class c of sample n, and the values that they lie between."""
        return {
            "empty": float(self.coalitions[0, n, c]),
            "complete": float(self.coalitions[-1, n, c]),
            "shapley": self.named(self.shapley[:, n, c]),
            "interaction": dict(zip(self.pairs, self.interaction[:, n, c].tolist(), strict=True)),
        }

    def cooperation(self, v: Array) -> dict[str, float]:
        """SHAPE cooperation of every configuration of two or more modalities, from coalition values [2^M]."""
        values = cooperation(v)
        return {
            name_of(subset): float(values[sum(1 << self.modalities.index(m) for m in subset)])
            for subset in configurations(self.modalities)
            if len(subset) > 1
        }

    def named(self, values: Array) -> dict[str, float]:
        """values [M] by modality."""
        return dict(zip(self.modalities, values.tolist(), strict=True))

    def _shares(self, values: Array) -> dict[str, Fraction | None]:
        return {m: Fraction(value) for m, value in self.named(values).items()}

    def has(self, n: int) -> list[str]:
        """The modalities that sample n has."""
        return [m for m, is_present in zip(self.modalities, self.present[n], strict=True) if is_present]

    def words(self, decision: Decided) -> str:
        """A decision [C] in words: several emotions as `happy+fear`, none as nothing; numbers with three decimals."""
        if self.of_numbers and len(self.classes) == 1:
            return f"{decision[0]:.3f}"
        if self.of_numbers:
            return ", ".join(f"{name} {number:.3f}" for name, number in zip(self.classes, decision, strict=True))
        return "+".join(name for name, is_decided in zip(self.classes, decision, strict=True) if is_decided)


def explain(
    trained: TrainedRun, predictions: Predictions, *, value: Value | None = None, empty: Empty = "prior"
) -> Explanation:
    """The exact Shapley values and interactions of every sample and class of the fold.

    value: what is split, the probability of a class (None) or its log-odds; of a regression it is the predicted number.
    empty: what the empty coalition is worth: "prior", the class frequencies of the run's training fold as its loss
    weighs them, of numbers their mean in it, or "zeros", what the model says when every modality is absent.

    SettingsError for the log-odds of a single class, or a value of classes where there are numbers; PluginError where
    the model says NaN or infinity.
    """
    objective, modalities, thresholds = trained.objective, trained.modalities, trained.thresholds
    if isinstance(objective, Regression):
        if value is not None:
            raise SettingsError(f"{trained.run} predicts numbers, which are split themselves: leave --value out.")
        return _explain_numbers(objective, trained, predictions, empty)
    value = value or "probability"
    if value == "logit" and not objective.multi and len(objective.classes) < 2:
        raise SettingsError("The log-odds of the only class are infinite; use --value probability.")
    values = values_of(objective, value, predictions.logits)
    if not np.isfinite(values).all():
        raise PluginError(f"The model says NaN or infinity of samples in the fold '{trained.fold.name}'.")
    present = np.stack([trained.corpus.store.has(m)[trained.fold.rows] for m in modalities], axis=1)
    logits, guess = _empty(trained, predictions, empty)
    players = players_of(present, trained.corpus.store, trained.fold.rows, trained.model.neighbours)
    coalitions = sample_values(values, values_of(objective, value, logits), players)
    complete = predictions.answers[-1]  # [N, C]
    margins = complete if thresholds is None else complete - thresholds

    def decide(answers: Array) -> Decided:
        return one_hot(objective.decide(answers, thresholds), len(objective.classes))

    return Explanation(
        modalities=modalities,
        classes=objective.classes,
        value=value,
        empty=empty,
        kind=objective.kind,
        answers=predictions.answers,
        decided=np.stack([decide(answers) for answers in predictions.answers]),
        truth=one_hot(objective.truth(trained.fold.targets), len(objective.classes)),
        guess=decide(values_of(objective, "probability", logits)[None])[0] if guess is None else guess,
        unit=np.ones(len(objective.classes)),
        present=present,
        coalitions=coalitions,
        shapley=shapley(coalitions),
        interaction=interaction(coalitions),
        subject=margins.argmax(axis=1),  # of several emotions, or of none: the one furthest above its threshold
        certainty=certainty_of(trained, predictions),
    )


def _explain_numbers(objective: Regression, trained: TrainedRun, predictions: Predictions, empty: Empty) -> Explanation:
    """The explanation of predicted numbers, in the unit of the labels."""
    modalities = trained.model.modalities
    if not np.isfinite(predictions.answers).all():
        raise PluginError(f"The model says NaN or infinity of samples in the fold '{trained.fold.name}'.")
    logits = predictions.nothing if empty == "zeros" else np.zeros(len(objective.classes))  # of the mean
    guess = values_of(objective, "number", logits)
    present = np.stack([trained.corpus.store.has(m)[trained.fold.rows] for m in modalities], axis=1)
    players = players_of(present, trained.corpus.store, trained.fold.rows, trained.model.neighbours)
    coalitions = sample_values(predictions.answers, guess, players)
    unit = objective.deviation.cpu().double().numpy()
    return Explanation(
        modalities=modalities,
        classes=objective.classes,
        value="number",
        empty=empty,
        kind=objective.kind,
        answers=predictions.answers,
        decided=predictions.answers,
        truth=objective.truth(trained.fold.targets),
        guess=guess,
        unit=unit,
        present=present,
        coalitions=coalitions,
        shapley=shapley(coalitions),
        interaction=interaction(coalitions),
        subject=np.abs((predictions.answers[-1] - guess) / unit).argmax(axis=1),  # the target furthest from `empty`
        certainty=certainty_of(trained, predictions),
    )


def players_of(
    present: NDArray[np.bool_], store: Store, rows: NDArray[np.int64], neighbours: Neighbours | None
) -> NDArray[np.bool_]:
    """The modalities that act on each sample, [N, M]: those that it has, and those that neighbours have which are seen.

    present: [N, M], those that the samples `rows` of the store have.
    """
    if neighbours is None:
        return present
    videos = np.array(videos_of(store, neighbours))[rows]
    numbers = np.unique(videos, return_inverse=True)[1]
    any_of = np.zeros((int(numbers.max(initial=-1)) + 1, present.shape[1]), dtype=bool)
    np.logical_or.at(any_of, numbers, present)
    return np.asarray(any_of[numbers])


def values_of(objective: Objective, value: str, logits: Array) -> Array:
    """Probabilities, log-odds or numbers of logits [..., C], [..., C]: the values that are explained."""
    if value != "logit":
        return np.asarray(objective.answers(torch.from_numpy(logits)).cpu().numpy(), dtype=np.float64)
    return logits if objective.multi else log_odds(logits)


def _empty(trained: TrainedRun, predictions: Predictions, empty: Empty) -> tuple[Array, Decided | None]:
    """The logits [C] of the empty coalition; and the class that is decided of it, where that is not their decision.

    Class weights leave no class that is more probable than another: then it is the most frequent one.
    """
    if empty == "zeros":
        return predictions.nothing, None
    counts, used = training_counts(trained)
    most_frequent = np.eye(len(counts), dtype=np.int64)[counts.argmax()]
    logits = prior_of(trained.recipe.objective, trained.objective.multi, counts, used)
    return logits, None if trained.objective.multi else most_frequent


def training_counts(trained: TrainedRun) -> tuple[NDArray[np.int64], int]:
    """Counts of the classes in the run's own training fold, [C], and of its samples.

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
        if isinstance(train, NumberFoldFacts):
            raise LookupError("its folds are of numbers")
        return np.array([train.classes[name] for name in trained.objective.classes]), train.used
    except LookupError as error:
        raise DataError(
            f"{trained.run / DATA} is damaged ({error}); `emotiwave evaluate {trained.run}` mends it."
        ) from error
