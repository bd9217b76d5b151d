"""The fusion `lowrank` is a linear map of the outer product of all modalities."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from emotiwave_core.errors import SettingsError
from emotiwave_core.interfaces import Encoded
from emotiwave_core.layers.missing import MissingKind
from emotiwave_core.testing.batches import encoded_batch_and_empty
from emotiwave_fusions.lowrank import LowRank
from emotiwave_fusions.tensor import TensorFusion


def batch(width: int | None = None) -> tuple[dict[str, Encoded], Tensor]:
    """The contract's patterns of absence, with a sample that has nothing, and random pooled vectors of a width."""
    encoded, present = encoded_batch_and_empty()
    generator = torch.Generator().manual_seed(1)
    return {
        m: part._replace(pooled=torch.randn(part.pooled.shape, generator=generator)[:, :width].double())
        for m, part in encoded.items()
    }, present


def factors_of(fusion: LowRank) -> list[Tensor]:
    """The factors of each modality [R, W, D_m + 1]."""
    return [
        torch.cat([factor.weight, factor.bias[:, None]], dim=1).unflatten(0, (fusion.rank, -1))
        for factor in fusion.factors
    ]


@torch.no_grad()
def set_factors(fusion: LowRank, factors: list[Tensor]) -> None:
    """Give each modality its factors [R, W, D_m + 1]."""
    for map_, factor in zip(fusion.factors, factors, strict=True):
        map_.weight.copy_(factor.flatten(0, 1)[:, :-1])
        map_.bias.copy_(factor.flatten(0, 1)[:, -1])


def tensor_of(encoded: dict[str, Encoded], present: Tensor) -> Tensor:
    """The outer product [B, D_1 + 1, D_2 + 1, D_3 + 1] that `tensor` makes of pooled vectors of the same width."""
    widths = {m: part.pooled.shape[1] for m, part in encoded.items()}
    (width,) = set(widths.values())
    fusion = TensorFusion(widths, width=width).double()
    for project in fusion.project:
        nn.init.eye_(project.weight)
    return fusion(encoded, present).vector.unflatten(-1, (width + 1,) * len(widths))


@torch.no_grad()
@pytest.mark.parametrize("missing", ["zero", "learned"])
def test_the_vector_equals_a_loop(missing: MissingKind) -> None:
    """The vector is the sum over the rank of the products of w_m z_m, in loops."""
    torch.manual_seed(0)
    encoded, present = batch()
    widths = {m: part.pooled.shape[1] for m, part in encoded.items()}
    fusion = LowRank(widths, width=4, rank=3, missing=missing).double()
    vectors, factors = fusion(encoded, present).vector, factors_of(fusion)
    for b, row in enumerate(present.tolist()):
        due = torch.zeros(4, dtype=torch.float64)
        for i in range(3):
            term = torch.ones(4, dtype=torch.float64)
            for m, part in enumerate(encoded.values()):
                x = part.pooled[b] if row[m] else 0 * part.pooled[b]
                if not row[m] and missing == "learned":
                    x = fusion.missing.vectors[m]
                term *= factors[m][i] @ torch.cat([x, torch.ones(1)])
            due += term
        torch.testing.assert_close(vectors[b], due, atol=1e-12, rtol=1e-12)


@torch.no_grad()
def test_it_equals_tensor_and_the_weight_that_its_factors_make() -> None:
    """For any factors, the vector is `tensor` times the sum of the outer products of the factors, absence included."""
    torch.manual_seed(0)
    encoded, present = batch(width=3)
    fusion = LowRank(dict.fromkeys(encoded, 3), width=5, rank=2).double()
    set_factors(fusion, [torch.randn(2, 5, 4, dtype=torch.float64) for _ in encoded])
    W = torch.einsum("roi,roj,rok->oijk", *factors_of(fusion))
    due = torch.einsum("oijk,bijk->bo", W, tensor_of(encoded, present))
    torch.testing.assert_close(fusion(encoded, present).vector, due, atol=1e-12, rtol=1e-12)


@torch.no_grad()
def test_at_full_rank_it_equals_any_linear_map_of_tensor() -> None:
    """One-hot factors for all modalities but the last reach any weight tensor [W, D_1 + 1, D_2 + 1, D_3 + 1]."""
    torch.manual_seed(0)
    encoded, present = batch(width=2)
    W = torch.randn(5, 3, 3, 3, dtype=torch.float64)
    one_hot = torch.eye(3, dtype=torch.float64)
    first = one_hot.repeat_interleave(3, dim=0)[:, None].expand(9, 5, 3)  # rank i * 3 + j takes unit i of the first,
    second = one_hot.repeat(3, 1)[:, None].expand(9, 5, 3)  # unit j of the second,
    third = W.flatten(1, 2).movedim(1, 0)  # and W[:, i, j] of the third
    fusion = LowRank(dict.fromkeys(encoded, 2), width=5, rank=9).double()
    set_factors(fusion, [first, second, third])
    due = torch.einsum("oijk,bijk->bo", W, tensor_of(encoded, present))
    torch.testing.assert_close(fusion(encoded, present).vector, due, atol=1e-12, rtol=1e-12)


@torch.no_grad()
def test_products_neither_vanish_nor_explode_at_the_start() -> None:
    """Inputs of unit variance give numbers of size about 1, for any rank, number of modalities and absence."""
    for number, rank in ((1, 4), (3, 1), (3, 4), (3, 64), (6, 4)):
        torch.manual_seed(0)
        widths = {f"m{m}": 40 for m in range(number)}
        mask = torch.ones(64, 1, dtype=torch.bool)
        encoded = {m: Encoded(torch.zeros(64, 1, 40), torch.randn(64, 40), mask) for m in widths}
        fusion = LowRank(widths, width=256, rank=rank)
        for here in (torch.ones(64, number, dtype=torch.bool), torch.zeros(64, number, dtype=torch.bool)):
            size = float(fusion(encoded, here).vector.square().mean().sqrt())
            due = math.sqrt((4 / 3) ** number) if here.any() else 1.0  # the variance of a torch.nn.Linear is 1/3
            assert size == pytest.approx(due, rel=0.2), (number, rank)
        assert abs(float(fusion(encoded, here).vector.mean())) < 0.25


@pytest.mark.parametrize("options", [{"width": 0}, {"rank": 0}, {"missing": "mean"}])
def test_a_bad_option_is_named(options: dict[str, Any]) -> None:
    """An option out of its range is refused by name."""
    with pytest.raises(SettingsError, match=f"option {next(iter(options))} of lowrank"):
        LowRank({"a": 3}, **options)
