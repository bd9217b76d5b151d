"""Samples that raise an alarm, ready for the page: what is decided of them, and what without the modality that does."""

from collections.abc import Iterator
from typing import NamedTuple

from emotiwave_core.modalities import configurations
from emotiwave_core.report.numbers import score
from emotiwave_core.runs.contents import RunContents
from emotiwave_core.runs.predictions import NumberSample, PredictedSample


class AlarmedSample(NamedTuple):
    """A sample of a modality, or of two, that raises an alarm; the words are empty where they are not known."""

    modality: str  # or a pair of them, as `audio+visual`
    id: str
    alarm: float  # its distance over the threshold, or how many times less the two agree
    truth: str
    decided: str
    without: str  # what is decided if the modality is taken away


def alarmed_samples(run: RunContents) -> list[AlarmedSample]:
    """Those with the highest alarms, by modality and by pair."""
    return list(_alarmed(run))


def _alarmed(run: RunContents) -> Iterator[AlarmedSample]:
    alarms, predicted = run.scores.alarms, run.predicted
    known: dict[str, PredictedSample | NumberSample] = {}
    if predicted:
        known |= {one.id: one for one in predicted.samples}
        known |= {one.id: one for one in predicted.number_samples}
    place = {subset: k for k, subset in enumerate(configurations(run.scores.modalities))}
    for modality, one in alarms.all.items() if alarms else ():
        rest = place.get(tuple(m for m in run.scores.modalities if m not in modality.split("+")))
        for sample, alarm in one.highest.items():
            words = _words(run, known[sample], rest) if sample in known else ("", "", "")
            yield AlarmedSample(modality, sample, alarm, *words)


def _words(run: RunContents, sample: PredictedSample | NumberSample, rest: int | None) -> tuple[str, str, str]:
    """The truth, the decision, and that of the configuration `rest`."""
    if isinstance(sample, NumberSample):
        without = "" if rest is None else ", ".join(map(score, sample.numbers[rest]))
        return ", ".join(map(score, sample.truth)), ", ".join(map(score, sample.numbers[-1])), without
    classes = run.scores.classes
    given = [sample.truth, sample.decided[-1], *([] if rest is None else [sample.decided[rest]])]
    truth, decided, *without_it = ("+".join(classes[c] for c in indices) or "no emotion" for indices in given)
    return truth, decided, "".join(without_it)
