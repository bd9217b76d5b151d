"""One number for a curve of scores over the levels of a corruption."""

from collections.abc import Sequence
from itertools import pairwise


def relative_robustness(levels: Sequence[float], scores: Sequence[float]) -> float:
    """Area under the curve, Σ ½ (x_i + x_{i+1}) (r_{i+1} - r_i), for levels r and scores x (MultiBench, 2021)."""
    points = list(zip(levels, scores, strict=True))
    return sum(0.5 * (x + y) * (s - r) for (r, x), (s, y) in pairwise(points))


def auilc(levels: Sequence[float], scores: Sequence[float]) -> float:
    """Area under the indicators line curve (TFR-Net, Yuan et al. 2021), divided by the range of the levels.

    It is the mean score over the range; where the range has no width, the first score.
    """
    width = levels[-1] - levels[0]
    return relative_robustness(levels, scores) / width if width > 0.0 else scores[0]


def effective_robustness(scores: Sequence[float], baseline: Sequence[float]) -> float:
    """Σ_i [f_i - (b_i + f_0 - b_0)], how much less is lost than the baseline loses (MultiBench, Liang et al. 2021).

    `scores` f and `baseline` b are of the same levels. It is not normalised: 0 where both fall alike.
    """
    better_start = scores[0] - baseline[0]
    return sum(f - (b + better_start) for f, b in zip(scores, baseline, strict=True))
