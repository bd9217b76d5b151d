"""Modalities, the streams that they are made of, and configurations: the non-empty subsets, written `text+audio`.

A stream is one source of features with an encoder of its own. A modality is one stream of its name (`audio`), or
several (`audio/frames`, `audio/clip`), which are lost together. Data, statistics and encoders are by stream; whatever
can be absent, dropped, scored or explained is a modality.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import combinations
from typing import TypeVar

Configuration = tuple[str, ...]
Value = TypeVar("Value")

SEPARATOR = "/"  # between the name of a modality and that of one of its streams
MOST_STREAMS = 40


def configurations(modalities: Sequence[str]) -> list[Configuration]:
    """All 2^M - 1 configurations: single ones first, the complete one last, each in the order of `modalities`."""
    return [subset for size in range(1, len(modalities) + 1) for subset in combinations(modalities, size)]


def name_of(configuration: Configuration) -> str:
    """`("text", "audio")` as `text+audio`."""
    return "+".join(configuration)


def modality_of(stream: str) -> str:
    """The modality that a stream is of: `audio` of `audio/clip`, and of `audio`."""
    return stream.partition(SEPARATOR)[0]


def by_modality(streams: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The streams of each modality, in their order; a modality stands where its first stream does."""
    groups: dict[str, tuple[str, ...]] = {}
    for stream in streams:
        groups[modality_of(stream)] = (*groups.get(modality_of(stream), ()), stream)
    return groups


def streams_of(name: str, streams: Collection[str]) -> tuple[str, ...]:
    """The stream of this name, or all of the modality of this name; () where there is none."""
    return (name,) if name in streams else by_modality(streams).get(name, ())


def setting_of(stream: str, settings: Mapping[str, Value]) -> Value | None:
    """The setting of a stream, else that of its modality, else None."""
    return settings[stream] if stream in settings else settings.get(modality_of(stream))


def misnamed(streams: Collection[str]) -> str | None:
    """A sentence's end on the first name that cannot be a stream's, None where all are right."""
    for stream in streams:
        names = stream.split(SEPARATOR)
        if not all(names) or "+" in stream or any(name != name.strip() for name in names):
            return f"{stream[:60]!r} is no name: it needs a letter, no '+', and no space at its ends"
        if len(names) > 2:
            return f"{stream[:60]!r} has more than one '{SEPARATOR}'"
        if len(names) == 2 and names[0] in streams:
            return f"{names[0][:60]!r} is a stream and also a modality of several ({stream[:60]!r})"
    if len(streams) > MOST_STREAMS:
        return f"there are {len(streams)} streams, and at most {MOST_STREAMS} can be read"
    return None
