"""`frozen`: the camera is stuck, and the last round(r·T) steps repeat the one before them."""

import numpy as np
import torch
from torch import Tensor

from emotiwave_core.evaluate.corruption import Corruption, Manifest, Sequences, Tables, must
from emotiwave_core.evaluate.drawing import NEVER, Array, Bools, SampleFacts, first_levels_of_steps


class Frozen(Corruption):
    """A corrupted step is a copy of the last one that holds something and is not corrupted.

    Where there is none, of the first that holds something. A step that holds nothing (in an aligned store) stays so.
    """

    levels = (0.0, 0.25, 0.5, 0.75, 1.0)
    unit = "share of the steps, at the end, that repeat the one before them"
    why_untouched = "of one step a sample nothing can be frozen"

    @classmethod
    def draw(cls, samples: SampleFacts, levels: Array, seed: int) -> Tables:
        """Mark the last steps; nothing is random. At level 1 all but the first are frozen."""

        def frozen(modality: str, index: int, steps: int) -> Bools:
            length = np.minimum(np.rint(levels * steps), steps - 1)
            return np.asarray(np.arange(steps) >= (steps - length)[:, None])

        return {"since": first_levels_of_steps(samples, frozen)}

    @classmethod
    def check(cls, manifest: Manifest) -> None:
        """ValueError where a first step is frozen."""
        for texts in manifest.since.values():
            must(
                not any(text[:1].strip(NEVER) for text in texts), "a first step is frozen, and there is none before it"
            )

    def apply(self, level: int) -> Sequences:
        """The modality as it is at a level."""
        return self.clean._replace(x=self.clean.take(self._source(level)).x)

    def count(self, level: int) -> tuple[int, int]:
        """Number of steps that are copies of another, and of all steps."""
        mask = self.clean.mask
        steps = torch.arange(mask.shape[1], device=mask.device)
        return int((mask & (self._source(level) != steps)).sum()), int(mask.sum())

    def _source(self, level: int) -> Tensor:
        """The step that each step shows, [B, T]."""
        mask = self.clean.mask
        steps = torch.arange(mask.shape[1], device=mask.device)
        last = torch.where(mask & (self.first_level > level), steps, -1).cummax(dim=1).values
        first = mask.long().argmax(dim=1, keepdim=True)
        return torch.where(last < 0, first, last)
