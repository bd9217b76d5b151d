"""What a person types in a flag, as tables: `NAME:option=value,…` of a part, and a value as TOML has it."""

import re
import tomllib
from collections.abc import Iterator
from typing import Any

from emotiwave_core.errors import SettingsError

QUOTED = re.compile(r""" "[^"]*" | '[^']*' """, re.VERBOSE)


def parse_part(text: str) -> dict[str, Any]:
    """`bilstm:hidden_size=256,layers=2` as a table; commas in brackets belong to a value: `a:x=[1, 2],y={b=1}`."""
    name, _, rest = text.partition(":")
    table: dict[str, Any] = {"name": name.strip()}
    for pair in filter(None, _pairs(rest)):
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise SettingsError(f"'{text}': options are written NAME:option=value,option=value.")
        table[key.strip()] = parse_value(value.strip())
    return table


def _pairs(text: str) -> Iterator[str]:
    """The pieces between commas that stand in no bracket."""
    pair = ""
    for piece in text.split(","):
        pair = f"{pair},{piece}" if pair else piece
        bare = QUOTED.sub("", pair)  # brackets and commas in quotes are part of a text
        whole = not ('"' in bare or "'" in bare)
        if whole and all(bare.count(opened) == bare.count(closed) for opened, closed in ("[]", "{}")):
            yield pair
            pair = ""
    yield pair


def parse_value(text: str) -> Any:
    """A value as TOML has it (5, 0.1, true, [1, 2]), else a text. SettingsError for a torn list or table."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError as error:
        if text.startswith(("[", "{")):
            due = '["a", "b"] or {name = "a"}'
            raise SettingsError(
                f"{text}: brackets must be closed, and texts inside them stand in quotes, as in {due}."
            ) from error
        return text
