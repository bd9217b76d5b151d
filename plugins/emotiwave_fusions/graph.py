"""The fusion `graph`: the dynamic fusion graph of Graph-MFN, a vertex for every subset of the modalities."""

from collections.abc import Callable
from itertools import combinations

import torch
from torch import Tensor, nn

from emotiwave_core.config.options import fraction, one_of, positive
from emotiwave_core.errors import SettingsError
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Encoded, Fused, Fusion
from emotiwave_core.layers.missing import MissingKind, StandIn

MOST = 5  # modalities


class Graph(Fusion):
    """Dynamic fusion graph (Zadeh et al. 2018, ACL, "Multimodal Language Analysis in the Wild", section 4).

    A vertex [B, W] for each of the 2^M - 1 non-empty subsets of the modalities. Those of one modality are the pooled
    vectors [B, D_m], projected linearly. A vertex of more is D_i(its children side by side), its children being all
    non-empty proper subsets, each multiplied by the efficacy of its edge, a number in [0, 1]. The output
    vector [B, W] is a network over all vertices side by side, each multiplied by the efficacy of its edge to the
    output. All 3^M - 2^M efficacies come from one network D_alpha with a sigmoid over the vertices of one modality.
    Each network is linear, ReLU, linear. No weights (an efficacy belongs to a subset, not to a modality), no loss.

    A vertex whose subset holds an absent modality is off: the efficacies of its edges are 0. With
    `missing = "learned"` a learned vector stands in for the absent modality and all vertices are on.

    width: W, also of the hidden layers. dropout: on the hidden layers. missing: "zero" or "learned". SettingsError for
    more than 5 modalities: 6 would have 665 edges.
    """

    holds: Tensor  # [V, M] bool, whether a vertex's subset has a modality

    def __init__(
        self, in_features: dict[str, int], *, width: int = 64, dropout: float = 0.1, missing: MissingKind = "zero"
    ) -> None:
        super().__init__()
        positive("graph", width=width)
        fraction("graph", dropout=dropout)
        one_of("graph", MissingKind, missing=missing)
        M = len(in_features)
        if M > MOST:
            raise SettingsError(
                f"The fusion graph takes at most {MOST} modalities, not {M}: it has 3^M - 2^M = {3**M - 2**M} edges."
            )
        self.missing = StandIn(in_features, missing)
        self.stand_in = missing == "learned"
        self.out_features = width
        subsets = [frozenset(subset) for size in range(1, M + 1) for subset in combinations(range(M), size)]
        # Small subsets come first, so that a vertex finds its children made.
        self.below = [[c for c, child in enumerate(subsets) if child < parent] for parent in subsets[M:]]
        holds = torch.tensor([[column in subset for column in range(M)] for subset in subsets])
        self.register_buffer("holds", holds, persistent=False)
        edges = [len(children) for children in self.below] + [len(subsets)]
        self.edges = edges
        # No biases: with zeros for an absent modality its vertex is zero.
        self.project = nn.ModuleList(nn.Linear(features, width, bias=False) for features in in_features.values())
        self.efficacy = _network(M * width, width, sum(edges), dropout)
        self.vertex = nn.ModuleList(_network(number * width, width, width, dropout) for number in edges[:-1])
        self.output = _network(len(subsets) * width, width, width, dropout)

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        """encoded {modality: Encoded}, present [B, M] bool -> Fused."""
        pooled = self.missing.pooled(encoded, present)
        vertices = [project(vector) for project, vector in zip(self.project, pooled, strict=True)]
        efficacies = self.efficacy(torch.cat(vertices, dim=-1)).sigmoid().split(self.edges, dim=-1)
        on = (present[:, None] | ~self.holds).all(dim=-1) | self.stand_in  # [B, V]
        for children, network, efficacy in zip(self.below, self.vertex, efficacies, strict=False):
            inputs = torch.stack([vertices[child] for child in children], dim=1)
            vertices.append(network(_weighed(inputs, efficacy, on[:, children])))
        return Fused(self.output(_weighed(torch.stack(vertices, dim=1), efficacies[-1], on)))


def _weighed(vertices: Tensor, efficacy: Tensor, on: Tensor) -> Tensor:
    """vertices [B, N, W], efficacy [B, N], on [B, N] -> [B, N W], each vertex times its efficacy, 0 if it is off."""
    return (vertices * torch.where(on, efficacy, 0.0)[..., None]).flatten(1)


def _network(in_features: int, hidden: int, out_features: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(in_features, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, out_features)
    )


@hookimpl
def register_fusions(register: Callable[[str, type[Fusion]], None]) -> None:
    """Offer `graph`."""
    register("graph", Graph)
