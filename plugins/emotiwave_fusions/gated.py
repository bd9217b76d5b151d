"""The fusion `gated`: the Gated Multimodal Unit, a gate for each unit and modality."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from emotiwave_core.config.options import one_of, positive
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Encoded, Fused, Fusion
from emotiwave_core.layers.missing import MissingKind, StandIn
from emotiwave_core.layers.sequence import masked_softmax


class Gated(Fusion):
    """Gated Multimodal Unit (Arevalo et al. 2017, arXiv 1702.01992, section 3.1).

    h_i = tanh(W_i x_i), and the vector [B, W] is the sum of z_i * h_i: each unit has a gate for each modality, which
    reads the pooled vectors x_i [B, D_i] of all of them. As in the paper no map has a bias.

    The paper's z = sigmoid(W_z [x_1 … x_k]) and 1 - z of two modalities become, for any number, the softmax of
    W_zi [x_1 … x_k] over the modalities that are present. For two that is the paper's pair, with W_z = W_z1 - W_z2;
    independent sigmoids, which the paper writes for more than two, would not agree with it, nor be shares. A modality
    that is alone has the gates 1. weights [B, M]: the mean of the gates over the units.

    Gates read zero or the learned vector for an absent modality. With `missing = "learned"` its h is also added whole.

    width: W. missing: what stands in the place of an absent modality, "zero" or a "learned" vector.
    """

    def __init__(self, in_features: dict[str, int], *, width: int = 64, missing: MissingKind = "zero") -> None:
        super().__init__()
        positive("gated", width=width)
        one_of("gated", MissingKind, missing=missing)
        self.missing = StandIn(in_features, missing)
        self.content = nn.ModuleList(nn.Linear(features, width, bias=False) for features in in_features.values())
        self.gate = nn.Linear(sum(in_features.values()), len(in_features) * width, bias=False)
        self.out_features = width

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        """encoded {modality: Encoded}, present [B, M] bool -> Fused."""
        pooled = self.missing.pooled(encoded, present)
        h = torch.stack([content(x) for content, x in zip(self.content, pooled, strict=True)], dim=-1).tanh()
        scores = self.gate(torch.cat(pooled, dim=-1)).unflatten(-1, (len(pooled), -1)).mT  # [B, W, M]
        here = present[:, None]  # [B, 1, M]
        gates = masked_softmax(scores, here)
        vector = (self.missing.with_learned(gates, here) * h).sum(dim=-1)
        return Fused(vector, gates.mean(dim=1))


@hookimpl
def register_fusions(register: Callable[[str, type[Fusion]], None]) -> None:
    """Offer `gated`."""
    register("gated", Gated)
