"""A batch that the tests of fusions over pooled vectors share."""

import torch
from torch import Tensor

from emotiwave_core.interfaces import Encoded
from emotiwave_core.testing.batches import encoded_batch_and_empty


def batch() -> tuple[dict[str, Encoded], Tensor]:
    """The contract's patterns of absence, with a sample that has nothing, and random pooled vectors in float64."""
    encoded, present = encoded_batch_and_empty()
    generator = torch.Generator().manual_seed(1)
    return {
        m: part._replace(pooled=torch.randn(part.pooled.shape, generator=generator).double())
        for m, part in encoded.items()
    }, present
