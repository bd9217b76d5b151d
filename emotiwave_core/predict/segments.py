"""The pieces of a recording that are asked about: all of it, windows, or the stretches that a file names."""

from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np

from emotiwave_core.data.formats.columns import ENDS, IDS, STARTS, timed_column
from emotiwave_core.data.formats.delimited import read_delimited
from emotiwave_core.data.formats.table import TableFile, column_of_times
from emotiwave_core.errors import DataError, SettingsError
from emotiwave_core.extract.transcripts import read_transcript

MOST_SEGMENTS = 100_000
BEYOND = 1.0  # seconds that a segment may end after its recording


@attrs.frozen
class NamedSegments:
    """Stretches of recordings, as a file names them."""

    path: Path
    rows: tuple[tuple[str | None, float, float], ...]  # the recording, None: any one; start and end in seconds

    def of(self, recording: Path, seconds: float) -> list[tuple[float, float]]:
        """The segments of a recording that is so long. DataError where there is none, or one lies beyond its end."""
        names = {recording.name, recording.stem}
        spans = [(start, end) for name, start, end in self.rows if name is None or Path(name).name in names]
        if not spans:
            raise DataError(f"{self.path} has no segment of {recording.name}: its recordings are {self._listed()}.")
        beyond = [end for _, end in spans if end > seconds + BEYOND]
        if beyond:
            raise DataError(
                f"{self.path}: {len(beyond)} of {len(spans)} segments end after {recording.name}, which has "
                f"{seconds:.1f} s, such as one at {beyond[0]:.1f} s; give seconds from its start."
            )
        return [(start, min(end, seconds)) for start, end in spans]

    def _listed(self) -> str:
        names = list(dict.fromkeys(name for name, _, _ in self.rows if name is not None))
        return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


@attrs.frozen
class Segmentation:
    """Windows of so many seconds, the segments of a file, or all of a recording (neither)."""

    window: float | None = None
    hop: float | None = None  # seconds from one window's start to the next; None: a window's length
    named: NamedSegments | None = None

    def __attrs_post_init__(self) -> None:
        for name, value in (("window", self.window), ("hop", self.hop)):
            if value is not None and not 0.05 <= value < 1e6:
                raise SettingsError(f"{name} is {value} seconds; give at least 0.05.")
        if self.hop is not None and self.window is None:
            raise SettingsError("A hop needs a window: --window 4 --hop 1.")
        if self.window is not None and self.named is not None:
            raise SettingsError("Give windows or segments, not both.")

    @property
    def is_whole(self) -> bool:
        """True where a recording is one segment, its steps before 0 included."""
        return self.window is None and self.named is None

    def of(self, recording: Path, seconds: float) -> list[tuple[float, float]]:
        """Start and end of each segment of a recording that is so long; the last window may be shorter."""
        if self.named is not None:
            return self.named.of(recording, seconds)
        if self.window is None:
            return [(0.0, seconds)]
        hop = self.hop or self.window
        count = max(1, int(np.ceil((seconds - self.window) / hop - 1e-9)) + 1)
        if count > MOST_SEGMENTS:
            raise SettingsError(f"{seconds:.0f} s have {count} windows, more than {MOST_SEGMENTS}: give a longer hop.")
        return [(number * hop, min(number * hop + self.window, seconds)) for number in range(count)]


def read_segments(path: Path) -> NamedSegments:
    """Read a table (CSV, TSV) with columns for start, end and perhaps the recording, or a transcript with times.

    DataError where there is no time, or where a segment ends before it starts.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such file of segments.")
    rows = _of_table(path) if path.suffix.lower() in TableFile.suffixes else _of_transcript(path)
    if not rows:
        raise DataError(f"{path} names no segment.")
    if len(rows) > MOST_SEGMENTS:
        raise DataError(f"{path} names {len(rows)} segments, more than {MOST_SEGMENTS}: split it.")
    for number, (_, start, end) in enumerate(rows, start=1):
        if not (np.isfinite([start, end]).all() and 0.0 <= start < end):
            raise DataError(f"{path}, segment {number}: it has no time from {start} to {end} s.")
    return NamedSegments(path, tuple(rows))


def _of_table(path: Path) -> list[tuple[str | None, float, float]]:
    columns = read_delimited(path, is_text=lambda name: True)
    start, end = (timed_column(columns.names, kind) for kind in (STARTS, ENDS))
    if start is None or end is None:
        raise DataError(
            f"{path} has no columns `start` and `end` (its columns: {', '.join(columns.names[:10])}): name those that "
            "hold the seconds so."
        )
    starts, ends = (column_of_times(path, columns, name, scale).tolist() for name, scale in (start, end))
    file = _file_column(columns.names)
    files: Sequence[str | None] = [None] * len(starts) if file is None else columns.texts[file]
    return list(zip(files, starts, ends, strict=True))


def _file_column(names: Sequence[str]) -> str | None:
    by_name = {name.lower(): name for name in names}
    return next((by_name[name] for name in IDS if name in by_name), None)


def _of_transcript(path: Path) -> list[tuple[str | None, float, float]]:
    transcript = read_transcript(path)
    if transcript.times == "none":
        raise DataError(f"{path} tells no times; give a table with columns start and end, or subtitles (SRT, WebVTT).")
    return [(None, phrase.start, phrase.end) for phrase in transcript.phrases]
