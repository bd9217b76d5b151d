"""Batches for the tests of fusions that read steps, and the equation of attention written as loops."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from emotiwave_core.interfaces import Encoded
from emotiwave_core.layers.attention import Attention


def attention_by_loops(module: Attention, target: Tensor, source: Tensor, mask: Tensor) -> Tensor:
    """softmax(Q K' / sqrt(d)) V, step by step, head by head, over the steps of the source that are set."""
    width = target.shape[-1]
    d = width // module.heads
    out = torch.zeros_like(target)
    for b in range(len(target)):
        keys = [s for s in range(source.shape[1]) if mask[b, s]]
        for t in range(target.shape[1] if keys else 0):
            read = torch.zeros(width, dtype=target.dtype)
            for head in range(module.heads):
                part = slice(head * d, (head + 1) * d)
                query = (module.query.weight @ target[b, t])[part]
                scores = [float(query @ (module.key.weight @ source[b, s])[part]) / math.sqrt(d) for s in keys]
                shares = [math.exp(score) / sum(math.exp(other) for other in scores) for score in scores]
                for share, s in zip(shares, keys, strict=True):
                    read[part] += share * (module.value.weight @ source[b, s])[part]
            out[b, t] = module.output.weight @ read + module.output.bias
    return out


def batch(widths: dict[str, int], seed: int = 0) -> tuple[dict[str, Encoded], Tensor]:
    """Three samples with everything present, and lengths of their own."""
    generator = torch.Generator().manual_seed(seed)
    encoded = {}
    for steps, (name, width) in enumerate(widths.items(), start=4):
        mask = torch.arange(steps) < torch.tensor([[steps], [2], [3]])
        states = torch.randn(3, steps, width, generator=generator) * mask[..., None]
        encoded[name] = Encoded(states, torch.randn(3, width, generator=generator), mask)
    return encoded, torch.ones(3, len(widths), dtype=torch.bool)


def without(name: str, given: tuple[dict[str, Encoded], Tensor]) -> tuple[dict[str, Encoded], Tensor]:
    """The same batch with one modality absent from all samples."""
    encoded, present = given
    column = list(encoded).index(name)
    part = Encoded(*(torch.zeros_like(tensor) for tensor in encoded[name]))
    return {**encoded, name: part}, present & (torch.arange(present.shape[1]) != column)


def stood_in(fusion: Any, given: tuple[dict[str, Encoded], Tensor]) -> tuple[dict[str, Encoded], Tensor]:
    """The same batch with the learned vectors of a fusion as the only step of what is absent, and all present."""
    encoded, present = given
    full = {}
    for column, (name, part) in enumerate(encoded.items()):
        states, pooled, mask = (tensor.clone() for tensor in part)
        for b in range(len(present)):
            if not present[b, column]:
                states[b], mask[b] = 0.0, False
                states[b, 0] = pooled[b] = fusion.missing.vectors[column]
                mask[b, 0] = True
        full[name] = Encoded(states, pooled, mask)
    return full, torch.ones_like(present)


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """All but the learned vectors of one fusion into another that has none."""
    weights = {name: w for name, w in source.state_dict().items() if not name.startswith("missing.")}
    target.load_state_dict(weights)


def some_absent(widths: dict[str, int]) -> tuple[dict[str, Encoded], Tensor]:
    """Three samples: one complete, one without the first modality, one without any; NaN in what is absent."""
    encoded, present = batch(widths)
    present = present.clone()
    present[1, 0] = False
    present[2] = False
    absent = {name: ~present[:, column] for column, name in enumerate(encoded)}
    return {
        name: Encoded(
            torch.where(absent[name][:, None, None], torch.nan, part.states),
            torch.where(absent[name][:, None], torch.nan, part.pooled),
            part.mask & ~absent[name][:, None],
        )
        for name, part in encoded.items()
    }, present


def scramble(module: nn.Module) -> None:
    """Other parameters."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
