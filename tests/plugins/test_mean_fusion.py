"""The fusion `mean` averages the projected vectors of what is present."""

from typing import Any

import pytest
import torch
from pooled_batch import batch

from emotiwave_core.errors import SettingsError
from emotiwave_core.layers.missing import MissingKind
from emotiwave_fusions.mean import MeanFusion


@torch.no_grad()
@pytest.mark.parametrize("missing", ["zero", "learned"])
def test_the_vector_equals_a_loop(missing: MissingKind) -> None:
    """The vector is the mean of the present projections, and with learned vectors plus the projections of these."""
    torch.manual_seed(0)
    encoded, present = batch()
    fusion = MeanFusion({m: part.pooled.shape[1] for m, part in encoded.items()}, width=4, missing=missing).double()
    fused = fusion(encoded, present)
    for b, row in enumerate(present.tolist()):
        due, due_weights = torch.zeros(4, dtype=torch.float64), [0.0, 0.0, 0.0]
        for column, part in enumerate(encoded.values()):
            project = fusion.project[column]
            if row[column]:
                due_weights[column] = 1 / sum(row)
                due += (project.weight @ part.pooled[b] + project.bias) / sum(row)
            elif missing == "learned":
                due += project.weight @ fusion.missing.vectors[column] + project.bias
        torch.testing.assert_close(fused.vector[b], due, atol=1e-12, rtol=1e-12)
        assert fused.weights[b].tolist() == pytest.approx(due_weights, abs=1e-12)


@torch.no_grad()
def test_absence_leaves_the_mean_of_the_rest() -> None:
    """Each sample gives what a fusion of its present modalities alone gives."""
    torch.manual_seed(0)
    encoded, present = batch()
    widths = {m: part.pooled.shape[1] for m, part in encoded.items()}
    fusion = MeanFusion(widths, width=4).double()
    vectors = fusion(encoded, present).vector
    for b, row in enumerate(present.tolist()):
        kept = [column for column, here in enumerate(row) if here]
        if not kept:
            assert not vectors[b].any()
            continue
        names = [list(widths)[column] for column in kept]
        alone = MeanFusion({m: widths[m] for m in names}, width=4).double()
        for mine, column in zip(alone.project, kept, strict=True):
            mine.load_state_dict(fusion.project[column].state_dict())
        due = alone({m: encoded[m] for m in names}, torch.ones(len(present), len(kept), dtype=torch.bool)).vector[b]
        torch.testing.assert_close(vectors[b], due)


@pytest.mark.parametrize("options", [{"width": 0}, {"missing": "mean"}])
def test_a_bad_option_is_named(options: dict[str, Any]) -> None:
    """An option out of its range is refused by name."""
    with pytest.raises(SettingsError, match=f"option {next(iter(options))} of mean"):
        MeanFusion({"a": 3}, **options)
