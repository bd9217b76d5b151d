"""`noise`: Gaussian noise on every feature (one of the imperfections of MultiBench, Liang et al. 2021)."""

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from emotiwave_core.evaluate.corruption import Corruption, Manifest, Sequences, Tables, must
from emotiwave_core.evaluate.drawing import Array, SampleFacts, philox, uniform


class Noise(Corruption):
    """x + σ·d·z on every step that is there: d is the feature's deviation over the training fold, z standard normal.

    z is the same at every level σ. It is drawn again from the seed, so the manifest need not hold it.
    """

    levels = (0.0, 0.5, 1.0, 1.5, 2.0)
    unit = "standard deviation of the noise, in those of the feature"
    by_share = False
    all_together = True
    reads_numbers = True
    tables = frozenset({"deviation"})
    recipe = (
        "raw = numpy.random.Philox(key=int.from_bytes(hashlib.sha256(f'noise\\n{seed}\\n{modality}\\n{id}'.encode())"
        ".digest()[:16], 'little')).random_raw(2 * steps * features).reshape(2, steps, features); "
        "u, v = (raw >> 11) * 2.0**-53; z = numpy.sqrt(-2 * numpy.log(1 - u)) * numpy.cos(2 * numpy.pi * v); "
        "x + level * deviation[modality] * z"
    )

    @classmethod
    def draw(cls, samples: SampleFacts, levels: Array, seed: int) -> Tables:
        """Deviation of each feature."""
        return {"deviation": {modality: samples.deviation(modality) for modality in samples.steps}}

    @classmethod
    def check(cls, manifest: Manifest) -> None:
        """ValueError where a deviation is negative or absurdly large."""
        for deviation in manifest.deviation.values():
            in_bounds = all(0.0 <= value <= 1e30 for value in deviation)
            must(in_bounds, "a deviation is below 0 or beyond all measure")

    def touches(self, level: int) -> bool:
        """True at every level but the first."""
        return level > 0

    def apply(self, level: int) -> Sequences:
        """The modality as it is at a level."""
        x, mask = self.clean
        size = self.manifest.levels[level]
        return Sequences(torch.where(mask.unsqueeze(-1), x + size * self._noise, x), mask)

    def count(self, level: int) -> tuple[int, int]:
        """Number of all steps, or 0 at level 0, and of all steps."""
        steps = int(self.clean.mask.sum())
        return steps if level else 0, steps

    @cached_property
    def _noise(self) -> Tensor:
        """d·z, [B, T, F]."""
        deviation = np.array(self.manifest.deviation[self.modality])
        noise = np.zeros(self.clean.x.shape, dtype=np.float32)
        for row, index in enumerate(self.indices):
            sample, steps = self.manifest.samples[index], self.manifest.steps[self.modality][index]
            noise[row, :steps] = deviation * normals(self.manifest.seed, self.modality, sample, steps, len(deviation))
        return torch.from_numpy(noise).to(self.clean.x.device)


def normals(seed: int, modality: str, sample: str, steps: int, features: int) -> Array:
    """Standard normals [T, F] of a sample, by Box and Muller (1958)."""
    u, v = uniform(philox("noise", seed, modality, sample), 2, steps, features)
    return np.asarray(np.sqrt(-2.0 * np.log(1.0 - u)) * np.cos(2.0 * np.pi * v))
