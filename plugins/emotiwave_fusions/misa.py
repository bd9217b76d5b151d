"""The fusion `misa`: what modalities share and what is their own, in two spaces that losses keep apart."""

from collections.abc import Callable
from itertools import combinations

import torch
from torch import Tensor, nn

from emotiwave_core.config.options import fraction, one_of, positive, whole_heads
from emotiwave_core.errors import SettingsError
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Encoded, Fused, Fusion
from emotiwave_core.layers.attention import Transformer
from emotiwave_core.layers.missing import MissingKind, StandIn

MOMENTS = 5  # K of the central moment discrepancy


class Misa(Fusion):
    """MISA (Hazarika et al. 2020, ACM Multimedia, "Modality-Invariant and -Specific Representations").

    Each pooled vector [B, D_m] is projected to u_m [B, W]. One encoder for all modalities makes the shared vector
    c_m of it, one of each modality's own the private p_m, both in [0, 1] by a sigmoid. A transformer of one layer
    (pre-norm here) runs over the 2 M vectors, which then stand side by side: vector [B, 2 M W]. No weights. The loss is
        similarity * L_sim + difference * L_diff + reconstruction * L_recon.
    L_sim: the central moment discrepancy of c_a and c_b, mean over the pairs. L_diff: the orthogonality of c_m and p_m
    for each modality and of p_a and p_b for each pair, summed; it is the squared Frobenius norm divided by W^2, of rows
    whose norms are taken for constants, as in the authors' code, for which their coefficient was chosen. L_recon: the
    mean squared error of D_m(c_m + p_m) to u_m, D_m being a linear decoder for each modality, as there.

    Other than there: the transformer is pre-norm, with a hidden layer of 4 W (there post-norm, of 2,048), and what
    follows the vector is the model's head (there a hidden layer of 3 W). Their encoders are no part of a fusion: BERT,
    and for the others two bidirectional LSTMs with a LayerNorm between them, whose final states are joined.

    The losses are taken over the samples that have the modality, or both of a pair; L_sim leaves out a pair that fewer
    than two samples have. An absent modality's vectors are read by nothing and its part of the vector is zero. With
    `missing = "learned"` they are made of its learned vector and join the transformer, but not the losses.

    width: W, a multiple of heads. heads: of the transformer. similarity, difference, reconstruction: alpha, beta and
    gamma of the paper, at least 0, by default the authors'. dropout: in the transformer. missing: "zero" or "learned".
    """

    def __init__(
        self,
        in_features: dict[str, int],
        *,
        width: int = 128,
        heads: int = 2,
        similarity: float = 1.0,
        difference: float = 0.3,
        reconstruction: float = 1.0,
        dropout: float = 0.1,
        missing: MissingKind = "zero",
    ) -> None:
        super().__init__()
        positive("misa", width=width, heads=heads)
        whole_heads("misa", width, heads)
        self.coefficients = {"similarity": similarity, "difference": difference, "reconstruction": reconstruction}
        for name, value in self.coefficients.items():
            if not value >= 0.0:
                raise SettingsError(f"The option {name} of misa must be at least 0, not {value}.")
        fraction("misa", dropout=dropout)
        one_of("misa", MissingKind, missing=missing)
        self.missing = StandIn(in_features, missing)
        self.stand_in = missing == "learned"
        self.out_features = 2 * len(in_features) * width
        self.project = nn.ModuleList(
            nn.Sequential(nn.Linear(features, width), nn.ReLU(), nn.LayerNorm(width))
            for features in in_features.values()
        )
        self.shared = nn.Sequential(nn.Linear(width, width), nn.Sigmoid())
        self.private = nn.ModuleList(nn.Sequential(nn.Linear(width, width), nn.Sigmoid()) for _ in in_features)
        self.decoders = nn.ModuleList(nn.Linear(width, width) for _ in in_features)
        self.transformer = Transformer(width, heads, 1, dropout)

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        """encoded {modality: Encoded}, present [B, M] bool -> Fused."""
        pooled = self.missing.pooled(encoded, present)
        projected = [project(vector) for project, vector in zip(self.project, pooled, strict=True)]
        shared = [self.shared(u) for u in projected]
        private = [encoder(u) for encoder, u in zip(self.private, projected, strict=True)]
        mask = (present | self.stand_in).repeat(1, 2)  # [B, 2 M]
        tokens = self.transformer(torch.stack(shared + private, dim=1), None, mask)
        vector = torch.where(mask[..., None], tokens, 0.0).flatten(1)
        if torch.compiler.is_exporting():
            return Fused(vector)  # whoever runs the exported model trains nothing
        with torch.autocast(present.device.type, enabled=False):  # products of bfloat16 numbers would be bfloat16
            u, c, p = ([_wide(tensor) for tensor in tensors] for tensors in (projected, shared, private))
            return Fused(vector, loss=self._loss(u, c, p, present))

    def _loss(self, projected: list[Tensor], shared: list[Tensor], private: list[Tensor], present: Tensor) -> Tensor:
        """The weighted sum of the three losses; each list holds [B, W] of each modality."""
        here = list(present.unbind(dim=1))
        pairs = list(combinations(range(len(here)), 2))
        total = self.coefficients["reconstruction"] * self._reconstruction(projected, shared, private, present)
        distinct = [orthogonality(c, p, is_present) for c, p, is_present in zip(shared, private, here, strict=True)]
        distinct += [orthogonality(private[a], private[b], here[a] & here[b]) for a, b in pairs]
        total = total + self.coefficients["difference"] * torch.stack(distinct).sum()
        if pairs:
            apart = torch.stack([moment_discrepancy(shared[a], shared[b], here[a] & here[b]) for a, b in pairs])
            enough = torch.stack([(here[a] & here[b]).sum() >= 2 for a, b in pairs])
            total = total + self.coefficients["similarity"] * apart.sum() / enough.sum().clamp(min=1)
        return total

    def _reconstruction(
        self, projected: list[Tensor], shared: list[Tensor], private: list[Tensor], present: Tensor
    ) -> Tensor:
        """The mean squared error of what the decoders make of the two vectors, over all that is present."""
        made = [decoder(c + p) for decoder, c, p in zip(self.decoders, shared, private, strict=True)]
        error = _wide(torch.stack(made, dim=1) - torch.stack(projected, dim=1)).square().mean(dim=-1)  # [B, M]
        return torch.where(present, error, 0.0).sum() / present.sum().clamp(min=1)


def moment_discrepancy(a: Tensor, b: Tensor, here: Tensor) -> Tensor:
    """CMD (Zellinger et al. 2017, ICLR) of samples a, b [B, W] in [0, 1], over the rows that are `here` [B] -> [].

    The distance of the means and those of the central moments of order 2 to 5, summed; 0 where fewer than two rows are
    here.
    """
    a, b, number = _wide(a), _wide(b), here.sum().clamp(min=1)

    def mean(rows: Tensor) -> Tensor:
        return torch.where(here[:, None], rows, 0.0).sum(dim=0) / number

    mean_a, mean_b = mean(a), mean(b)
    distances = [mean_a - mean_b]
    distances += [mean((a - mean_a) ** order) - mean((b - mean_b) ** order) for order in range(2, MOMENTS + 1)]
    discrepancy = torch.linalg.vector_norm(torch.stack(distances), dim=-1).sum()
    return torch.where(here.sum() >= 2, discrepancy, 0.0)


def orthogonality(a: Tensor, b: Tensor, here: Tensor) -> Tensor:
    """||A' B||_F^2 / W^2 of a, b [B, W] over the rows that are `here` [B], at zero mean and unit norm -> [].

    The gradient takes the norms for constants: it moves rows apart, and not only turns them.
    """
    A, B = (_centred_unit(_wide(x), here) for x in (a, b))
    return (A.T @ B).square().mean()


def _centred_unit(x: Tensor, here: Tensor) -> Tensor:
    """x [B, W] less the mean of the rows that are here, each over its norm + 1e-6; zero where a row is not here."""
    rows = torch.where(here[:, None], x, 0.0)
    centred = torch.where(here[:, None], x - rows.sum(dim=0) / here.sum().clamp(min=1), 0.0)
    norm: Tensor = torch.linalg.vector_norm(centred.detach(), dim=1, keepdim=True)
    return centred / (norm + 1e-6)


def _wide(x: Tensor) -> Tensor:
    """float32 at least: the moments of half-precision numbers are mostly rounding."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


@hookimpl
def register_fusions(register: Callable[[str, type[Fusion]], None]) -> None:
    """Offer `misa`."""
    register("misa", Misa)
