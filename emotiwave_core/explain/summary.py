"""What an explanation leaves in the folder of a run: the fold, a few samples worth a look, all samples as rows."""

import difflib
from collections.abc import Iterator
from typing import Any, NamedTuple

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from emotiwave_core.data.corpus import Fold
from emotiwave_core.data.folds import FOLDS
from emotiwave_core.data.store.words import Word, words_of
from emotiwave_core.errors import DataError, SettingsError, choices
from emotiwave_core.explain.coalitions import Array, Value
from emotiwave_core.explain.explanation import Explanation, explain, values_of
from emotiwave_core.explain.occlusion import OccludedWindow, occlude
from emotiwave_core.explain.shapley import share
from emotiwave_core.io.atomic import csv_line, write_json, write_text
from emotiwave_core.modalities import configurations, name_of
from emotiwave_core.monitor import SILENT, Monitor
from emotiwave_core.predict.predictions import Predictions
from emotiwave_core.predict.trained import TrainedRun
from emotiwave_core.runs.data_file import read_data_folder

EXPLANATION, TABLE = "explanation.json", "explanations.csv"
CHOSEN = 3  # of each kind


class Choice(NamedTuple):
    """A sample worth a look."""

    place: int  # in the fold
    why: str  # "right" | "wrong" | "changed"
    changed_by: str | None = None


def write_explanation(
    trained: TrainedRun, predictions: Predictions, device: torch.device, monitor: Monitor = SILENT
) -> None:
    """Write `explanation.json` and `explanations.csv` into the folder of the run."""
    explanation = explain(trained, predictions)
    write_text(trained.run / TABLE, table(explanation, trained))
    write_json(trained.run / EXPLANATION, about_fold(explanation, trained, device, monitor))


def about_fold(
    explanation: Explanation, trained: TrainedRun, device: torch.device, monitor: Monitor = SILENT
) -> dict[str, Any]:
    """What `explanation.json` holds."""
    found: dict[int, dict[str, Any]] = {}
    chosen = []
    for one in choose(explanation):
        if one.place not in found:
            found[one.place] = about_sample(explanation, trained, one.place, device, monitor)
        chosen.append(found[one.place] | {"why": one.why, "changed_by": one.changed_by})
    return {
        "format": 1,
        "fold": trained.fold.name,
        "value": explanation.value,
        "empty": explanation.empty,
        "modalities": list(explanation.modalities),
        "classes": list(explanation.classes),
        "samples": len(explanation.subject),
        "absent": {
            trained.corpus.store.ids[row]: [m for m in explanation.modalities if m not in explanation.has(place)]
            for place, row in enumerate(trained.fold.rows)
            if not explanation.present[place].all()
        },
        **explanation.about_fold(),
        "chosen": chosen,
    }


def about_sample(
    explanation: Explanation, trained: TrainedRun, place: int, device: torch.device, monitor: Monitor = SILENT
) -> dict[str, Any]:
    """One sample: where it is, what was decided, what of it each modality did, and at which moments."""
    row, c = int(trained.fold.rows[place]), int(explanation.subject[place])
    start, end = trained.corpus.store.intervals[row].tolist()
    words = _words(trained, row, monitor)
    # In log-odds whatever `value` is: the probability of a sure prediction hardly moves when one stretch is missing.
    value: Value = "logit" if trained.objective.multi or len(explanation.classes) > 1 else "probability"
    found = occlude(trained, row, lambda logits: values_of(trained.objective, value, logits)[:, c], device, words)
    return {
        "id": trained.corpus.store.ids[row],
        "start": start,
        "end": end,
        **explanation.about_sample(place),
        "moments": {m: [_rounded(moment) for moment in some] for m, some in found.items()},
    }


def in_full(
    explanation: Explanation, trained: TrainedRun, place: int, device: torch.device, monitor: Monitor = SILENT
) -> dict[str, Any]:
    """One sample as `emotiwave explain --sample` shows it: also every configuration and every class."""
    subject, kept = int(explanation.subject[place]), configurations(explanation.modalities)
    said = explanation.probabilities[:, place].tolist()
    return {
        "fold": trained.fold.name,
        "value": explanation.value,
        "empty_coalition": explanation.empty,
        **about_sample(explanation, trained, place, device, monitor),
        "share": dict(zip(explanation.modalities, share(explanation.shapley[:, place, subject]).tolist(), strict=True)),
        "cooperation": explanation.cooperation(explanation.games[:, place, subject]),
        "classes": {
            name: {
                "predicted": bool(explanation.decided[-1, place, c]),
                "true": bool(explanation.truth[place, c]),
                **explanation.about_class(place, c),
            }
            for c, name in enumerate(explanation.classes)
        },
        "configurations": {
            name_of(configuration): {
                "predicted": explanation.words(explanation.decided[k, place]),
                "probabilities": dict(zip(explanation.classes, said[k], strict=True)),
            }
            for k, configuration in enumerate(kept)
        },
    }


def restrict_to_sample(trained: TrainedRun, sample: str) -> TrainedRun:
    """The run with one sample of its fold alone. SettingsError where the fold has none of this id."""
    store, fold = trained.corpus.store, trained.fold
    ids = {store.ids[row]: place for place, row in enumerate(fold.rows)}
    if sample not in ids:
        raise SettingsError(_not_in(trained, sample, list(ids)))
    place = [ids[sample]]
    return attrs.evolve(trained, fold=Fold(fold.name, fold.rows[place], fold.targets[place]))


def _not_in(trained: TrainedRun, sample: str, ids: list[str]) -> str:
    """Why a fold has no sample of this id, and what may have been meant."""
    corpus, fold = trained.corpus, trained.fold.name
    if sample not in corpus.store.ids:
        near = difflib.get_close_matches(sample, ids, n=3)
        own = fold == "test" and str(read_data_folder(trained.run)) == corpus.facts().folder
        listed = "; predictions.csv has all" if own else ""  # of the run's own test fold alone
        hint = choices(sample, near) if near else f" Its {len(ids)} ids are like '{ids[0]}'{listed}."
        return f"The fold '{fold}' has no sample '{sample}'.{hint}"
    row = corpus.store.ids.index(sample)
    if row in corpus.rows(fold):
        return f"The sample '{sample}' has no emotion, and the run leaves such samples out (objective.no_emotion)."
    there = next((name for name in FOLDS if row in corpus.rows(name)), "all")
    return f"The sample '{sample}' is not in the fold '{fold}': --fold {there}."


def choose(explanation: Explanation) -> list[Choice]:
    """Up to three samples each: most confidently right, most confidently wrong, most changed by a missing modality.

    Right and wrong are judged by the class that is explained, where it was decided for; its probability is the
    confidence. A sample is changed by the modality without which its probabilities move most (total variation; of
    several labels the largest change), if something is left without it.
    """
    confidence = explanation.of_subject(explanation.probabilities[-1])
    decided = explanation.of_subject(explanation.decided[-1]).astype(bool)
    true = explanation.of_subject(explanation.truth).astype(bool)
    chosen = [Choice(place, "right") for place in _largest(confidence, decided & true)]
    chosen += [Choice(place, "wrong") for place in _largest(confidence, decided & ~true)]
    changes = change_without(explanation)  # [M, N]
    for place in _largest(changes.max(axis=0), changes.max(axis=0) > 0):
        chosen.append(Choice(place, "changed", explanation.modalities[int(changes[:, place].argmax())]))
    return chosen


def change_without(explanation: Explanation) -> Array:
    """How far the probabilities of each sample move when one modality is taken away, [M, N].

    Total variation, or of several labels the largest change. 0 where it lacks the modality or has no other.
    """
    M, kept = len(explanation.modalities), configurations(explanation.modalities)
    moved = np.zeros((M, len(explanation.subject)))
    if M < 2:
        return moved
    several = explanation.present.sum(axis=1) > 1
    for m, name in enumerate(explanation.modalities):
        rest = kept.index(tuple(other for other in explanation.modalities if other != name))
        apart = np.abs(explanation.probabilities[-1] - explanation.probabilities[rest])  # [N, C]
        distance = apart.max(axis=1) if explanation.multi else 0.5 * apart.sum(axis=1)
        moved[m] = np.where(explanation.present[:, m] & several, distance, 0.0)
    return moved


def table(explanation: Explanation, trained: TrainedRun) -> str:
    """`explanations.csv`: a row for each sample and class."""
    columns = [f"shapley({m})" for m in explanation.modalities] + [f"interaction({pair})" for pair in explanation.pairs]
    head = ["id", "class", "truth", "predicted", "empty", "complete", *columns]
    return "".join(map(csv_line, [head, *_rows(explanation, trained)]))


def _rows(explanation: Explanation, trained: TrainedRun) -> Iterator[list[str]]:
    ends = explanation.games[[0, -1]]
    numbers = np.concatenate([ends, explanation.shapley, explanation.interaction]).transpose(1, 2, 0)  # [N, C, …]
    for place, row in enumerate(trained.fold.rows):
        said = [explanation.words(explanation.truth[place]), explanation.words(explanation.decided[-1, place])]
        for name, values in zip(explanation.classes, numbers[place].tolist(), strict=True):
            yield [trained.corpus.store.ids[row], name, *said, *(f"{value:.8f}" for value in values)]


def _largest(values: Array, allowed: NDArray[np.bool_]) -> list[int]:
    order = np.argsort(-values, kind="stable")
    return [int(place) for place in order if allowed[place]][:CHOSEN]


def _words(trained: TrainedRun, row: int, monitor: Monitor) -> list[Word]:
    """The words of a sample; without them, and said, where their file is damaged: they are only shown."""
    try:
        return words_of(trained.corpus.dataset, trained.corpus.store, row)
    except DataError as error:
        monitor.say(f"Note: without the words of {trained.corpus.store.ids[row]}: {error}")
        return []


def _rounded(moment: OccludedWindow) -> dict[str, Any]:
    """A moment for JSON: there are hundreds of them, and no one reads a seventh digit."""
    return {key: round(one, 6) if isinstance(one, float) else one for key, one in moment._asdict().items()}
