"""Occlusion of one sample: the loss of its prediction when a window of one stream of a modality is masked out."""

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
from emotiwave_core.data.loading.plan import plan_batches, videos_of
from emotiwave_core.data.store.words import Word
from emotiwave_core.interfaces import Encoded, Encoder, Tensors
from emotiwave_core.model.attribute_errors import attribute_errors
from emotiwave_core.model.fusion_model import FusionModel
from emotiwave_core.predict.trained import TrainedRun
from emotiwave_core.runs.explanation import OcclusionWindow

WINDOWS = 40  # at most, of one stream
CERTAIN = 1e6  # log-odds that no one tells from more: features of 1e37 give as much, not standardised

Array = NDArray[np.float64]


@torch.inference_mode()
def occlude(
    trained: TrainedRun, row: int, of: Callable[[Array], Array], device: torch.device, words: list[Word]
) -> dict[str, list[OcclusionWindow]]:
    """The windows of the sample `row` of the store, in every stream; none where it lacks the stream.

    `of` makes logits [B, C] the value [B] that is explained. Each stream's steps are cut into up to 40 windows of equal
    length. A window is masked out with all else present, which for the model is a stretch that is missing. Where the
    fusion sees neighbours, these are the samples of the fold that are of the same video, and they stay whole.
    """
    model = trained.model.to(device).eval()
    store, rows = trained.corpus.store, np.array([row])
    if model.neighbours is not None:
        videos = videos_of(store, model.neighbours)
        rows = np.array([other for other in trained.fold.rows if videos[other] == videos[row]])
        rows = rows[plan_batches(store, rows, len(rows), neighbours=model.neighbours).order.numpy()]
    n = int(np.flatnonzero(rows == row)[0])
    pairs = {s: gather(store, s, rows) for s in model.streams}
    together = {s: (x.to(device), mask.to(device)) for s, (x, mask) in pairs.items()}
    inputs = {s: x[n : n + 1] for s, (x, _) in together.items()}
    masks = {s: mask[n : n + 1] for s, (_, mask) in together.items()}
    windows = {s: windows_of(mask) for s, mask in masks.items()}
    with attribute_errors(model), autocast(device, trained.recipe.training.precision):
        fuse = partial(_logits, model)
        if model.neighbours is not None:
            fuse = partial(_logits_among, model, _Video(model, together, n))
        work = partial(_occlude, model, inputs, masks, windows, lambda streams, has: of(fuse(streams, has)))
        values, attention = retry_smaller_batches(
            work, 1 + max(map(len, windows.values())), trained.recipe, "an explanation"
        )
    occluded: dict[str, list[OcclusionWindow]] = {s: [] for s in windows}
    for s, slices in windows.items():
        times = store.times(s, row)  # [T, 2]
        for window, drop in zip(slices, values[s].tolist(), strict=True):
            start, end = float(times[window, 0].min()), float(times[window, 1].max())
            share = float(attention[s][window].sum()) if s in attention else None
            occluded[s].append(OcclusionWindow(start, end, drop, share, word_at(words, start, end)))
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
    value_of: Callable[[dict[str, Encoded], Tensors], Array],
    size: int,
) -> tuple[dict[str, Array], Tensors]:
    """The drop of the value without each window of each stream, and the attention over the steps where there is one.

    `size` windows are encoded at a time.
    """
    count = 1 + max(map(len, windows.values()))
    # Row 0 is the whole sample, row w misses window w - 1 of every stream: as no encoder knows of the others, one
    # pass over these rows encodes all that the fusions below combine.
    left = {s: mask.repeat(count, 1) for s, mask in masks.items()}
    for s, slices in windows.items():
        for w, window in enumerate(slices, start=1):
            left[s][w, window] = False
    chunks = []
    for start in range(0, count, size):
        rest = {s: mask[start : start + size] for s, mask in left.items()}
        chunks.append(model.encode_streams({s: x.expand(len(rest[s]), -1, -1) for s, x in inputs.items()}, rest))
    encoded = {s: Encoded(*map(torch.cat, zip(*(chunk[s] for chunk in chunks), strict=True))) for s in left}
    whole = {s: Encoded(*(tensor[:1] for tensor in rows)) for s, rows in encoded.items()}
    complete = value_of(whole, masks)
    drops = {}
    for s, slices in windows.items():
        W, occluded = len(slices), slice(1, 1 + len(slices))
        mixed = {n: Encoded(*(tensor.expand(W, *tensor.shape[1:]) for tensor in row)) for n, row in whole.items()}
        mixed[s] = Encoded(*(tensor[occluded] for tensor in encoded[s]))
        has = {n: mask.expand(W, -1) for n, mask in masks.items()} | {s: left[s][occluded]}
        drops[s] = np.zeros(0)
        if slices:
            drops[s] = (complete - value_of(mixed, has)).clip(-CERTAIN, CERTAIN)
    return drops, _attention(model, inputs, masks)


def _logits(model: FusionModel, streams: dict[str, Encoded], masks: Tensors) -> Array:
    return model.fuse(model.join(streams), model.present(masks)).logits.double().cpu().numpy()


class _Video:
    """The encodings of a sample among its neighbours."""

    def __init__(self, model: FusionModel, samples: dict[str, tuple[Tensor, Tensor]], n: int) -> None:
        """samples: x [S, T, F] and mask [S, T] of each stream, of which the sample is number n."""
        inputs, self.masks = {s: x for s, (x, _) in samples.items()}, {s: mask for s, (_, mask) in samples.items()}
        self.streams, self.n = model.encode_streams(inputs, self.masks), n

    def put(self, one: Tensor, samples: Tensor) -> Tensor:
        """The tensor of all samples, with another of the sample itself, [1, …]."""
        return torch.cat([samples[: self.n], one, samples[self.n + 1 :]])


def _logits_among(model: FusionModel, video: _Video, streams: dict[str, Encoded], masks: Tensors) -> Array:
    """The logits [B, C] of B variants of a sample, each among its neighbours."""
    logits = []
    for b in range(len(next(iter(masks.values())))):
        encoded = {
            s: Encoded(*(video.put(x[b : b + 1], y) for x, y in zip(streams[s], every, strict=True)))
            for s, every in video.streams.items()
        }
        has = {s: video.put(mask[b : b + 1], video.masks[s]) for s, mask in masks.items()}
        present = model.present(has)
        together = torch.zeros(len(present), dtype=torch.int64)
        logits.append(model.fuse(model.join(encoded), present, together).logits[video.n])
    return np.asarray(torch.stack(logits).double().cpu().numpy())


def _attention(model: FusionModel, inputs: Tensors, masks: Tensors) -> Tensors:
    """The attention over the steps [T] of one sample, of each stream whose encoder has one."""
    encoders = {s: cast(Encoder, encoder) for s, encoder in model.encoders.items()}
    shares = {s: e.attention_over_steps(*model.prepare(s, inputs[s], masks[s])) for s, e in encoders.items()}
    return {s: share[0].float().cpu() for s, share in shares.items() if share is not None}
