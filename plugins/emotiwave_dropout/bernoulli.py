"""The dropout policy `bernoulli`: each modality is dropped with the same probability."""

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from emotiwave_core.config.options import fraction, one_of
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import DropoutPolicy, Tensors
from emotiwave_core.layers.masking import draw_nonempty, keep, present_in

Per = Literal["sample", "batch"]


class Bernoulli(DropoutPolicy):
    """Modality dropout (Neverova et al. 2016, "ModDrop"): each modality is dropped with probability p.

    The draw is conditional on a non-empty rest: a configuration of k out of n present modalities has the probability
    (1 - p)^k p^(n - k) / (1 - p^n).

    p: the probability, at least 0 and below 1. per: "sample" draws for each sample; "batch" draws once, and a sample
    that has none of the modalities drawn keeps its own. allow_empty: draw without the condition, so that a sample may
    lose all.
    """

    def __init__(self, *, p: float = 0.3, per: Per = "sample", allow_empty: bool = False) -> None:
        super().__init__()
        fraction("bernoulli", p=p)
        one_of("bernoulli", Per, per=per)
        self.p, self.per, self.allow_empty = p, per, allow_empty

    def forward(self, masks: Tensors, progress: Tensor) -> Tensors:
        """masks {modality: [B, T] bool}, progress [] -> masks."""
        if not self.training:
            return masks
        present = present_in(masks)
        if self.per == "sample":
            return keep(masks, draw_nonempty(present, self.p, self.allow_empty))
        drawn = draw_nonempty(present.any(dim=0, keepdim=True), self.p, self.allow_empty)  # [1, M]
        if self.allow_empty:
            return keep(masks, drawn)
        emptied = ~(present & drawn).any(dim=1, keepdim=True)
        return keep(masks, drawn | emptied)


@hookimpl
def register_dropout_policies(register: Callable[[str, type[DropoutPolicy]], None]) -> None:
    """Offer `bernoulli`."""
    register("bernoulli", Bernoulli)
