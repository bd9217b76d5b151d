"""The dropout policy `none`: every sample keeps all it has."""

from collections.abc import Callable

from torch import Tensor

from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import DropoutPolicy, Tensors


class NoDropout(DropoutPolicy):
    """No modality dropout: the masks as they came."""

    def forward(self, masks: Tensors, progress: Tensor) -> Tensors:
        """masks {modality: [B, T] bool}, progress [] -> the same masks."""
        return masks


@hookimpl
def register_dropout_policies(register: Callable[[str, type[DropoutPolicy]], None]) -> None:
    """Offer `none`."""
    register("none", NoDropout)
