"""Drawing from dropout policies and comparing the counts with exact probabilities."""

import math
from collections import Counter
from collections.abc import Hashable, Mapping
from itertools import product
from typing import TypeVar

import torch
from scipy.stats import chisquare
from torch import Tensor

from emotiwave_core.interfaces import DropoutPolicy, Tensors
from emotiwave_core.layers.masking import present_in
from emotiwave_dropout.adversarial import Adversarial

Kept = tuple[bool, ...]
H = TypeVar("H", bound=Hashable)
DRAWS = 20_000
ALL = (True, True, True)
PRESENT = [kept for kept in product((False, True), repeat=3) if any(kept)]  # all ways to have some of three modalities


def masks_of(present: Tensor) -> Tensors:
    """Masks with steps in the modalities a, b, c, … that are present: present [B, M]."""
    return {chr(97 + column): present[:, column, None].repeat(1, 2 + column) for column in range(present.shape[1])}


def drawn(policy: DropoutPolicy, present: Kept, progress: float = 0.5, draws: int = DRAWS) -> Counter[Kept]:
    """What a policy leaves of many samples with the same modalities, in one batch."""
    torch.manual_seed(0)
    after = policy.train()(masks_of(torch.tensor([present]).repeat(draws, 1)), torch.tensor(progress))
    return Counter(tuple(row) for row in present_in(after).tolist())


def subsets(present: Kept) -> list[Kept]:
    """The configurations of what is present."""
    return [kept for kept in product(*((False, True) if here else (False,) for here in present)) if any(kept)]


def shares(weights: Mapping[H, float]) -> dict[H, float]:
    """Probabilities proportional to the weights; what has none is left out."""
    whole = sum(weights.values())
    return {key: weight / whole for key, weight in weights.items() if weight > 0.0}


def evenly(present: Kept) -> dict[Kept, float]:
    """Every configuration of what is present has the same probability."""
    return shares(dict.fromkeys(subsets(present), 1.0))


def by_coins(present: Kept, p: float) -> dict[Kept, float]:
    """Each present modality is lost with probability p, given that one is kept."""
    return shares({kept: (1.0 - p) ** sum(kept) * p ** (sum(present) - sum(kept)) for kept in subsets(present)})


def mixture(*parts: tuple[float, Mapping[H, float]]) -> dict[H, float]:
    """The sum of weight × probabilities."""
    whole: dict[H, float] = {}
    for weight, part in parts:
        for key, value in part.items():
            whole[key] = whole.get(key, 0.0) + weight * value
    return shares(whole)


def expect_counts(counts: Mapping[H, int], due: Mapping[H, float]) -> None:
    """A chi-square test of the counts, at a level that a right policy fails once in ten thousand seeds."""
    assert set(counts) <= set(due), "something was drawn that has the probability 0"
    draws = sum(counts.values())
    if len(due) > 1:
        fit = chisquare([counts.get(key, 0) for key in due], [draws * value for value in due.values()])
        assert fit.pvalue > 1e-4, (counts, due)


ADVERSE_LOSSES = {kept: 0.5 + 0.07 * number for number, kept in enumerate(PRESENT)}  # all three are the worst


def after_losses(policy: Adversarial, losses: dict[Kept, float]) -> Adversarial:
    """The policy after one batch with these losses."""
    policy.observe(torch.tensor(list(losses)), torch.tensor(list(losses.values())))
    return policy


def by_losses(present: Kept, losses: dict[Kept, float], temperature: float, floor: float) -> dict[Kept, float]:
    """The probabilities by the definition; a configuration without a loss has that of the worst."""
    mine = {kept: losses.get(kept, max(losses.values())) for kept in subsets(present)}
    soft = shares({kept: math.exp(loss / temperature) for kept, loss in mine.items()})
    return {kept: (1.0 - floor) * soft[kept] + floor / len(mine) for kept in mine}
