"""A trained run as a predictor: arrays or data sets with any modality missing, and no labels, to classes or numbers."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from emotiwave_core.compute.device import autocast
from emotiwave_core.compute.memory import retry_smaller_batches
from emotiwave_core.config.recipe import OnAlarm, Recipe
from emotiwave_core.data.corpus import Fold, open_unlabelled
from emotiwave_core.data.dataset import Dataset
from emotiwave_core.data.loading.loader import open_loader
from emotiwave_core.data.loading.plan import BatchPlan, neighbour_notes, plan_batches
from emotiwave_core.data.loading.speakers import (
    clips_of,
    enrolment_notes,
    first_of_each,
    relative_to_speakers,
    standardise_speakers,
)
from emotiwave_core.data.store.memory import ArraySample, store_of_arrays
from emotiwave_core.data.store.standardisation import SpeakerStandardisation
from emotiwave_core.data.store.store import Store
from emotiwave_core.errors import DataError, NotFinite, Notice, SettingsError
from emotiwave_core.interfaces import Encoded
from emotiwave_core.modalities import name_of
from emotiwave_core.model.attribute_errors import attribute_errors
from emotiwave_core.model.fusion_model import FusionModel
from emotiwave_core.monitor import SILENT, Monitor
from emotiwave_core.objectives import Objective
from emotiwave_core.parts.registry import Registry
from emotiwave_core.predict.agreement import pair_alarms, pair_shares
from emotiwave_core.predict.inputs import check_inputs
from emotiwave_core.runs.model_file import Agreements, Calibrations, TrainedInput
from emotiwave_core.runs.saved_model import load_model

Array = NDArray[np.float64]
NOT_ENROLLED = (
    "the run reads features relative to their speaker, and of this one no clip is known (--enrol CLIP, `run.enrol`): "
    "they are read with the statistics of the training fold."
)
NO_NEIGHBOURS = (
    "the run reads the other segments of a sample's video too (its fusion), and here each sample is alone: a data set, "
    "or a recording with --window or --segments, has neighbours."
)
NEVER = 2.0  # a confidence that no decision has
UNLIKE = "it is unlike those of the training, and read as missing"  # with on_alarm = "drop"
CHUNK = 4096  # samples whose predictions are in memory at a time


@attrs.frozen
class Prediction:
    """One sample's classes, or the numbers of a regression, as a run predicts them."""

    probabilities: dict[str, float]  # of each class, in the run's order; empty of a regression
    decided: tuple[str, ...]  # one class; of a multi-label run each above its threshold, which may be none
    present: tuple[str, ...]  # the modalities that were read
    id: str | None = None  # of a sample of a data set
    numbers: dict[str, float] = attrs.field(factory=dict)  # of each target of a regression, in the unit of its labels
    confidence: float | None = None  # the probability that is given to what is decided; of several labels their mean
    interval: tuple[float, float] | None = None  # seconds, of a sample of a data set
    explained: str | None = None  # where it was asked for: the class or target whose value `shapley` splits
    shapley: dict[str, float] = attrs.field(factory=dict)  # {modality: its part, beyond the class frequencies}
    # Beyond the threshold of 1: {modality: its distance from the training's}, {pair: how many times less it agrees}
    alarms: dict[str, float] = attrs.field(factory=dict)
    abstained: bool = False  # the run was asked not to decide where it errs more often than that (`selective`)

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON can hold it: probabilities and decided of classes, numbers of a regression."""
        unused = ("probabilities", "decided", "confidence") if self.numbers else ("numbers",)
        unasked = [
            *(() if self.alarms else ("alarms",)),
            *(() if self.shapley else ("explained", "shapley")),
            *(() if self.abstained else ("abstained",)),
        ]
        return {key: value for key, value in attrs.asdict(self).items() if key not in {*unused, *unasked}}


class Answers(NamedTuple):
    """Answers of a model about N samples."""

    answers: Array  # [N, C], by all the modalities that each has
    shares: Array  # [N, M], the distance of each modality over its threshold
    alone: dict[str, Array]  # {modality: [N, C], by it alone}, of those whose agreement with another is known


@attrs.frozen(eq=False)
class Predictor:
    """A run's model on a device, in eval(). Several threads may ask it at a time."""

    model: FusionModel
    objective: Objective
    recipe: Recipe
    thresholds: Array | None  # [C], of a multi-label run
    inputs: dict[str, TrainedInput]  # {modality: the features that it was trained on}
    device: torch.device
    calibration: Calibrations | None = None  # of each configuration, of a single-label run
    agreement: Agreements | None = None  # of each pair of modalities that agree
    least: dict[str, float] | None = None  # {configuration: the least confidence with which it decides}
    speaker: SpeakerStandardisation | None = None  # of whom all samples are

    @property
    def is_relative(self) -> bool:
        """True for a run that reads features relative to their speaker."""
        return not isinstance(self.recipe.model.standardise, bool)

    def check_relative(self) -> None:
        """SettingsError where the run does not read features relative to their speaker."""
        if not self.is_relative:
            raise SettingsError(
                "This run does not read features relative to their speaker, so clips of the speaker change nothing: "
                'leave them out, or train with model.standardise="own" or "enrolled".'
            )

    def selective(self, max_risk: float) -> "Predictor":
        """The same, deciding only where at most this share of such decisions was wrong on the validation fold.

        Selective classification (El-Yaniv and Wiener 2010; Geifman and El-Yaniv 2017): of each configuration the
        confidence is the lowest at which the validation samples of that confidence or more have this share of errors.
        SettingsError for a share that is none, and for a run that knows no such shares.
        """
        if not 0.0 <= max_risk < 1.0:
            raise SettingsError(f"The share of errors must be from 0 to below 1, not {max_risk:g}.")
        if self.objective.kind != "single":
            raise SettingsError(
                f"A {self.objective.kind} run has no one decision about a sample that is right or wrong: "
                "leave the share of errors out."
            )
        if self.calibration is None:
            raise SettingsError("This run was trained by a version that kept no risks: train it again.")
        least = {}
        for name, one in self.calibration.items():
            sure = [least for least, risk in zip(one.confidences, one.risks, strict=True) if risk <= max_risk]
            least[name] = min(sure, default=NEVER)
        return attrs.evolve(self, least=least)

    def enrolled(self, clips: Store, speaker: str | None = None) -> "Predictor":
        """The same for samples of one speaker, of whom these are clips; a notice tells what they leave open.

        speaker: the group whose clips are taken of all. SettingsError where there is none of this name.
        """
        first, own = first_of_each(clips), np.ones(len(clips), dtype=bool)
        if speaker is not None:
            own = clips_of(clips, speaker)
        for note in enrolment_notes(clips, own, first, self.model.statistics):
            warnings.warn(f"Note: {note}", Notice, stacklevel=2)
        whose = ["the speaker" if is_own else None for is_own in own]
        known = standardise_speakers(clips, whose, own & first, self.model.statistics)
        assert known.speakers is not None, "they have just been standardised"
        return self.of_speaker(known.speakers)

    def of_speaker(self, speaker: SpeakerStandardisation) -> "Predictor":
        """The same for samples of the one speaker of this standardisation."""
        return attrs.evolve(self, speaker=speaker)

    def store_of(self, samples: Sequence[ArraySample], one_video: bool = False) -> Store:
        """A store of samples of arrays, relative to the speaker where one is enrolled. Errors as `store_of_arrays`.

        one_video: they are the segments of one video, else each is one by itself.
        """
        store = store_of_arrays(samples, self.model.features, self.recipe.data, self.model.tokens)
        if one_video:
            store = attrs.evolve(store, facts=attrs.evolve(store.facts, videos=("0",) * len(store)))
        return self._of_speaker(store)

    def _of_speaker(self, store: Store) -> Store:
        if self.speaker is None:
            return store
        return attrs.evolve(store, speakers=attrs.evolve(self.speaker, map_of=np.ones(len(store), dtype=np.int64)))

    def have_evidence(self, samples: Sequence[ArraySample]) -> list[bool]:
        """True for each sample that has anything to predict from. Errors as `store_of_arrays`."""
        return [bool(has) for has in _has_evidence(self.store_of(samples))]

    def predict_arrays(self, samples: Sequence[ArraySample], one_video: bool = False) -> list[Prediction]:
        """Predict samples of arrays, each alone or as segments of one video, for a fusion that sees neighbours.

        Errors as `store_of_arrays`; DataError for one of zeros or no number alone, PluginError where an answer is not
        finite.
        """
        if self.is_relative and self.speaker is None:
            warnings.warn(f"Note: {NOT_ENROLLED}", Notice, stacklevel=2)
        if self.model.neighbours is not None and not (one_video and len(samples) > 1):
            warnings.warn(f"Note: {NO_NEIGHBOURS}", Notice, stacklevel=2)
        store = self.store_of(samples, one_video)
        if len(empty := np.flatnonzero(~_has_evidence(store))):
            who = "The sample" if len(samples) == 1 else f"Sample {empty[0]}"
            raise DataError(f"{who} has zeros or no number alone in every modality: there is nothing to predict from.")
        return [prediction for _, own in self.predict_store(store, has_ids=False) for prediction in own]

    def open_dataset(self, dataset: Dataset, monitor: Monitor = SILENT) -> Store:
        """The store of a data set that is to be predicted. Errors as `open_unlabelled`."""
        store = self.open_clips(dataset, monitor)
        if self.speaker is not None:
            return self._of_speaker(store)
        try:
            return relative_to_speakers(store, dataset.base, self.recipe, self.model.statistics)
        except (DataError, SettingsError) as error:
            monitor.say(f"Note: {error} Here {NOT_ENROLLED}")
            return store

    def open_clips(self, dataset: Dataset, monitor: Monitor = SILENT) -> Store:
        """The store of a data set, whoever speaks in it. Errors as `open_unlabelled`."""
        store = open_unlabelled(dataset, self.recipe.data, self.model.features, monitor)
        check_inputs(self.inputs, store.facts)
        for note in store.facts.warnings:
            monitor.say(f"Warning: {note}")
        for note in neighbour_notes(store, self.model.neighbours):
            monitor.say(f"Note: {note}")
        return store.with_tokens(self.model.tokens)

    def predict_store(
        self, store: Store, monitor: Monitor = SILENT, has_ids: bool = True
    ) -> Iterator[tuple[Fold, list[Prediction]]]:
        """Predict every sample of a store, some thousand at a time. PluginError where an answer is not finite."""
        batch_size = self.recipe.training.batch_size
        chunk = batch_size * max(1, CHUNK // batch_size)
        if self.model.neighbours is not None:  # a chunk would cut through a video
            chunk = max(len(store), 1)
        heard: list[tuple[dict[str, Array], dict[str, NDArray[np.bool_]]]] = []
        with monitor.progress("Predicting", len(self._plan(store, np.arange(len(store)), batch_size))) as advance:
            for first in range(0, len(store), chunk):
                rows = np.arange(first, min(first + chunk, len(store)))
                samples = Fold("all", rows, torch.empty(len(rows), 0))
                with attribute_errors(self.model):
                    told = retry_smaller_batches(
                        lambda size, samples=samples: self._answers(store, samples, size, advance),  # type: ignore[misc]
                        batch_size,
                        self.recipe,
                        "predicting",
                        monitor,
                    )
                heard.append((told.alone, {m: store.has(m)[rows] for m in told.alone}))
                yield samples, self._named(store, samples, told, has_ids)
        for note in self._strangers(heard):
            monitor.say(f"Warning: {note}")

    def _strangers(self, heard: Sequence[tuple[dict[str, Array], dict[str, NDArray[np.bool_]]]]) -> list[str]:
        """Sentences on the pairs of modalities that fit each other far less than in validation, over all samples."""
        if not heard or not heard[0][0]:
            return []
        alone, present = ({m: np.concatenate([one[k][m] for one in heard]) for m in heard[0][0]} for k in (0, 1))
        ids = [""] * len(next(iter(present.values())))
        pairs = pair_alarms(ids, self.agreement, alone, present, self.objective.multi)
        return [one.sentence(name) for name, one in pairs.items() if one.are_strangers]

    def _named(self, store: Store, samples: Fold, told: Answers, has_ids: bool) -> list[Prediction]:
        """Answers about some samples of a store as predictions. PluginError where one is not finite."""
        answers, shares = told.answers, told.shares
        bad = int((~np.isfinite(answers)).any(axis=1).sum())
        if bad:
            raise NotFinite(
                f"The model says NaN of {bad} of {len(answers)} samples: their features are too large for it, or "
                "a part does not hold its interface (`emotiwave plugins check`)."
            )
        is_number = self.objective.kind == "regression"
        decided = self.objective.decide(answers, self.thresholds)
        named = [dict(zip(self.objective.classes, row, strict=True)) for row in answers.tolist()]
        present = {modality: store.has(modality)[samples.rows] for modality in self.model.modalities}
        intervals = store.intervals[samples.rows].tolist()
        pairs = pair_shares(self.agreement, told.alone, present, self.objective.multi)
        predictions = []
        for n, row in enumerate(samples.rows):
            names = () if is_number else self._names(decided[n])
            alarms = {m: share for m, share in zip(present, shares[n].tolist(), strict=True) if share > 1.0}
            have = self._read(tuple(modality for modality, has in present.items() if has[n]), alarms)
            alarms |= {pair: float(share[n]) for pair, share in pairs.items() if share[n] > 1.0}  # False for NaN
            confidence = None if is_number else confidence_of(named[n], names, self.objective.multi)
            abstained = self.least is not None and (confidence or 0.0) < self.least.get(name_of(have), NEVER)
            predictions.append(
                Prediction(
                    probabilities={} if is_number else named[n],
                    decided=() if abstained else names,
                    present=have,
                    id=store.ids[row] if has_ids else None,
                    numbers=named[n] if is_number else {},
                    confidence=confidence,
                    interval=(intervals[n][0], intervals[n][1]) if has_ids else None,
                    alarms=alarms,
                    abstained=abstained,
                )
            )
        return predictions

    def _read(self, have: tuple[str, ...], alarms: Mapping[str, float]) -> tuple[str, ...]:
        """The modalities that are read of those that a sample has."""
        trusted = tuple(modality for modality in have if modality not in alarms)
        return trusted if trusted and self.model.on_alarm == "drop" else have

    @torch.inference_mode()
    def _answers(self, store: Store, samples: Fold, batch_size: int, advance: Callable[[], None]) -> Answers:
        """Answers about some samples: of all the modalities that they have, and what the alarms need of these."""
        loader, plan = open_loader(store, self.device), self._plan(store, samples.rows, batch_size)
        alarm = None if self.model.on_alarm == "ignore" else self.model.alarm
        logits: list[torch.Tensor] = []
        shares: list[torch.Tensor] = []
        alone: dict[str, list[torch.Tensor]] = {modality: [] for modality in self._asked_alone}
        for batch in plan.batches(loader, samples.rows, samples.targets):
            with autocast(self.device, self.recipe.training.precision):
                encoded, present = self.model.encode(batch.inputs, batch.masks), self.model.present(batch.masks)
                logits.append(self.model.fuse(encoded, present, batch.videos).logits.float())
                shares.append(present.new_zeros(present.shape).float() if alarm is None else alarm(encoded, present))
                if alone:
                    told = self.model.fuse_alone(list(alone), encoded, present, self._nothing, batch.videos)
                    for own, of_one in zip(alone.values(), told, strict=True):
                        own.append(of_one.float())
            advance()
        answer = self.objective.answers
        return Answers(
            _doubles(answer(plan.restored(torch.cat(logits)))),
            _doubles(plan.restored(torch.cat(shares))),
            {modality: _doubles(answer(plan.restored(torch.cat(own)))) for modality, own in alone.items()},
        )

    @cached_property
    def _nothing(self) -> dict[str, Encoded]:
        """The encodings of a sample without any modality, which are the same in every batch."""
        return self.model.encode_nothing(self.device)

    @property
    def _asked_alone(self) -> list[str]:
        """The modalities that are also asked alone, for their agreement with others."""
        if self.model.on_alarm == "ignore":
            return []
        return [m for m in self.model.modalities if any(m in pair.split("+") for pair in self.agreement or ())]

    def _plan(self, store: Store, rows: NDArray[np.int64], batch_size: int) -> BatchPlan:
        return plan_batches(store, rows, batch_size, neighbours=self.model.neighbours)

    def _names(self, decision: Any) -> tuple[str, ...]:
        """The classes of a decision: an index [], or 0 and 1 for each [C]."""
        classes = self.objective.classes
        if np.ndim(decision) == 0:
            return (classes[int(decision)],)
        return tuple(name for name, is_decided in zip(classes, decision, strict=True) if is_decided)


def _doubles(tensor: torch.Tensor) -> Array:
    return np.asarray(tensor.cpu().double().numpy())


def _has_evidence(store: Store) -> NDArray[np.bool_]:
    """True for each sample of a store that has something of any modality, [N]."""
    return np.asarray(np.any([store.has(modality) for modality in store.modalities], axis=0))


def confidence_of(probabilities: Mapping[str, float], decided: Sequence[str], multi: bool) -> float:
    """The probability of the decided class; of several labels the mean of what is given to each one's decision."""
    if not multi:
        return probabilities[decided[0]]
    given = [value if name in decided else 1.0 - value for name, value in probabilities.items()]
    return float(np.mean(given))


def open_predictor(run: Path, registry: Registry, device: torch.device, on_alarm: OnAlarm | None = None) -> Predictor:
    """The model of a run, on a device. DataError where it has none, or a file is damaged.

    on_alarm: in the place of the recipe's; SettingsError for "drop" where the run has no alarms.
    """
    model, objective, recipe, description, changes = load_model(run, registry)
    model.set_alarm(on_alarm)
    for change in changes:
        warnings.warn(change, Notice, stacklevel=2)
    tuned = description.thresholds
    thresholds = None if tuned is None else np.array([tuned[name] for name in objective.classes])
    inputs, calibration, agreement = description.data.inputs, description.calibration, description.agreement
    return Predictor(model.to(device), objective, recipe, thresholds, inputs, device, calibration, agreement)
