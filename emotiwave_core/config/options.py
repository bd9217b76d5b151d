"""Strict reading of settings: nothing is guessed, and an error names the key and what it should be.

`structure` turns tables (from TOML or flags) into attrs classes; `signature_options` reads the options of a part from
its constructor, so that a plugin author declares them once.
"""

import inspect
import math
import re
from collections.abc import Mapping
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn
from cattrs.strategies import configure_union_passthrough

from emotiwave_core.errors import PluginError, SettingsError, choices, short

T = TypeVar("T")

_FIELD = re.compile(r"^'(\w+)'")
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
PARTS = {"Encoder": "encoder", "Fusion": "fusion", "DropoutPolicy": "dropout"}  # what an option may be, and its kind
MOST = 1 << 20  # of a width, or a number of layers
_LARGEST = 2**64 - 1  # the seed of a protocol; a larger number is nothing but damage


def _strict(value: Any, kind: Any) -> Any:
    """Plain cattrs turns "no" into True and 3.9 into 3; here a value is of its type or refused."""
    if isinstance(value, int) and not -_LARGEST <= value <= _LARGEST + 1:
        raise ValueError(f"{short(value)} is too large a number")
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raise ValueError(f"{short(value)} is not {_WORDS[kind]}")
    return value


def _literal(value: Any, kind: Any) -> Any:
    allowed = get_args(kind)
    if not any(type(value) is type(choice) and value == choice for choice in allowed):
        raise ValueError(f"{short(value)} is not one of {', '.join(map(str, allowed))}")
    return value


def _list(value: Any, kind: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{short(value)} is not a list")
    return [CONVERTER.structure(item, get_args(kind)[0]) for item in value]


def _dict(value: Any, kind: Any) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError(f"{short(value)} is not a table")
    of = get_args(kind)[1]
    return {str(key): CONVERTER.structure(item, of) for key, item in value.items()}


def _is(kind: Any, origin: Any) -> bool:
    return get_origin(kind) is origin


def bare(kind: Any) -> Any:
    """`X` of `X | None`, and any other type as it is."""
    if get_origin(kind) in (Union, UnionType):
        rest = [choice for choice in get_args(kind) if choice is not type(None)]
        return rest[0] if len(rest) == 1 else kind
    return kind


def is_part(kind: Any) -> bool:
    """True for an option that is a part itself. (By name: torch is not imported to read a recipe.)"""
    return getattr(kind, "__module__", "") == "emotiwave_core.interfaces" and getattr(kind, "__name__", "") in PARTS


def inner_kind(kind: Any) -> str | None:
    """The kind of the part that an option is, or is a list of; None where it is none."""
    kind = bare(kind)
    kind = get_args(kind)[0] if _is(kind, list) else kind
    return PARTS[kind.__name__] if is_part(kind) else None


def _settings(kind: Any) -> Any:
    """Reader of a class of settings: from a table alone."""
    read = make_dict_structure_fn(kind, CONVERTER, _cattrs_forbid_extra_keys=True)

    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, Mapping):
            raise ValueError(f"{short(value)} is not a table")
        return read(value, kind)

    return hook


CONVERTER = cattrs.Converter(forbid_extra_keys=True, detailed_validation=True)
configure_union_passthrough(None | bool | int | float | str, CONVERTER)
CONVERTER.register_structure_hook_factory(attrs.has, _settings)
for _kind in _WORDS:
    CONVERTER.register_structure_hook(_kind, _strict)
CONVERTER.register_structure_hook_func(lambda kind: _is(kind, Literal), _literal)
CONVERTER.register_structure_hook_func(lambda kind: _is(kind, list), _list)
CONVERTER.register_structure_hook_func(lambda kind: _is(kind, dict), _dict)


def structure(table: Any, kind: type[T], source: str) -> T:
    """A table as the attrs class `kind`; SettingsError with one sentence where it does not fit."""
    try:
        return CONVERTER.structure(table, kind)
    except (cattrs.BaseValidationError, ValueError, TypeError) as error:
        raise SettingsError(f"{source}: {_explain(error)}.") from error


def _explain(error: BaseException, path: str = "") -> str:
    """The first thing that is wrong in a nest of cattrs errors, as `training.epochs: '5x' is not a whole number`."""
    if isinstance(error, cattrs.BaseValidationError):
        first = error.exceptions[0]
        note = next(iter(getattr(first, "__notes__", [])), None)
        name = getattr(note, "name", getattr(note, "index", None))
        if name is None and path and isinstance(first, ValueError) and _FIELD.match(str(first)):
            return _FIELD.sub(rf"'{path}.\1'", str(first))  # of a validator, which knows its field alone
        return _explain(first, path if name is None else f"{path}.{name}" if path else str(name))
    where = f"'{path}': " if path else ""
    if isinstance(error, cattrs.ForbiddenExtraKeysError):
        wrong = min(error.extra_fields)
        known = [field.name for field in attrs.fields(error.cl)]
        return f"unknown key '{path + '.' if path else ''}{wrong}'.{choices(wrong, known)}".rstrip(".")
    if isinstance(error, KeyError):
        return f"'{path + '.' if path else ''}{error.args[0]}' is missing"
    return f"{where}{error}"


@attrs.frozen
class Option:
    """One option of a part."""

    name: str
    kind: Any
    default: Any


def signature_options(part: type, positional: int) -> dict[str, Option]:
    """The options of a part: the keyword-only parameters of its constructor, after `positional` others.

    PluginError where they are not explicit, typed and with a default.
    """
    where = f"The constructor of {part.__module__}.{part.__qualname__}"
    constructor = part.__init__  # type: ignore[misc]  # and no `__new__`, which a base class may have
    parameters = list(inspect.signature(constructor).parameters.values())[1:]
    try:
        hints = get_type_hints(constructor)
    except Exception as error:
        raise PluginError(f"{where} has annotations that do not resolve: {error}.") from error
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise PluginError(
                f"{where} takes '*{parameter.name}': write each option out, so that recipes can check it."
            )
    options = [parameter for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    if len(parameters) - len(options) != positional:
        raise PluginError(f"{where} must take {positional} positional parameter(s) and its options after a '*'.")
    for option in options:
        if option.default is option.empty or option.name not in hints:
            lacks = "a type" if option.name not in hints else "a default"
            raise PluginError(f"{where}: the option '{option.name}' needs {lacks}, as in `{option.name}: int = 64`.")
    return {option.name: Option(option.name, hints[option.name], option.default) for option in options}


def check_options(table: Mapping[str, Any], options: Mapping[str, Option], source: str) -> dict[str, Any]:
    """The given options, checked and with the defaults of all others filled in. SettingsError where one is wrong."""
    for name in table:
        if name not in options:
            raise SettingsError(f"{source} has no option '{name}'.{choices(name, options)}")
    values = {}
    for name, option in options.items():
        values[name] = (
            structure(table[name], option.kind, f"{source}, option '{name}'") if name in table else option.default
        )
    return values


def positive(part: str, **values: float) -> None:
    """SettingsError where one of the options of a part is not from 1 to a million: `positive("bilstm", layers=layers)`.

    A model of a billion layers would take all memory before anyone could say that it is too large.
    """
    for name, value in values.items():
        if not value >= 1:
            raise SettingsError(f"The option {name} of {part} must be at least 1, not {value}.")
        if value > MOST:
            raise SettingsError(f"The option {name} of {part} must be at most {MOST}, not {value}.")


def fraction(part: str, **values: float) -> None:
    """SettingsError where one of the options of a part is not at least 0 and below 1."""
    for name, value in values.items():
        if not 0.0 <= value < 1.0:
            raise SettingsError(f"The option {name} of {part} must be at least 0 and below 1, not {value}.")


def one_of(part: str, kind: Any, **values: str) -> None:
    """SettingsError where one of the options of a part is not of the literal type `kind`."""
    for name, value in values.items():
        if value not in get_args(kind):
            raise SettingsError(f"The option {name} of {part} cannot be '{value}'.{choices(value, get_args(kind))}")


def whole_heads(part: str, width: int, heads: int) -> None:
    """SettingsError where the width of an attention is not a multiple of the number of its heads."""
    if width % heads:
        raise SettingsError(f"The option width of {part} must be a multiple of heads ({heads}), not {width}.")
