"""Coverage: how much of a file the samples of a data set read, and the likely cause where that is little.

A file of other ids, or with times in another unit, does not fail by itself: its samples are merely without it. So the
ids and the time ranges of labels and features are compared, and what does not fit is a warning, or an error.
"""

import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from emotiwave_core.data.formats.reader import split_key
from emotiwave_core.data.prepare.segments import are_times, end_to_end
from emotiwave_core.errors import DataError, short

NOTABLE_LOSS = 0.1  # share of the samples that lack a modality, or that are left out, from which it is a warning
REFUSED_LOSS = 0.5  # share of them from which a known cause is an error
MOST_UNFIT = 0.1  # share of the entries of a file that may be of another form than the rest
OTHER_SCALE = 8.0  # ratio of time ranges that no choice of segments explains
_NUMBERED = re.compile(r"(.+?)[_\-. ]+\d+$")

Times = NDArray[np.float64]


class Coverage:
    """The times and ids of one modality's file beside those of the labels, counted while the file is looked through."""

    def __init__(self, modality: str, file: str) -> None:
        self.modality, self.file = modality, file
        self.rows = self.read_rows = self.cut_rows = self.timeless_rows = 0
        self.first, self.last = np.inf, -np.inf
        self._spans: list[tuple[float, float, float, float]] = []  # labels' and features' first and last moment
        self._numbered = 0
        self._agree = {-1: 0, 0: 0, 1: 0}  # entries in time with the label row of the number k + shift

    def count(self, entries: dict[str, Times], read: int, labelled: Times | None) -> None:
        """Count one video: its entries [T, 2], how many of their rows are read, and its labelled intervals."""
        times = end_to_end(entries)
        self.rows += len(times)
        self.read_rows += read
        known = are_times(times)
        usable = times if known.all() else times[known]
        self.timeless_rows += len(times) - len(usable)
        if not len(usable):
            return
        start, end = float(usable.min()), float(usable.max())
        self.first, self.last = min(self.first, start), max(self.last, end)
        if labelled is not None and len(labelled) and np.isfinite(labelled).all():
            self._spans.append((float(labelled.min()), float(labelled.max()), start, end))
            self._compare_numbers(entries, labelled)

    def _compare_numbers(self, entries: dict[str, Times], labelled: Times) -> None:
        """Compare the times of the entries `id[k]` with those of the label row k, and of its neighbours."""
        numbered = {number: times for key, times in entries.items() if (number := split_key(key)[1]) is not None}
        spans = {
            number: (float(own.min()), float(own.max()))
            for number, times in numbered.items()
            if len(own := times[are_times(times)])
        }
        if len(spans) < 2 or len({round(start, 3) for start, _ in spans.values()}) == 1:
            return  # each clip begins at 0 by its own clock
        for number, span in spans.items():
            self._numbered += 1
            for shift in self._agree:
                row = number + shift
                self._agree[shift] += 0 <= row < len(labelled) and _share_of_union(span, labelled[row]) > 0.5

    def warnings(self, present: NDArray[np.bool_], labelled: Sequence[str], entries: Sequence[str]) -> list[str]:
        """Warnings on what is lost of this modality; DataError where all is, or most for a cause that is known.

        present: of each sample, whether it has the modality; the videos of the labels, and the entries of the file.
        """
        self._refuse_other_numbers()
        lost = 1.0 - float(present.mean()) if len(present) else 0.0
        videos = {split_key(entry)[0] for entry in entries}
        held = np.array([video in videos for video in labelled], dtype=bool)
        lost_in_time = 1.0 - float(present[held].mean()) if held.any() else 0.0
        cause = self._cause(labelled, entries) if lost >= NOTABLE_LOSS or self._scale() is not None else None
        share = f"{int((~present).sum())} of {len(present)} samples"
        if not present.any():
            raise DataError(
                f"The modality '{self.modality}' ({self.file}) has nothing for any of the {len(present)} samples: "
                f"{cause or 'no entry has a step within the labelled times'}."
            )
        if cause is not None and lost_in_time >= REFUSED_LOSS and self._scale() is not None:
            raise DataError(f"The modality '{self.modality}' ({self.file}) is missing in {share}: {cause}.")
        if lost >= NOTABLE_LOSS:
            return [f"'{self.modality}' is missing in {share} ({lost:.0%}){f': {cause}' if cause else ''}."]
        return [f"The times of '{self.modality}' do not fit those of the labels: {cause}."] if cause else []

    def notes(self) -> list[str]:
        """A sentence on the rows that have no time, and so are in no sample."""
        if not self.timeless_rows:
            return []
        share = f"{self.timeless_rows} of {self.rows} rows of '{self.modality}' ({self.file})"
        return [f"{share} have an interval that is not finite, and belong to no sample."]

    def _refuse_other_numbers(self) -> None:
        for shift, lower in ((-1, "one higher"), (1, "one lower")):
            if self._numbered and self._agree[shift] > 0.5 * self._numbered > 5 * self._agree[0]:
                raise DataError(
                    f"{self.file} numbers its entries {lower} than the labels do: the times of {self._agree[shift]} of "
                    f"{self._numbered} entries `id[k]` are those of the label row {'k - 1' if shift < 0 else 'k + 1'}, "
                    f"and of {self._agree[0]} those of row k. Rename them, the first segment of an id is `id[0]`."
                )

    def _cause(self, labelled: Sequence[str], entries: Sequence[str]) -> str | None:
        """The likely cause of what is missing: the form of the ids, or the unit or the start of the times."""
        videos = {split_key(entry)[0] for entry in entries}
        if self.rows and self.timeless_rows == self.rows:
            return "no interval of a step is a pair of finite seconds"
        if not videos & set(labelled):
            hint = _id_hint(labelled, videos)
            return f"its ids are like {_some(videos)}, and those of the labels like {_some(labelled)}{hint}"
        if self._spans:
            ranges = (
                f"labels go to {max(span[1] for span in self._spans):g} s, "
                f"its steps to {max(span[3] for span in self._spans):g} s"
            )
            if (ratio := self._scale()) is not None:
                return f"{ranges}; {_unit_hint(ratio)}"
            if (offset := self._offset()) is not None:
                return f"{ranges}; labels begin and end {offset:+.2f} s from its steps: is one shifted?"
        without = len(set(labelled) - videos)
        return f"{without} of {len(set(labelled))} labelled ids are not in it" if without else None

    def _scale(self) -> float | None:
        """The ratio of labelled to covered time, in the median over the videos, where no segments explain it."""
        ratios = [(end - start) / (last - first) for start, end, first, last in self._spans if last > first]
        ratio = float(np.median(ratios)) if ratios else 1.0
        return ratio if ratio > OTHER_SCALE or ratio < 1 / OTHER_SCALE else None

    def _offset(self) -> float | None:
        """The seconds by which labels lie beside the steps, where both their ends say the same in most videos."""
        spans = np.array(self._spans)
        starts, ends = spans[:, 0] - spans[:, 2], spans[:, 1] - spans[:, 3]
        offset = float(np.median(np.concatenate([starts, ends])))
        near = (np.abs(starts - offset) < 0.2 * abs(offset)) & (np.abs(ends - offset) < 0.2 * abs(offset))
        return offset if abs(offset) > 0.1 and near.mean() > 0.5 else None


def check_unfit(file: str, unfit: dict[str, str], entries: int) -> list[str]:
    """A note on the entries that are left out, by name; DataError where they are more than the named share."""
    if not unfit:
        return []
    listed = ", ".join(f"{short(key)} ({form})" for key, form in list(unfit.items())[:5])
    more = f" and {len(unfit) - 5} more" if len(unfit) > 5 else ""
    if len(unfit) > MOST_UNFIT * entries:
        raise DataError(
            f"{file}: {len(unfit)} of {entries} entries are of another form than the rest, which is more than "
            f"{MOST_UNFIT:.0%}: {listed}{more}."
        )
    return [f"{len(unfit)} of {entries} entries of {file} are of another form and are left out: {listed}{more}."]


def _share_of_union(first: Sequence[float], second: Times) -> float:
    """Intersection over union of two intervals."""
    common = min(first[1], second[1]) - max(first[0], second[0])
    union = max(first[1], second[1]) - min(first[0], second[0])
    return float(common / union) if union > 0 else 0.0


def _unit_hint(ratio: float) -> str:
    whose, factor = ("the labels'", ratio) if ratio > 1 else ("its", 1 / max(ratio, 1e-300))
    if 700 < factor < 1400:
        return f"{whose} times are {factor:.0f} times as large: milliseconds instead of seconds?"
    if factor < 700:
        return f"{whose} times are {factor:.0f} times as large: numbers of frames instead of seconds?"
    return f"{whose} times are {factor:.0f} times as large: of another unit than seconds?"


def _id_hint(labelled: Iterable[str], videos: set[str]) -> str:
    """The way out, where entries are numbered in another way than `id[0]`, `id[1]`, …."""
    known = set(labelled)
    if any((match := _NUMBERED.match(video)) and match[1] in known for video in videos):
        return "; the entry of a video's first labelled segment is called `id[0]`, then `id[1]`, …"
    return "; both must be the same"


def _some(names: Iterable[str]) -> str:
    return " and ".join(short(name) for name in sorted(set(names))[:2])
