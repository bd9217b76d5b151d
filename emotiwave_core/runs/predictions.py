"""`predictions.csv`: a row for each sample and configuration, written by an evaluation and read by the report."""

import csv
import io
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from emotiwave_core.data.dataset import MOST_MODALITIES
from emotiwave_core.errors import DataError
from emotiwave_core.io.atomic import csv_line, write_text
from emotiwave_core.io.untrusted import open_file
from emotiwave_core.modalities import configurations, name_of
from emotiwave_core.runs.schema import DAMAGED, anew, damaged, name
from emotiwave_core.runs.scores import Scores

PREDICTIONS = "predictions.csv"
MOST_SAMPLES, MOST_NUMBERS = 5_000, 1_500_000  # what a page can hold and still open at once
MOST_LINE = 1 << 20  # characters


def _columns(classes: Sequence[str]) -> list[str]:
    return ["id", "start", "end", "configuration", "truth", "predicted", *(f"p({name})" for name in classes)]


class LabelledSample(NamedTuple):
    """A sample as its rows begin: its id, its interval in seconds, and its true class, or [C] for multi-label."""

    id: str
    start: float
    end: float
    truth: Any


def write_predictions(
    path: Path,
    classes: tuple[str, ...],
    modalities: tuple[str, ...],
    samples: Sequence[LabelledSample],
    decided: NDArray[np.int64],
    probabilities: NDArray[np.float64],
) -> None:
    """Write a row for each sample and configuration: id, interval, truth, prediction and all probabilities.

    decided [K, N] or [K, N, C], probabilities [K, N, C]. Several emotions of one sample stand together as `happy+fear`;
    none is empty. Probabilities have all their digits, so that each decision follows from the file.
    """
    lines = [csv_line(_columns(classes))]
    truths = [_words(sample.truth, classes) for sample in samples]
    for k, configuration in enumerate(configurations(modalities)):
        for n, sample in enumerate(samples):
            described = [sample.id, f"{sample.start:.3f}", f"{sample.end:.3f}", name_of(configuration)]
            shown = [repr(float(value)) for value in probabilities[k, n]]  # every digit, as thresholds are compared
            lines.append(csv_line([*described, truths[n], _words(decided[k, n], classes), *shown]))
    write_text(path, "".join(lines))


def _words(decision: Any, classes: tuple[str, ...]) -> str:
    if np.ndim(decision) == 0:
        return classes[int(decision)]
    return "+".join(name for name, value in zip(classes, decision, strict=True) if value)


@frozen
class PredictedSample:
    """One sample: indices of its true classes, and for each configuration those decided and all probabilities."""

    id: str
    truth: tuple[int, ...]
    decided: list[tuple[int, ...]]  # [K]
    permille: list[list[int]]  # [K][C]


@frozen
class Predicted:
    """The samples that the page holds, of `total` in the fold."""

    total: int
    samples: list[PredictedSample]


def read_predicted(run: Path, scores: Scores, wanted: Collection[str]) -> Predicted | None:
    """The predictions of a run, those of the `wanted` ids included; None without a file, DataError for a damaged one.

    Of a fold that is too large for a page an even selection is kept.
    """
    path = run / PREDICTIONS
    if not os.path.lexists(path):
        return None
    try:
        with open_file(path) as opened, io.TextIOWrapper(opened, encoding="utf-8", newline="") as file:
            lines = iter(lambda: file.readline(MOST_LINE), "")  # a field that is longer is an error of csv's
            return _collect(csv.reader(lines, strict=True), scores, frozenset(wanted))
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}.") from error
    except (*DAMAGED, csv.Error) as error:
        damage = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise damaged(path, damage, anew(run)) from error


def _collect(rows: Iterator[list[str]], scores: Scores, wanted: frozenset[str]) -> Predicted:
    if len(scores.modalities) > MOST_MODALITIES:
        raise ValueError(f"more than {MOST_MODALITIES} modalities")
    names = [name_of(configuration) for configuration in configurations(scores.modalities)]
    if names != list(scores.configurations):
        raise ValueError("scores.json has other configurations")
    expected = _columns(scores.classes)
    if list(map(name, next(rows, []))) != expected:
        raise ValueError("its columns are not those of the classes in scores.json")
    most = max(min(MOST_SAMPLES, MOST_NUMBERS // (len(names) * len(scores.classes))), 1)
    step = max(scores.samples / most, 1.0)
    selected = {int(n * step) for n in range(min(most, scores.samples))}
    samples: dict[int, PredictedSample] = {}
    for k, configuration in enumerate(names):
        for n in range(scores.samples):
            row = next(rows, None)
            if row is None or len(row) != len(expected) or name(row[3]) != configuration:
                raise ValueError("its rows are not those of the samples and configurations in scores.json")
            if not k and (n in selected or name(row[0]) in wanted):
                samples[n] = PredictedSample(name(row[0]), _indices(row[4], scores), [], [])
            if n in samples:
                _add(samples[n], row, scores)
    if next(rows, None) is not None:
        raise ValueError("it has more rows than samples and configurations in scores.json")
    return Predicted(scores.samples, list(samples.values()))


def _add(sample: PredictedSample, row: list[str], scores: Scores) -> None:
    if name(row[0]) != sample.id:
        raise ValueError("its samples are not in the same order in every configuration")
    probabilities = [float(value) for value in row[6:]]
    if not all(0 <= value <= 1 for value in probabilities):  # False for NaN as well
        raise ValueError("a probability is not from 0 to 1")
    sample.permille.append([round(value * 1000) for value in probabilities])
    sample.decided.append(_indices(row[5], scores))


def _indices(words: str, scores: Scores) -> tuple[int, ...]:
    """Indices of the classes that `happy+fear` names; a name may hold a plus itself."""
    words = name(words)
    if scores.objective == "single":
        if words not in scores.classes:
            raise ValueError(f"{words} is not one of the classes in scores.json")
        return (scores.classes.index(words),)
    rests: dict[str, tuple[int, ...]] = {words: ()}  # what is left to read -> what was read
    for index, emotion in enumerate(scores.classes):
        for rest, read in list(rests.items()):
            if rest == emotion:
                return (*read, index)
            if rest.startswith(f"{emotion}+"):
                rests.setdefault(rest[len(emotion) + 1 :], (*read, index))
    if words:
        raise ValueError(f"{words} is not made of the classes in scores.json")
    return ()


def embedded(predicted: Predicted, modalities: Sequence[str], absent: Mapping[str, Sequence[str]]) -> str:
    """The predictions as JSON that may stand in a script element: nothing in it can end the element or a line.

    absent: the modalities that a sample lacks, by its id, where it lacks any.
    """
    bits = {modality: 1 << index for index, modality in enumerate(modalities)}
    value = {
        "configurations": [sum(bits[m] for m in configuration) for configuration in configurations(modalities)],
        "samples": [
            [
                sample.id,
                sample.truth,
                sample.decided,
                sample.permille,
                sum(bits[m] for m in set(absent.get(sample.id, ()))),
            ]
            for sample in predicted.samples
        ],
    }
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text
