"""Configurations: the non-empty subsets of the modalities, written `text+audio`."""

from collections.abc import Sequence
from itertools import combinations

Configuration = tuple[str, ...]


def configurations(modalities: Sequence[str]) -> list[Configuration]:
    """All 2^M - 1 configurations: single ones first, the complete one last, each in the order of `modalities`."""
    return [subset for size in range(1, len(modalities) + 1) for subset in combinations(modalities, size)]


def name_of(configuration: Configuration) -> str:
    """`("text", "audio")` as `text+audio`."""
    return "+".join(configuration)
