"""Samples as JSON: lists of lists of numbers, checked before a model sees them."""

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from emotiwave_core.data.formats.transcripts import LONGEST_WORD
from emotiwave_core.errors import choices, short
from emotiwave_core.io.untrusted import parse_json
from emotiwave_core.serve.limits import Limits, wrong

EXTRAS = ("times", "words", "interval")
LATEST = 86_400.0  # seconds: no moment of a sample lies further from 0
NUMBERS = "iuf"  # kinds of NumPy's types


@attrs.frozen(eq=False)
class Sample:
    """One sample as `Run.predict` takes it."""

    arrays: dict[str, Any]
    floats: int  # of its modalities, were all of them as long as the longest


@attrs.frozen
class Shape:
    """The form of a sample that a run can read."""

    widths: Mapping[str, int]  # {stream: features}
    rate: float | None  # steps a second that the run makes of times; None: as many as there are
    limits: Limits
    words: frozenset[str] = frozenset()  # the streams that are lists of words


def parse(body: bytes) -> Any:
    """The value of a JSON body. Refusal where it is none."""
    try:
        return parse_json(body)
    except ValueError as error:
        hint = ": write null for a number that is not known" if "no number of JSON" in str(error) else ""
        raise wrong(f"The body cannot be used: {error}{hint}.") from error


def sample_of(body: bytes, shape: Shape) -> Sample:
    """The sample of a body. Refusal for what is wrong with it."""
    return read_sample(parse(body), shape, "the sample")


def samples_of(body: bytes, shape: Shape) -> "list[Sample | Exception]":
    """The samples of `{"samples": […]}`; in the place of a wrong one stands its Refusal."""
    table = parse(body)
    if not isinstance(table, dict) or set(table) != {"samples"} or not isinstance(table["samples"], list):
        raise wrong('The body is to be {"samples": [{"MODALITY": [[…], …], …}, …]}.')
    samples = table["samples"]
    if not 1 <= len(samples) <= shape.limits.samples:
        raise wrong(f"A batch has 1 to {shape.limits.samples} samples, and this has {len(samples)}.")
    read: list[Sample | Exception] = []
    for number, each in enumerate(samples):
        try:
            read.append(read_sample(each, shape, f"sample {number}"))
        except Exception as error:
            read.append(error)
    return read


def read_sample(table: Any, shape: Shape, who: str) -> Sample:
    """One sample of JSON; `who` it is in a sentence. Refusal for what is wrong with it."""
    if not isinstance(table, dict):
        raise wrong(f'{who.capitalize()} is no table of arrays, {{"MODALITY": [[…], …], …}}.')
    arrays: dict[str, Any] = {}
    for name, value in table.items():
        if name not in EXTRAS and name not in shape.widths:
            raise wrong(f"This run reads no {short(name)}, which {who} has.{choices(name, [*shape.widths, *EXTRAS])}")
        if value is not None and name not in EXTRAS:
            what = f"'{name}' of {who}"
            is_words = name in shape.words
            arrays[name] = _words(value, shape, what) if is_words else _features(value, shape, what, shape.widths[name])
    steps = max(map(len, arrays.values()), default=0)
    if not steps:
        raise wrong(f"{who.capitalize()} has nothing in any modality: there is nothing to predict from.")
    times = _times(table.get("times"), arrays, who)
    if times:
        arrays["times"] = times
    if (words := table.get("words")) is not None:
        arrays["words"] = _intervals(words, f"'words' of {who}", None)
        if len(arrays["words"]) > shape.limits.steps:
            raise wrong(f"'words' of {who} has {len(arrays['words'])} rows, more than {shape.limits.steps}.")
    if (interval := table.get("interval")) is not None:
        arrays["interval"] = _interval(interval, who)
    _check_span(arrays, shape, who)
    return Sample(arrays, sum(shape.widths.values()) * (steps if shape.rate is None else shape.limits.steps))


def _features(value: Any, shape: Shape, what: str, width: int) -> NDArray[np.float32]:
    """Features [T, F]; null is a number that is not known, as NaN is in Python."""
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, as from a file
        array = _numbers(value, what).astype(np.float32)
    if array.size == 0:
        return np.empty((0, width), np.float32)
    if array.ndim != 2 or array.shape[1] != width:
        raise wrong(f"{what} is {list(array.shape)}, and this run reads [steps, {width}].")
    if len(array) > shape.limits.steps:
        raise wrong(f"{what} has {len(array)} steps, more than {shape.limits.steps}.")
    return array


def _words(value: Any, shape: Shape, what: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(word, str) and len(word) <= LONGEST_WORD for word in value):
        raise wrong(f'{what} is no list of words of at most {LONGEST_WORD} characters, as in ["well", "yes"].')
    if len(value) > shape.limits.steps:
        raise wrong(f"{what} has {len(value)} words, more than {shape.limits.steps}.")
    return value


def _numbers(value: Any, what: str) -> NDArray[np.float64]:
    no_array = wrong(f"{what} is no array of numbers, [[…], …] with rows of one length.")
    if not isinstance(value, list):
        raise no_array
    try:
        array = np.asarray(value)
        if array.dtype.kind == "O" and not all(each is None or type(each) in (int, float) for each in array.flat):
            raise no_array
        if array.dtype.kind not in f"{NUMBERS}O":
            raise no_array
        return np.asarray(array, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise no_array from error


def _times(value: Any, arrays: Mapping[str, Any], who: str) -> dict[str, NDArray[np.float64]]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise wrong(f"'times' of {who} is to be a table, {{\"MODALITY\": [[start, end], …]}}.")
    times = {}
    for name, rows in value.items():
        if name not in arrays:
            raise wrong(f"{who.capitalize()} has times of {short(name)}, and no features of it.")
        times[name] = _intervals(rows, f"'times' of '{name}' of {who}", len(arrays[name]))
    return times


def _intervals(value: Any, what: str, count: int | None) -> NDArray[np.float64]:
    array = _numbers(value, what).reshape(-1, 2) if value == [] else _numbers(value, what)
    if array.ndim != 2 or array.shape[1] != 2 or count not in (None, len(array)):
        wanted = "rows" if count is None else str(count)
        raise wrong(f"{what} is {list(array.shape)}, not [{wanted}, 2] seconds.")
    if not (np.abs(array) <= LATEST).all():
        raise wrong(f"{what} has a moment that is none, or further than {LATEST:.0f} s from 0.")
    return array


def _interval(value: Any, who: str) -> tuple[float, float]:
    array = _numbers(value, f"'interval' of {who}")
    if array.shape != (2,) or not (np.abs(array) <= LATEST).all() or not array[0] < array[1]:
        raise wrong(f"'interval' of {who} is to be [start, end] in seconds, at most {LATEST:.0f} s from 0.")
    return float(array[0]), float(array[1])


def _check_span(arrays: Mapping[str, Any], shape: Shape, who: str) -> None:
    """Refusal where the run would make too many steps of the time that a sample lasts."""
    if shape.rate is None:
        return
    moments = [*arrays.get("times", {}).values(), np.array(arrays.get("interval", ()))]
    values = np.concatenate([each.reshape(-1) for each in moments])
    if len(values) and (seconds := float(values.max() - values.min())) * shape.rate > shape.limits.steps:
        most = shape.limits.steps / shape.rate
        raise wrong(f"{who.capitalize()} lasts {seconds:.0f} s, and this server takes {most:.0f} s.")
