"""The fusion `moe` weighs an expert for each modality, and may keep their weights in balance."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pooled_batch import batch
from scipy.stats import variation

from emotiwave_core.errors import SettingsError
from emotiwave_core.layers.missing import MissingKind
from emotiwave_core.layers.sequence import masked_softmax
from emotiwave_fusions.moe import MixtureOfExperts, importance_loss


@torch.no_grad()
@pytest.mark.parametrize("missing", ["zero", "learned"])
def test_the_vector_equals_a_loop(missing: MissingKind) -> None:
    """The vector is the sum of gates times experts; what an expert makes of a learned vector is added whole."""
    torch.manual_seed(0)
    encoded, present = batch()
    widths = {m: part.pooled.shape[1] for m, part in encoded.items()}
    fusion = MixtureOfExperts(widths, width=4, missing=missing).double()
    fusion.router.weight.mul_(5.0)
    for vector in fusion.missing.vectors:
        vector.mul_(50.0)
    fused = fusion(encoded, present)
    assert fused.loss is None
    for b, row in enumerate(present.tolist()):
        x = [
            part.pooled[b] if row[m] else fusion.missing.vectors[m] if missing == "learned" else 0 * part.pooled[b]
            for m, part in enumerate(encoded.values())
        ]
        scores = (fusion.router.weight @ torch.cat(x) + fusion.router.bias).tolist()
        whole = sum(math.exp(score) for score, here in zip(scores, row, strict=True) if here)
        due, gates = torch.zeros(4, dtype=torch.float64), [0.0] * 3
        for m in range(3):
            hidden, _, last = fusion.experts[m]
            said = last.weight @ (hidden.weight @ x[m] + hidden.bias).clamp(min=0.0) + last.bias
            gates[m] = math.exp(scores[m]) / whole if row[m] else 0.0
            due += said * (gates[m] if row[m] else float(missing == "learned"))
        torch.testing.assert_close(fused.vector[b], due, atol=1e-12, rtol=1e-12)
        assert fused.weights[b].tolist() == pytest.approx(gates, abs=1e-12)


@torch.no_grad()
def test_with_everything_present_the_loss_is_the_paper_s() -> None:
    """It is the coefficient times the squared coefficient of variation of the summed weights, as scipy has it."""
    torch.manual_seed(0)
    encoded, _ = batch()
    widths = {m: part.pooled.shape[1] for m, part in encoded.items()}
    fusion = MixtureOfExperts(widths, width=4, balance=0.25).double()
    fusion.router.bias[1] += 1.0
    for training in (False, True):
        fused = fusion.train(training)(encoded, torch.ones(8, 3, dtype=torch.bool))
        importance = fused.weights.numpy().sum(axis=0)
        assert float(fused.loss) == pytest.approx(0.25 * variation(importance) ** 2, rel=1e-10)
    assert float(fused.loss) > 0.01


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 6))
def test_with_absence_the_loss_is_relative_to_even_weights(seed: int, modalities: int, samples: int) -> None:
    """It equals numpy's squared std / mean of what each expert has over what even weights would give it."""
    draw = np.random.default_rng(seed)
    present = draw.random((samples, modalities)) < 0.6
    here = torch.from_numpy(present)
    weights = masked_softmax(torch.from_numpy(draw.normal(0.0, 2.0, present.shape)), here)
    relative = []
    for m in range(modalities):
        rows = [b for b in range(samples) if present[b, m]]
        if rows:
            relative.append(sum(float(weights[b, m]) for b in rows) / sum(1 / present[b].sum() for b in rows))
    due = (np.std(relative) / np.mean(relative)) ** 2 if relative else 0.0
    assert float(importance_loss(weights, here)) == pytest.approx(due, rel=1e-9, abs=1e-12)


def test_even_weights_cost_nothing_whatever_is_absent() -> None:
    """A router that weighs present modalities alike has no loss, though one of them is seldom there."""
    present = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=torch.bool)
    scores = torch.zeros(5, 4, dtype=torch.float64, requires_grad=True)
    assert float(importance_loss(masked_softmax(scores, present), present).detach()) == pytest.approx(0.0, abs=1e-12)
    importance_loss(masked_softmax(scores + torch.tensor([1.0, 0.0, 0.0, 0.0]), present), present).backward()  # type: ignore[no-untyped-call]
    assert scores.grad is not None
    assert scores.grad[:3, 0].gt(0.0).all()  # the loss pulls the favoured expert down where it has a choice,
    assert not scores.grad[3:].abs().gt(1e-12).any()  # and has nothing to say where there is none


@pytest.mark.parametrize("options", [{"width": 0}, {"balance": -0.1}, {"balance": float("nan")}, {"missing": "mean"}])
def test_a_bad_option_is_named(options: dict[str, Any]) -> None:
    """An option out of its range is refused by name."""
    with pytest.raises(SettingsError, match=f"option {next(iter(options))} of moe"):
        MixtureOfExperts({"a": 3}, **options)
