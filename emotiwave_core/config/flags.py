"""What a person types in a flag, as tables: `NAME:option=value,…` of a part, and a value as TOML has it."""

import re
from collections.abc import Iterator
from typing import Any

from emotiwave_core.errors import SettingsError, short
from emotiwave_core.io.untrusted import parse_toml

SIGN = re.compile(r""" "[^"]*" | '[^']*' | . """, re.VERBOSE | re.DOTALL)
BRACKETS = {"[": ("[]", 1), "]": ("[]", -1), "{": ("{}", 1), "}": ("{}", -1)}


def parse_part(text: str) -> dict[str, Any]:
    """`bilstm:hidden_size=256,layers=2` as a table; commas in brackets belong to a value: `a:x=[1, 2],y={b=1}`."""
    name, _, rest = text.partition(":")
    table: dict[str, Any] = {"name": name.strip()}
    for pair in filter(None, _pairs(rest)):
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise SettingsError(f"{short(text)}: options are written NAME:option=value,option=value.")
        table[key.strip()] = parse_value(value.strip())
    return table


def _pairs(text: str) -> Iterator[str]:
    """The pieces between commas that stand in no bracket."""
    start, lone, open_ = 0, False, {"[]": 0, "{}": 0}
    for found in SIGN.finditer(text):  # brackets and commas in quotes are part of a text
        sign = found.group()
        lone = lone or sign in ('"', "'")
        if sign in BRACKETS:
            kind, more = BRACKETS[sign]
            open_[kind] += more
        elif sign == "," and not lone and not any(open_.values()):
            yield text[start : found.start()]
            start = found.end()
    yield text[start:]


def parse_value(text: str) -> Any:
    """A value as TOML has it (5, 0.1, true, [1, 2]), else a text. SettingsError for a torn list or table."""
    try:
        table = parse_toml(f"value = {text}")
        if len(table) > 1:
            raise ValueError("it is more than a value")
        return table["value"]
    except ValueError as error:
        if text.startswith(("[", "{")):
            due = '["a", "b"] or {name = "a"}'
            raise SettingsError(
                f"{short(text)}: brackets must be closed, and texts inside them stand in quotes, as in {due}."
            ) from error
        return text
