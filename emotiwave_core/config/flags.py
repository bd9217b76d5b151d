"""Flags as tables: `NAME:option=value,…` is a part, `KEY=VALUE` a value of a recipe in TOML's notation."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from emotiwave_core.config.recipe import ALL
from emotiwave_core.errors import SettingsError, short
from emotiwave_core.io.untrusted import MOST_DEPTH, parse_toml

TOKEN = re.compile(r""" "[^"]*" | '[^']*' | . """, re.VERBOSE | re.DOTALL)
BRACKETS = {"[": ("[]", 1), "]": ("[]", -1), "{": ("{}", 1), "}": ("{}", -1)}


def override(
    table: dict[str, Any],
    settings: Sequence[str] = (),
    *,
    encoder: Sequence[str] = (),
    augmentation: Sequence[str] = (),
    metric: Sequence[str] = (),
    objective: str | None = None,
    **parts: str | None,
) -> dict[str, Any]:
    """Lay flags over the table of a recipe, which is changed and returned.

    settings: `KEY=VALUE`, such as training.epochs=5. encoder: `NAME:OPTIONS` for all modalities or
    `MODALITY=NAME:OPTIONS` for one, or for one stream of it. augmentation, metric: `NAME:OPTIONS`, any number of them.
    objective: `NAME:OPTIONS`, which is set in the table of that name. Others, fusion and dropout: `NAME:OPTIONS`.
    SettingsError where a flag cannot be read.
    """
    if encoder:
        table["encoder"] = parse_encoders(encoder)
    if augmentation:
        table["augmentation"] = [parse_part(flag) for flag in augmentation]
    if metric:
        table["metric"] = [parse_part(flag) for flag in metric]
    if objective:
        name, options = (part := parse_part(objective)).pop("name"), part
        rest = {key: value for key, value in table.get("objective", {}).items() if key not in ("name", "options")}
        table["objective"] = {**rest, "name": name, **({"options": options} if options else {})}
    table |= {kind: parse_part(flag) for kind, flag in parts.items() if flag}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise SettingsError(f"--set takes KEY=VALUE, such as training.epochs=5, not {short(setting)}.")
        _set(table, key.strip(), parse_value(value.strip()))
    return table


def _set(table: dict[str, Any], key: str, value: Any) -> None:
    """Set a value by its dotted key; a part that stands there as a name becomes a table."""
    *path, last = key.split(".")
    if len(path) > MOST_DEPTH:
        raise SettingsError(f"--set: there is no value of the recipe by the name {short(key)}.")
    for step in path:
        inner = table.get(step, {})
        table[step] = {"name": inner} if isinstance(inner, str) else inner
        if not isinstance(table[step], dict):
            raise SettingsError(f"--set {short(key)[1:-1]}: {short(step)} is a value, not a table.")
        table = table[step]
    table[last] = value


def parse_encoders(flags: Sequence[str]) -> dict[str, Any]:
    """The table of the encoders: of one part for all modalities, or of parts by modality (`*`: those not named)."""
    encoders: dict[str, Any] = {}
    for flag in flags:
        modality, equals, part = flag.partition("=")
        is_named = bool(equals) and ":" not in modality
        key = modality.strip() if is_named else ALL
        if key in encoders:
            which = f"for {short(key)}" if is_named else "for all other modalities"
            raise SettingsError(f"--encoder is given twice {which}; one modality's own is --encoder text=NAME.")
        encoders[key] = parse_part(part if is_named else flag)
    return encoders[ALL] if set(encoders) == {ALL} else encoders


def parse_part(text: str) -> dict[str, Any]:
    """`bilstm:hidden_size=256,layers=2` as a table; commas in brackets belong to a value: `a:x=[1, 2],y={b=1}`."""
    name, _, rest = text.partition(":")
    table: dict[str, Any] = {"name": name.strip()}
    for pair in filter(None, split_pairs(rest)):
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise SettingsError(f"{short(text)}: options are written NAME:option=value,option=value.")
        table[key.strip()] = parse_value(value.strip())
    return table


def split_pairs(text: str) -> Iterator[str]:
    """The pieces between commas that stand in no bracket."""
    start, has_open_quote, depth = 0, False, {"[]": 0, "{}": 0}
    for match in TOKEN.finditer(text):  # brackets and commas in quotes are part of a text
        token = match.group()
        has_open_quote = has_open_quote or token in ('"', "'")
        if token in BRACKETS:
            kind, change = BRACKETS[token]
            depth[kind] += change
        elif token == "," and not has_open_quote and not any(depth.values()):
            yield text[start : match.start()]
            start = match.end()
    yield text[start:]


def parse_value(text: str) -> Any:
    """A value in TOML's notation (5, 0.1, true, [1, 2]), else a text. SettingsError for a torn list or table."""
    try:
        table = parse_toml(f"value = {text}")
        if len(table) > 1:
            raise ValueError("it is more than a value")
        return table["value"]
    except ValueError as error:
        if text.startswith(("[", "{")):
            example = '["a", "b"] or {name = "a"}'
            raise SettingsError(
                f"{short(text)}: brackets must be closed, and texts inside them stand in quotes, as in {example}."
            ) from error
        return text
