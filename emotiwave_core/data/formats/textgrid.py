"""Praat's TextGrid, long and short: the intervals of the tier that holds the words, as forced aligners write it."""

import re
from collections.abc import Iterator
from pathlib import Path

from emotiwave_core.data.formats.transcripts import Script, Spoken, Transcripts, spread_words
from emotiwave_core.errors import DataError, choices, short

# As Praat reads it: quoted texts, numbers that stand free and <flags>; all else is for people.
_TOKEN = re.compile(r'"((?:[^"]|"")*)"|(?<!\S)([-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)(?!\S)|<(exists|absent)>')
_WORDS = ("words", "word", "wrd", "ort")


class TextGridFile(Transcripts):
    """A TextGrid, or a folder of them. The tier is `part`, else the one called words, else the only one."""

    name = "textgrid"
    suffixes = (".textgrid",)

    def _read(self, path: Path, text: str) -> Script:
        tiers = _tiers(path, text)
        words, spread = list[Spoken](), 0
        for start, end, said in tiers[_chosen(path, list(tiers), self.part)]:
            own = spread_words(start, end, said)
            spread += len(own) if len(own) > 1 else 0
            words += own
        return Script(words, spread)


def _chosen(path: Path, names: list[str], part: str | None) -> str:
    if part is not None:
        if part not in names:
            raise DataError(f"{path} has no tier of intervals '{part}'.{choices(part, names)}")
        return part
    of_words = [name for name in names if name.strip().lower() in _WORDS] or [n for n in names if "word" in n.lower()]
    candidates = of_words or names
    if len(candidates) != 1:
        raise DataError(
            f"{path} has the tiers {', '.join(map(short, names)) or 'none'}: say which one holds the words as "
            f'`words = {{file = "{path.name}", part = "TIER"}}` in dataset.toml.'
        )
    return candidates[0]


def _tiers(path: Path, text: str) -> dict[str, list[tuple[float, float, str]]]:
    """The tiers of intervals by name, each with (start, end, text)."""
    tokens = _tokens(text)
    try:
        if [next(tokens) for _ in range(2)] != ["ooTextFile", "TextGrid"]:
            raise DataError(f"{path} is no TextGrid: it begins otherwise.")
        _number(tokens), _number(tokens)
        tiers: dict[str, list[tuple[float, float, str]]] = {}
        for _ in range(int(_number(tokens)) if next(tokens) == "exists" else 0):
            kind, name = _text(tokens), _text(tokens)
            _number(tokens), _number(tokens)
            count = int(_number(tokens))
            if kind == "IntervalTier":
                rows = [(_number(tokens), _number(tokens), _text(tokens)) for _ in range(count)]
                tiers.setdefault(name, []).extend(rows)
            elif kind == "TextTier":
                for _ in range(count):
                    _number(tokens), _text(tokens)
            else:
                raise ValueError(f"{short(kind)} is no kind of tier")
        if next(tokens, None) is not None:
            raise ValueError("it goes on after its last tier")
    except StopIteration as error:
        raise DataError(f"{path} is cut off: it declares more than it holds.") from error
    except (ValueError, OverflowError) as error:
        raise DataError(f"{path} is a damaged TextGrid: {error}.") from error
    return tiers


def _tokens(text: str) -> Iterator[str | float]:
    for match in _TOKEN.finditer(text):
        if match[1] is not None:
            yield match[1].replace('""', '"')
        else:
            yield float(match[2]) if match[2] is not None else match[3]


def _number(tokens: Iterator[str | float]) -> float:
    token = next(tokens)
    if not isinstance(token, float):
        raise ValueError(f"{short(token)} stands where a number must be")
    return token


def _text(tokens: Iterator[str | float]) -> str:
    token = next(tokens)
    if not isinstance(token, str):
        raise ValueError(f"{token:g} stands where a text must be")
    return token
