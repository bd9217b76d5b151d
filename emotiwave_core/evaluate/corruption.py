"""Base class of the corruptions, each a file of `corruptions/`, and the manifest that says what was drawn.

All are nested: what is corrupted at a level is corrupted at every higher one. `docs/protocols.md` has the definitions.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import ClassVar, NamedTuple, TypedDict

import attrs
import numpy as np
import torch
from torch import Tensor

from emotiwave_core.evaluate.drawing import DIGITS, Array, SampleFacts
from emotiwave_core.modalities import name_of


class Tables(TypedDict, total=False):
    """Tables of a manifest that a corruption draws; those that it names in `Corruption.tables`."""

    since: dict[str, list[str]]
    partners: dict[str, list[str | None]]
    deviation: dict[str, list[float]]


@attrs.frozen(kw_only=True)
class Manifest:
    """Record of the corruption of N samples, as JSON that any program can read.

    `since` has for each sample one character a step, or one in all where the whole modality is corrupted at once: the
    first level (0-9, a-z) with the corruption, or `-` for never.
    """

    format: int
    protocol: str
    seed: int
    levels: list[float]
    dataset: str
    fold: str
    modalities: list[str]  # by stream, as all tables: `audio/clip` where `audio` has several
    samples: list[str]  # [N] ids
    steps: dict[str, list[int]]  # {stream: [N]}
    since: dict[str, list[str]] = attrs.Factory(dict)  # {stream: [N]}
    partners: dict[str, list[str | None]] = attrs.Factory(dict)  # {stream: [N]}, id of the sample that lends
    deviation: dict[str, list[float]] = attrs.Factory(dict)  # {stream: [F]}
    recipe: str = ""  # how another program draws the rest

    def to_bytes(self) -> bytes:
        """JSON, without the tables that the corruption does not draw."""
        table = attrs.asdict(self, filter=lambda field, value: bool(value) or field.default is attrs.NOTHING)
        return (json.dumps(table, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


class Sequences(NamedTuple):
    """One stream of B samples: a modality, or a part of one that has several."""

    x: Tensor  # [B, T, F]
    mask: Tensor  # [B, T] bool

    def take(self, source: Tensor) -> "Sequences":
        """Sequences whose step t is step source[b, t] of these; source [B, T]."""
        x = self.x.gather(1, source.unsqueeze(-1).expand_as(self.x))
        return Sequences(x, self.mask.gather(1, source))


UNTOUCHED = len(DIGITS)  # above every level
_LEVELS = np.full(256, UNTOUCHED, dtype=np.int64)  # the level of a character
_LEVELS[np.frombuffer(DIGITS.encode(), dtype=np.uint8)] = np.arange(len(DIGITS))


class Corruption(ABC):
    """One way to corrupt the input, level by level. The class is its definition, an object is its work on one batch.

    A file of `corruptions/` holds one subclass; the name of the file is that of the protocol. A subclass says what is
    drawn (`draw`) and how it is applied; by default the corrupted steps, or the whole modality, are masked. Steps that
    are absent or padding are carried along and never counted.
    """

    name: ClassVar[str]  # of the protocol: that of the file
    levels: ClassVar[tuple[float, ...]]  # rising; the first is 0, where nothing is corrupted
    unit: ClassVar[str]  # of a level, in words
    by_share: ClassVar[bool] = True  # a level is the share that is corrupted
    by_step: ClassVar[bool] = True  # single steps are corrupted, not a sample's whole modality
    all_together: ClassVar[bool] = False  # there is also a curve with all modalities corrupted at once
    tables: ClassVar[frozenset[str]] = frozenset({"since"})  # the keys of what `draw` returns
    recipe: ClassVar[str] = ""  # how another program draws what no table holds
    needs_two: ClassVar[str] = ""  # why a run of one modality is refused, where it is
    reads_numbers: ClassVar[bool] = False  # it computes with features, of which words have none
    why_untouched: ClassVar[str] = ""  # why it may be that nothing is corrupted at any level

    def __init_subclass__(cls) -> None:
        cls.name = cls.__module__.rpartition(".")[2]

    @classmethod
    def levels_for(cls, modalities: Sequence[str]) -> tuple[float, ...]:
        """Levels that make sense for these modalities."""
        return cls.levels

    @classmethod
    def curves_for(cls, modalities: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Curves by name, each with the modalities that are corrupted together."""
        curves: dict[str, tuple[str, ...]] = {modality: (modality,) for modality in modalities}
        if cls.all_together:
            curves[name_of(tuple(modalities))] = tuple(modalities)
        return curves

    @classmethod
    def area_over(cls, levels: list[float], reached: list[float]) -> list[float]:
        """Rates [K] that the area under a curve is over, from its levels [K] and the measured shares [K]."""
        return levels

    @classmethod
    @abstractmethod
    def draw(cls, samples: SampleFacts, levels: Array, seed: int) -> Tables:
        """Draw what is corrupted at the levels [K]. A sample's part should not depend on the other samples."""

    @classmethod
    def check(cls, manifest: Manifest) -> None:
        """ValueError (use `must`) where a manifest of right form cannot have been drawn; it may be a stranger's."""
        return

    def __init__(
        self,
        manifest: Manifest,
        modality: str,
        indices: Sequence[int],
        clean: Sequences,
        load: Callable[[Sequence[str]], Sequences],
    ) -> None:
        """Prepare one stream of a batch of B samples, by the name that it has in the manifest.

        indices [B] are those of the samples in the manifest, `clean` is what they have, and `load` gives the stream of
        other samples by their ids.
        """
        self.manifest, self.modality, self.indices, self.clean, self.load = manifest, modality, indices, clean, load

    @cached_property
    def first_level(self) -> Tensor:
        """First level with the corruption, [B, T] of each step or [B, 1] of the whole modality."""
        steps = self.clean.mask.shape[1] if self.by_step else 1
        first = np.full((len(self.indices), steps), UNTOUCHED)
        for row, index in enumerate(self.indices):
            text = self.manifest.since[self.modality][index]
            first[row, : len(text)] = _LEVELS[np.frombuffer(text.encode(), dtype=np.uint8)]
        return torch.from_numpy(first).to(self.clean.mask.device)

    def touches(self, level: int) -> bool:
        """True where anything in this batch is corrupted at a level (its number, from 0)."""
        return bool((self.first_level <= level).any())

    def apply(self, level: int) -> Sequences:
        """The modality as it is at a level."""
        return self.clean._replace(mask=self.clean.mask & (self.first_level > level))

    def count(self, level: int) -> tuple[int, int]:
        """Number of steps that are corrupted at a level, and of all steps."""
        mask = self.clean.mask
        return int((mask & (self.first_level <= level)).sum()), int(mask.sum())


def must(right: bool, otherwise: str) -> None:
    """ValueError with a sentence where something is not right."""
    if not right:
        raise ValueError(otherwise)
