"""`frames`: each step is lost independently with probability r (TFR-Net, Yuan et al. 2021)."""

import numpy as np

from emotiwave_core.evaluate.corruption import Corruption, Tables
from emotiwave_core.evaluate.drawing import Array, Bools, SampleFacts, first_levels_of_steps, philox, uniform


class LostFrames(Corruption):
    """A step is lost where its own number u, uniform in [0, 1), is below r."""

    levels = tuple(number / 10 for number in range(11))
    unit = "probability of each step to be lost"
    all_together = True

    @classmethod
    def draw(cls, samples: SampleFacts, levels: Array, seed: int) -> Tables:
        """Draw one u for each step."""

        def lost(modality: str, index: int, steps: int) -> Bools:
            u = uniform(philox("frames", seed, modality, samples.ids[index]), steps)
            return np.asarray(u < levels[:, None])

        return {"since": first_levels_of_steps(samples, lost)}
