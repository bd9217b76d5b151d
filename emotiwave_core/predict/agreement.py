"""Agreement of two modalities: what each says alone fits, as it does of one moment and less of two."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from emotiwave_core.modalities import name_of
from emotiwave_core.runs.model_file import Agreements, PairAgreement
from emotiwave_core.runs.schema import Range
from emotiwave_core.runs.scores import PairAlarms

Array = NDArray[np.float64]
RAREST = 1e-3  # expected of a class, at least: an answer that never says it would make its agreement infinite
OTHERS = 20  # other partners that each sample is paired with, where there are as many
LEAST = 20  # pairs: of fewer nothing is said of all of them together
FARTHEST = 1e6  # times the threshold: all that is beyond it counts as this far
HIGHEST = 5  # samples of a modality or a pair that are named


def log_agreement(first: Array, second: Array, expected: Array, multi: bool) -> Array:
    """log p(a, b) / (p(a) p(b)), a and b independent given the class: what each modality alone answers [N, C] -> [N].

    = log of the sum over classes of p(c | a) p(c | b) / p(c), p(c) = `expected` [C]; of several labels the sum over
    them of the same with present and absent for classes. Above 0 the two are likelier to be of one moment than of two.
    It is the pointwise mutual information of the two (Church and Hanks 1990), as far as it is about the classes.
    """
    if multi:
        both, neither = first * second / expected, (1.0 - first) * (1.0 - second) / (1.0 - expected)
        return np.asarray(_log(both + neither).sum(axis=1))
    return np.asarray(_log((first * second / expected).sum(axis=1)))


def _log(ratio: Array) -> Array:
    return np.asarray(np.log(np.maximum(ratio, 1.0 / FARTHEST)))


def expected_of(first: Array, second: Array, multi: bool) -> Array:
    """The mean answer of two modalities [N, C] -> [C]: probabilities of classes that sum to 1, or of several labels."""
    mean = np.concatenate([first, second]).mean(axis=0).clip(RAREST, 1.0 - RAREST)
    return np.asarray(mean if multi else mean / mean.sum())


def by_chance(first: Array, second: Array, expected: Array, multi: bool) -> float:
    """The mean log agreement where each sample has its second modality from some of the others; N of 2 or more."""
    line = np.random.default_rng(0).permutation(len(first))
    shifts = range(1, min(len(first), OTHERS + 1))
    every = [log_agreement(first[line], second[np.roll(line, shift)], expected, multi) for shift in shifts]
    return float(np.mean(every))


def pairs_of(
    agreements: Agreements | None, alone: Mapping[str, Array], present: Mapping[str, NDArray[np.bool_]], multi: bool
) -> Iterator[tuple[str, PairAgreement, Array, Array, NDArray[np.bool_]]]:
    """Each pair of modalities whose agreement a run knows: its name, what is known, both answers, and who has both.

    alone {m: what it alone answers [N, C]}, present {m: [N]}.
    """
    for first, second in combinations(alone, 2):
        if (known := (agreements or {}).get(name_of((first, second)))) is not None:
            yield name_of((first, second)), known, alone[first], alone[second], present[first] & present[second]


def pair_shares(
    agreements: Agreements | None, alone: Mapping[str, Array], present: Mapping[str, NDArray[np.bool_]], multi: bool
) -> dict[str, Array]:
    """Times less than the threshold that the two modalities of each pair agree, {pair: [N]}; NaN without both.

    Beyond 1 it is an alarm. alone and present as in `pairs_of`.
    """
    shares = {}
    for name, known, first, second, has in pairs_of(agreements, alone, present, multi):
        told = log_agreement(first, second, np.array(known.expected), multi)
        shares[name] = np.where(has, np.exp(np.minimum(known.least - told, np.log(FARTHEST))), np.nan)
    return shares


def pair_alarms(
    ids: Sequence[str],
    agreements: Agreements | None,
    alone: Mapping[str, Array],
    present: Mapping[str, NDArray[np.bool_]],
    multi: bool,
) -> dict[str, PairAlarms]:
    """Alarms of the pairs of these samples, and how far all of them together fit.

    alone and present as in `pairs_of`.
    """
    shares, alarms = pair_shares(agreements, alone, present, multi), {}
    for name, known, first, second, has in pairs_of(agreements, alone, present, multi):
        fit = fit_of(known, first[has], second[has], multi)
        alarms[name] = PairAlarms(int(has.sum()), *raised_in(ids, shares[name]), *(fit or (None, None)))
    return alarms


def raised_in(ids: Sequence[str], shares: Array) -> tuple[int, dict[str, float]]:
    """The number of samples beyond the threshold, shares [N] of 1, and those that are furthest: {id: its share}."""
    raised = np.flatnonzero(shares > 1.0)  # False for NaN
    highest = raised[np.argsort(-shares[raised], kind="stable")][:HIGHEST]
    return len(raised), {ids[n]: float(shares[n]) for n in highest}


def fit_of(known: PairAgreement, first: Array, second: Array, multi: bool) -> tuple[float, Range] | None:
    """Fit of the pairs of these samples, with its 95 % interval: 1 as in validation, 0 as strangers.

    Of answers [N, C] of both modalities alone: the mean log agreement above that of other pairings of the same samples,
    over what it was in validation. Where a share of the pairs is of strangers, so much is lost of it; and also where
    the run errs more than in validation. None of fewer than 20 samples.
    """
    if len(first) < LEAST:
        return None
    expected = np.array(known.expected)
    told = log_agreement(first, second, expected, multi)
    whole = known.usual - known.chance
    fit = (float(told.mean()) - by_chance(first, second, expected, multi)) / whole
    around = 1.96 * float(told.std(ddof=1)) / len(told) ** 0.5 / whole
    return fit, Range((fit - around, fit + around))
