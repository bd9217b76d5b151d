"""`protocols/NAME.json` as objects: macro-F1 while the input gets worse."""

import re
from pathlib import Path

from attrs import frozen

from emotiwave_core.errors import DataError
from emotiwave_core.runs.schema import Fraction, Interval, anew, damaged, file_bytes, parse


@frozen
class Curve:
    """Scores of the complete configuration over the levels of damage to some modalities."""

    levels: list[float]
    macro_f1: list[Fraction]
    auilc: float
    reached: list[float | None] | None = None
    accuracy: list[Fraction | None] | None = None
    intervals: list[Interval | None] | None = None
    relative_robustness: float | None = None
    effective_robustness: float | None = None

    @property
    def untouched(self) -> bool:
        """Whether nothing was damaged at any level: then the scores say nothing about robustness."""
        return self.reached is not None and not any(self.reached)


@frozen
class Other:
    """One curve of the model it is held against."""

    macro_f1: list[Fraction]


@frozen
class Against:
    """Another run under identical gaps."""

    run: str
    curves: dict[str, Other]


@frozen
class Protocol:
    """`protocols/NAME.json`."""

    protocol: str
    unit: str
    dataset: str
    fold: str
    samples: int
    manifest: str
    manifest_sha256: str
    curves: dict[str, Curve]
    synthetic: bool = False
    seed: int | None = None
    against: Against | None = None


def read_protocols(run: Path) -> list[Protocol]:
    """Every protocol of a run that has curves, by name; DataError for a file that is damaged."""
    try:
        files = sorted((run / "protocols").glob("*.json"))
    except OSError as error:
        raise DataError(f"Cannot read {run / 'protocols'}: {error.strerror}.") from error
    return [_read(run, file) for file in files if re.fullmatch(r"[a-z][a-z0-9_-]{0,40}\.json", file.name)]


def _read(run: Path, file: Path) -> Protocol:
    way_out = f"{anew(run, '--protocol', file.stem)}, or delete it"
    found = parse(file_bytes(run, f"protocols/{file.name}"), Protocol, str(file), way_out)
    if found.protocol != file.stem:
        raise damaged(file, "it holds another protocol", way_out)
    for name, curve in found.curves.items():
        other = found.against.curves.get(name) if found.against else None
        lists = (curve.reached, curve.accuracy, curve.intervals, other.macro_f1 if other else None)
        sizes = {len(curve.macro_f1), *(len(values) for values in lists if values is not None)}
        if not curve.levels or sizes != {len(curve.levels)}:
            raise damaged(file, f"the curve {name} has not as many scores as levels", way_out)
        if curve.levels != sorted(curve.levels):
            raise damaged(file, f"the levels of {name} are out of order", way_out)
    if not found.curves:
        raise damaged(file, "it has no curve", way_out)
    return found
