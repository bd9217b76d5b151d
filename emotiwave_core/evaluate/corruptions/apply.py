"""A manifest applied to one modality of a batch. What is absent or padding is carried along and never counted."""

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from emotiwave_core.evaluate.corruptions import PROTOCOLS
from emotiwave_core.evaluate.corruptions.draw import normals
from emotiwave_core.evaluate.corruptions.manifest import DIGITS, Manifest

Pair = tuple[Tensor, Tensor]  # x [B, T, F] and mask [B, T] bool
Fetch = Callable[[Sequence[str]], Pair]  # ids [B] -> what they have in the modality
UNHURT = len(DIGITS)  # above every level

_NUMBERS = np.full(256, UNHURT, dtype=np.int64)
_NUMBERS[np.frombuffer(DIGITS.encode(), dtype=np.uint8)] = np.arange(len(DIGITS))


class Lost:
    """`frames` and `blocks`: single steps are masked. The base of the others.

    places [B] are those of the samples in the manifest, x [B, T, F] and mask [B, T] what they have.
    """

    def __init__(
        self, manifest: Manifest, modality: str, places: Sequence[int], x: Tensor, mask: Tensor, fetch: Fetch
    ) -> None:
        self.manifest, self.modality, self.places, self.fetch = manifest, modality, places, fetch
        self.x, self.mask = x, mask

    @cached_property
    def since(self) -> Tensor:
        """The first level with damage, [B, T] of each step or [B, 1] of all."""
        width = self.mask.shape[1] if PROTOCOLS[self.manifest.protocol].by_step else 1
        since = np.full((len(self.places), width), UNHURT)
        for row, place in enumerate(self.places):
            text = self.manifest.since[self.modality][place]
            since[row, : len(text)] = _NUMBERS[np.frombuffer(text.encode(), dtype=np.uint8)]
        return torch.from_numpy(since).to(self.mask.device)

    def touches(self, level: int) -> bool:
        """Whether anything in this batch is damaged at a level."""
        return bool((self.since <= level).any())

    def apply(self, level: int) -> Pair:
        """The modality as it is at a level."""
        return self.x, self.mask & (self.since > level)

    def counts(self, level: int) -> tuple[int, int]:
        """How many steps are damaged, and how many there are."""
        return int((self.mask & (self.since <= level)).sum()), int(self.mask.sum())


class Gone(Lost):
    """`random`: the whole modality is masked. One that was never there counts as gone, too."""

    def counts(self, level: int) -> tuple[int, int]:
        """How many samples are without the modality, and how many there are."""
        return int((~self.apply(level)[1].any(dim=1)).sum()), len(self.mask)


class Frozen(Lost):
    """`frozen`: a damaged step is a copy of the last one that holds something and is not damaged.

    Where there is none, of the first that holds something. A step that holds nothing (in an aligned store) stays so.
    """

    def apply(self, level: int) -> Pair:
        """The modality as it is at a level."""
        return _take(self.x, self.mask, self._source(level))[0], self.mask

    def counts(self, level: int) -> tuple[int, int]:
        """How many steps are copies of another, and how many there are."""
        steps = torch.arange(self.mask.shape[1], device=self.mask.device)
        return int((self.mask & (self._source(level) != steps)).sum()), int(self.mask.sum())

    def _source(self, level: int) -> Tensor:
        """Which step each shows, [B, T]."""
        steps = torch.arange(self.mask.shape[1], device=self.mask.device)
        last = torch.where(self.mask & (self.since > level), steps, -1).cummax(dim=1).values
        first = self.mask.long().argmax(dim=1, keepdim=True)
        return torch.where(last < 0, first, last)


class Shifted(Lost):
    """`shift`: the damaged steps are lost, and the others move to the end in their order."""

    def apply(self, level: int) -> Pair:
        """The modality as it is at a level."""
        lost, steps = self.since <= level, torch.arange(self.mask.shape[1], device=self.mask.device)
        source = (~lost).long().argsort(dim=1, stable=True)  # the lost ones first, and padding stays at the end
        x, mask = _take(self.x, self.mask, source)
        return x, mask & (steps >= lost.sum(dim=1, keepdim=True))


class Swapped(Lost):
    """`swap`: the modality is that of the partner."""

    def apply(self, level: int) -> Pair:
        """The modality as it is at a level."""
        partners, hit = self.manifest.partners[self.modality], (self.since[:, 0] <= level).tolist()
        lenders = [partners[place] if here else None for place, here in zip(self.places, hit, strict=True)]
        own = [self.manifest.samples[place] for place in self.places]
        return self.fetch([lender or name for lender, name in zip(lenders, own, strict=True)])

    def counts(self, level: int) -> tuple[int, int]:
        """How many samples have the modality of another, and how many have it at all."""
        has = self.mask.any(dim=1)
        return int((has & (self.since[:, 0] <= level)).sum()), int(has.sum())


class Noisy(Lost):
    """`noise`: Gaussian noise on every step that is there, the same at every level but for its size."""

    _noise: Tensor | None = None  # [B, T, F], drawn when it is first needed

    def touches(self, level: int) -> bool:
        """At every level but the first."""
        return level > 0

    def apply(self, level: int) -> Pair:
        """The modality as it is at a level."""
        if self._noise is None:
            self._noise = self._draw()
        size = self.manifest.levels[level]
        return torch.where(self.mask.unsqueeze(-1), self.x + size * self._noise, self.x), self.mask

    def counts(self, level: int) -> tuple[int, int]:
        """All steps, or none."""
        steps = int(self.mask.sum())
        return steps if level else 0, steps

    def _draw(self) -> Tensor:
        deviation = np.array(self.manifest.deviation[self.modality])
        noise = np.zeros(self.x.shape, dtype=np.float32)
        for row, place in enumerate(self.places):
            sample, steps = self.manifest.samples[place], self.manifest.steps[self.modality][place]
            drawn = normals(self.manifest.seed, self.modality, sample, steps, len(deviation))
            noise[row, :steps] = deviation * drawn
        return torch.from_numpy(noise).to(self.x.device)


def _take(x: Tensor, mask: Tensor, source: Tensor) -> Pair:
    """Step t of the result is step source[b, t]."""
    return x.gather(1, source.unsqueeze(-1).expand_as(x)), mask.gather(1, source)


DAMAGES: dict[str, type[Lost]] = {
    "random": Gone,
    "frames": Lost,
    "blocks": Lost,
    "noise": Noisy,
    "shift": Shifted,
    "swap": Swapped,
    "frozen": Frozen,
}
