"""`random`: whole modalities are absent at a missing rate 1 − Σ|u_i| / (N·M) (GCNet, Lian et al. 2023)."""

from collections.abc import Sequence

import numpy as np

from emotiwave_core.errors import short
from emotiwave_core.evaluate.corruption import Corruption, Manifest, Tables, must
from emotiwave_core.evaluate.drawing import NEVER, Array, SampleFacts, first_levels, philox


class Random(Corruption):
    """Every sample keeps one of its modalities, drawn uniformly; the others are lost in one random order.

    The order is over the whole fold, so that the rate is exact; what was never recorded counts as lost. At most
    (M − 1)/M can be reached.
    """

    levels = tuple(number / 10 for number in range(8))
    unit = "share of all modalities of all samples that is absent"
    by_step = False
    needs_two = "takes away modalities"

    @classmethod
    def levels_for(cls, modalities: Sequence[str]) -> tuple[float, ...]:
        """No level beyond the first that reaches (M − 1)/M: all would be the same."""
        most = 1.0 - 1.0 / len(modalities)
        return cls.levels[: sum(level < most for level in cls.levels) + 1]

    @classmethod
    def curves_for(cls, modalities: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """One curve, `any`: all modalities are corrupted, each in some samples."""
        return {"any": tuple(modalities)}

    @classmethod
    def area_over(cls, levels: list[float], reached: list[float]) -> list[float]:
        """The rates that were reached: the last level can be out of reach."""
        return reached

    @classmethod
    def draw(cls, samples: SampleFacts, levels: Array, seed: int) -> Tables:
        """Draw what each sample keeps, and the order in which the others go."""
        has = np.stack([samples.has(modality) for modality in samples.modalities], axis=1)  # [N, M]
        generator = np.random.Generator(philox("random", seed))
        spared = np.where(has, generator.random(has.shape), -1.0).argmax(axis=1)
        may_go = has.copy()
        may_go[np.arange(len(has)), spared] = False
        order = generator.permutation(np.flatnonzero(may_go))
        lost = np.clip(np.rint(levels * has.size) - (~has).sum(), 0, len(order))  # [K]
        since = np.full(has.size, NEVER)
        since[order] = list(first_levels(np.arange(len(order)) < lost[:, None]))
        groups = zip(samples.modalities.values(), since.reshape(has.shape).T, strict=True)
        return {"since": {stream: column.tolist() for streams, column in groups for stream in streams}}

    @classmethod
    def check(cls, manifest: Manifest) -> None:
        """ValueError where a sample loses every modality."""
        for index, sample in enumerate(manifest.samples):
            has = [modality for modality in manifest.modalities if manifest.steps[modality][index]]
            left = not has or any(manifest.since[modality][index] == NEVER for modality in has)
            must(left, f"{short(sample)} loses every modality")

    def count(self, level: int) -> tuple[int, int]:
        """Number of samples without the modality, also of those that never had it, and of all samples."""
        absent = ~self.apply(level).mask.any(dim=1)
        return int(absent.sum()), len(absent)
