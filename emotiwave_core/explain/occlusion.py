"""Occlusion of one sample: the loss of its prediction when a window of one modality is masked out."""

from collections.abc import Callable
from functools import partial
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emotiwave_core.compute.device import autocast
from emotiwave_core.compute.memory import retry_smaller_batches
from emotiwave_core.data.loading.batch import gather
from emotiwave_core.data.store.words import Word
from emotiwave_core.interfaces import Encoded, Encoder, Tensors
from emotiwave_core.layers.masking import present_in
from emotiwave_core.model.attribute_errors import attribute_errors
from emotiwave_core.model.fusion_model import FusionModel
from emotiwave_core.predict.trained import TrainedRun
from emotiwave_core.runs.explanation import OcclusionWindow

WINDOWS = 40  # at most, of one modality
CERTAIN = 1e6  # log-odds that no one tells from more: features of 1e37 give as much, not standardised

Array = NDArray[np.float64]


@torch.inference_mode()
def occlude(
    trained: TrainedRun, row: int, of: Callable[[Array], Array], device: torch.device, words: list[Word]
) -> dict[str, list[OcclusionWindow]]:
    """The windows of the sample `row` of the store, in every modality; none where it lacks the modality.

    `of` makes logits [B, C] the value [B] that is explained. Each modality's steps are cut into up to 40 windows of
    equal length. A window is masked out with all else present, which for the model is a stretch that is missing.
    """
    model = trained.model.to(device).eval()
    store = trained.corpus.store
    pairs = {m: gather(store, m, np.array([row])) for m in model.modalities}
    inputs = {m: x.to(device) for m, (x, _) in pairs.items()}
    masks = {m: mask.to(device) for m, (_, mask) in pairs.items()}
    windows = {m: windows_of(mask) for m, mask in masks.items()}
    with attribute_errors(model), autocast(device, trained.recipe.training.precision):
        work = partial(_occlude, model, inputs, masks, windows, of)
        values, attention = retry_smaller_batches(
            work, 1 + max(map(len, windows.values())), trained.recipe, "an explanation"
        )
    occluded: dict[str, list[OcclusionWindow]] = {m: [] for m in windows}
    for m, slices in windows.items():
        times = store.times(m, row)  # [T, 2]
        for window, drop in zip(slices, values[m].tolist(), strict=True):
            start, end = float(times[window, 0].min()), float(times[window, 1].max())
            share = float(attention[m][window].sum()) if m in attention else None
            occluded[m].append(OcclusionWindow(start, end, drop, share, word_at(words, start, end)))
    return occluded


def windows_of(mask: Tensor, most: int = WINDOWS) -> list[slice]:
    """The steps of one sequence, mask [1, T], in up to `most` windows of equal length that hold a step that is set."""
    last = int(mask[0].nonzero().max()) + 1 if bool(mask.any()) else 0
    size = max(-(-last // most), 1)
    windows = [slice(start, min(start + size, last)) for start in range(0, last, size)]
    return [window for window in windows if bool(mask[0, window].any())]


def word_at(words: list[Word], start: float, end: float) -> str | None:
    """The words of which at least half lies in an interval, else the one that overlaps it most, else None.

    A step's times are float32, and the words' are rounded to it too: else one overlaps the pause that it ends at.
    """
    rounded = [(float(np.float32(low)), float(np.float32(high)), word) for low, high, word in words]
    overlaps = [(min(end, high) - max(start, low), high - low, word) for low, high, word in rounded]
    inside = [word for overlap, length, word in overlaps if overlap >= 0.5 * length]
    longest = max(overlaps, default=(0.0, 0.0, ""))
    return " ".join(inside) or (longest[2] if longest[0] > 0 else None)


def _occlude(
    model: FusionModel,
    inputs: Tensors,
    masks: Tensors,
    windows: dict[str, list[slice]],
    of: Callable[[Array], Array],
    size: int,
) -> tuple[dict[str, Array], Tensors]:
    """The drop of the value without each window of each modality, and the attention over the steps where there is one.

    `size` windows are encoded at a time.
    """
    count = 1 + max(map(len, windows.values()))
    # Row 0 is the whole sample, row w misses window w - 1 of every modality: as no encoder knows of the others, one
    # pass over these rows encodes all that the fusions below combine.
    left = {m: mask.repeat(count, 1) for m, mask in masks.items()}
    for m, slices in windows.items():
        for w, window in enumerate(slices, start=1):
            left[m][w, window] = False
    chunks = []
    for start in range(0, count, size):
        rest = {m: mask[start : start + size] for m, mask in left.items()}
        chunks.append(model.encode({m: x.expand(len(rest[m]), -1, -1) for m, x in inputs.items()}, rest))
    encoded = {m: Encoded(*map(torch.cat, zip(*(chunk[m] for chunk in chunks), strict=True))) for m in left}
    whole = {m: Encoded(*(tensor[:1] for tensor in rows)) for m, rows in encoded.items()}
    present = present_in({m: left[m] for m in model.modalities})
    complete = of(_logits(model, whole, present[:1]))
    drops = {}
    for column, (m, slices) in enumerate(windows.items()):
        W, occluded = len(slices), slice(1, 1 + len(slices))
        mixed = {n: Encoded(*(tensor.expand(W, *tensor.shape[1:]) for tensor in row)) for n, row in whole.items()}
        mixed[m] = Encoded(*(tensor[occluded] for tensor in encoded[m]))
        has = present[:1].repeat(W, 1)
        has[:, column] = present[occluded, column]
        drops[m] = np.zeros(0)
        if slices:
            drops[m] = (complete - of(_logits(model, mixed, has))).clip(-CERTAIN, CERTAIN)
    return drops, _attention(model, inputs, masks)


def _logits(model: FusionModel, encoded: dict[str, Encoded], present: Tensor) -> Array:
    return model.fuse(encoded, present).logits.double().cpu().numpy()


def _attention(model: FusionModel, inputs: Tensors, masks: Tensors) -> Tensors:
    """The attention over the steps [T] of one sample, of each modality whose encoder has one."""
    encoders = {m: cast(Encoder, encoder) for m, encoder in model.encoders.items()}
    shares = {m: e.attention_over_steps(*model.prepare(m, inputs[m], masks[m])) for m, e in encoders.items()}
    return {m: share[0].float().cpu() for m, share in shares.items() if share is not None}
