"""The words of a sample with their times, to be shown beside what a model made of it."""

from typing import NamedTuple

from emotiwave_core.data.dataset import Dataset
from emotiwave_core.data.formats.reader import Source, open_reader
from emotiwave_core.data.prepare.align import check_words
from emotiwave_core.data.prepare.segments import bounds, cut, end_to_end, entries_by_video, entries_of, in_time_order
from emotiwave_core.data.store.store import Store

PAUSE = b"sp"


class Word(NamedTuple):
    """One word and the seconds of the video in which it is said."""

    start: float
    end: float
    word: str


def words_of(dataset: Dataset, store: Store, sample: int) -> list[Word]:
    """The words of a sample of the store, in time order and without pauses; none where no file holds them.

    They are those of the data set's `words`, else of its first modality of words. They are cut as the store's steps
    are, and nothing but the sample's own entry is read. DataError where the file cannot be read or holds no words.
    """
    source = dataset.words or _modality_of_words(dataset, store)
    if source is None:
        return []
    video, unit = store.videos[sample], store.facts.unit
    with open_reader(source) as file:
        check_words(file)
        if not file.has_times:
            return []
        keys = entries_by_video(file.keys).get(video, [])
        names, whole = entries_of(keys, store.ids[sample], unit)
        read = {key: file.read(key) for key in names}
    intervals = end_to_end({key: sequence.intervals for key, sequence in read.items()})
    steps = in_time_order(intervals) if whole else cut(intervals, *store.intervals[sample].tolist())
    said = [word for sequence in read.values() for word in sequence.features[:, 0]]
    times = bounds(intervals)
    return [
        Word(float(times[step, 0]), float(times[step, 1]), said[step].decode("utf-8", "replace"))
        for step in steps
        if said[step] != PAUSE
    ]


def _modality_of_words(dataset: Dataset, store: Store) -> Source | None:
    of_words = [stream for stream, facts in store.facts.modalities.items() if facts.words is not None]
    return next((source for stream, source in dataset.modalities.items() if stream in of_words), None)
