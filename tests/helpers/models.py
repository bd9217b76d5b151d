"""A small model and a batch with every kind of missing modality, for tests that call the model itself."""

from typing import Any

import torch
from datasets import WIDTHS
from training import REGISTRY, small

from emotiwave_core.interfaces import Tensors
from emotiwave_core.layers.standardise import Standardise
from emotiwave_core.model.assemble import assemble
from emotiwave_core.model.fusion_model import FusionModel

CROSSMODAL = {"name": "crossmodal", "width": 8, "heads": 2, "layers": 1}


LENGTHS = {"text": [4, 2, 0, 1, 0, 3], "audio": [6, 0, 9, 0, 0, 1], "visual": [5, 2, 3, 0, 0, 0]}


def some_model(**tables: Any) -> FusionModel:
    """An assembled model for three modalities; standardisation has some statistics."""
    torch.manual_seed(0)
    model = assemble(REGISTRY.resolve(small(**tables)), WIDTHS, 6, dict.fromkeys(WIDTHS, 12))
    for scaler in model.scalers.values():
        assert isinstance(scaler, Standardise)
        scaler.mean.normal_()
        scaler.scale.uniform_(0.5, 2.0)
    return model.eval()


def some_batch(content: float = 0.0) -> tuple[Tensors, Tensors]:
    """Inputs and masks: padded, with holes, with every kind of missing modality, `content` where nothing is."""
    generator = torch.Generator().manual_seed(1)
    masks = {m: torch.arange(max(lengths)) < torch.tensor(lengths)[:, None] for m, lengths in LENGTHS.items()}
    masks["audio"][2, 3:5] = False
    inputs = {m: torch.randn(*masks[m].shape, F, generator=generator) for m, F in WIDTHS.items()}
    return {m: torch.where(masks[m][..., None], x, content) for m, x in inputs.items()}, masks
