"""Files of a run are untrusted: they are checked and cleaned as they are read, and refused in one sentence.

Numbers must be finite and of a size that can be printed, names lose what could disturb a line of text, and a file
that does not hold what it should is a DataError, never a traceback.
"""

import math
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NewType, TypeVar

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from emotiwave_core.errors import DataError
from emotiwave_core.io.untrusted import MOST_JSON, parse_json, read_bytes, why

Part = TypeVar("Part")
Matrix = list[list[int]]
Confusion = Matrix | dict[str, Matrix]  # [C, C], row = true, column = predicted | {class: [[tn, fp], [fn, tp]]}
Fraction = NewType("Fraction", float)  # from 0 to 1
Interval = NewType("Interval", tuple[float, float])  # low, high: in order, both from 0 to 1
Score = NewType("Score", float)  # of a headline: macro-F1 from 0 to 1, or CCC from -1 to 1
ScoreInterval = NewType("ScoreInterval", tuple[float, float])  # low, high: in order
Range = NewType("Range", tuple[float, float])  # low, high: in order, any numbers
# For each headline, the keys of the file for those fields of a record that have others than their names; None: no key.
Keys = Mapping[str, Mapping[str, str | None]]

# Control characters, lone surrogates (no UTF-8 for them) and marks that reverse the text around them.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
DAMAGED = (
    cattrs.BaseValidationError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
LARGEST = 1e30  # more cannot be a score, a count or a second, and would not fit a cell


def clean(text: str) -> str:
    """Text that may span lines, without what a page or a terminal must not be given."""
    return _UNSAFE.sub("\ufffd", text)


def name(text: str) -> str:
    """Text of one line, cleaned."""
    return re.sub(r"[\t\n]", " ", clean(text))


def file_bytes(run: Path, file: str, most: int = MOST_JSON) -> bytes:
    """The content of a file of a run; DataError with a way out where it is missing or cannot be read."""
    try:
        return read_bytes(run / file, most)
    except FileNotFoundError:
        evaluate = shlex.join(("emotiwave", "evaluate", str(run)))
        way_out = f"run `{evaluate}` first." if file == "scores.json" else "is it the folder of a run?"
        raise DataError(f"{run} has no {file}: {way_out}") from None
    except (OSError, ValueError) as error:
        raise DataError(f"Cannot read {run / file}: {why(error)}.") from error


def parse(data: bytes, kind: type[Part], path: str, way_out: str = "", exact: bool = False) -> Part:
    """JSON as an object of `kind`. DataError names the place, what is wrong there, and the way out where one is.

    `exact` keeps texts as they stand there, for a program; for people they are cleaned.
    """
    try:
        # JSON has no NaN: what Python would read as one becomes null, which only optional numbers accept.
        value = parse_json(data, lenient=not exact)
        if not isinstance(value, dict):
            raise ValueError("it is no JSON object")
        return (exact_converter if exact else converter).structure(value, kind)
    except DAMAGED as error:
        raise damaged(path, _damage(error), way_out) from error


def _damage(error: BaseException) -> str:
    """The wrong key and what is wrong with it."""
    if isinstance(error, cattrs.BaseValidationError):
        what, _, where = cattrs.transform_error(error, format_exception=_words)[0].rpartition(" @ ")
        key = where.removeprefix("$").removeprefix(".")
        return f"'{key}' {what}" if key else f"it {what}"
    return str(error)


def _words(error: BaseException, kind: type | None) -> str:
    if isinstance(error, KeyError):
        return "is missing"
    own = isinstance(error, ValueError) and str(error).endswith("expected")
    return f"is wrong: {error}" if own else "is not what it should be"


def damaged(path: Path | str, damage: str, way_out: str = "") -> DataError:
    """The sentence about a file that does not hold what it should."""
    end = f"; {way_out}." if way_out else "."
    return DataError(f"{path} is damaged or not what this version of Emotiwave writes: {name(damage)[:300]}{end}")


def anew(run: Path, *options: str) -> str:
    """The way out for a file that `emotiwave evaluate` writes."""
    return f"`{shlex.join(('emotiwave', 'evaluate', str(run), *options))}` writes it anew"


def _text(value: Any, _: type) -> str:
    return name(_exact_text(value, str))


def _exact_text(value: Any, _: type) -> str:
    if not isinstance(value, str):
        raise ValueError("text expected")
    return value


def _number(value: Any, kind: type) -> Any:
    """Whole numbers where floats are wanted, but no truth values as numbers, no text, nothing infinite or absurd."""
    right = isinstance(value, (int, float) if kind is float else kind) and isinstance(value, bool) == (kind is bool)
    if not right or not math.isfinite(value):
        raise ValueError(f"{kind.__name__} expected")
    if abs(value) > LARGEST:
        raise ValueError("a number below 1e30 expected")
    return kind(value)


def _fraction(value: Any, _: Any) -> Fraction:
    number: float = _number(value, float)
    if not -1e-9 <= number <= 1 + 1e-9:  # sums of floats end a little beside 1
        raise ValueError("number from 0 to 1 expected")
    return Fraction(min(max(number, 0.0), 1.0))


def _interval(value: Any, _: Any) -> Interval:
    low, high = (_fraction(end, None) for end in value)
    if low > high:
        raise ValueError("interval in order expected")
    return Interval((low, high))


def _score(value: Any, _: Any) -> Score:
    number: float = _number(value, float)
    if not -1 - 1e-9 <= number <= 1 + 1e-9:
        raise ValueError("number from -1 to 1 expected")
    return Score(min(max(number, -1.0), 1.0))


def _score_interval(value: Any, _: Any) -> ScoreInterval:
    low, high = (_score(end, None) for end in value)
    if low > high:
        raise ValueError("interval in order expected")
    return ScoreInterval((low, high))


def _range(value: Any, _: Any) -> Range:
    low, high = (_number(end, float) for end in value)
    if low > high:
        raise ValueError("interval in order expected")
    return Range((low, high))


def _confusion(value: Any, _: Any) -> Any:
    if value is None:
        return None
    return converter.structure(value, dict[str, Matrix] if isinstance(value, dict) else Matrix)


converter, exact_converter = cattrs.Converter(), cattrs.Converter()
for _converter, _of_text in ((converter, _text), (exact_converter, _exact_text)):
    _converter.register_structure_hook(str, _of_text)
    for _kind in (int, float, bool):
        _converter.register_structure_hook(_kind, _number)
    _converter.register_structure_hook(Fraction, _fraction)
    _converter.register_structure_hook(Interval, _interval)
    _converter.register_structure_hook(Score, _score)
    _converter.register_structure_hook(ScoreInterval, _score_interval)
    _converter.register_structure_hook(Range, _range)
    _converter.register_structure_hook(Confusion | None, _confusion)


def name_by_headline(kind: type, keys: Keys) -> None:
    """Let a record have other keys in the file of a run of classes than in that of numbers, as `keys` says.

    The record tells by `headline`, which is no key itself, which of them are its own. A file is of numbers where the
    first key of `keys["ccc"]` is in it.
    """
    for one in (converter, exact_converter):
        structure, unstructure = functions_by_headline(kind, keys, one)
        one.register_structure_hook(kind, _ignoring_type(structure))
        one.register_unstructure_hook(kind, unstructure)


def functions_by_headline(
    kind: type, keys: Keys, of: cattrs.Converter
) -> tuple[Callable[[Any], Any], Callable[[Any], dict[str, Any]]]:
    """The reader and the writer of a record as `name_by_headline` has them."""
    readers: dict[str, Callable[[Any, type], Any]] = {}
    writers: dict[str, Callable[[Any], dict[str, Any]]] = {}
    for headline, names in keys.items():
        renamed: dict[str, Any] = {"headline": override(omit=True)}
        for name, key in names.items():
            renamed[name] = override(omit=True) if key is None else override(rename=key)
        readers[headline] = make_dict_structure_fn(kind, of, **renamed)
        writers[headline] = make_dict_unstructure_fn(kind, of, **renamed)

    def structure(value: Any) -> Any:
        headline = "ccc" if next(iter(keys["ccc"].values())) in value else "macro_f1"
        names = keys[headline]
        try:
            record = attrs.evolve(readers[headline](value, kind), headline=headline)
        except cattrs.ClassValidationError as error:
            for each in error.exceptions:
                each.__notes__ = [_renamed(note, names) for note in getattr(each, "__notes__", [])]
            raise
        if headline == "macro_f1":
            _check_not_negative(record, kind, names)
        return record

    def unstructure(record: Any) -> dict[str, Any]:
        return writers[record.headline](record)

    return structure, unstructure


def _ignoring_type(structure: Callable[[Any], Any]) -> Callable[[Any, type], Any]:
    return lambda value, _: structure(value)


def _renamed(note: Any, names: Mapping[str, str | None]) -> Any:
    """A note of cattrs on a field, with the key of the file."""
    if not isinstance(note, cattrs.AttributeValidationNote):
        return note
    return cattrs.AttributeValidationNote(str(note), names.get(note.name) or note.name, note.type)


def _check_not_negative(record: Any, kind: type, names: Mapping[str, str | None]) -> None:
    """Scores from -1 to 1 are of numbers alone."""
    for field, key in names.items():
        if key is not None and any(number < 0 for number in _numbers_in(getattr(record, field))):
            error = ValueError("number from 0 to 1 expected")
            error.__notes__ = [cattrs.AttributeValidationNote(f"score {key}", key, Score)]
            raise cattrs.ClassValidationError(f"while structuring {kind.__name__}", [error], kind)


def _numbers_in(value: Any) -> Iterator[float]:
    if isinstance(value, list | tuple):
        for each in value:
            yield from _numbers_in(each)
    elif isinstance(value, int | float):
        yield value
