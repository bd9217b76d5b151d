"""The fusion `concat` puts pooled vectors side by side."""

import torch

from emotiwave_core.interfaces import Encoded
from emotiwave_fusions.concat import Concat


def test_vectors_stand_side_by_side_with_zero_for_the_absent() -> None:
    """The vector is the pooled vectors in the order of in_features, and zero where a modality is absent."""
    mask = torch.ones(2, 3, dtype=torch.bool)
    encoded = {
        name: Encoded(torch.zeros(2, 3, width), torch.full((2, width), value), mask)
        for name, width, value in (("b", 1, 20.0), ("a", 2, 10.0))
    }
    encoded["b"].pooled[1] = torch.nan
    fusion = Concat({"a": 2, "b": 1})
    fused = fusion(encoded, torch.tensor([[True, True], [True, False]]))
    assert fused.vector.tolist() == [[10.0, 10.0, 20.0], [10.0, 10.0, 0.0]]
    assert fusion.out_features == 3
    assert fused.weights is None
    assert fused.loss is None
