"""Scoring every configuration against scoring the complete one alone, and explaining every sample of it."""

import tempfile
from pathlib import Path

import torch

from emotiwave_core.data.loading.batch import batches
from emotiwave_core.explain.attribution import explain
from speed.machine import waiter
from speed.opened import untrained
from speed.table import Row, medians


def measure(folder: Path, device: torch.device) -> list[Row]:
    """The default recipe, and with a fusion that costs something, crossmodal."""
    rows = []
    with tempfile.TemporaryDirectory() as run:
        for fusion in ("concat", "crossmodal"):
            trained = untrained({"fusion": fusion}, folder, Path(run), device)

            @torch.inference_mode()
            def complete(trained=trained) -> None:
                fold, size = trained.fold, trained.recipe.training.batch_size
                for batch in batches(trained.corpus.store, fold.rows, fold.targets, size, device):
                    trained.model(batch.inputs, batch.masks).logits.cpu()

            works = {"every": lambda trained=trained: trained.predict(device), "complete": complete}
            found = medians(works, runs=3, settle=waiter(device))
            figures = found["every"], "s", "the complete one", found["complete"]
            rows.append(Row("scoring", f"7 configurations, {fusion}", *figures, "<= 1.3"))
    return rows


def measure_explaining(folder: Path, device: torch.device) -> list[Row]:
    """Number of encoder passes while every sample is explained, and the time that it takes."""
    with tempfile.TemporaryDirectory() as run:
        trained = untrained({}, folder, Path(run), device)
        calls: list[torch.nn.Module] = []
        for encoder in trained.model.encoders.values():
            encoder.register_forward_hook(lambda module, *_: calls.append(module))
        predictions = trained.predict(device)
        scoring = len(calls)
        explanation = explain(trained, predictions)
        further = len(calls) - scoring
        found = medians({"explain": lambda: explain(trained, predictions)})
        samples = explanation.shapley.shape[1]
    note = f"scoring the same {samples} samples took {scoring}"
    return [
        Row("explaining", "further passes of an encoder", further, "", goal="= 0", note=note),
        Row("explaining", "Shapley values of a sample", found["explain"] / samples * 1e6, "µs"),
    ]
