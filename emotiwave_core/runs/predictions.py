"""`predictions.csv`: a row for each sample and configuration, written by an evaluation and read by the report."""

import csv
import io
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from emotiwave_core.data.dataset import MOST_MODALITIES
from emotiwave_core.errors import DataError
from emotiwave_core.io.atomic import write_rows
from emotiwave_core.io.untrusted import open_file
from emotiwave_core.modalities import configurations, name_of
from emotiwave_core.runs.schema import DAMAGED, LARGEST, anew, damaged, name
from emotiwave_core.runs.scores import Scores

PREDICTIONS = "predictions.csv"
MOST_SAMPLES, MOST_NUMBERS = 5_000, 1_500_000  # what a page can hold and still open at once
MOST_LINE = 1 << 20  # characters


FIXED = ["id", "start", "end", "configuration"]


def _columns(classes: Sequence[str], numbers: bool) -> list[str]:
    """The columns that every version has written."""
    if numbers:
        return [*FIXED, *(f"truth({name})" for name in classes), *(f"predicted({name})" for name in classes)]
    return [*FIXED, "truth", "predicted", *(f"p({name})" for name in classes)]


class Certainty(NamedTuple):
    """Certainty of a run about N samples in K configurations, and modalities that are unlike those of the training."""

    confidence: NDArray[np.float64] | None  # [K, N], the probability of what is decided; None of numbers
    # [K, N], the least share of errors that it can be kept to (`predict --max-risk`) and still decides, NaN where it
    # never does; None where the run knows no such shares.
    risk: NDArray[np.float64] | None
    # {modality: [N], its distance over the threshold, NaN where it is absent}, and of pairs (`audio+visual`) how many
    # times less than the threshold the two agree.
    alarms: dict[str, NDArray[np.float64]]

    def columns(self) -> list[str]:
        """The columns after those of the answers."""
        told = {"confidence": self.confidence, "risk": self.risk}
        return [*(name for name, values in told.items() if values is not None), *map(_alarm, self.alarms)]

    def cells(self, k: int, n: int, configuration: Sequence[str]) -> list[str]:
        """The cells of a row; what does not exist is empty, as the alarm of a modality that is not in it."""
        told = [values[k, n] for values in (self.confidence, self.risk) if values is not None]
        told += [
            shares[n] if set(name.split("+")) <= set(configuration) else np.nan for name, shares in self.alarms.items()
        ]
        return ["" if np.isnan(value) else repr(float(value)) for value in told]


def _alarm(modality: str) -> str:
    return f"alarm({modality})"


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
    decided: NDArray[Any],
    answers: NDArray[np.float64],
    certainty: Certainty,
) -> None:
    """Write a row for each sample and configuration: id, interval, truth, prediction, all probabilities, certainty.

    decided [K, N] or [K, N, C], answers [K, N, C]. Several emotions of one sample stand together as `happy+fear`; none
    is empty. Of numbers the truth and the prediction of each target. Probabilities and numbers have all their digits,
    so that each decision follows from the file.
    """
    numbers = decided.dtype.kind == "f"
    truths = [_exact(sample.truth) if numbers else [_words(sample.truth, classes)] for sample in samples]

    def rows() -> Iterator[list[str]]:
        yield [*_columns(classes, numbers), *certainty.columns()]
        for k, configuration in enumerate(configurations(modalities)):
            for n, sample in enumerate(samples):
                described = [sample.id, f"{sample.start:.3f}", f"{sample.end:.3f}", name_of(configuration)]
                decision = [] if numbers else [_words(decided[k, n], classes)]
                sure = certainty.cells(k, n, configuration)
                yield [*described, *truths[n], *decision, *_exact(answers[k, n]), *sure]

    write_rows(path, rows())


def _exact(numbers: NDArray[np.float64]) -> list[str]:
    """Numbers with as many digits as give the same number again."""
    return [repr(number) for number in numbers.tolist()]


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
class NumberSample:
    """One sample of a regression: its true numbers, and those that are predicted in each configuration."""

    id: str
    truth: tuple[float, ...]  # [C]
    numbers: list[tuple[float, ...]]  # [K][C]


@frozen
class Predicted:
    """The samples that the page holds, of `total` in the fold: of classes, or of numbers."""

    total: int
    samples: list[PredictedSample]
    number_samples: list[NumberSample] = field(factory=list)

    def __len__(self) -> int:
        return len(self.samples) + len(self.number_samples)


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
    is_number = scores.objective == "regression"
    expected = _columns(scores.classes, is_number)
    head = list(map(name, next(rows, [])))
    alarming = [*scores.modalities, *map(name_of, combinations(scores.modalities, 2))]
    further = ("confidence", "risk", *map(_alarm, alarming))  # some, and none in earlier versions
    if head[: len(expected)] != expected or not _stand_in_order(head[len(expected) :], further):
        raise ValueError("its columns are not those of the classes in scores.json")
    most = max(min(MOST_SAMPLES, MOST_NUMBERS // (len(names) * len(scores.classes))), 1)
    step = max(scores.samples / most, 1.0)
    selected = {int(n * step) for n in range(min(most, scores.samples))}
    samples: dict[int, PredictedSample] = {}
    number_samples: dict[int, NumberSample] = {}
    for k, configuration in enumerate(names):
        for n in range(scores.samples):
            row = next(rows, None)
            if row is None or len(row) != len(head) or name(row[3]) != configuration:
                raise ValueError("its rows are not those of the samples and configurations in scores.json")
            is_taken = not k and (n in selected or name(row[0]) in wanted)
            if is_number:
                _take_numbers(number_samples, n, row[: len(expected)], is_taken)
                continue
            if is_taken:
                samples[n] = PredictedSample(name(row[0]), class_indices(row[4], scores), [], [])
            if n in samples:
                _add(samples[n], row[: len(expected)], scores)
    if next(rows, None) is not None:
        raise ValueError("it has more rows than samples and configurations in scores.json")
    return Predicted(scores.samples, list(samples.values()), list(number_samples.values()))


def _stand_in_order(names: Sequence[str], of: Sequence[str]) -> bool:
    """True where the names are some of these others, each once and in their order."""
    return list(names) == [name for name in of if name in names]


def _take_numbers(samples: dict[int, NumberSample], n: int, row: list[str], is_taken: bool) -> None:
    """Add a row of numbers to its sample, where that is taken."""
    values = [float(value) for value in row[len(FIXED) :]]
    if not all(abs(value) < LARGEST for value in values):  # False for NaN as well
        raise ValueError("a number is not finite")
    half = len(values) // 2
    if is_taken:
        samples[n] = NumberSample(name(row[0]), tuple(values[:half]), [])
    if n in samples:
        _same_id(samples[n].id, row)
        samples[n].numbers.append(tuple(values[half:]))


def _same_id(sample: str, row: list[str]) -> None:
    if name(row[0]) != sample:
        raise ValueError("its samples are not in the same order in every configuration")


def _add(sample: PredictedSample, row: list[str], scores: Scores) -> None:
    _same_id(sample.id, row)
    probabilities = [float(value) for value in row[6:]]
    if not all(0 <= value <= 1 for value in probabilities):  # False for NaN as well
        raise ValueError("a probability is not from 0 to 1")
    sample.permille.append([round(value * 1000) for value in probabilities])
    sample.decided.append(class_indices(row[5], scores))


def class_indices(words: str, scores: Scores) -> tuple[int, ...]:
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
    lacks = {sample: sum(bits[m] for m in set(names)) for sample, names in absent.items()}
    value = {
        "configurations": [sum(bits[m] for m in configuration) for configuration in configurations(modalities)],
        "samples": [
            [sample.id, *map(_rounded, (sample.truth, sample.numbers)), lacks.get(sample.id, 0)]
            for sample in predicted.number_samples
        ]
        or [
            [
                sample.id,
                sample.truth,
                sample.decided,
                sample.permille,
                lacks.get(sample.id, 0),
            ]
            for sample in predicted.samples
        ],
    }
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _rounded(numbers: Any) -> Any:
    """Numbers, or lists of them, to the five digits that a page shows at most."""
    return float(f"{numbers:.5g}") if isinstance(numbers, float) else [_rounded(each) for each in numbers]
