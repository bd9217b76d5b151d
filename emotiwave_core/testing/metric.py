"""The laws of a metric."""

import math
from itertools import product

import numpy as np

from emotiwave_core.metrics import AnyMetric, Metric, Outcomes, guess_of, score_of
from emotiwave_core.metrics.numbers import NumberMetric, PredictedNumbers
from emotiwave_core.testing.laws import expect, law
from emotiwave_core.testing.shared import PluginContract, expect_options

CLASSES = ("happy", "sad", "anger")
SAMPLES, CLOSE = 40, 1e-9
Given = Outcomes | PredictedNumbers


class MetricContract(PluginContract):
    """The laws that every metric keeps. A subclass makes the metric that is checked."""

    granted = ("is_a_metric", "says_what_it_is", "gives_a_number_or_none")

    def make(self) -> AnyMetric:
        """A new metric."""
        raise NotImplementedError("The contract needs the method make(self) -> Metric or NumberMetric.")

    @law("Derive from Metric (of classes) or NumberMetric (of numbers) of emotiwave_core.")
    def test_is_a_metric(self) -> None:
        """A metric derives from Metric or NumberMetric."""
        metric = self.make()
        expect(isinstance(metric, Metric | NumberMetric), f"{type(metric).__name__} is neither of them.")

    @law("Set title, and single_label and multi_label (of numbers: meaning): a sentence without its full stop.")
    def test_says_what_it_is(self) -> None:
        """It has a title, a sentence for each kind of label, and a direction."""
        metric = self.make()
        for what in ("title", "definition of one label", "definition of several"):
            text = metric.title if what == "title" else metric.definition(what.endswith("several"))
            written = isinstance(text, str) and bool(text.strip()) and not text.endswith(".") and "\n" not in text
            expect(written, f"The {what} is {text!r}.")
        direction = metric.higher_is_better
        expect(isinstance(direction, bool), f"higher_is_better is {direction!r}, neither True nor False.")

    @law("Return float(…), or None where it is not defined; a mean over nothing and 0 / 0 are NaN.")
    def test_gives_a_number_or_none(self) -> None:
        """Its score is a finite number, or None, and not None for every kind of label that it is for."""
        metric = self.make()
        values = [_value(metric, given) for given in _drawn(metric)]
        for value in values:
            finite = value is None or (isinstance(value, float | int | np.number) and math.isfinite(value))
            expect(finite, f"The score is {value!r}.")
        expect(any(value is not None for value in values), "The score is None of every kind of label.")

    @law("Usual cause: a class without samples, or one that is never predicted.")
    def test_survives_rare_cases(self) -> None:
        """One sample, and classes without samples or without predictions, give a finite number or None."""
        metric = self.make()
        for given in _rare(metric):
            value = _value(metric, given)
            finite = value is None or math.isfinite(value)
            expect(finite, f"The score of {_words(given)} is {value!r}.")

    @law("Set higher_is_better = False where less is better; look at what is compared with what.")
    def test_perfect_is_best(self) -> None:
        """Answers that are all right score better than answers at random."""
        metric = self.make()
        for given in _drawn(metric):
            if (value := _value(metric, given)) is None:
                continue
            best = _value(metric, _right(given))
            expect(best is not None, f"The score of right answers about {_words(given)} is None.")
            gain = metric.gain(best, value) or 0.0
            expect(gain > 0.0, f"Right answers about {_words(given)} have {best:.3g}, and random ones {value:.3g}.")

    @law("Return from guess() the best score that one and the same answer for every sample reaches; None is no floor.")
    def test_no_guess_is_above_the_floor(self) -> None:
        """No answer that is the same for every sample, of classes, scores better than `guess` says."""
        metric = self.make()
        if not isinstance(metric, Metric):
            return
        for given in _drawn(metric):
            assert isinstance(given, Outcomes)
            floor, _ = guess_of(metric, given.truth, CLASSES)
            answers = list(product((0, 1), repeat=len(CLASSES))) if given.multi else list(range(len(CLASSES)))
            for answer in answers:
                decided = np.broadcast_to(np.array(answer), given.truth.shape).astype(np.int64)
                value = _value(metric, _deciding(given, decided))
                if value is None:
                    continue
                expect(floor is not None, f"The best guess about {_words(given)} is None, and one has {value:.3g}.")
                gain = metric.gain(value, floor) or 0.0
                expect(gain <= CLOSE, f"The answer {answer} for all has {value:.3g}, the best guess {floor:.3g}.")

    @law("Something depends on a sample's place.")
    def test_order_of_samples_does_not_matter(self) -> None:
        """Samples in another order have the same score."""
        metric, order = self.make(), np.random.default_rng(5).permutation(SAMPLES)
        for given in _drawn(metric):
            self._expect_same(_value(metric, given), _value(metric, _rows(given, order)), "samples were reordered")

    @law("Keep nothing from one call to the next, and draw nothing.")
    def test_keeps_no_state(self) -> None:
        """The score is the same whatever was scored before."""
        metric = self.make()
        before = [_value(metric, given) for given in _drawn(metric)]
        for given in _drawn(metric, seed=9):
            _value(metric, given)
        for value, given in zip(before, _drawn(metric), strict=True):
            self._expect_same(value, _value(metric, given), "others were scored in between")

    @law("Work on a copy: every other metric reads the same arrays.")
    def test_does_not_change_its_input(self) -> None:
        """Truth, decisions and probabilities stay as they were."""
        metric = self.make()
        for given, before in zip(_drawn(metric), _drawn(metric), strict=True):
            _value(metric, given)
            pairs = zip(_arrays(given), _arrays(before), strict=True)
            expect(
                all(np.array_equal(now, then) for now, then in pairs), f"What was given about {_words(given)} changed."
            )

    @law("Write (self, *, option: type = default): the registry reads help and recipes from it.")
    def test_options_are_explicit(self) -> None:
        """The constructor takes options only, and they are keyword-only, typed and have defaults."""
        expect_options(self.make(), self.positional)

    def once(self) -> AnyMetric:
        """A new metric that has been used once."""
        metric = self.make()
        for given in _drawn(metric):
            _value(metric, given)
        return metric

    def _expect_same(self, before: float | None, now: float | None, when: str) -> None:
        then, later = (np.nan if value is None else float(value) for value in (before, now))
        same = (before is None) == (now is None) and np.isclose(then, later, rtol=0.0, atol=CLOSE, equal_nan=True)
        expect(bool(same), f"The score was {before!r} and is {now!r} when {when}.")


def _drawn(metric: AnyMetric, seed: int = 0) -> list[Given]:
    """Random answers: about one and about several labels, or about numbers."""
    draw = np.random.default_rng(seed)
    if not isinstance(metric, Metric):
        return [PredictedNumbers(draw.normal(size=SAMPLES), draw.normal(size=SAMPLES), "-3..3")]
    given: list[Given] = []
    for shape, top in (((SAMPLES,), 3), ((SAMPLES, 3), 2)):
        truth, decided = (draw.integers(0, top, shape) for _ in range(2))
        given.append(Outcomes(truth, decided, draw.dirichlet([1, 1, 1], SAMPLES), CLASSES))
    return given


def _rare(metric: AnyMetric) -> list[Given]:
    """One sample, and answers about one class alone."""
    one = np.array([0])
    given = [_rows(each, one) for each in _drawn(metric)]
    for each in _drawn(metric):
        if isinstance(each, Outcomes):
            truth = np.zeros_like(each.truth)
            given += [
                Outcomes(truth, np.ones_like(truth), each.probabilities, CLASSES),
                Outcomes(truth, truth.copy(), each.probabilities, CLASSES),
            ]
        else:
            given.append(PredictedNumbers(np.zeros(SAMPLES), np.zeros(SAMPLES), each.scale))
    return given


def _value(metric: AnyMetric, given: Given) -> float | None:
    if isinstance(given, Outcomes):
        assert isinstance(metric, Metric)
        return score_of(metric, given)[0]
    assert isinstance(metric, NumberMetric)
    return metric.mean([metric.score(given)])


def _right(given: Given) -> Given:
    """The same with right answers, and the probabilities of these."""
    if isinstance(given, Outcomes):
        return Outcomes(given.truth, given.truth.copy(), given.present.astype(np.float64), given.classes)
    return given._replace(predicted=given.truth.copy())


def _deciding(given: Outcomes, decided: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]") -> Outcomes:
    """The same with other decisions; probabilities that tell nothing apart."""
    return Outcomes(given.truth, decided, np.full(given.probabilities.shape, 1.0 / len(CLASSES)), given.classes)


def _rows(given: Given, rows: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]") -> Given:
    """Some of the samples."""
    if isinstance(given, Outcomes):
        return Outcomes(given.truth[rows], given.decided[rows], given.probabilities[rows], given.classes)
    return given._replace(truth=given.truth[rows], predicted=given.predicted[rows])


def _arrays(given: Given) -> "list[np.ndarray[tuple[int, ...], np.dtype[np.generic]]]":
    if isinstance(given, Outcomes):
        return [given.truth, given.decided, given.probabilities, given.present, given.predicted]
    return [given.truth, given.predicted]


def _words(given: Given) -> str:
    if isinstance(given, Outcomes):
        return "several labels" if given.multi else "one label"
    return "numbers"
