"""The encoder `linear`: one linear map of each step, for fusions that look at the steps themselves."""

from collections.abc import Callable

from torch import Tensor, nn

from emotiwave_core.config.options import positive
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Encoded, Encoder
from emotiwave_core.layers.sequence import masked_mean, zero_masked


class LinearEncoder(Encoder):
    """A temporal convolution with a kernel of 1 and no bias, as MulT's (Tsai et al. 2019, section 3.1).

    x [B, T, F], mask [B, T] -> states A x_t [B, T, W], pooled [B, W], the mean of the states that are set, and the same
    mask. An empty sequence pools to zero.

    width: W.
    """

    def __init__(self, in_features: int, *, width: int = 40) -> None:
        super().__init__()
        positive("linear", width=width)
        self.out_features = width
        self.map = nn.Linear(in_features, width, bias=False)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        """x [B, T, F], mask [B, T] bool of any pattern -> Encoded."""
        states = self.map(zero_masked(x, mask))
        return Encoded(states, masked_mean(states, mask), mask)


@hookimpl
def register_encoders(register: Callable[[str, type[Encoder]], None]) -> None:
    """Offer `linear`."""
    register("linear", LinearEncoder)
