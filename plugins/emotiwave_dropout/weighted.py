"""The dropout policy `weighted`: every configuration has a probability of its own."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from emotiwave_core.errors import SettingsError, choices
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import DropoutPolicy, Tensors
from emotiwave_core.layers.masking import count_subsets, draw_subset, keep, present_in


class Weighted(DropoutPolicy):
    """Each sample keeps one configuration, drawn by weights, as AV-HuBERT's modality dropout does (Shi et al. 2022).

    A configuration c of what the sample has is kept with the probability w_c / sum of w over all that it could keep. A
    sample that lacks modalities draws among those that are left to it by the same weights; where all of these are 0 it
    keeps all it has.

    weights: the weight of a configuration by its name, the modalities in any order, as { "audio" = 2.0, "audio+text" =
    1.0 }. other: the weight of each configuration that is not named. Weights are relative; 0 is never. With the weights
    { "audio" = 1.0 } and other 0 it trains a specialist for audio: whoever has audio keeps nothing else. Without
    options it is `uniform`. At most 10 modalities.
    """

    def __init__(self, *, weights: dict[str, float] | None = None, other: float = 1.0) -> None:
        super().__init__()
        self.weights: dict[frozenset[str], float] = {}
        for name, weight in (weights or {}).items():
            configuration = frozenset(name.split("+"))
            if configuration in self.weights:
                raise SettingsError(f"The option weights of weighted names the configuration '{name}' twice.")
            self.weights[configuration] = weight
        for option, weight in [("other", other), *(("weights", weight) for weight in self.weights.values())]:
            if not 0.0 <= weight < math.inf:
                raise SettingsError(f"The option {option} of weighted takes weights from 0 upwards, not {weight}.")
        if not any((other, *self.weights.values())):
            raise SettingsError("The options weights and other of weighted are all 0: no configuration is left.")
        self.other = other

    def prepare(self, modalities: tuple[str, ...]) -> None:
        """SettingsError for a weight of an unknown modality, or for more of them than it can weigh."""
        self._scores(list(modalities))

    def forward(self, masks: Tensors, progress: Tensor) -> Tensors:
        """masks {modality: [B, T] bool}, progress [] -> masks. SettingsError as in `prepare`."""
        if not self.training:
            return masks
        present = present_in(masks)
        return keep(masks, draw_subset(present, torch.tensor(self._scores(list(masks)), device=present.device)))

    def _scores(self, modalities: list[str]) -> list[float]:
        """The logarithm of the weight of each of the 2^M subsets."""
        weights = [self.other] * count_subsets(len(modalities))
        for configuration, weight in self.weights.items():
            for unknown in sorted(configuration - set(modalities)):
                raise SettingsError(
                    f"The option weights of weighted names the modality '{unknown}', which the data do not have."
                    f"{choices(unknown, modalities)}"
                )
            weights[sum(1 << modalities.index(modality) for modality in configuration)] = weight
        return [math.log(weight) if weight else -math.inf for weight in weights]


@hookimpl
def register_dropout_policies(register: Callable[[str, type[DropoutPolicy]], None]) -> None:
    """Offer `weighted`."""
    register("weighted", Weighted)
