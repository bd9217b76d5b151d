"""The fusion `gated` is the Gated Multimodal Unit, among the modalities that are present."""

import math
from typing import Any

import pytest
import torch
from pooled_batch import batch

from emotiwave_core.errors import SettingsError
from emotiwave_core.interfaces import Encoded
from emotiwave_core.layers.missing import MissingKind
from emotiwave_fusions.gated import Gated


def fusion_of(encoded: dict[str, Encoded], missing: MissingKind = "zero") -> Gated:
    """Of width 4, in float64, with gates that are far from even."""
    torch.manual_seed(0)
    fusion = Gated({m: part.pooled.shape[1] for m, part in encoded.items()}, width=4, missing=missing).double()
    with torch.no_grad():
        fusion.gate.weight.mul_(5.0)
        for vector in fusion.missing.vectors:
            vector.mul_(50.0)
    return fusion


@torch.no_grad()
@pytest.mark.parametrize("missing", ["zero", "learned"])
def test_the_vector_equals_a_loop(missing: MissingKind) -> None:
    """Unit by unit, the vector and the weights are what the equations say; what is learned is added whole."""
    encoded, present = batch()
    fusion = fusion_of(encoded, missing)
    fused = fusion(encoded, present)
    for b, row in enumerate(present.tolist()):
        x = [
            part.pooled[b] if row[m] else fusion.missing.vectors[m] if missing == "learned" else 0 * part.pooled[b]
            for m, part in enumerate(encoded.values())
        ]
        every = torch.cat(x)
        due, shares = [0.0] * 4, [0.0] * 3
        for unit in range(4):
            scores = [float(fusion.gate.weight[4 * m + unit] @ every) for m in range(3)]
            whole = sum(math.exp(score) for score, here in zip(scores, row, strict=True) if here)
            for m in range(3):
                h = math.tanh(float(fusion.content[m].weight[unit] @ x[m]))
                z = math.exp(scores[m]) / whole if row[m] else 0.0
                shares[m] += z / 4
                due[unit] += z * h if row[m] else h if missing == "learned" else 0.0
        assert fused.vector[b].tolist() == pytest.approx(due, abs=1e-10)
        assert fused.weights[b].tolist() == pytest.approx(shares, abs=1e-10)


@torch.no_grad()
def test_two_modalities_give_the_paper_s_unit() -> None:
    """For two, the vector is z * h_1 + (1 - z) * h_2 with one sigmoid z of [x_1, x_2], as in the paper."""
    encoded, _ = batch()
    two = {m: encoded[m] for m in ("audio", "visual")}
    fusion = fusion_of(two)
    first, second = (part.pooled for part in two.values())
    W_1, W_2 = (content.weight for content in fusion.content)
    W_z = fusion.gate.weight[:4] - fusion.gate.weight[4:]
    z = torch.sigmoid(torch.cat([first, second], dim=1) @ W_z.T)
    due = z * torch.tanh(first @ W_1.T) + (1 - z) * torch.tanh(second @ W_2.T)
    fused = fusion(two, torch.ones(len(first), 2, dtype=torch.bool))
    torch.testing.assert_close(fused.vector, due, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(fused.weights, torch.stack([z.mean(1), 1 - z.mean(1)], dim=1), atol=1e-12, rtol=1e-12)
    assert z.std(dim=1).min() > 0.01  # the gates do differ from unit to unit


@torch.no_grad()
@pytest.mark.parametrize("column", [0, 1, 2])
def test_a_modality_that_is_alone_has_the_gates_1(column: int) -> None:
    """The vector of a single present modality is exactly its h, and its weight 1."""
    encoded, _ = batch()
    fusion = fusion_of(encoded)
    alone = torch.arange(3).expand(8, 3) == column
    fused = fusion(encoded, alone)
    h = fusion.content[column](list(encoded.values())[column].pooled).tanh()
    torch.testing.assert_close(fused.vector, h, atol=1e-12, rtol=1e-12)
    assert torch.equal(fused.weights, alone.double())


@pytest.mark.parametrize("options", [{"width": 0}, {"missing": "mean"}])
def test_a_bad_option_is_named(options: dict[str, Any]) -> None:
    """An option out of its range is refused by name."""
    with pytest.raises(SettingsError, match=f"option {next(iter(options))} of gated"):
        Gated({"a": 3}, **options)
