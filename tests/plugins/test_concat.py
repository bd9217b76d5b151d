"""The fusion `concat` puts pooled vectors side by side."""

import pytest
import torch

from emotiwave_core.errors import SettingsError
from emotiwave_core.interfaces import Encoded
from emotiwave_fusions.concat import Concat


def two_samples() -> tuple[dict[str, Encoded], torch.Tensor]:
    """Of the modalities b and a; the second sample has no b, and NaN in its place."""
    mask = torch.ones(2, 3, dtype=torch.bool)
    encoded = {
        name: Encoded(torch.zeros(2, 3, width), torch.full((2, width), value), mask)
        for name, width, value in (("b", 1, 20.0), ("a", 2, 10.0))
    }
    encoded["b"].pooled[1] = torch.nan
    return encoded, torch.tensor([[True, True], [True, False]])


def test_vectors_stand_side_by_side_with_zero_for_the_absent() -> None:
    """The vector is the pooled vectors in the order of in_features, and zero where a modality is absent."""
    fusion = Concat({"a": 2, "b": 1})
    fused = fusion(*two_samples())
    assert fused.vector.tolist() == [[10.0, 10.0, 20.0], [10.0, 10.0, 0.0]]
    assert fusion.out_features == 3
    assert fused.weights is None
    assert fused.loss is None


def test_a_learned_vector_stands_in_the_place_of_the_absent() -> None:
    """With missing="learned" an absent modality's part is its learned vector, and no other part changes."""
    fusion = Concat({"a": 2, "b": 1}, missing="learned")
    vector = fusion(*two_samples()).vector
    assert vector[0].tolist() == [10.0, 10.0, 20.0]
    assert vector[1].tolist() == [10.0, 10.0, fusion.missing.vectors[1].item()]


def test_a_bad_option_is_named() -> None:
    """A stand-in that does not exist is refused by name."""
    with pytest.raises(SettingsError, match="option missing of concat"):
        Concat({"a": 2}, missing="mean")  # type: ignore[arg-type]
