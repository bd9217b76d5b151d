"""Poolings that several encoders have in common."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from emotiwave_core.interfaces import Encoder
from emotiwave_encoders.conformer import Conformer
from emotiwave_encoders.s4d import S4D
from emotiwave_encoders.tcn import TCN
from emotiwave_encoders.transformer import SelfAttention

ENCODERS: dict[str, Callable[..., Encoder]] = {
    "conformer": lambda pooling: Conformer(3, width=8, heads=2, stride=2, pooling=pooling),
    "s4d": lambda pooling: S4D(3, width=4, pooling=pooling),
    "tcn": lambda pooling: TCN(3, channels=4, pooling=pooling),
    "transformer": lambda pooling: SelfAttention(3, width=8, heads=2, pooling=pooling),
}
MASK = torch.tensor(
    [
        [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        [1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 0, 0, 1, 1, 0, 1],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ],
    dtype=torch.bool,
)


@torch.no_grad()
@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
@pytest.mark.parametrize("name", ENCODERS)
def test_pooling_is_what_it_says(name: str, pooling: Any) -> None:
    """Each pooling is that of the states of the steps that are set, and zero for an empty sequence."""
    torch.manual_seed(0)
    states, pooled, mask = ENCODERS[name](pooling=pooling).eval()(torch.randn(4, 11, 3), MASK)
    for row in range(3):
        steps = states[row, mask[row]]
        expected = {"last": steps[-1], "mean": steps.mean(dim=0), "max": steps.amax(dim=0)}[pooling]
        torch.testing.assert_close(pooled[row], expected)
    assert not pooled[3].any()
