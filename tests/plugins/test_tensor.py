"""The fusion `tensor` is the outer product of all modalities, each with a 1 behind it."""

import re
from functools import reduce
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from pooled_batch import batch
from torch import nn

from emotiwave_core.errors import SettingsError
from emotiwave_core.interfaces import Encoded
from emotiwave_core.layers.missing import MissingKind
from emotiwave_fusions.tensor import TensorFusion


def fusion_of(encoded: dict[str, Encoded], missing: MissingKind = "zero") -> TensorFusion:
    """Of width 2, in float64."""
    torch.manual_seed(0)
    return TensorFusion({m: x.pooled.shape[1] for m, x in encoded.items()}, width=2, missing=missing).double()


@torch.no_grad()
@pytest.mark.parametrize("missing", ["zero", "learned"])
def test_the_vector_equals_numpy_s_kronecker_product(missing: MissingKind) -> None:
    """The vector is the Kronecker product of all [h; 1], where h is the map of the pooled vector or its stand-in."""
    encoded, present = batch()
    fusion = fusion_of(encoded, missing)
    vectors = fusion(encoded, present).vector.numpy()
    for b, row in enumerate(present.tolist()):
        z = []
        for m, part in enumerate(encoded.values()):
            x = part.pooled[b].numpy() if row[m] else np.zeros(part.pooled.shape[1])
            if not row[m] and missing == "learned":
                x = fusion.missing.vectors[m].numpy()
            z.append(np.append(fusion.project[m].weight.numpy() @ x, 1.0))
        np.testing.assert_allclose(vectors[b], reduce(np.kron, z), rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_it_holds_all_unimodal_bimodal_and_trimodal_terms() -> None:
    """Each product of units of one, two or three modalities stands once in the tensor, and so does the 1."""
    encoded, _ = batch()
    fusion = fusion_of(encoded)
    vector = fusion(encoded, torch.ones(8, 3, dtype=torch.bool)).vector
    a, b, c = (project(x.pooled) for project, x in zip(fusion.project, encoded.values(), strict=True))
    terms = [torch.ones(8, dtype=torch.float64)]
    terms += [x[:, i] for x in (a, b, c) for i in range(2)]
    terms += [x[:, i] * y[:, j] for x, y in ((a, b), (a, c), (b, c)) for i, j in product(range(2), repeat=2)]
    terms += [a[:, i] * b[:, j] * c[:, k] for i, j, k in product(range(2), repeat=3)]
    assert len(terms) == fusion.out_features == 27
    torch.testing.assert_close(vector.sort(dim=1).values, torch.stack(terms, dim=1).sort(dim=1).values)


@torch.no_grad()
def test_one_hot_inputs_set_the_numbers_of_their_units() -> None:
    """With one unit of each modality on, exactly the 8 cells of these units and the ones behind them are 1."""
    widths = {"a": 2, "b": 2, "c": 2}
    fusion = TensorFusion(widths, width=2)
    for project in fusion.project:
        nn.init.eye_(project.weight)
    mask = torch.ones(1, 1, dtype=torch.bool)
    for chosen in product(range(2), repeat=3):
        rows = [torch.eye(2)[[unit]] for unit in chosen]
        encoded = {m: Encoded(row[:, None], row, mask) for m, row in zip(widths, rows, strict=True)}
        cube = fusion(encoded, torch.ones(1, 3, dtype=torch.bool)).vector.view(3, 3, 3)
        due = torch.zeros(3, 3, 3)
        for cell in product(*((unit, 2) for unit in chosen)):
            due[cell] = 1.0
        assert torch.equal(cube, due)


@torch.no_grad()
@pytest.mark.parametrize("column", [0, 1, 2])
def test_an_absent_modality_leaves_the_tensor_of_the_others(column: int) -> None:
    """The slice of its 1 holds exactly the outer product of the others, and all else is exactly zero."""
    encoded, _ = batch()
    fusion = fusion_of(encoded)
    present = torch.arange(3).expand(8, 3) != column
    cube = fusion(encoded, present).vector.view(8, 3, 3, 3).movedim(column + 1, -1)
    rest = {m: part for m, part in encoded.items() if m != list(encoded)[column]}
    others = fusion_of(rest)
    for mine, project in zip(others.project, [p for c, p in enumerate(fusion.project) if c != column], strict=True):
        mine.load_state_dict(project.state_dict())
    due = others(rest, torch.ones(8, 2, dtype=torch.bool)).vector.view(8, 3, 3)
    torch.testing.assert_close(cube[..., 2], due, atol=1e-14, rtol=1e-14)
    assert due.abs().min() > 0.0
    assert not cube[..., :2].any()


@pytest.mark.parametrize(("number", "width", "out"), [(1, 16, 17), (2, 16, 289), (3, 16, 4913), (3, 57, 195112)])
def test_the_vector_is_as_wide_as_it_says(number: int, width: int, out: int) -> None:
    """M modalities give (width + 1)^M numbers."""
    widths = dict.fromkeys("abc"[:number], 4)
    mask = torch.ones(1, 1, dtype=torch.bool)
    encoded = {m: Encoded(torch.ones(1, 1, 4), torch.ones(1, 4), mask) for m in widths}
    fusion = TensorFusion(widths, width=width)
    assert fusion.out_features == out
    assert fusion(encoded, mask.expand(1, number)).vector.shape == (1, out)


def test_a_vector_that_is_too_wide_is_refused_with_the_way_out() -> None:
    """More than 200,000 numbers are refused before anything is made, and the error says what to do."""
    said = "option width of tensor gives a vector of (width + 1)^3 = 205379 numbers for 3 modalities"
    with pytest.raises(SettingsError, match=re.escape(said) + ".*smaller width than 58, or the fusion 'lowrank'"):
        TensorFusion(dict.fromkeys("abc", 4), width=58)


@pytest.mark.parametrize("options", [{"width": 0}, {"missing": "mean"}])
def test_a_bad_option_is_named(options: dict[str, Any]) -> None:
    """An option out of its range is refused by name."""
    with pytest.raises(SettingsError, match=f"option {next(iter(options))} of tensor"):
        TensorFusion({"a": 3}, **options)
