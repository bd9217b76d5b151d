"""Protocols: named ways to damage the input, level by level, drawn once so that every model meets the same damage.

All are nested: what is damaged at a level is damaged at every higher one. `docs/protocols.md` has the definitions.
"""

from collections.abc import Sequence
from typing import NamedTuple

from emotiwave_core.modalities import name_of

CONFIGURATIONS = "configurations"  # every non-empty subset of the modalities: nothing is drawn
ANY = "any"  # the curve of a protocol that damages all modalities and not some chosen ones
TENTHS = tuple(number / 10 for number in range(11))
QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)


class Protocol(NamedTuple):
    """The levels of a protocol, the first of them without damage, and what they mean."""

    levels: tuple[float, ...]
    unit: str
    together: bool = False  # also a curve with all modalities damaged at once
    by_step: bool = True  # whether single steps are damaged, or a sample's modality as a whole
    by_share: bool = True  # whether a level is the share that is damaged


PROTOCOLS = {
    "random": Protocol(TENTHS[:8], "share of all modalities of all samples that is absent", by_step=False),
    "frames": Protocol(TENTHS, "probability of each step to be lost", together=True),
    "blocks": Protocol(TENTHS, "share of the steps that is lost in one run", together=True),
    "noise": Protocol(
        (0.0, 0.5, 1.0, 1.5, 2.0),
        "standard deviation of the noise, in those of the feature",
        together=True,
        by_share=False,
    ),
    "shift": Protocol((0.0, 0.25, 0.5, 1.0, 2.0), "delay in seconds", by_share=False),
    "swap": Protocol(QUARTERS, "share of the samples that get the modality of another sample", by_step=False),
    "frozen": Protocol(QUARTERS, "share of the steps, at the end, that repeat the one before them"),
}


def levels_of(protocol: str, modalities: Sequence[str]) -> tuple[float, ...]:
    """The levels of a protocol: in `random` none beyond the first that reaches (M - 1) / M, which are the same."""
    levels = PROTOCOLS[protocol].levels
    if protocol != "random":
        return levels
    most = 1.0 - 1.0 / len(modalities)
    return levels[: sum(level < most for level in levels) + 1]


def curves_of(protocol: str, modalities: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The curves of a protocol: a name, and the modalities that are damaged together."""
    if protocol == "random":
        return {ANY: tuple(modalities)}
    curves: dict[str, tuple[str, ...]] = {modality: (modality,) for modality in modalities}
    if PROTOCOLS[protocol].together:
        curves[name_of(tuple(modalities))] = tuple(modalities)
    return curves
