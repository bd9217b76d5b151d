"""Samples handed over as arrays, as a store in memory: with the same numbers as if they had been packed from files."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import attrs
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from emotiwave_core.config.recipe import DataSettings, PerModality
from emotiwave_core.data.facts import StoreFacts
from emotiwave_core.data.formats.transcripts import SILENCE
from emotiwave_core.data.prepare.align import (
    Steps,
    average,
    informative_steps,
    overlapping,
    reference_times,
    rounded,
    sequence_steps,
)
from emotiwave_core.data.prepare.options import Options
from emotiwave_core.data.prepare.segments import in_time_order
from emotiwave_core.data.store.store import Store
from emotiwave_core.errors import DataError, SettingsError, choices
from emotiwave_core.modalities import setting_of

Number = TypeVar("Number", bound=np.generic)
Tokens = Mapping[str, Callable[[Sequence[str]], torch.Tensor]]
NO_TOKENS: Tokens = MappingProxyType({})


@attrs.frozen(eq=False)
class ArraySample:
    """One sample, as arrays. A modality that is not among the features, or is None or has no step, is absent.

    They are by stream: `audio`, or `audio/clip` where the modality has several. One whose encoder reads words is a list
    of them. `times` are needed where a run aligns
    its data (data.align), and there `words` or, with "words", the times of the modality `text`; elsewhere they only say
    the order of the steps.
    """

    features: Mapping[str, ArrayLike | Sequence[str] | None]  # {stream: [T, F]}, which may hold NaN, or T words
    times: Mapping[str, ArrayLike] = attrs.field(factory=dict)  # {stream: [T, 2] seconds}
    words: ArrayLike | None = None  # [W, 2] seconds
    interval: tuple[float, float] | None = None  # seconds; None: from the first moment to the last in any modality


class _Sequence(NamedTuple):
    """One stream of a sample as it was handed over."""

    features: NDArray[np.float32]  # [S, F]
    intervals: NDArray[np.float64]  # [S, 2]


def store_of_arrays(
    samples: Sequence[ArraySample], features: Mapping[str, int], settings: DataSettings, tokens: Tokens = NO_TOKENS
) -> Store:
    """A store of these samples, cut, averaged and cleaned as the data settings of a run say.

    features: {stream: width} of the model. tokens: {stream: words -> [W, K]} of the encoders that read words. Raises
    SettingsError for a modality that the model has not or for times that are missing, DataError for an array of another
    form or a sample that has nothing in any modality. One of zeros or no number alone (data.filler) has no step.
    """
    features = {**features, **{name: number(()).shape[1] for name, number in tokens.items()}}
    sequences = [_sequences(number, sample, features, settings, tokens) for number, sample in enumerate(samples)]
    spans = [_span(sample, own) for sample, own in zip(samples, sequences, strict=True)]
    steps = [_steps(*of_sample, settings, tokens) for of_sample in zip(samples, sequences, spans, strict=True)]
    values, offsets, times, present = {}, {}, {}, {}
    for name, width in features.items():
        arrays = [average(own[name].features, each[name]) for own, each in zip(sequences, steps, strict=True)]
        kept = [each[name] for each in steps]
        if settings.filler != "keep" and name not in tokens:
            kept = [_without_filler(array, each, settings) for array, each in zip(arrays, kept, strict=True)]
            arrays = [array[: len(each.counts)] for array, each in zip(arrays, kept, strict=True)]
        values[name] = torch.from_numpy(np.concatenate([np.empty((0, width), np.float32), *arrays]))
        offsets[name] = np.cumsum([0, *map(len, arrays)], dtype=np.int64)
        times[name] = _float32(np.concatenate([np.empty((0, 2)), *(each.times for each in kept)]))
        counts = np.concatenate([np.empty(0, np.intp), *(each.counts for each in kept)])
        present[name] = torch.from_numpy(counts > 0)
    return Store(
        path=None,
        fingerprint="",
        facts=_facts(len(samples), features, settings),
        labels=torch.empty(len(samples), 0),
        intervals=torch.tensor(spans, dtype=torch.float64).reshape(-1, 2),
        values=values,
        offsets=offsets,
        step_times=times,
        step_present=present if settings.align != "none" else None,
    )


def _facts(count: int, features: Mapping[str, int], settings: DataSettings) -> StoreFacts:
    names = tuple(map(str, range(count)))
    max_steps, downsample = (
        {name: number for name in features if (number := _number_for(name, setting)) is not None}
        for setting in (settings.max_steps, settings.downsample)
    )
    return StoreFacts(
        dataset="arrays",
        synthetic=False,
        targets=(),
        label_source="no labels",
        unit=settings.unit,
        options=Options(unit=settings.unit, max_steps=max_steps, downsample=downsample, align=settings.align),
        ids=names,
        videos=names,
        left_out={},
        notes=(),
        warnings=(),
        sources={},
        modalities={},
        label_kind="intensities",
        label_kind_source="no labels",
        groups=None,
        meaning={},
        samples_of_sources={},
    )


def _sequences(
    number: int, sample: ArraySample, features: Mapping[str, int], settings: DataSettings, tokens: Tokens
) -> dict[str, _Sequence]:
    """The arrays of a sample by modality, of the right form; of no step where a modality is absent."""
    for name in {**sample.features, **sample.times}:
        if name not in features:
            raise SettingsError(f"Sample {number} has the modality '{name}'.{choices(name, features)}")
    sequences = {}
    for name, width in features.items():
        array: Any = sample.features.get(name)
        said = _words(name, number, array) if name in tokens and array is not None else None
        if said is not None:
            array = tokens[name](said).numpy()
        with np.errstate(over="ignore"):  # as from files: what float32 cannot hold is infinite
            values = np.empty((0, width), np.float32) if array is None else _numbers(name, number, array, np.float32)
        if values.ndim != 2 or values.shape[1] != width:
            raise DataError(
                f"'{name}' of sample {number} is {list(values.shape)}, and the model reads [steps, {width}]."
            )
        times = sample.times.get(name)
        if times is None and settings.align != "none" and len(values):
            raise SettingsError(
                f"data.align is {settings.align}, so sample {number} needs the times of '{name}', [steps, 2] seconds."
            )
        order = np.arange(len(values), dtype=np.float64)
        intervals = np.stack([order, order + 1], axis=1) if times is None else _numbers(name, number, times, np.float64)
        if array is not None and intervals.shape != (len(values), 2):
            raise DataError(f"'{name}' of sample {number} has {len(values)} steps and times {list(intervals.shape)}.")
        sequences[name] = _Sequence(values, intervals if array is not None else np.empty((0, 2)))
        if said is not None:
            spoken = np.array([word not in SILENCE for word in said], dtype=bool)
            sequences[name] = _Sequence(values[spoken], intervals[spoken])
    if not any(len(in_time_order(own.intervals)) for own in sequences.values()):
        raise DataError(f"Sample {number} has nothing in any modality: there is nothing to predict from.")
    return sequences


def _words(name: str, number: int, given: Any) -> list[str]:
    """A list of words. DataError where it is none."""
    words = given if isinstance(given, list | tuple) else np.asarray(given).tolist()
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
        raise DataError(
            f"'{name}' of sample {number} is no list of words, and the encoder of the run reads words: give them as in "
            "['well', 'yes']."
        )
    return [word.encode("utf-8", "replace").decode() for word in words]  # half a character has no UTF-8


def _numbers(name: str, number: int, array: ArrayLike, kind: type[Number]) -> NDArray[Number]:
    """An array of numbers. DataError where it is none, such as rows of several lengths or a tensor of a GPU."""
    try:
        return np.asarray(array, dtype=kind)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"'{name}' of sample {number} is no array of numbers: {error}.") from error


def _span(sample: ArraySample, sequences: Mapping[str, _Sequence]) -> tuple[float, float]:
    if sample.interval is not None:
        return sample.interval
    times = np.concatenate([own.intervals[in_time_order(own.intervals)] for own in sequences.values()])
    return float(times.min()), float(times.max())


def _steps(
    sample: ArraySample,
    sequences: Mapping[str, _Sequence],
    span: tuple[float, float],
    settings: DataSettings,
    tokens: Tokens,
) -> dict[str, Steps]:
    """The steps of a sample in each modality, as packing makes them of an entry that is the sample, whole."""
    if settings.align == "none":
        steps = {}
        for name, own in sequences.items():
            most, k = _number_for(name, settings.max_steps), _number_for(name, settings.downsample) or 1
            steps[name], _ = sequence_steps(own.intervals, in_time_order(own.intervals), most, k)
        return steps
    words = sample.words if sample.words is not None else sample.times.get("text", np.empty((0, 2)))
    said = np.asarray(words, dtype=np.float64).reshape(-1, 2)
    limits = [limit for name in sequences if (limit := _number_for(name, settings.max_steps)) is not None]
    shortest = min(limits, default=None)
    times = reference_times(settings.align, said[in_time_order(said)], *span, shortest)[:shortest]
    steps = {name: overlapping(rounded(own.intervals), times) for name, own in sequences.items()}
    return {name: own.longest_rows(sequences[name].intervals) if name in tokens else own for name, own in steps.items()}


def _without_filler(values: NDArray[np.float32], steps: Steps, settings: DataSettings) -> Steps:
    """The steps that packing keeps of values [T, F]: none of zeros alone, and no zeros at the end."""
    kept = informative_steps(values)
    if settings.align == "none":
        return steps.part(0, kept)
    return steps if kept else steps.without_rows(np.ones(len(values), dtype=bool))


def _number_for(stream: str, setting: PerModality) -> int | None:
    return setting_of(stream, setting) if isinstance(setting, dict) else setting


def _float32(times: NDArray[np.float64]) -> torch.Tensor:
    with np.errstate(over="ignore"):
        return torch.from_numpy(times.astype(np.float32))
