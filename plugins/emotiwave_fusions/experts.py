"""The fusion `experts`: each modality answers alone, and the answers are put together by Bayes' rule."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from emotiwave_core.errors import SettingsError
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import AnsweringFusion, Encoded, Fused, Fusion, OutputSpace


class Experts(AnsweringFusion):
    """Product of the modalities' posteriors (Hinton 2002), a logarithmic opinion pool (Heskes 1998), less the prior.

    Each modality has a head for log p(y | x_m) on its pooled vector. The logits [B, C] are the sum of these over the m
    that are present, less (m - 1) log p(y): Bayes' rule where modalities are independent given the class. An absent one
    adds nothing, and where nothing is present they are log p(y). Of several labels each is a sum of log-odds.

    The prior is that of the training fold as the loss weighs it: with `objective.class_weights` all classes are as
    likely. Heads learn through their sum, each alone where a sample has lost the others, and by `objective.unimodal`
    alone in all samples. vector [B, sum of D_m]: the pooled vectors side by side. No weights, no loss; not for numbers.

    hidden_size: of a hidden layer in each head; 0: heads are linear.
    """

    prior: Tensor  # [C], log p(y), or log-odds

    def __init__(self, in_features: dict[str, int], *, hidden_size: int = 0) -> None:
        super().__init__()
        if hidden_size < 0:
            raise SettingsError(f"The option hidden_size of experts must be at least 0, not {hidden_size}.")
        self.widths, self.hidden_size = tuple(in_features.values()), hidden_size
        self.out_features = sum(self.widths)

    def make_heads(self, space: OutputSpace) -> None:
        """Make a head for each modality, and the prior, which holds all for as likely until it is told."""
        if space.kind == "regression":
            raise SettingsError(
                "The fusion experts multiplies probabilities, and the labels are numbers: take another."
            )
        self.single = space.kind == "single"
        self.heads = nn.ModuleList(self._head(width, space.size) for width in self.widths)
        self.register_buffer("prior", self._log(torch.zeros(space.size)))

    def take_prior(self, prior: Tensor) -> None:
        """Take the prior [C]."""
        self.prior.copy_(self._log(prior))

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        """encoded {modality: Encoded}, present [B, M] bool -> Fused."""
        logits = torch.where(present.unsqueeze(-1), self.unimodal(encoded, present), self.prior)
        others = present.shape[1] - 1  # an absent modality stands as the prior, which is taken off again
        return Fused(torch.cat(_pooled(encoded, present), dim=-1), logits=logits.sum(dim=1) - others * self.prior)

    def unimodal(self, encoded: dict[str, Encoded], present: Tensor) -> Tensor:
        """log p(y | x_m), or log-odds, of each modality, [B, M, C]; of an absent one what its head makes of zeros."""
        each = [head(x) for head, x in zip(self.heads, _pooled(encoded, present), strict=True)]
        return self._log(torch.stack(each, dim=1))

    def _head(self, width: int, outputs: int) -> nn.Module:
        if not self.hidden_size:
            return nn.Linear(width, outputs)
        return nn.Sequential(nn.Linear(width, self.hidden_size), nn.ReLU(), nn.Linear(self.hidden_size, outputs))

    def _log(self, logits: Tensor) -> Tensor:
        """Logits [..., C] as log-probabilities of single-label, as log-odds of multi-label; in float32 at least."""
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return functional.log_softmax(logits, dim=-1) if self.single else logits


def _pooled(encoded: dict[str, Encoded], present: Tensor) -> list[Tensor]:
    """The pooled vectors, zero for an absent modality."""
    return [torch.where(present[:, m, None], one.pooled, 0.0) for m, one in enumerate(encoded.values())]


@hookimpl
def register_fusions(register: Callable[[str, type[Fusion]], None]) -> None:
    """Offer `experts`."""
    register("experts", Experts)
