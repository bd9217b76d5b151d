"""`shift`: a modality comes late by s seconds; the offsets are those of streams that run apart."""

import numpy as np
import torch

from emotiwave_core.evaluate.corruption import Corruption, Sequences, Tables
from emotiwave_core.evaluate.drawing import Array, Bools, SampleFacts, first_levels_of_steps

ROUNDING = 1e-3  # seconds; times may be float32


class Shift(Corruption):
    """The steps that a delay moves beyond the end are lost, and the others move to the end in their order."""

    levels = (0.0, 0.25, 0.5, 1.0, 2.0)
    unit = "delay in seconds"
    by_share = False
    why_untouched = "of one step a sample nothing can be shifted"

    @classmethod
    def draw(cls, samples: SampleFacts, levels: Array, seed: int) -> Tables:
        """Mark the steps whose middle is at most s seconds before the end; nothing is random."""

        def lost(modality: str, index: int, steps: int) -> Bools:
            if steps < 2:
                return np.zeros((len(levels), steps), dtype=bool)
            times = np.asarray(samples.times(modality, index), dtype=np.float64)
            left = times.max() - times.mean(axis=1)  # [T] seconds from the middle of a step to the end
            return np.asarray((left <= levels[:, None] + ROUNDING) & (levels > 0.0)[:, None])

        return {"since": first_levels_of_steps(samples, lost)}

    def apply(self, level: int) -> Sequences:
        """The modality as it is at a level."""
        lost = self.first_level <= level
        steps = torch.arange(lost.shape[1], device=lost.device)
        order = (~lost).long().argsort(dim=1, stable=True)  # the lost ones first, and padding stays at the end
        x, mask = self.clean.take(order)
        return Sequences(x, mask & (steps >= lost.sum(dim=1, keepdim=True)))
