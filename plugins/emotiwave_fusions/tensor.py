"""The fusion `tensor`: the outer product of all modalities."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from emotiwave_core.config.options import one_of, positive
from emotiwave_core.errors import SettingsError
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Encoded, Fused, Fusion
from emotiwave_core.layers.missing import MissingKind, StandIn

LIMIT = 200_000  # numbers in the vector: a head of 128 on more than that has over 25 million parameters


class TensorFusion(Fusion):
    """Tensor Fusion Network (Zadeh et al. 2017, EMNLP, eq. 3, 4).

    Each pooled vector x_m [B, D_m] is mapped linearly to h_m [B, W], in the place of the paper's embedding subnetworks,
    and gets a 1 behind it: z_m = [h_m; 1]. The outer product of all z_m holds every product of units of one, two, …,
    M modalities. vector [B, (W + 1)^M], flat with the last modality's units side by side; no weights, no loss.

    An absent modality is zero, and leaves the outer product of the others in its slice of the 1, and zeros elsewhere.
    The maps have no bias, so that zero stays zero; what a bias would add are products that are in the tensor anyway.

    width: W. missing: what stands in the place of an absent modality, "zero" or a "learned" vector.
    SettingsError for a vector of more than 200,000 numbers.
    """

    def __init__(self, in_features: dict[str, int], *, width: int = 16, missing: MissingKind = "zero") -> None:
        super().__init__()
        positive("tensor", width=width)
        one_of("tensor", MissingKind, missing=missing)
        self.out_features = (width + 1) ** len(in_features)
        if self.out_features > LIMIT:
            raise SettingsError(
                f"The option width of tensor gives a vector of (width + 1)^{len(in_features)} = {self.out_features} "
                f"numbers for {len(in_features)} modalities, more than {LIMIT}: take a smaller width than {width}, "
                "or the fusion 'lowrank'."
            )
        self.missing = StandIn(in_features, missing)
        self.project = nn.ModuleList(nn.Linear(features, width, bias=False) for features in in_features.values())

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        """encoded {modality: Encoded}, present [B, M] bool -> Fused."""
        first, *others = (
            F.pad(project(x), (0, 1), value=1.0)
            for project, x in zip(self.project, self.missing.pooled(encoded, present), strict=True)
        )
        outer = first
        for z in others:
            outer = (outer[:, :, None] * z[:, None]).flatten(1)
        return Fused(outer)


@hookimpl
def register_fusions(register: Callable[[str, type[Fusion]], None]) -> None:
    """Offer `tensor`."""
    register("tensor", TensorFusion)
