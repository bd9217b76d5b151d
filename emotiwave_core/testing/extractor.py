"""The laws of an extractor."""

import json
import tracemalloc
from typing import Any, Literal, get_args, get_origin

import numpy as np

from emotiwave_core.config.options import bare, signature_options
from emotiwave_core.errors import ModelNotHere, PackageNotHere, SettingsError
from emotiwave_core.interfaces import Extractor, Missing, Recording, Stream
from emotiwave_core.testing.laws import BrokenLaw, expect, law, not_tried
from emotiwave_core.testing.recordings import MadeUpRecording
from emotiwave_core.testing.shared import PluginContract, expect_options

LATE = 1.0  # seconds
SHORT, LONG = 40.0, 80.0  # seconds of the recordings whose memory is compared, longer than a window
NEEDS = {"sound", "picture", "words"}


class ExtractorContract(PluginContract):
    """Laws of an extractor. A subclass makes it, with a model that is at hand."""

    granted = ("is_an_extractor", "options_are_explicit", "opens", "gives_a_stream")

    def make(self) -> Extractor:
        """A new extractor, not yet open."""
        raise NotImplementedError

    def recording(self, seconds: float = 3.0, **how: Any) -> Recording:
        """A recording that holds what the extractor looks for; see MadeUpRecording."""
        return MadeUpRecording(seconds, **how)

    def opened(self, extractor: Extractor | None = None) -> Extractor:
        """An extractor that is open. The law is not tried where a model or a package is not here."""
        extractor = extractor or self.make()
        try:
            extractor.open()
        except (ModelNotHere, PackageNotHere) as error:
            raise not_tried(str(error)) from error
        return extractor

    def streamed(self, recording: Recording, extractor: Extractor | None = None) -> Stream:
        """The stream of a recording that has something."""
        answer = (extractor or self.opened()).extract(recording)
        if isinstance(answer, Missing):
            raise not_tried(f"it finds nothing in the made-up recording ({answer.reason}): give it another")
        return answer

    def once(self) -> Extractor:
        """An extractor that has been used once."""
        extractor = self.opened()
        extractor.extract(self.recording())
        return extractor

    @law("Derive from emotiwave_core.Extractor and set modality, needs and rate in the class.")
    def test_is_an_extractor(self) -> None:
        """It is an Extractor that says its modality, what it needs of a recording, and its rate."""
        extractor = self.make()
        expect(isinstance(extractor, Extractor), f"It is a {type(extractor).__name__}.")
        modality, needs = getattr(extractor, "modality", None), getattr(extractor, "needs", None)
        expect(isinstance(modality, str) and bool(modality), f"Its modality is {modality!r}.")
        expect(isinstance(needs, frozenset) and bool(needs) and needs <= NEEDS, f"Its needs are {needs!r}.")
        rate = getattr(extractor, "rate", 0)
        expect(rate is None or rate > 0, f"Its rate is {rate!r}.")

    @law("Write (self, *, option: type = default).")
    def test_options_are_explicit(self) -> None:
        """The constructor takes options alone, keyword-only, typed and with defaults."""
        expect_options(self.make(), self.positional)

    @law("Load weights in `open` and set width there; raise ModelNotHere (find_model does) where they are absent.")
    def test_opens(self) -> None:
        """Once it is open it has a width."""
        width = getattr(self.opened(), "width", None)
        expect(isinstance(width, int) and width >= 1, f"Its width is {width!r}.")

    @law("Return Stream(features [T, F] float32, intervals [T, 2] seconds) or Missing(reason).")
    def test_gives_a_stream(self) -> None:
        """A recording gives a stream of finite numbers in its width, in the order of time, within the recording."""
        extractor, recording = self.opened(), self.recording()
        answer = extractor.extract(recording)
        expect(isinstance(answer, Stream | Missing), f"It returned a {type(answer).__name__}.")
        features, intervals, problems = self.streamed(recording, extractor)
        steps = len(intervals)
        expect(features.dtype == np.float32, f"Its features are {features.dtype}.")
        expect(features.shape == (steps, extractor.width) and steps > 0, f"Its features are {list(features.shape)}.")
        expect(intervals.shape == (steps, 2), f"Its intervals are {list(intervals.shape)}.")
        expect(bool(np.isfinite(features).all()), "Its features hold NaN or infinities.")
        expect(bool((intervals[:, 0] <= intervals[:, 1]).all()), "An interval ends before it starts.")
        expect(bool((np.diff(intervals[:, 0]) >= 0).all()), "Its intervals are not in the order of time.")
        step = 1.0 / extractor.rate if extractor.rate else 0.0
        end = float(recording.facts["seconds"]) + step + 0.1
        expect(intervals[0, 0] >= 0 and intervals[-1, 1] <= end, f"Its steps reach from {intervals[0, 0]} to beyond.")
        expect(isinstance(problems, tuple) and all(isinstance(one, str) for one in problems), "Problems are no texts.")

    @law("Keep nothing of a recording, put models into eval(), draw nothing at random.")
    def test_repeats_itself(self) -> None:
        """The same recording gives the same numbers, whatever was extracted before, here or by another extractor."""
        extractor = self.opened()
        first = self.streamed(self.recording(), extractor)
        extractor.extract(self.recording(4.5, late=0.3))
        _expect_equal(self.streamed(self.recording(), extractor), first, "another recording had come in between")
        _expect_equal(self.streamed(self.recording()), first, "another extractor of the same options was asked")

    @law("Count times from the recording's start: sample 0, frame.start, word.start.")
    def test_later_sound_has_later_times(self) -> None:
        """A recording whose content is a second later gives times that are a second later, up to a step."""
        extractor = self.opened()
        first = self.streamed(self.recording(), extractor)
        shifted = self.streamed(self.recording(late=LATE), extractor)
        step = max(1.0 / extractor.rate if extractor.rate else 0.0, 0.03) + 1e-6
        moved = float(shifted.intervals[-1, 1] - first.intervals[-1, 1])
        expect(abs(moved - LATE) <= step, f"Its last step ended {moved:.3f} s later when all was {LATE} s later.")

    @law("Return Missing(reason) where there is nothing to be had: silence, a black picture, no word.")
    def test_nothing_is_missing(self) -> None:
        """Silence, pictures without a face or an empty transcript are missing, with a reason, and never zeros."""
        extractor = self.opened()
        answer = extractor.extract(self.recording(lacks=tuple(extractor.needs)))
        expect(isinstance(answer, Missing), "It gave a stream of a recording with nothing in it.")
        expect(bool(answer.reason) if isinstance(answer, Missing) else False, "It gave no reason.")

    @law("Read sound and pictures a piece at a time, and keep features alone (extract.steps.StreamBuilder).")
    def test_takes_recordings_longer_than_memory(self) -> None:
        """A recording of twice the length takes no more memory, but for its features."""
        extractor = self.opened()
        if extractor.needs == {"words"}:
            raise not_tried("words take next to no memory")
        peaks, results = [], []
        for seconds in (SHORT, LONG):
            tracemalloc.start()
            stream = self.streamed(self.recording(seconds), extractor)
            peaks.append(tracemalloc.get_traced_memory()[1])
            results.append(stream.features.nbytes + stream.intervals.nbytes)
            tracemalloc.stop()
        rate = 16_000 * 4 if "sound" in extractor.needs else 5 * 160 * 120 * 3
        grown = peaks[1] - peaks[0] - 3 * (results[1] - results[0])
        content = (LONG - SHORT) * rate
        expect(
            grown < 0.5 * content + (1 << 20),
            f"{LONG - SHORT:.0f} more seconds, {content / 1e6:.1f} MB, took {grown / 1e6:.1f} MB more memory.",
        )

    @law("Return the options and SHA-256 that decide on the numbers, as JSON has it.")
    def test_has_an_identity(self) -> None:
        """Its identity can be written as JSON and read again, and is the same for the same options."""
        identity = self.opened().identity()
        try:
            again = json.loads(json.dumps(identity, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise BrokenLaw(f"It is no JSON: {error}.") from error
        expect(again == identity, f"It came back as {again}.")
        expect(self.opened().identity() == identity, "Another extractor of the same options has another identity.")

    @law("Put every option into identity() that changes a number.")
    def test_identity_tells_numbers_apart(self) -> None:
        """An option that changes the features or their times changes the identity."""
        extractor = self.opened()
        identity, stream = extractor.identity(), self.streamed(self.recording(), extractor)
        for name, option in signature_options(type(extractor), 0).items():
            for value in _others(option.kind, option.default):
                try:
                    other = self.opened(type(extractor)(**{**extractor.options, name: value}))
                except SettingsError:
                    continue
                answer = other.extract(self.recording())
                differs = isinstance(answer, Missing) or not _equal(answer, stream)
                expect(
                    not differs or other.identity() != identity,
                    f"The option {name}={value!r} changes the features, and the identity stays the same.",
                )


def _others(kind: Any, default: Any) -> list[Any]:
    """Other values of an option that are likely to be allowed."""
    kind = bare(kind)
    if get_origin(kind) is Literal:
        return [value for value in get_args(kind) if value != default]
    if kind is bool:
        return [not default]
    if kind in (int, float) and default:
        return [kind(default * 2), kind(default / 2)]
    return []


def _equal(one: Stream, other: Stream) -> bool:
    return np.array_equal(one.features, other.features) and np.array_equal(one.intervals, other.intervals)


def _expect_equal(now: Stream, before: Stream, when: str) -> None:
    expect(now.features.shape == before.features.shape, f"Its features changed their shape when {when}.")
    largest = float(np.abs(now.features - before.features).max(initial=0.0))
    expect(largest == 0.0, f"Its features changed by {largest:.2g} when {when}.")
    expect(np.array_equal(now.intervals, before.intervals), f"Its times changed when {when}.")
