"""The encoder `bigru`: a bidirectional GRU that survives lost steps and empty sequences."""

from collections.abc import Callable

from torch import nn

from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Encoder
from emotiwave_core.layers.recurrent import Bidirectional


class BiGRU(Bidirectional):
    """Bidirectional GRU (Cho et al. 2014; the form of torch.nn.GRU, which resets after the product).

    hidden_size: H, the width of each direction; states and pooled vector have 2H. layers: how many are stacked.
    dropout: on the states between layers. pooling: "last" is the forward state after the last step beside the backward
    state after the first; "mean", "max" and "attention" are taken over the states of the steps that are set.
    """

    name = "bigru"
    cell = nn.GRU


@hookimpl
def register_encoders(register: Callable[[str, type[Encoder]], None]) -> None:
    """Offer `bigru`."""
    register("bigru", BiGRU)
