"""Records of an explanation: of a fold and of one sample, and `explanations.csv` with every sample as rows."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from attrs import evolve

from emotiwave_core.data.store.words import Word, words_of
from emotiwave_core.errors import DataError
from emotiwave_core.explain.attribution import Explanation, explain, values_of
from emotiwave_core.explain.choose import choose
from emotiwave_core.explain.occlusion import occlude
from emotiwave_core.explain.shapley import share
from emotiwave_core.io.atomic import write_rows
from emotiwave_core.modalities import configurations, name_of
from emotiwave_core.monitor import SILENT, Monitor
from emotiwave_core.predict.predictions import Predictions
from emotiwave_core.predict.trained import TrainedRun
from emotiwave_core.runs.explanation import (
    SMALLEST_SCALE,
    SMALLEST_SHARE,
    ChosenSample,
    ClassOfSample,
    ConfigurationOfSample,
    ExplanationFile,
    OcclusionWindow,
    SampleAttribution,
    SampleDetails,
    write_explanation,
)
from emotiwave_core.runs.schema import Fraction

TABLE = "explanations.csv"


def write_explanations(
    trained: TrainedRun, predictions: Predictions, device: torch.device, monitor: Monitor = SILENT
) -> None:
    """Write `explanation.json` and `explanations.csv` into the folder of the run."""
    explanation = explain(trained, predictions)
    write_table(trained.run / TABLE, explanation, trained)
    write_explanation(trained.run, explain_fold(explanation, trained, device, monitor))


def explain_fold(
    explanation: Explanation, trained: TrainedRun, device: torch.device, monitor: Monitor = SILENT
) -> ExplanationFile:
    """The whole fold, with the occlusion of a few samples worth a look."""
    samples: dict[int, SampleAttribution] = {}
    chosen = []
    for choice in choose(explanation):
        if choice.number not in samples:
            samples[choice.number] = explain_sample(explanation, trained, choice.number, device, monitor)
        fields = {name: getattr(samples[choice.number], name) for name in SampleAttribution.__annotations__}
        chosen.append(ChosenSample(**fields, why=choice.why, changed_by=choice.changed_by))
    return ExplanationFile(
        fold=trained.fold.name,
        value=explanation.value,
        empty=explanation.empty,
        modalities=list(explanation.modalities),
        classes=list(explanation.classes),
        samples=len(explanation.subject),
        absent={
            trained.corpus.store.ids[row]: [m for m in explanation.modalities if m not in explanation.has(n)]
            for n, row in enumerate(trained.fold.rows)
            if not explanation.present[n].all()
        },
        score=explanation.score(),
        decided=explanation.decided_by(),
        share=explanation.mean_share(),
        by_class=explanation.by_class(),
        chosen=chosen,
        headline=explanation.headline.key,
    )


def explain_sample(
    explanation: Explanation, trained: TrainedRun, n: int, device: torch.device, monitor: Monitor = SILENT
) -> SampleAttribution:
    """Sample n of the fold: its interval, the decision, what each modality did for it, its occlusion."""
    row, c = int(trained.fold.rows[n]), int(explanation.subject[n])
    start, end = trained.corpus.store.intervals[row].tolist()
    words = _words(trained, row, monitor)
    # In log-odds whatever `value` is: the probability of a sure prediction hardly moves when one stretch is missing.
    value = "logit" if trained.objective.multi or len(explanation.classes) > 1 else "probability"
    value = "number" if explanation.of_numbers else value
    confidence, risk = (
        None if given is None or np.isnan(given[-1, n]) else Fraction(float(given[-1, n]))
        for given in (explanation.certainty.confidence, explanation.certainty.risk)
    )
    windows = occlude(trained, row, lambda logits: values_of(trained.objective, value, logits)[:, c], device, words)
    return SampleAttribution(
        id=trained.corpus.store.ids[row],
        start=start,
        end=end,
        truth=explanation.words(explanation.truth[n]),
        predicted=explanation.words(explanation.decided[-1, n]),
        explained=explanation.classes[c],
        present=explanation.has(n),
        confidence=confidence,
        risk=risk,
        alarms=explanation.alarms_of(n),
        **explanation.of_class(n, c),
        moments={m: [_rounded(window) for window in windows[m]] for m in windows},
        smallest_scale=SMALLEST_SHARE * float(explanation.unit[c]) if explanation.of_numbers else SMALLEST_SCALE,
        headline=explanation.headline.key,
    )


def explain_in_full(
    explanation: Explanation, trained: TrainedRun, n: int, device: torch.device, monitor: Monitor = SILENT
) -> SampleDetails:
    """Sample n of the fold with every class and every configuration."""
    subject = int(explanation.subject[n])
    answers, as_told = explanation.answers[:, n].tolist(), float if explanation.of_numbers else bool
    return SampleDetails(
        fold=trained.fold.name,
        value=explanation.value,
        empty_coalition=explanation.empty,
        sample=explain_sample(explanation, trained, n, device, monitor),
        share=explanation.named(share(explanation.shapley[:, n, subject])),
        cooperation=explanation.cooperation(explanation.coalitions[:, n, subject]),
        classes={
            name: ClassOfSample(
                predicted=as_told(explanation.decided[-1, n, c]),
                true=as_told(explanation.truth[n, c]),
                **explanation.of_class(n, c),
            )
            for c, name in enumerate(explanation.classes)
        },
        configurations={
            name_of(configuration): ConfigurationOfSample(
                predicted=explanation.words(explanation.decided[k, n]),
                answers=dict(zip(explanation.classes, answers[k], strict=True)),
            )
            for k, configuration in enumerate(configurations(explanation.modalities))
        },
    )


def write_table(path: Path, explanation: Explanation, trained: TrainedRun) -> None:
    """Write `explanations.csv`: a row for each sample and class or target."""
    columns = [f"shapley({m})" for m in explanation.modalities] + [f"interaction({pair})" for pair in explanation.pairs]
    head = ["id", "target" if explanation.of_numbers else "class", "truth", "predicted", "empty", "complete", *columns]
    write_rows(path, chain([head], _rows(explanation, trained)))


def _rows(explanation: Explanation, trained: TrainedRun) -> Iterator[list[str]]:
    for n, row in enumerate(trained.fold.rows):
        decision = [explanation.words(explanation.truth[n]), explanation.words(explanation.decided[-1, n])]
        ends = explanation.coalitions[[0, -1], n]
        numbers = np.concatenate([ends, explanation.shapley[:, n], explanation.interaction[:, n]]).T  # [C, …]
        for c, (name, values) in enumerate(zip(explanation.classes, numbers.tolist(), strict=True)):
            if explanation.of_numbers:
                decision = [repr(float(value)) for value in (explanation.truth[n, c], explanation.decided[-1, n, c])]
            yield [trained.corpus.store.ids[row], name, *decision, *(f"{value:.8f}" for value in values)]


def _words(trained: TrainedRun, row: int, monitor: Monitor) -> list[Word]:
    """The words of a sample; without them, and said, where their file is damaged: they are only shown."""
    try:
        return words_of(trained.corpus.dataset, trained.corpus.store, row)
    except DataError as error:
        monitor.say(f"Note: without the words of {trained.corpus.store.ids[row]}: {error}")
        return []


def _rounded(window: OcclusionWindow) -> OcclusionWindow:
    """A window for JSON: there are hundreds of them, and no one reads a seventh digit."""
    attention = None if window.attention is None else round(window.attention, 6)
    return evolve(
        window,
        start=round(window.start, 6),
        end=round(window.end, 6),
        occlusion=round(window.occlusion, 6),
        attention=attention,
    )
