"""The dropout policy `uniform`: every configuration is trained equally often."""

from collections.abc import Callable

from torch import Tensor

from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import DropoutPolicy, Tensors
from emotiwave_core.layers.masking import draw_nonempty, keep, present_in


class Uniform(DropoutPolicy):
    """Each sample keeps one of the 2^n - 1 non-empty configurations of its n present modalities, all equally likely.

    It samples what the mean over configurations scores: none is trained less than another.
    """

    def forward(self, masks: Tensors, progress: Tensor) -> Tensors:
        """masks {modality: [B, T] bool}, progress [] -> masks."""
        if not self.training:
            return masks
        return keep(masks, draw_nonempty(present_in(masks), p=0.5))


@hookimpl
def register_dropout_policies(register: Callable[[str, type[DropoutPolicy]], None]) -> None:
    """Offer `uniform`."""
    register("uniform", Uniform)
