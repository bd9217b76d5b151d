"""Columns of a table by what they are for, told by their names: ids, times, groups, folds, labels and features."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs

from emotiwave_core.errors import DataError, choices, short

IDS = ("file", "filename", "file_name", "filepath", "path", "wav", "video_id", "video", "name", "clip", "clip_id",
       "key", "sample", "sample_id", "segment_id", "utterance_id", "utt_id", "uid")  # fmt: skip
STARTS = ("start", "start_time", "starttime", "onset", "begin", "begin_time", "xmin")
ENDS = ("end", "end_time", "endtime", "offset", "stop", "stop_time", "xmax")
DURATIONS = ("duration", "dur")
TIMES = ("time", "timestamp", "frame_time", "frametime", "t")
FRAMES = ("frame", "frame_index", "frame_number", "frame_id", "frameindex")
GROUPS = ("group", "speaker", "speaker_id", "actor", "actor_id", "actorid", "subject", "subject_id", "participant",
          "participant_id", "dialogue", "dialogue_id", "dialog", "session")  # fmt: skip
SPLITS = ("split", "fold", "set", "partition", "subset")
TEXTS = ("text", "transcript", "transcription", "utterance", "sentence", "caption", "words")
CLASSES = (
    "emotion",
    "label",
    "emotion_label",
    "class",
    "category",
    "target",
    "emotions",
    "labels",
    "emo",
    "expression",
)
SCALES = ("sentiment", "valence", "arousal", "dominance", "activation", "pleasure", "intensity")
EMOTIONS = ("happy", "happiness", "joy", "sad", "sadness", "angry", "anger", "surprise", "surprised", "disgust",
            "disgusted", "fear", "fearful", "neutral", "calm", "contempt", "frustrated", "frustration", "excited",
            "excitement", "love", "other", "bored", "boredom")  # fmt: skip
_UNITS = {"ms": 1e-3, "msec": 1e-3, "milliseconds": 1e-3, "s": 1.0, "sec": 1.0, "secs": 1.0, "seconds": 1.0}
_WAY_OUT = "rename columns, or say which ones hold the labels by `columns = [...]` under [labels] in dataset.toml"


def normal(name: str) -> str:
    """A column's name in small letters, words joined by `_`."""
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name) if not name.isupper() else name
    return re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")


def _without_unit(name: str) -> tuple[str, float]:
    """A name of a time without its unit, and the seconds of that."""
    head, _, unit = normal(name).rpartition("_")
    return (head, _UNITS[unit]) if head and unit in _UNITS else (normal(name), 1.0)


@attrs.frozen
class Roles:
    """The columns of a table that are neither labels nor features."""

    id: str
    start: str | None = None
    end: str | None = None
    duration: str | None = None
    time: str | None = None
    frame: str | None = None
    group: str | None = None
    split: str | None = None
    texts: tuple[str, ...] = ()
    others: tuple[str, ...] = ()  # that could be an id or a group too, and are passed over
    seconds: float = 1.0  # of the unit of the times

    @property
    def used(self) -> tuple[str, ...]:
        """All of them."""
        single = (self.id, self.start, self.end, self.duration, self.time, self.frame, self.group, self.split)
        return (*(name for name in single if name is not None), *self.texts, *self.others)

    @property
    def of_times(self) -> tuple[str, ...]:
        """Those that tell times."""
        return tuple(n for n in (self.start, self.end, self.duration, self.time) if n is not None)


def find_roles(path: Path, names: Sequence[str]) -> Roles:
    """The roles of some columns by their names. DataError where several could be the id, or none."""
    by_name = {normal(name): name for name in reversed(names)}
    identity, passed = _id_column(path, names, by_name)
    groups = [by_name[name] for name in GROUPS if name in by_name and by_name[name] != identity]
    start, end, duration = (timed_column(names, kind) for kind in (STARTS, ENDS, DURATIONS))
    time, frame = timed_column(names, TIMES), next((by_name[name] for name in FRAMES if name in by_name), None)
    if end is not None and start is None:
        raise DataError(f"{path} has the column {short(end[0])} but none for the start; call it `start`.")
    scales = {scale for _, scale in filter(None, (start, end, duration, time))}
    if len(scales) > 1:
        raise DataError(f"{path}: its columns of times are of several units; give all of them in seconds.")
    return Roles(
        id=identity,
        start=start and start[0],
        end=end and end[0],
        duration=duration[0] if duration and start and not end else None,
        time=time[0] if time and not start else None,
        frame=frame if not start else None,
        group=groups[0] if groups else None,
        split=next((by_name[name] for name in SPLITS if name in by_name), None),
        texts=tuple(by_name[name] for name in TEXTS if name in by_name and by_name[name] != identity),
        others=(*passed, *groups[1:], *_beside(start, duration, time, end, frame)),
        seconds=scales.pop() if scales else 1.0,
    )


def _beside(
    start: tuple[str, float] | None,
    duration: tuple[str, float] | None,
    time: tuple[str, float] | None,
    end: tuple[str, float] | None,
    frame: str | None,
) -> tuple[str, ...]:
    """The columns of times that others make needless, and that are no features either."""
    spare = [duration[0] if duration and (end or not start) else None, time[0] if time and start else None]
    return tuple(name for name in (*spare, frame if start else None) if name is not None)


def _id_column(path: Path, names: Sequence[str], by_name: dict[str, str]) -> tuple[str, tuple[str, ...]]:
    candidates = [by_name[name] for name in IDS if name in by_name]
    if "id" in by_name:
        return by_name["id"], tuple(candidates)
    if not candidates and names and names[0] == "":
        return "", ()  # an index that was written without a name
    if len(candidates) != 1:
        several = f"the ids could be in {' or '.join(map(short, candidates))}" if candidates else "no column of ids"
        raise DataError(f"{path}: {several} (its columns: {_list(names)}); call the one that holds them `id`.")
    return candidates[0], ()


def timed_column(names: Iterable[str], kind: Sequence[str]) -> tuple[str, float] | None:
    """The first column of one kind of times, and its unit in seconds."""
    for name in names:
        if normal(name) in kind:
            return name, 1.0
        head, scale = _without_unit(name)
        if head in kind:
            return name, scale
    return None


def label_columns_of(
    path: Path, texts: Sequence[str], numbers: Sequence[str], way_out: str = _WAY_OUT
) -> tuple[str, ...]:
    """The columns that hold the labels, of those without another role: one of texts, or some of numbers.

    DataError where several kinds of labels are there, and nothing says which is meant.
    """
    named = [name for name in texts if normal(name) in CLASSES]
    if len(named) == 1:
        return (named[0],)
    if not named and len(numbered := [name for name in numbers if normal(name) in CLASSES]) == 1:
        return (numbered[0],)
    known = [name for name in numbers if normal(name) in EMOTIONS or normal(name) in SCALES]
    others = [name for name in numbers if name not in known]
    if not named and known and not others:
        return tuple(known)
    if not named and not known and numbers:
        return tuple(numbers)
    if not numbers and len(named or texts) == 1:
        return (*named, *texts)[:1]
    if not numbers and not texts:
        raise DataError(f"{path} has no column of labels.")
    raise DataError(f"{path}: the labels could be in {_list([*(named or texts), *numbers])}; {way_out}.")


def feature_columns_of(numbers: Sequence[str]) -> tuple[str, ...]:
    """The columns of features, of the numbers without another role: all but those that are called label or emotion."""
    return tuple(name for name in numbers if normal(name) not in CLASSES) or tuple(numbers)


def has_labels(path: Path, texts: Sequence[str], numbers: Sequence[str]) -> bool:
    """True for a table that holds a column of classes beside columns of features."""
    classes = [name for name in (*texts, *numbers) if normal(name) in CLASSES]
    return len(classes) == 1 and any(name not in classes for name in numbers)


def check_asked(path: Path, asked: Sequence[str], texts: Sequence[str], numbers: Sequence[str]) -> tuple[str, ...]:
    """The columns that were asked for by name. DataError where one is not there, or texts and numbers are mixed."""
    for name in asked:
        if name not in texts and name not in numbers:
            raise DataError(f"{path} has no column {short(name)}.{choices(name, [*texts, *numbers])}")
    of_texts = [name for name in asked if name in texts]
    if of_texts and len(asked) > 1:
        raise DataError(f"{path}: {_list(of_texts)} holds texts, and is one of several label columns; name it alone.")
    return tuple(asked)


def _list(names: Sequence[str]) -> str:
    return ", ".join(short(name) for name in names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
