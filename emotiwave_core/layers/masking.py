"""Masks of a batch: which modalities are present, drawing what is kept of them, and clearing the others."""

from typing import NamedTuple

import torch
from torch import Tensor

from emotiwave_core.errors import SettingsError
from emotiwave_core.interfaces import DropoutPolicy, Tensors
from emotiwave_core.modalities import by_modality

MOST_MODALITIES = 10  # of a policy that keeps a number for each configuration: 1023 configurations


def prepare_policies(policy: DropoutPolicy, modalities: tuple[str, ...]) -> None:
    """Tell a policy, and those inside it, which modalities there are."""
    for one in policy.modules():
        if isinstance(one, DropoutPolicy):
            one.prepare(modalities)


def present_in(masks: Tensors) -> Tensor:
    """masks {modality: [B, T] bool} -> [B, M] bool, one column a modality in the order of the dict.

    Of masks by stream, a modality of several is present where one of them is.
    """
    has = {name: mask.any(dim=1) for name, mask in masks.items()}
    groups = by_modality(masks).values()
    return torch.stack([torch.stack([has[name] for name in names]).any(dim=0) for names in groups], dim=1)


def whole_modalities(masks: Tensors, left: Tensors) -> bool:
    """True where every sample has lost its modalities whole, if at all: none of its masks is only partly left."""
    return all(bool(((left[m] == mask).all(dim=1) | ~left[m].any(dim=1)).all()) for m, mask in masks.items())


class Rows(NamedTuple):
    """The samples of a batch that are encoded, and the place of each sample among them."""

    encoded: Tensor  # [b]
    back: Tensor  # [B]


def rows_to_encode(mask: Tensor) -> Rows | None:
    """The samples of mask [B, T] that have the modality, and one that stands for all that have not; None for all.

    On a GPU it is always all: to know the rows the CPU would have to wait, and a recurrence takes as long for fewer.
    """
    if mask.is_cuda or torch.compiler.is_compiling():
        return None
    here = mask.any(dim=1)
    first = here.int().argmin()  # of those without, where there is one
    chosen = here.index_fill(0, first, True)
    if bool(chosen.all()):
        return None
    position = chosen.cumsum(0) - 1
    return Rows(chosen.nonzero().squeeze(1), torch.where(here, position, position[first]))


def without_stretch(mask: Tensor, length: Tensor, place: Tensor) -> Tensor:
    """mask [B, T] bool without one stretch of `length` [B, 1] of its set steps; masked ones inside do not shorten it.

    place [B, 1] from 0 to below 1: where it begins, of all places where it fits. Drawn uniformly, each is as likely.
    """
    start = (place * (mask.sum(dim=1, keepdim=True) - length + 1)).long()
    rank = mask.cumsum(dim=1) - 1  # of a set step among the set ones
    return mask & ((rank < start) | (rank >= start + length))


def keep(masks: Tensors, chosen: Tensor) -> Tensors:
    """Clear the masks of the modalities that are not chosen: chosen [B, M] or [M] bool. Returns new masks."""
    return {name: mask & chosen[..., column, None] for column, (name, mask) in enumerate(masks.items())}


def draw_nonempty(present: Tensor, p: float, allow_empty: bool = False) -> Tensor:
    """Keep each present column with probability 1 - p, given that one is kept. present [B, N] -> [B, N] bool.

    The columns are modalities or steps. The conditional distribution is drawn exactly and without a retry: while none
    has been kept, the next is kept with probability (1 - p) / (1 - p^n), n being the present ones that are left. With
    p = 1/2 every non-empty subset of the present columns is equally likely.
    """
    chance = torch.rand(present.shape, device=present.device)
    mask = present & (chance < 1.0 - p)
    if allow_empty:
        return mask
    left = present.flip(1).cumsum(1).flip(1)  # [B, N] present columns from this one on
    certain = (1.0 - p) / (1.0 - p ** left.clamp(min=1))
    certain = torch.where(left <= 1, 1.0, certain)  # the quotient may round to just below 1
    hits = present & (chance < certain)  # the leftmost is the first that is kept
    return torch.where(hits.cumsum(1) <= 1, hits, mask)


def count_subsets(modalities: int) -> int:
    """2^M: the subsets of M modalities have the numbers from 0, bit m set where the one of column m is in it.

    SettingsError for more than 10 modalities.
    """
    if modalities > MOST_MODALITIES:
        raise SettingsError(
            f"A dropout policy that weighs every configuration takes at most {MOST_MODALITIES} modalities, "
            f"not {modalities}: use uniform or bernoulli."
        )
    return 1 << modalities


def subset_numbers(present: Tensor) -> Tensor:
    """present [B, M] bool -> [B], the number of the subset that each sample has."""
    return (present.long() << torch.arange(present.shape[1], device=present.device)).sum(1)


def draw_subset(present: Tensor, scores: Tensor) -> Tensor:
    """Each sample keeps a non-empty subset c of its modalities, with a probability proportional to exp(scores[c]).

    present [B, M] bool, scores [2^M] or [B, 2^M] by the numbers of the subsets, -inf for never -> [B, M] bool. A sample
    for which every subset has -inf keeps all it has, as one that has nothing does.
    """
    has = subset_numbers(present)[:, None]  # [B, 1]
    numbers = torch.arange(scores.shape[-1], device=present.device)
    possible = ((numbers & has) == numbers) & (numbers > 0)  # [B, 2^M]
    scores = torch.where(possible, scores, -torch.inf)
    nowhere = (scores == -torch.inf).all(dim=1, keepdim=True)
    scores = torch.where(nowhere & (numbers == has), 0.0, scores)
    drawn = torch.multinomial(scores.softmax(dim=1), 1)  # [B, 1]
    return (drawn >> torch.arange(present.shape[1], device=present.device)) % 2 == 1
