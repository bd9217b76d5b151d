"""`blocks`: one run of round(r·T) steps is lost, wherever it fits (structural temporal missing)."""

import numpy as np

from emotiwave_core.evaluate.corruption import Corruption, Tables
from emotiwave_core.evaluate.drawing import Array, Bools, SampleFacts, first_levels_of_steps, philox, uniform


class LostBlocks(Corruption):
    """The run of length L begins at floor(u·(T − L + 1)): each start is as likely as the others."""

    levels = tuple(number / 10 for number in range(11))
    unit = "share of the steps that is lost in one run"
    all_together = True

    @classmethod
    def draw(cls, samples: SampleFacts, levels: Array, seed: int) -> Tables:
        """Draw one u for each sample and modality: with the same u a longer run holds every shorter one."""

        def lost(modality: str, index: int, steps: int) -> Bools:
            u = uniform(philox("blocks", seed, modality, samples.ids[index]), 1)[0]
            length = np.rint(levels * steps)
            start = np.minimum(np.floor(u * (steps - length + 1)), steps - length)
            step = np.arange(steps)
            return np.asarray((step >= start[:, None]) & (step < (start + length)[:, None]))

        return {"since": first_levels_of_steps(samples, lost)}
