"""The fusion `misa` follows the equations of MISA: its two spaces, its three losses, and who takes part in them."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import moment
from step_fusions import batch, copy_weights, scramble, some_absent, stood_in, without
from torch import Tensor

from emotiwave_core.errors import SettingsError
from emotiwave_core.interfaces import Encoded
from emotiwave_fusions.misa import Misa, moment_discrepancy, orthogonality

WIDTHS = {"a": 3, "b": 2, "c": 5}
OFF = {"similarity": 0.0, "difference": 0.0, "reconstruction": 0.0}


def cmd_by_scipy(a: Tensor, b: Tensor) -> float:
    """The central moment discrepancy with five moments of samples in [0, 1]."""
    x, y = a.double().numpy(), b.double().numpy()
    total = np.sqrt(((x.mean(0) - y.mean(0)) ** 2).sum())
    for order in range(2, 6):
        total += np.sqrt(((moment(x, order, axis=0) - moment(y, order, axis=0)) ** 2).sum())
    return float(total)


def orthogonality_by_numpy(a: Tensor, b: Tensor) -> float:
    """||A' B||_F^2 / W^2 of the rows at zero mean and then divided by their norm + 1e-6."""
    centred = [rows - rows.mean(0) for rows in (a.double().numpy(), b.double().numpy())]
    return product_of([rows / (np.sqrt((rows**2).sum(1, keepdims=True)) + 1e-6) for rows in centred])


def product_of(units: list[np.ndarray]) -> float:
    """||A' B||_F^2 / W^2."""
    A, B = units
    return float(sum((A[:, i] @ B[:, j]) ** 2 for i in range(A.shape[1]) for j in range(B.shape[1])) / A.shape[1] ** 2)


@given(samples=st.integers(2, 12), absent=st.integers(0, 4), width=st.integers(1, 5), seed=st.integers(0, 2**16))
@settings(max_examples=40, deadline=None)
def test_the_two_distances_equal_their_equations(samples: int, absent: int, width: int, seed: int) -> None:
    """CMD equals scipy's moments, and orthogonality numpy's loop, over the rows that are here; both are symmetric."""
    torch.manual_seed(seed)
    a, b = torch.rand(2, samples + absent, width).double()
    here = torch.randperm(samples + absent) < samples
    for measure, due in ((moment_discrepancy, cmd_by_scipy), (orthogonality, orthogonality_by_numpy)):
        found = measure(a, b, here)
        assert found.item() == pytest.approx(due(a[here], b[here]), abs=1e-12)
        assert measure(b, a, here).item() == pytest.approx(found.item(), abs=1e-12)
        a[~here] = 7.0
        torch.testing.assert_close(measure(a, b, here), found, atol=0.0, rtol=0.0)


def test_the_gradient_of_orthogonality_takes_the_norms_for_constants() -> None:
    """It is the slope of the equation where the rows move and the norms by which they are divided stay."""
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, 5, 3))
    norms = [np.sqrt(((rows - rows.mean(0)) ** 2).sum(1, keepdims=True)) + 1e-6 for rows in (a, b)]

    def with_these_norms(rows: np.ndarray) -> float:
        return product_of([(x - x.mean(0)) / norm for x, norm in zip((rows, b), norms, strict=True)])

    step = 1e-6 * np.eye(15).reshape(15, 5, 3)
    slopes = [(with_these_norms(a + one) - with_these_norms(a - one)) / 2e-6 for one in step]
    given = torch.from_numpy(a).requires_grad_()
    (gradient,) = torch.autograd.grad(orthogonality(given, torch.from_numpy(b), torch.ones(5, dtype=torch.bool)), given)
    np.testing.assert_allclose(gradient.flatten(), slopes, atol=1e-8)


def test_equal_samples_have_no_moment_discrepancy() -> None:
    """CMD is zero for the same samples in any order, with a finite gradient, and positive for others."""
    torch.manual_seed(0)
    a = torch.rand(6, 4, requires_grad=True)
    here = torch.ones(6, dtype=torch.bool)
    same = moment_discrepancy(a, a.detach().clone(), here)
    same.backward()
    assert same.item() == 0.0
    assert a.grad is not None
    assert a.grad.isfinite().all()
    assert moment_discrepancy(a, a[torch.randperm(6)], here).item() < 1e-6
    assert moment_discrepancy(a, a**2, here).item() > 1e-2


@pytest.mark.parametrize("rows", [0, 1])
def test_fewer_than_two_samples_have_no_distance(rows: int) -> None:
    """A distribution of one sample or none says nothing: both distances and their gradients are zero."""
    a = torch.rand(4, 3, requires_grad=True)
    here = torch.arange(4) < rows
    for measure in (moment_discrepancy, orthogonality):
        found = measure(a, torch.rand(4, 3), here)
        (gradient,) = torch.autograd.grad(found, a)
        assert found.item() == 0.0
        assert not gradient.any()


def test_orthogonal_subspaces_have_no_difference_loss() -> None:
    """Columns that are uncorrelated over the samples give zero, the same columns give the most."""
    one = torch.tensor([1.0, 1.0, -1.0, -1.0])[:, None] * torch.tensor([0.6, 0.8])
    other = torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None] * torch.tensor([0.8, 0.6])
    here = torch.ones(4, dtype=torch.bool)
    assert orthogonality(3.0 + 5.0 * one, other - 2.0, here).item() == pytest.approx(0.0, abs=1e-12)
    assert orthogonality(one, one, here).item() == pytest.approx(4.0, rel=1e-5)  # 4^2 of the outer products, over 2^2


def vectors(fusion: Misa, encoded: dict[str, Encoded]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """u, c and p of each modality, everything present."""
    u = [project(part.pooled) for project, part in zip(fusion.project, encoded.values(), strict=True)]
    return u, [fusion.shared(one) for one in u], [encode(one) for encode, one in zip(fusion.private, u, strict=True)]


@pytest.mark.parametrize(
    "coefficients",
    [
        OFF,
        {**OFF, "similarity": 1.0},
        {**OFF, "difference": 1.0},
        {**OFF, "reconstruction": 1.0},
        {"similarity": 0.5, "difference": 2.0, "reconstruction": 3.0},
    ],
)
@pytest.mark.parametrize("missing", ["zero", "learned"])
@torch.no_grad()
def test_the_loss_is_the_weighted_sum_over_what_is_present(coefficients: dict[str, float], missing: Any) -> None:
    """The loss equals the equations over the rows that have a modality, or both of a pair, with either option."""
    torch.manual_seed(0)
    fusion = Misa(WIDTHS, width=4, heads=2, missing=missing, **coefficients).double()
    present = torch.tensor([[1, 1, 1], [1, 1, 1], [1, 1, 0], [0, 1, 0], [1, 0, 1], [0, 1, 0]], dtype=torch.bool)
    present = torch.cat([present, present[:3]])
    states, mask = torch.zeros(9, 2, 1), present[:, :1].repeat(1, 2)
    encoded = {name: Encoded(states, torch.randn(9, width).double(), mask) for name, width in WIDTHS.items()}
    u, c, p = vectors(fusion, encoded)
    pairs = [(a, b, present[:, a] & present[:, b]) for a, b in combinations(range(3), 2)]
    assert [int(both.sum()) for *_, both in pairs] == [6, 5, 4]
    similarity = sum(cmd_by_scipy(c[a][both], c[b][both]) for a, b, both in pairs) / 3
    difference = sum(orthogonality_by_numpy(c[m][here], p[m][here]) for m, here in enumerate(present.T))
    difference += sum(orthogonality_by_numpy(p[a][both], p[b][both]) for a, b, both in pairs)
    errors = [((fusion.decoders[m](c[m] + p[m]) - u[m]) ** 2).mean(dim=1)[here] for m, here in enumerate(present.T)]
    due = (
        coefficients["similarity"] * similarity
        + coefficients["difference"] * difference
        + coefficients["reconstruction"] * float(torch.cat(errors).mean())
    )
    found = fusion(encoded, present).loss
    assert found is not None
    assert found.item() == pytest.approx(due, abs=1e-12)
    assert (found.item() > 0.0) is any(coefficients.values())


@torch.no_grad()
def test_a_pair_that_one_sample_has_is_left_out_of_the_mean() -> None:
    """Similarity is the mean over the pairs that two samples or more have, and zero where no pair has two."""
    torch.manual_seed(0)
    fusion = Misa(WIDTHS, width=4, heads=2, **{**OFF, "similarity": 1.0})
    encoded, _ = batch(WIDTHS)
    _, c, _ = vectors(fusion, encoded)
    loss = fusion(encoded, torch.tensor([[1, 1, 0], [1, 1, 0], [1, 0, 1]], dtype=torch.bool)).loss
    assert loss.item() == pytest.approx(cmd_by_scipy(c[0][:2], c[1][:2]), rel=1e-5)
    assert fusion(encoded, torch.eye(3, dtype=torch.bool)).loss.item() == 0.0


@torch.no_grad()
def test_an_exact_decoder_has_no_reconstruction_loss() -> None:
    """The loss is zero where the decoder gives u back, and d^2 where it is off by d."""
    torch.manual_seed(0)
    fusion = Misa(WIDTHS, width=4, heads=2, **{**OFF, "reconstruction": 1.0})
    target = torch.randn(4)
    for project in fusion.project:
        project[-1].weight.zero_()
        project[-1].bias.copy_(target)
    for decoder in fusion.decoders:
        decoder.weight.zero_()
        decoder.bias.copy_(target)
    encoded, present = without("b", batch(WIDTHS))
    assert fusion(encoded, present).loss.item() == 0.0
    fusion.decoders[0].bias.add_(0.5)
    assert fusion(encoded, present).loss.item() == pytest.approx(0.125)  # of one of two that are there


@torch.no_grad()
def test_the_vector_equals_the_equations() -> None:
    """The vector is that of the transformer over the shared, then the private vectors that are present."""
    torch.manual_seed(0)
    fusion = Misa(WIDTHS, width=4, heads=2).double().eval()
    encoded, present = batch(WIDTHS)
    encoded = {name: part._replace(pooled=part.pooled.double()) for name, part in encoded.items()}
    present[1, 0] = False
    present[2] = False
    _, c, p = vectors(fusion, encoded)
    found = fusion(encoded, present).vector.unflatten(1, (6, 4))
    for b in range(3):
        due = torch.zeros(6, 4).double()
        here = present[b].repeat(2)
        if here.any():
            tokens = torch.stack([one[b] for one in c + p])[here]
            due[here] = fusion.transformer(tokens[None], None, torch.ones(1, len(tokens), dtype=torch.bool))[0]
        torch.testing.assert_close(found[b], due, atol=1e-12, rtol=1e-12)
    for one in c + p:
        assert 0.0 < one.min() <= one.max() < 1.0


@torch.no_grad()
def test_the_shared_encoder_is_shared_and_the_private_ones_are_not() -> None:
    """Other weights of a modality's private encoder change its private vector alone, those of the shared one all."""
    torch.manual_seed(0)
    fusion = Misa(WIDTHS, width=4, heads=2)
    encoded, _ = batch(WIDTHS)
    _, c, p = vectors(fusion, encoded)
    scramble(fusion.private[1])
    _, c_after, p_after = vectors(fusion, encoded)
    assert [torch.equal(*pair) for pair in zip(c, c_after, strict=True)] == [True] * 3
    assert [torch.equal(*pair) for pair in zip(p, p_after, strict=True)] == [True, False, True]
    scramble(fusion.shared)
    assert not any(torch.equal(*pair) for pair in zip(c, vectors(fusion, encoded)[1], strict=True))


def test_a_learned_vector_joins_the_vector_and_not_the_loss() -> None:
    """With missing="learned" the vector is that of a complete sample, and the loss knows nothing of learned vectors."""
    torch.manual_seed(0)
    fusion = Misa(WIDTHS, width=4, heads=2, missing="learned").eval()
    with torch.no_grad():
        for vector in fusion.missing.vectors:
            vector.normal_()
    plain = Misa(WIDTHS, width=4, heads=2).eval()
    copy_weights(fusion, plain)
    given = some_absent(WIDTHS)
    found, without_learned = fusion(*given), plain(*given)
    with torch.no_grad():
        torch.testing.assert_close(found.vector, plain(*stood_in(fusion, given)).vector)
    assert (without_learned.vector[1:] - found.vector[1:]).abs().amax(dim=1).gt(1e-4).all()
    torch.testing.assert_close(found.loss, without_learned.loss)
    gradients = torch.autograd.grad(found.loss, list(fusion.missing.vectors), allow_unused=True)
    assert not any(gradient is not None and gradient.any() for gradient in gradients)


@pytest.mark.parametrize(
    "options",
    [
        {"width": 0},
        {"heads": 0},
        {"width": 6, "heads": 4},
        {"similarity": -0.1},
        {"difference": float("nan")},
        {"reconstruction": -1.0},
        {"dropout": 1.0},
        {"missing": "mean"},
    ],
)
def test_a_bad_option_is_named(options: dict[str, Any]) -> None:
    """An option out of its range is refused by name."""
    with pytest.raises(SettingsError, match=f"option {next(iter(options))} of misa"):
        Misa({"a": 3}, **options)
