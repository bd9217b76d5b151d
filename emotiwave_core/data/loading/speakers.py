"""Features relative to their speaker: each speaker's clips are brought to the mean and deviation of the training fold.

A voice is high or low, and a face broad or narrow, before either feels anything. Where clips of a speaker are at hand,
their statistics say what is usual for that speaker, without a label: all own clips (`own`, transductive), or clips that
were recorded for it (`enrolled`). Speaker normalisation of this kind is usual in speech emotion recognition (Busso,
Metallinou and Narayanan 2011, doi:10.1109/ICASSP.2011.5947653; Schuller et al. 2010, doi:10.1109/T-AFFC.2010.8).
"""

import hashlib
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emotiwave_core.config.recipe import NO_EMOTION_CLIPS, Recipe
from emotiwave_core.data.loading.batch import Moments
from emotiwave_core.data.store.standardisation import SpeakerStandardisation
from emotiwave_core.data.store.store import Store
from emotiwave_core.errors import DataError, SettingsError, choices, listed, short
from emotiwave_core.io.untrusted import is_file, read_text, why
from emotiwave_core.modalities import streams_of

PRIOR = 1.0  # clips of an average speaker that count beside a speaker's own
MOST_ENROLMENT = 1 << 24  # bytes of a list of clips
Statistics = Mapping[str, tuple[Tensor, Tensor]]  # {stream: mean [F] and 1 / deviation [F] of the training fold}


def speaker_clips(store: Store, base: Path, recipe: Recipe) -> NDArray[np.bool_] | None:
    """The clips [N] from which a recipe takes what is usual for a speaker; None where it does not ask for speakers.

    base: the folder of the data set. DataError where the data do not tell the speakers or have no clip that is
    enrolled, SettingsError where the recipe does not say which are.
    """
    mode, enrolment = recipe.model.standardise, recipe.data.enrolment
    if isinstance(mode, bool):
        return None
    if store.facts.groups is None:
        raise DataError(
            f'model.standardise is "{mode}", and {store.facts.dataset} does not say who speaks: add [groups] to '
            "its dataset.toml, or set model.standardise=true."
        )
    if mode == "own":
        return np.ones(len(store), dtype=bool)
    if enrolment is None:
        raise SettingsError(
            'model.standardise is "enrolled": say by data.enrolment which clips are, a file of their ids in the data '
            f'set\'s folder or "{NO_EMOTION_CLIPS}" (those without any emotion).'
        )
    if enrolment == NO_EMOTION_CLIPS:
        clips, source = _without_emotion(store), f'data.enrolment="{NO_EMOTION_CLIPS}"'
    else:
        clips, source = _listed(store, read_enrolment(base, enrolment)), str(base / enrolment)
    if not clips.any():
        raise DataError(f"{source} enrols none of the {len(store)} samples of {store.facts.dataset}.")
    return clips


def _without_emotion(store: Store) -> NDArray[np.bool_]:
    """The samples [N] whose labels are all 0. DataError where that does not mean "no emotion"."""
    kind = store.facts.label_kind if store.targets else "not read here"
    if kind not in ("intensities", "multi"):
        raise DataError(
            f'data.enrolment is "{NO_EMOTION_CLIPS}", and the labels of {store.facts.dataset} are {kind}: '
            "name a file of the ids of clips instead."
        )
    return np.asarray(~(store.labels > 0).any(dim=1).numpy())


def _listed(store: Store, listed: Set[str]) -> NDArray[np.bool_]:
    """The samples [N] that are named by their id, or by their video's."""
    return np.array([not listed.isdisjoint(names) for names in zip(store.ids, store.videos, strict=True)])


def read_enrolment(base: Path, name: str) -> set[str]:
    """The ids of clips in a text file of the data set's folder, one a line.

    SettingsError where there is no such file, or it lies elsewhere: the recipe may be a stranger's. DataError where it
    cannot be read.
    """
    path = base / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise SettingsError(f"data.enrolment is {short(name)}, which is not in the data set's folder {base}.")
    if not is_file(path):
        raise SettingsError(f"data.enrolment is {short(path.name)}, but {path} is not there.")
    try:
        return {line.strip() for line in read_text(path, MOST_ENROLMENT).splitlines() if line.strip()}
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be used: {why(error)}.") from error


def enrolment_sha256(base: Path, enrolment: str | None) -> str | None:
    """The value of `data.enrolment`, a file by a digest of its ids. Errors as `read_enrolment`."""
    if enrolment in (None, NO_EMOTION_CLIPS):
        return enrolment
    return hashlib.sha256("\n".join(sorted(read_enrolment(base, str(enrolment)))).encode()).hexdigest()


def speaker_notes(store: Store, base: Path, recipe: Recipe) -> list[str]:
    """Sentences on what must be known beside a score of speaker-relative features. Errors as `speaker_clips`."""
    clips = speaker_clips(store, base, recipe)
    if clips is None:
        return []
    if recipe.model.standardise == "own":
        return [
            "Features are relative to their speaker by all clips at hand, those that are scored too, without their "
            'labels (model.standardise="own", transductive).'
        ]
    speakers = set(store.groups)
    heard = {store.groups[row] for row in np.flatnonzero(clips)}
    notes = [f"{int(clips.sum())} clips enrol {len(heard)} of {len(speakers)} speakers (data.enrolment)."]
    if len(heard) < len(speakers):
        left = len(speakers) - len(heard)
        notes.append(f"{left} speakers, such as {short(min(speakers - heard))}, are read as speakers nobody knows.")
    if recipe.data.enrolment not in (None, NO_EMOTION_CLIPS):
        absent = read_enrolment(base, str(recipe.data.enrolment)) - {*store.ids, *store.videos}
        if absent:
            notes.append(f"{len(absent)} ids of data.enrolment, such as {short(min(absent))}, have no sample.")
    return notes


def first_of_each(clips: Store) -> NDArray[np.bool_]:
    """The clips [N] that hold no other's numbers once more: who is enrolled by one clip twice is known by one."""
    seen: set[bytes] = set()
    first = np.zeros(len(clips), dtype=bool)
    for row in range(len(clips)):
        digest = hashlib.sha256()
        for stream in clips.streams:
            x = clips.sequence(stream, row)
            digest.update(f"{stream}{tuple(x.shape)}".encode() + x.numpy().tobytes())
        first[row] = digest.digest() not in seen
        seen.add(digest.digest())
    return first


def clips_of(clips: Store, speaker: str) -> NDArray[np.bool_]:
    """The clips [N] of one speaker, which is a group of theirs. SettingsError where there is none of this name."""
    if clips.facts.groups is None:
        raise SettingsError(
            f"The clips do not tell who speaks, so none can be taken for those of {short(speaker)}: name a data set "
            "with [groups], or leave the speaker out."
        )
    names = sorted(set(clips.facts.groups))
    if speaker not in names:
        raise SettingsError(f"No clip is of the speaker {short(speaker)}.{choices(speaker, names)}")
    return np.array([group == speaker for group in clips.facts.groups])


def enrolment_notes(clips: Store, own: NDArray[np.bool_], first: NDArray[np.bool_], training: Statistics) -> list[str]:
    """Sentences on what must be known of clips that enrol one speaker.

    own [N]: those that are the speaker's; first [N]: those that are no other's twin.
    """
    notes = []
    if twins := int((own & ~first).sum()):
        notes.append(f"{twins} of {int(own.sum())} clips are others once more, and count once.")
    if own.all() and clips.facts.groups is not None and len(names := sorted(set(clips.facts.groups))) > 1:
        notes.append(
            f"the clips are of {len(names)} groups, such as {short(names[0])} and {short(names[1])}, and are taken for "
            "those of one speaker (--speaker takes the clips of one)."
        )
    read = [name for name in clips.modalities if not training.keys().isdisjoint(streams_of(name, clips.streams))]
    if unheard := [name for name in read if not clips.has(name)[own].any()]:
        notes.append(f"no clip of the speaker has {listed(unheard)}: read with the statistics of the training fold.")
    return notes


def relative_to_speakers(store: Store, base: Path, recipe: Recipe, training: Statistics) -> Store:
    """The store as a recipe reads it: with its speakers standardised where it asks for that. Errors as above."""
    clips = speaker_clips(store, base, recipe)
    return store if clips is None else standardise_speakers(store, store.groups, clips, training)


def standardise_speakers(
    store: Store, speakers: Sequence[str | None], clips: NDArray[np.bool_], training: Statistics
) -> Store:
    """The store with each speaker's features mapped to the statistics of the training fold, by some of its clips.

    speakers: of each of the N samples, None where it is not known. clips [N]: the samples whose features may be looked
    at. With c clips of a speaker and P = `PRIOR` their moments count c / (c + P), those of the training fold the rest;
    so a speaker of whom there is nothing is read with the training fold's statistics, as any other model does it. A
    feature that is constant in the training fold stays as it is.

    Clips count and not steps: the steps of one clip are alike, and say little about the next.
    """
    numbers = {name: n for n, name in enumerate(dict.fromkeys(s for s in speakers if s is not None), start=1)}
    map_of = np.array([0 if speaker is None else numbers[speaker] for speaker in speakers], dtype=np.int64)
    scales, shifts = {}, {}
    for stream, width in store.features.items():
        scale, shift = torch.ones(len(numbers) + 1, width), torch.zeros(len(numbers) + 1, width)
        if stream in training:
            read = clips & store.has(stream)
            for number in range(1, len(numbers) + 1):
                rows = np.flatnonzero(read & (map_of == number))
                if len(rows):
                    own = Moments(width)
                    own.add(store, stream, rows)
                    scale[number], shift[number] = _affine(len(rows), own, training[stream])
        scales[stream], shifts[stream] = scale, shift
    return attrs.evolve(store, speakers=SpeakerStandardisation(scales, shifts, map_of))


class HeardSpeaker:
    """Statistics of one speaker of whom clip after clip is heard: those of `standardise_speakers` of all of them."""

    def __init__(self, features: Mapping[str, int], training: Statistics) -> None:
        self._training = training
        self._moments = {stream: Moments(width) for stream, width in features.items()}
        self._clips = dict.fromkeys(features, 0)  # that have the stream

    def hear(self, clip: Store) -> SpeakerStandardisation:
        """Take in a clip, the one sample of a store; the standardisation by all that were heard."""
        rows = np.arange(len(clip))
        for stream, own in self._moments.items():
            own.add(clip, stream, rows)
            self._clips[stream] += int(clip.has(stream).sum())
        return self.standardisation()

    def standardisation(self) -> SpeakerStandardisation:
        """The standardisation by what has been heard; before the first clip it changes nothing."""
        scales, shifts = {}, {}
        for stream, own in self._moments.items():
            scale, shift = torch.ones(2, len(own.mean)), torch.zeros(2, len(own.mean))
            if stream in self._training and self._clips[stream]:
                scale[1], shift[1] = _affine(self._clips[stream], own, self._training[stream])
            scales[stream], shifts[stream] = scale, shift
        return SpeakerStandardisation(scales, shifts, np.ones(1, dtype=np.int64))


def _affine(clips: int, own: Moments, training: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Scale [F] and shift [F] that bring so many clips of one speaker to the training fold's mean and deviation."""
    mean, inverse = (each.double().cpu() for each in training)
    varies = inverse > 0
    variance = torch.where(varies, inverse, 1.0).pow(-2)
    weight = clips / (clips + PRIOR)
    pooled = weight * own.mean + (1 - weight) * mean
    around = own.variance + (own.mean - pooled).square()
    spread = weight * around + (1 - weight) * (variance + (mean - pooled).square())
    scale = torch.where(varies, (variance / spread.clamp(min=1e-30)).sqrt(), 1.0)
    shift = torch.where(varies, mean - pooled * scale, 0.0)
    return scale.float(), shift.float()
