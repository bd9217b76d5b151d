"""The baseline of a comparison: for each configuration a linear model over means and deviations of the features.

It reads of each feature its mean and its deviation over the steps of a sample, standardised by the samples it trains
on. A stream that a sample lacks has zeros there, which are the mean of those that have it, and where samples of the
training lack one, a column says which. Classes are told by logistic regression (L2, C = 1, balanced where the recipe
weighs classes), numbers by ridge regression, whose penalty is chosen by leave-one-out. It trains on the training and
the validation fold, as it has no epoch to choose. Several emotions at once need thresholds: they are tuned on the
validation fold by a model of the training fold alone.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import numpy as np
from numpy.typing import NDArray

from emotiwave_core.compare.outcomes import Decided, Outcome, outcome_of
from emotiwave_core.config.recipe import Recipe
from emotiwave_core.data.corpus import Corpus, Fold, open_corpus
from emotiwave_core.data.store.store import Store
from emotiwave_core.errors import SettingsError
from emotiwave_core.io.atomic import out_of_space, write_json
from emotiwave_core.io.untrusted import read_json
from emotiwave_core.metrics.decisions import tune_thresholds
from emotiwave_core.modalities import configurations, name_of, streams_of
from emotiwave_core.monitor import Monitor
from emotiwave_core.objectives import ClassObjective, Objective
from emotiwave_core.objectives.settle import make_objective, settle

ROW, FOLDER = "linear", "baseline"
ITERATIONS = 5_000
PENALTIES = np.logspace(-1, 5, 13)  # of ridge regression, on standardised features

Array = NDArray[np.float64]


class PooledStream(NamedTuple):
    """One stream of N samples over time."""

    values: Array  # [N, 2F], means and deviations; zeros where it is missing
    present: NDArray[np.bool_]  # [N]


def linear_outcomes(
    data: Path, out: Path, recipe: Recipe, rotations: Sequence[int | None], monitor: Monitor
) -> dict[int | None, Outcome]:
    """The baseline on each fold. What is kept in `out` for the same data and settings is not made again.

    The recipe says which samples, folds and objective. DataError for a fold that has no sample to use.
    """
    outcomes: dict[int | None, Outcome] = {}
    streams: dict[str, PooledStream] = {}
    with monitor.progress("Baseline", len(rotations)) as advance:
        for rotation in rotations:
            corpus = open_corpus(data, attrs.evolve(recipe.data, rotation=rotation), monitor)
            if words := list(corpus.store.words):
                raise SettingsError(f"The baseline reads features, and '{words[0]}' holds words: leave --baseline out.")
            path = out / FOLDER / ("fold.json" if rotation is None else f"fold-{rotation}.json")
            key = _key(corpus, recipe)
            if (outcome := _kept(path, key)) is None:
                streams = streams or {name: pooled(corpus.store, name) for name in corpus.store.streams}
                outcome = linear_outcome(corpus, recipe, streams)
                with out_of_space(path):
                    path.parent.mkdir(parents=True, exist_ok=True)
                kept = outcome.to_dict()
                write_json(path, {"key": key, "sha256": _digest(kept), **kept})
            outcomes[rotation] = outcome
            advance()
    return outcomes


def linear_outcome(corpus: Corpus, recipe: Recipe, streams: Mapping[str, PooledStream]) -> Outcome:
    """The baseline on one fold."""
    from threadpoolctl import threadpool_limits

    store = corpus.store
    settings = settle(recipe.objective, store.targets, store.facts.label_kind)
    objective = make_objective(settings, store.targets)
    train, valid, test = (corpus.fold(name, objective) for name in ("train", "valid", "test"))
    ids, truth = [store.ids[row] for row in test.rows], objective.truth(test.targets)
    decided: dict[str, Decided] = {}
    with threadpool_limits(1):  # sums that do not depend on how many processors there are
        for kept in configurations(store.modalities):
            names = [name for modality in kept for name in streams_of(modality, store.streams)]
            told = _decisions(
                objective, settings.class_weights, [streams[name] for name in names], (train, valid, test)
            )
            decided[name_of(kept)] = Decided(ids, truth, told)
    group_of = dict(zip(store.ids, store.groups, strict=True))
    return outcome_of(decided, objective.kind, len(objective.classes), group_of, len(train.rows) + len(valid.rows))


def pooled(store: Store, stream: str) -> PooledStream:
    """The mean and the deviation of every feature of a stream over the steps that have something."""
    width = store.features[stream]
    values, present = np.zeros((len(store), 2 * width)), np.zeros(len(store), dtype=bool)
    for sample in range(len(store)):
        own = store.sequence(stream, sample)[store.present(stream, sample)].numpy().astype(np.float64)
        if len(own):
            values[sample], present[sample] = np.concatenate([own.mean(axis=0), own.std(axis=0)]), True
    return PooledStream(values, present)


def design(streams: Sequence[PooledStream], learned: NDArray[np.int64], rows: NDArray[np.int64]) -> Array:
    """The columns of samples `rows` for a model that learns from the samples `learned`, [len(rows), columns].

    A stream that no sample of the training has is left out: nothing can be learned of it.
    """
    from sklearn.preprocessing import StandardScaler

    parts = [np.zeros((len(rows), 1))]
    for values, present in streams:
        seen = learned[present[learned]]
        if not len(seen):
            continue
        scaled = StandardScaler().fit(values[seen]).transform(values[rows])
        parts.append(np.where(present[rows, None], scaled, 0.0))
        if len(seen) < len(learned):
            parts.append(present[rows, None].astype(np.float64))
    return np.concatenate(parts, axis=1)


def sentence(objective: str) -> str:
    """A sentence about the baseline, for the page and the terminal."""
    told = {
        "single": "logistic regression",
        "multi": "logistic regression for each emotion, with thresholds tuned on the validation fold,",
        "regression": "ridge regression",
    }[objective]
    return (
        f"{ROW} is a {told} for each configuration, over the standardised mean and deviation of every feature over "
        "time. It has no seed and no epoch to choose, so it trains on the training and the validation fold; the "
        "recipes train on the first and choose by the second."
    )


def _decisions(
    objective: Objective, balanced: bool, streams: Sequence[PooledStream], folds: tuple[Fold, Fold, Fold]
) -> NDArray[Any]:
    train, valid, test = folds
    both = np.concatenate([train.rows, valid.rows])
    targets = np.concatenate([objective.truth(fold.targets) for fold in (train, valid)])
    x, new = design(streams, both, both), design(streams, both, test.rows)
    if not isinstance(objective, ClassObjective):
        return _numbers(x, targets, new)
    if not objective.multi:
        return _fitted(x, targets, balanced, lambda model: model.predict(new), len(new))
    inner, held_out = (design(streams, train.rows, fold.rows) for fold in (train, valid))
    guesses = _chances(inner, objective.truth(train.targets), held_out, balanced)
    thresholds = tune_thresholds(objective.truth(valid.targets), guesses[None])
    return objective.decide(_chances(x, targets, new, balanced), thresholds)


def _fitted(
    x: Array, classes: NDArray[Any], balanced: bool, ask: Callable[[Any], NDArray[Any]], count: int
) -> NDArray[Any]:
    """The answer of a logistic regression; where all samples are of one class there is nothing to fit, and it is it."""
    from sklearn.linear_model import LogisticRegression

    if (classes == classes[0]).all():
        return np.repeat(classes[:1], count)
    model = LogisticRegression(max_iter=ITERATIONS, class_weight="balanced" if balanced else None)
    return ask(model.fit(x, classes))


def _chances(x: Array, present: NDArray[Any], new: Array, balanced: bool) -> Array:
    """The probability of each emotion, [len(new), C]."""
    columns = [
        _fitted(x, column, balanced, lambda model: model.predict_proba(new)[:, 1], len(new)) for column in present.T
    ]
    return np.stack(columns, axis=1).astype(np.float64)


def _numbers(x: Array, targets: Array, new: Array) -> Array:
    from sklearn.linear_model import RidgeCV

    answers = [RidgeCV(PENALTIES).fit(x, column).predict(new) for column in targets.T]
    return np.stack(answers, axis=1)


def _key(corpus: Corpus, recipe: Recipe) -> dict[str, Any]:
    """All that decides on the outcome, as JSON has it."""
    facts, objective = corpus.facts(), recipe.objective
    return {
        "store": facts.fingerprint,
        "sources": facts.sources,
        "folds": facts.folds_sha256,
        "objective": [objective.kind, objective.no_emotion, objective.class_weights],
    }


def _digest(table: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()


def _kept(path: Path, key: Mapping[str, Any]) -> Outcome | None:
    """The outcome that a file holds; None where it is not there, changed, or of other data or settings."""
    try:
        table = read_json(path)
        is_whole = table.pop("key") == key and table.pop("sha256") == _digest(table)
        return Outcome.from_dict(table) if is_whole else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
