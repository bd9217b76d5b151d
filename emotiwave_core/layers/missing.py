"""Stand-ins that a fusion reads for an absent modality: the option `missing` that every fusion has."""

from typing import Literal

import torch
from torch import Tensor, nn

from emotiwave_core.interfaces import Encoded
from emotiwave_core.layers.sequence import zero_masked

MissingKind = Literal["zero", "learned"]


class StandIn(nn.Module):
    """Puts zeros, or a vector [D_m] that it learns, in the place of an absent modality, whose content is never read.

    A learned vector gets a gradient only from samples that lack its modality.
    """

    def __init__(self, in_features: dict[str, int], missing: MissingKind) -> None:
        super().__init__()
        self.modalities = tuple(in_features)
        learned = in_features.values() if missing == "learned" else ()
        self.vectors = nn.ParameterList(0.02 * torch.randn(width) for width in learned)

    def pooled(self, encoded: dict[str, Encoded], present: Tensor) -> list[Tensor]:
        """encoded {modality: Encoded}, present [B, M] -> the pooled vectors [B, D_m], in the order of `in_features`."""
        return [
            torch.where(present[:, column, None], encoded[m].pooled, self._stand_in(column, encoded[m].pooled))
            for column, m in enumerate(self.modalities)
        ]

    def with_learned(self, weights: Tensor, present: Tensor) -> Tensor:
        """The factors of a weighted sum: the weights, zero for what is absent, but 1 in the place of a learned vector.

        weights and present broadcast to one shape. For fusions whose weights are shares of the present modalities: what
        is made of a learned vector has no share, but is added whole, and so says that its modality is absent.
        """
        return torch.where(present, weights, 1.0) if len(self.vectors) else weights

    def sequences(self, encoded: dict[str, Encoded], present: Tensor) -> list[tuple[Tensor, Tensor]]:
        """encoded {modality: Encoded}, present [B, M] -> (states [B, T_m, D_m], mask [B, T_m]) of each modality.

        States are zero where masked. A learned vector stands as the only step of an absent modality; with zeros such a
        modality has no step.
        """
        return [self._sequence(column, encoded[m], present[:, column]) for column, m in enumerate(self.modalities)]

    def _sequence(self, column: int, encoded: Encoded, present: Tensor) -> tuple[Tensor, Tensor]:
        mask = encoded.mask & present[:, None]
        states = zero_masked(encoded.states, mask)
        if not len(self.vectors):
            return states, mask
        first = torch.arange(mask.shape[1], device=mask.device) == 0
        put = first & ~present[:, None]  # [B, T]
        return torch.where(put[..., None], self._stand_in(column, states), states), mask | put

    def _stand_in(self, column: int, like: Tensor) -> Tensor:
        return self.vectors[column].to(like.dtype) if len(self.vectors) else like.new_zeros(())
