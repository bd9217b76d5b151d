"""Features of new data beside those that a model was trained on: width alone says little.

The names of the columns and the extractor (model, revision, options) are compared where both sides tell them. Another
order of the same columns, or another revision of the same network, gives scores that are wrong without a word.
"""

from collections.abc import Mapping
from typing import Any

from emotiwave_core.data.facts import StoreFacts
from emotiwave_core.errors import DataError, short
from emotiwave_core.runs.model_file import TrainedInput


def check_inputs(trained: Mapping[str, TrainedInput], facts: StoreFacts) -> None:
    """DataError for the first modality whose features are others than the model's, with the first difference."""
    for modality, now in facts.modalities.items():
        if (before := trained.get(modality)) is None:
            continue
        where = f"The features of '{modality}' in {now.file} are not those that the run was trained on"
        if before.columns and now.columns and before.columns != list(now.columns):
            raise DataError(f"{where}: {_other_columns(before.columns, list(now.columns))}.")
        if before.extractor is not None and now.extractor is None:
            raise DataError(
                f"{where}, or it is not known: the run's were made by {_maker(before.extractor)}, and this file does "
                "not say who made it; extract them anew."
            )
        if before.extractor is not None and now.extractor is not None and before.extractor != now.extractor:
            key, mine, theirs = _difference(before.extractor, now.extractor)
            raise DataError(f"{where}: their {key} is {short(theirs)}, and the run's is {short(mine)}.")


def _other_columns(before: list[str], now: list[str]) -> str:
    if len(before) != len(now):
        return f"they have {len(now)} columns, and the run's have {len(before)}"
    place = next(n for n, (mine, theirs) in enumerate(zip(before, now, strict=True)) if mine != theirs)
    same = "; they are the same in another order, put them in the run's" if sorted(before) == sorted(now) else ""
    return f"column {place} is {short(now[place])}, and the run's is {short(before[place])}{same}"


def _maker(extractor: dict[str, Any]) -> str:
    return short(extractor.get("name", extractor))


def _difference(before: Any, now: Any, key: str = "extractor") -> tuple[str, Any, Any]:
    """The first key of two different tables whose values differ, and both values."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in sorted({*before, *now}, key=lambda name: (name not in before, str(name))):
            if before.get(name) != now.get(name):
                return _difference(before.get(name), now.get(name), f"{key}.{name}")
    return key, before, now
