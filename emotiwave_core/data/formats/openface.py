"""OpenFace 2's tables of faces: `frame, face_id, timestamp, confidence, success, …`, one for each clip."""

from collections.abc import Sequence

import numpy as np

from emotiwave_core.data.formats.clip_tables import ClipTables, stacked
from emotiwave_core.data.formats.delimited import TableColumns
from emotiwave_core.data.formats.reader import Entry, Source
from emotiwave_core.data.formats.table import column_of_times

SURE = 0.5  # confidence of OpenFace from which a frame counts as one with a face
FRAME = ("frame", "face_id", "timestamp", "confidence", "success")


class OpenFaceTables(ClipTables):
    """Faces of clips. A frame without success, or of a low confidence, is none; of several faces one is read.

    That is the one which is there in most frames; where two are, the first.
    """

    name = "openface"
    usual_role = "visual"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._counts: dict[str, tuple[int, int, int]] = {}  # of each clip: frames, those without a face, and faces

    @classmethod
    def _is_header(cls, names: Sequence[str]) -> bool:
        return {"frame", "timestamp", "confidence", "success"} <= set(names)

    def _features_in(self, names: Sequence[str]) -> list[str]:
        return [name for name in (self.asked or names) if name not in FRAME]

    def _entry(self, key: str, columns: TableColumns) -> Entry:
        path = self._files[key]
        features = stacked(path, columns, self._names)
        of_frame = stacked(path, columns, [name for name in FRAME if name != "face_id" and name != "timestamp"])
        times = column_of_times(path, columns, "timestamp", 1.0)
        faces = columns.numbers.get("face_id", np.zeros(columns.rows))
        seen = (of_frame[:, 2] != 0) & (of_frame[:, 1] >= SURE)
        numbers, counts = np.unique(faces[seen], return_counts=True)
        chosen = numbers[counts.argmax()] if len(numbers) else faces[:1]
        kept = seen & (faces == chosen)
        moments = np.unique(times)
        step = float(np.median(np.diff(moments))) if len(moments) > 1 else 0.0
        self._counts[key] = (len(moments), len(moments) - int(kept.sum()), len(numbers))
        return Entry(features[kept], np.stack([times[kept], times[kept] + step], axis=1))

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on frames without a face and on clips with several, of those that were read."""
        frames, missing = (sum(counts[place] for counts in self._counts.values()) for place in (0, 1))
        several = [key for key, counts in self._counts.items() if counts[2] > 1]
        notes = []
        if missing:
            notes.append(
                f"{self.path.name}: {missing} of {frames} frames have no face (success 0 or confidence below {SURE}), "
                "and are left out."
            )
        if several:
            notes.append(
                f"{self.path.name}: {len(several)} clips show several faces, such as '{several[0]}'; the one that is "
                "there in most frames is read."
            )
        return tuple(notes)
