"""The encoder `linear` is a convolution with a kernel of 1."""

import pytest
import torch
from torch.nn import functional

from emotiwave_core.errors import SettingsError
from emotiwave_encoders.linear import LinearEncoder


@torch.no_grad()
def test_the_states_are_those_of_a_convolution_with_a_kernel_of_one() -> None:
    """States equal torch's convolution, zero where masked, and pool to the mean of those that are set."""
    torch.manual_seed(0)
    encoder = LinearEncoder(3, width=4).double()
    x, mask = torch.randn(3, 5, 3).double(), torch.rand(3, 5) < 0.6
    mask[2] = False
    due = functional.conv1d(x.transpose(1, 2), encoder.map.weight[..., None]).transpose(1, 2)
    states, pooled, _ = encoder(x, mask)
    torch.testing.assert_close(states[mask], due[mask])
    assert not states[~mask].any()
    for row in (0, 1):
        torch.testing.assert_close(pooled[row], due[row][mask[row]].mean(dim=0))
    assert not pooled[2].any()


def test_a_bad_width_is_named() -> None:
    """A width that is not positive is refused by name."""
    with pytest.raises(SettingsError, match="width"):
        LinearEncoder(3, width=0)
