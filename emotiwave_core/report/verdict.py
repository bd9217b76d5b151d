"""The result of a run in a few plain sentences, from its scores alone."""

from emotiwave_core.report.numbers import interval, score, series
from emotiwave_core.runs.scores import ConfigurationScores, Scores

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def verdict(scores: Scores) -> str:
    """Sentences on what the complete configuration reaches, what it loses, and which modality alone says nothing.

    Numbers are compared as they are printed, with three decimals. A score is clearly above chance where all of its
    interval is; without an interval the score itself decides, and a sentence says so.
    """
    sentences = [_complete(scores)]
    if len(scores.modalities) > 1:
        sentences += [_loss(scores), *_alone(scores)]
    if scores.configurations[scores.complete.configuration].interval is None:
        sentences.append(
            f"How far luck moves these scores is not known: one {scores.interval.unit} cannot be resampled."
        )
    return " ".join(sentence for sentence in sentences if sentence)


def _complete(scores: Scores) -> str:
    """The score of the complete configuration beside the best modality alone and beside chance."""
    complete, count = scores.configurations[scores.complete.configuration], len(scores.modalities)
    if count == 1:
        subject = f"With {scores.modalities[0]}, the only modality,"
    else:
        subject = f"With {'both' if count == 2 else f'all {NUMBERS[count] if count < 10 else count}'} modalities"
    if scores.synthetic:
        subject = f"On synthetic data: with{subject.removeprefix('With')}"
    ends = complete.interval
    spread = f" ({scores.interval.level:.0%} interval {interval(ends)})" if ends else ""
    single = _beside_best_single(scores, complete)
    chance = _beside_chance(scores, complete)
    result = f"{scores.judged_by.name} is {score(complete.score)}{spread}"
    return f"{subject} {result}, {f'{single}, and ' if single else ''}{chance}."


def _beside_best_single(scores: Scores, complete: ConfigurationScores) -> str:
    singles = _singles(scores)
    if len(scores.modalities) < 2 or not singles:
        return ""
    best = max(singles, key=lambda modality: singles[modality].score)
    gain = _difference(complete.score, singles[best].score)
    by = "the same as" if gain == 0 else f"{score(abs(gain))} {'above' if gain > 0 else 'below'}"
    return f"{by} {best}, the best single modality ({score(singles[best].score)})"


def _beside_chance(scores: Scores, scored: ConfigurationScores) -> str:
    floor = scores.constant.floor
    gain = _difference(scored.score, floor)
    if gain <= 0:
        return f"no better than chance ({score(floor)})"
    if not _clearly_above_chance(scores, scored):
        return f"not clearly above chance ({score(floor)}), which the interval holds"
    return f"{score(gain)} above chance ({score(floor)})"


def _loss(scores: Scores) -> str:
    """The modality whose absence costs most, and those whose absence costs nothing."""
    without: dict[str, float] = {}
    for modality in scores.modalities:
        rest = "+".join(other for other in scores.modalities if other != modality)
        if rest in scores.configurations:
            without[modality] = scores.configurations[rest].score
    drops = {modality: _difference(scores.complete.score, value) for modality, value in without.items()}
    if not drops:
        return ""
    worst, spared = max(drops, key=drops.__getitem__), [modality for modality, drop in drops.items() if drop <= 0]
    if drops[worst] <= 0:
        return "Nothing is lost without any one modality."
    most = "most, " if len(drops) > 2 else ""
    nothing = f"; nothing is lost without {' or '.join(spared)}" if spared else ""
    return f"Without {worst} it falls {most}to {score(without[worst])}{nothing}."


def _alone(scores: Scores) -> list[str]:
    """The modalities that alone are not above chance."""
    floor = scores.constant.floor
    groups: dict[str, list[str]] = {"no better than chance": [], "not clearly better than chance": []}
    for modality, scored in _singles(scores).items():
        if _difference(scored.score, floor) <= 0:
            groups["no better than chance"].append(modality)
        elif not _clearly_above_chance(scores, scored):
            groups["not clearly better than chance"].append(modality)
    return [
        f"On {'its' if len(modalities) == 1 else 'their'} own, {series(modalities)} "
        f"{'is' if len(modalities) == 1 else 'are'} {words}."
        for words, modalities in groups.items()
        if modalities
    ]


def _clearly_above_chance(scores: Scores, scored: ConfigurationScores) -> bool:
    low = scored.score if scored.interval is None else scored.interval[0]
    return _difference(low, scores.constant.floor) > 0


def _singles(scores: Scores) -> dict[str, ConfigurationScores]:
    return {name: scores.configurations[name] for name in scores.modalities if name in scores.configurations}


def _difference(value: float, other: float) -> float:
    """The difference of two scores as they are printed."""
    return round(round(value, 3) - round(other, 3), 3)
