"""The small batches that the laws look at."""

from itertools import product

import torch
from torch import Tensor

from emotiwave_core.interfaces import Encoded, Fused, Tensors
from emotiwave_core.layers.sequence import zero_masked

FEATURES, STEPS = 5, 7
MASK = torch.tensor(
    [
        [1, 1, 1, 1, 1, 1, 1],  # complete
        [1, 1, 1, 1, 0, 0, 0],  # padded
        [0, 1, 1, 0, 1, 1, 0],  # with holes
        [1, 0, 0, 0, 0, 0, 0],  # a single step
    ],
    dtype=torch.bool,
)
HOLES = ~MASK & (MASK.flip(1).cumsum(1).flip(1) > 0)  # masked steps before one that is set
PADDING = ~MASK & ~HOLES
PATTERNS = torch.cat(  # a whole row first
    [
        MASK,
        torch.tensor(
            [[1, 0, 1, 0, 1, 0, 1], [0, 0, 1, 1, 0, 1, 0], [0, 1, 0, 0, 0, 0, 1], [0, 0, 0, 0, 1, 0, 0]],
            dtype=torch.bool,
        ),
    ]
)
CONTENTS = 8  # of each pattern, for what one content hides, as a ReLU does, another shows

WIDTHS = {"text": 6, "audio": 4, "visual": 3, "touch": 5}  # a D and a T' for each modality, all different
LENGTHS = {"text": 5, "audio": 7, "visual": 3, "touch": 4}
PRESENT = torch.tensor(
    [[1, 1, 1, 1], [1, 1, 1, 1], [0, 1, 1, 1], [1, 0, 1, 0], [1, 1, 0, 1], [1, 0, 0, 0], [0, 0, 1, 1]], dtype=torch.bool
)
FusionBatch = tuple[dict[str, Encoded], Tensor]  # encoded, present

SAMPLES = 64


def sequences() -> tuple[Tensor, Tensor]:
    """For encoders: x [4, 7, 5] with mask MASK, zero where masked."""
    x = torch.randn(len(MASK), STEPS, FEATURES, generator=torch.Generator().manual_seed(0))
    return zero_masked(x, MASK), MASK


def sequences_and_empty() -> tuple[Tensor, Tensor]:
    """The same with an empty sequence as the last row."""
    return _row_added(sequences()[0]), _row_added(MASK)


def encoded_batch(modalities: int = 3) -> FusionBatch:
    """For fusions: modalities as encoders leave them. Every sample has one at least, and some lack some."""
    generator = torch.Generator().manual_seed(0)
    present = PRESENT[:, :modalities].clone()
    present[:, 0] |= ~present.any(dim=1)
    encoded = {}
    for column, (name, width) in enumerate(list(WIDTHS.items())[:modalities]):
        here = present[:, column, None]
        mask = torch.rand(len(present), LENGTHS[name], generator=generator) < 0.7
        mask[:, 1] = True
        mask &= here
        states = torch.randn(*mask.shape, width, generator=generator)
        pooled = torch.randn(len(present), width, generator=generator)
        encoded[name] = Encoded(zero_masked(states, mask), torch.where(here, pooled, 0.0), mask)
    return encoded, present


def encoded_batch_and_empty() -> FusionBatch:
    """The same with a sample without any modality as the last row."""
    encoded, present = encoded_batch()
    return {name: Encoded(*map(_row_added, part)) for name, part in encoded.items()}, _row_added(present)


def encoded_of_length(steps: int, samples: int = 2) -> FusionBatch:
    """Samples with all of three modalities, each of this many states."""
    return _encoded(torch.ones(samples, 3, dtype=torch.bool), torch.ones(samples, steps, dtype=torch.bool))


def encoded_with_holes() -> FusionBatch:
    """Samples with all of three modalities, whose states have the masks of `PATTERNS`, each `CONTENTS` times."""
    masks = PATTERNS.repeat_interleave(CONTENTS, 0)
    return _encoded(torch.ones(len(masks), 3, dtype=torch.bool), masks)


def encoded_configurations(modalities: int) -> FusionBatch:
    """Samples of each configuration, `CONTENTS` times, the complete one last. What is present has no padding."""
    present = torch.tensor(list(product((False, True), repeat=modalities))[1:]).repeat_interleave(CONTENTS, 0)
    return _encoded(present, torch.ones(len(present), STEPS, dtype=torch.bool))


def _encoded(present: Tensor, mask: Tensor) -> FusionBatch:
    """Random encodings of what is present [B, M], with the states of a mask [B, T']."""
    generator = torch.Generator().manual_seed(0)
    encoded = {}
    for here, (name, width) in zip(present.T[..., None], WIDTHS.items(), strict=False):
        states = torch.randn(*mask.shape, width, generator=generator)
        pooled = torch.randn(len(mask), width, generator=generator)
        encoded[name] = Encoded(zero_masked(states, mask & here), torch.where(here, pooled, 0.0), mask & here)
    return encoded, present


def as_leaves(batch: FusionBatch) -> FusionBatch:
    """The same with states and pooled vectors that gradients are taken to."""
    return {
        name: Encoded(part.states.clone().requires_grad_(), part.pooled.clone().requires_grad_(), part.mask)
        for name, part in batch[0].items()
    }, batch[1]


def in_bfloat16(batch: FusionBatch) -> FusionBatch:
    """The same as encoders leave it under autocast."""
    return {
        name: Encoded(part.states.bfloat16(), part.pooled.bfloat16(), part.mask) for name, part in batch[0].items()
    }, batch[1]


def take(batch: FusionBatch, rows: slice | Tensor) -> FusionBatch:
    """Take some of the samples."""
    return {name: Encoded(*(tensor[rows] for tensor in part)) for name, part in batch[0].items()}, batch[1][rows]


def take_fused(fused: Fused, rows: slice | Tensor) -> Fused:
    """Take some of the samples of the result; the loss, which is of the whole batch, is left out."""
    each = (None if tensor is None else tensor[rows] for tensor in fused._replace(loss=None))
    return Fused(*each)  # type: ignore[arg-type]


def fill_absent(batch: FusionBatch, content: float) -> FusionBatch:
    """The same with other content in absent modalities."""
    encoded = {}
    for column, (name, part) in enumerate(batch[0].items()):
        absent = ~batch[1][:, column, None]
        states = torch.where(absent[..., None], content, part.states)
        encoded[name] = Encoded(states, torch.where(absent, content, part.pooled), part.mask)
    return encoded, batch[1]


def fill_padding(batch: FusionBatch, content: float) -> FusionBatch:
    """The same with other content in masked steps of present modalities."""
    encoded = {}
    for column, (name, part) in enumerate(batch[0].items()):
        padding = ~part.mask & batch[1][:, column, None]
        encoded[name] = part._replace(states=torch.where(padding[..., None], content, part.states))
    return encoded, batch[1]


def pad(batch: FusionBatch) -> FusionBatch:
    """The same with masked states behind those of each modality."""
    return {
        name: Encoded(append_steps(part.states, steps), part.pooled, append_steps(part.mask, steps))
        for steps, (name, part) in enumerate(batch[0].items(), start=2)
    }, batch[1]


def append_steps(x: Tensor, steps: int) -> Tensor:
    """x [B, T, …] with steps of zero, or False, behind it."""
    return torch.cat([x, x.new_zeros(x.shape[0], steps, *x.shape[2:])], dim=1)


def masks_of_samples(modalities: int = 3) -> Tensors:
    """For dropout policies: masks of 64 samples, of which some lack modalities and none lacks all."""
    generator = torch.Generator().manual_seed(0)
    present = torch.rand(SAMPLES, modalities, generator=generator) < 0.8
    present[:, 0] |= ~present.any(dim=1)
    masks = {}
    for column, (name, steps) in enumerate(list(LENGTHS.items())[:modalities]):
        lengths = torch.randint(1, steps + 1, (SAMPLES, 1), generator=generator)
        masks[name] = (torch.arange(steps) < lengths) & present[:, column, None]
    return masks


def _row_added(tensor: Tensor) -> Tensor:
    return torch.cat([tensor, torch.zeros_like(tensor[:1])])
