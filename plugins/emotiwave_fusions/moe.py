"""The fusion `moe`: a mixture of experts, one for each modality."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from emotiwave_core.config.options import one_of, positive
from emotiwave_core.errors import SettingsError
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Encoded, Fused, Fusion
from emotiwave_core.layers.missing import MissingKind, StandIn
from emotiwave_core.layers.sequence import masked_softmax


class MixtureOfExperts(Fusion):
    """Mixture of modality experts (Jacobs et al. 1991; Shazeer et al. 2017, arXiv 1701.06538, eq. 1, 2).

    Each modality has an expert E_m, a perceptron with one hidden layer from its pooled vector [B, D_m] to [B, W]. A
    linear router reads all pooled vectors, with zero or the learned vector for an absent one, and G is the softmax of
    its scores over the modalities that are present. vector [B, W] = sum of G_m E_m; weights [B, M] = G.

    With `missing = "learned"` what the expert makes of an absent modality's learned vector is added whole.

    width: W, also of the hidden layers. balance: the coefficient of the importance loss, which keeps the router from
    trusting one expert only; 0 leaves it out. missing: "zero" or a "learned" vector.
    """

    def __init__(
        self, in_features: dict[str, int], *, width: int = 64, balance: float = 0.0, missing: MissingKind = "zero"
    ) -> None:
        super().__init__()
        positive("moe", width=width)
        one_of("moe", MissingKind, missing=missing)
        if not balance >= 0.0:
            raise SettingsError(f"The option balance of moe must be at least 0, not {balance}.")
        self.missing = StandIn(in_features, missing)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(features, width), nn.ReLU(), nn.Linear(width, width))
            for features in in_features.values()
        )
        self.router = nn.Linear(sum(in_features.values()), len(in_features))
        self.balance = balance
        self.out_features = width

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        """encoded {modality: Encoded}, present [B, M] bool -> Fused."""
        pooled = self.missing.pooled(encoded, present)
        weights = masked_softmax(self.router(torch.cat(pooled, dim=-1)), present)
        said = torch.stack([expert(x) for expert, x in zip(self.experts, pooled, strict=True)], dim=1)  # [B, M, W]
        vector = (self.missing.with_learned(weights, present)[..., None] * said).sum(dim=1)
        loss = self.balance * importance_loss(weights, present) if self.balance else None
        return Fused(vector, weights, loss)


def importance_loss(weights: Tensor, present: Tensor) -> Tensor:
    """The squared coefficient of variation of the experts' importance (Shazeer et al. 2017, eq. 6, 7 without w).

    weights and present [B, M] -> []. Importance is the sum of an expert's weights over the batch, here as a multiple of
    what even weights over the present modalities would give it: a modality that is often absent is not to be blamed for
    that. Where all is present this is the paper's loss. Modalities absent from the whole batch are left out.
    """
    here = present.to(weights.dtype)
    even = (here / here.sum(dim=1, keepdim=True).clamp(min=1.0)).sum(dim=0)  # [M]
    seen = present.any(dim=0)
    importance = torch.where(seen, weights.sum(dim=0) / torch.where(seen, even, 1.0), 0.0)
    number = seen.sum().clamp(min=1)
    mean = importance.sum() / number
    variance = torch.where(seen, (importance - mean) ** 2, 0.0).sum() / number
    return variance / torch.where(seen.any(), mean, 1.0) ** 2


@hookimpl
def register_fusions(register: Callable[[str, type[Fusion]], None]) -> None:
    """Offer `moe`."""
    register("moe", MixtureOfExperts)
