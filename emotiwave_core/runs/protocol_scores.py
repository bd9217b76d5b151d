"""`protocols/NAME.json` of a run: its score while the input gets worse. Written by `evaluate`, read by all others."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from emotiwave_core.errors import DataError
from emotiwave_core.io.atomic import own_folder, write_bytes, write_json
from emotiwave_core.runs.schema import (
    Fraction,
    Score,
    ScoreInterval,
    anew,
    converter,
    damaged,
    file_bytes,
    name_by_headline,
    parse,
)

if TYPE_CHECKING:
    from emotiwave_core.metrics.headline import Headline

FOLDER = "protocols"
FORMAT = 1


@frozen(kw_only=True)
class Curve:
    """Scores of the complete configuration at K levels, while some modalities are corrupted. All lists are [K].

    In the file `score` and `beside` are `macro_f1` and `accuracy` of classes, `ccc` and `mae` of numbers.
    """

    levels: list[float]
    reached: list[Fraction]  # the measured share of what is corrupted
    score: list[Score]
    beside: list[float]
    intervals: list[ScoreInterval] | None  # of the score; None where there is one video only
    auilc: float
    relative_robustness: float
    effective_robustness: float | None  # None where there is no other run
    headline: str = "macro_f1"

    @property
    def untouched(self) -> bool:
        """True where nothing was corrupted at any level: then the scores say nothing about robustness."""
        return not any(self.reached)


@frozen(kw_only=True)
class OtherCurve:
    """Scores [K] of another run at the same levels."""

    score: list[Score]
    headline: str = "macro_f1"


name_by_headline(
    Curve, {"macro_f1": {"score": "macro_f1", "beside": "accuracy"}, "ccc": {"score": "ccc", "beside": "mae"}}
)
name_by_headline(OtherCurve, {"macro_f1": {"score": "macro_f1"}, "ccc": {"score": "ccc"}})


@frozen(kw_only=True)
class OtherRun:
    """Another run that met the same manifest."""

    run: str  # name of its folder
    curves: dict[str, OtherCurve]


@frozen(kw_only=True)
class ProtocolScores:
    """Scores of a run under a protocol. The fields are the keys of the file, in this order."""

    format: int = FORMAT
    protocol: str
    unit: str  # of the levels, in words
    dataset: str
    synthetic: bool
    fold: str
    samples: int
    seed: int
    manifest: str | None  # name of the file beside this one; None where nothing was written
    manifest_sha256: str
    curves: dict[str, Curve]  # by the modalities that are corrupted
    against: OtherRun | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as in the file."""
        return dict(converter.unstructure(self))

    @property
    def judged_by(self) -> "Headline":
        """The score of its curves."""
        from emotiwave_core.metrics.headline import headline_of  # NumPy, which `--help` does without

        return headline_of("regression" if next(iter(self.curves.values())).headline == "ccc" else "single")


def manifest_name(protocol: str) -> str:
    """Name of the manifest of a protocol, beside its scores."""
    return f"{protocol}.manifest.json"


def write_protocol(run: Path, scores: ProtocolScores, manifest: bytes) -> None:
    """Write the manifest and the scores of a protocol into the folder of a run."""
    folder = own_folder(run / FOLDER)
    write_bytes(folder / manifest_name(scores.protocol), manifest)
    write_json(folder / f"{scores.protocol}.json", scores.to_dict())


def read_protocols(run: Path) -> list[ProtocolScores]:
    """Scores of every protocol of a run, by name; DataError for a file that is damaged."""
    try:
        files = sorted((run / FOLDER).glob("*.json"))
    except OSError as error:
        raise DataError(f"Cannot read {run / FOLDER}: {error.strerror}.") from error
    return [read_protocol(run, file.stem) for file in files if re.fullmatch(r"[a-z][a-z0-9_-]{0,40}", file.stem)]


def read_protocol(run: Path, protocol: str) -> ProtocolScores:
    """Scores of one protocol; DataError where the file is missing or damaged."""
    file = run / FOLDER / f"{protocol}.json"
    way_out = f"{anew(run, '--protocol', protocol)}, or delete it"
    scores = parse(file_bytes(run, f"{FOLDER}/{file.name}"), ProtocolScores, str(file), way_out)
    if scores.protocol != protocol:
        raise damaged(file, "it holds another protocol", way_out)
    if scores.format != FORMAT:
        raise damaged(file, "it has another format", way_out)
    if not scores.curves:
        raise damaged(file, "it has no curve", way_out)
    for name, curve in scores.curves.items():
        other = scores.against.curves.get(name) if scores.against else None
        lists = (curve.score, curve.reached, curve.beside, curve.intervals, other.score if other else None)
        sizes = {len(values) for values in lists if values is not None}
        if not curve.levels or sizes != {len(curve.levels)}:
            raise damaged(file, f"the curve {name} has not as many scores as levels", way_out)
        if curve.levels != sorted(curve.levels):
            raise damaged(file, f"the levels of {name} are out of order", way_out)
    return scores
