"""Configurations: the non-empty subsets of the modalities, written `text+audio`."""

from collections.abc import Sequence
from itertools import combinations

from emotiwave_core.errors import SettingsError, choices

Configuration = tuple[str, ...]


def configurations(modalities: Sequence[str]) -> list[Configuration]:
    """All 2^M - 1 configurations: single ones first, the complete one last, each in the order of `modalities`."""
    return [kept for size in range(1, len(modalities) + 1) for kept in combinations(modalities, size)]


def name_of(configuration: Configuration) -> str:
    """`("text", "audio")` as `text+audio`."""
    return "+".join(configuration)


def parse(name: str, modalities: Sequence[str]) -> Configuration:
    """`audio+text` as `("text", "audio")`, in the order of `modalities`; SettingsError for an unknown modality."""
    wanted = [part.strip() for part in name.split("+")]
    for part in wanted:
        if part not in modalities:
            raise SettingsError(f"Configuration '{name}' names the modality '{part}'.{choices(part, modalities)}")
    return tuple(modality for modality in modalities if modality in wanted)
