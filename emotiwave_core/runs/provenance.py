"""`run.json`: when a run was trained, how long it took, and with which hardware and versions. No result depends on it.

Two equal runs differ in this file and in the seconds of `history.jsonl`, and in no other.
"""

import datetime
import os
import platform
from pathlib import Path

import attrs

from emotiwave_core.io.atomic import write_json
from emotiwave_core.runs.schema import file_bytes, parse

RUN = "run.json"


@attrs.frozen
class Provenance:
    """Time and place of a training. Of one that was resumed: its first start, and the machine that went on last."""

    started: str  # UTC, as 2026-01-31T12:00:00Z
    finished: str | None  # None until the test fold was scored
    training_seconds: float | None  # of all epochs with their validation, without the time that the run lay still
    scoring_seconds: float | None  # of the test fold, with its explanation
    device: str  # "cpu" or "cuda"
    hardware: str  # the name of the processor or of the GPU
    processes: int  # that trained together
    threads: int  # of PyTorch on the CPU, of each process
    system: str
    python: str
    torch: str
    emotiwave: str
    stopped: str | None = None  # by which watchers the training was ended before its time, and why


def provenance_of(device: str, hardware: str, processes: int, threads: int, torch: str) -> Provenance:
    """The record of a training that starts now, on this machine."""
    from emotiwave_core.version import __version__

    return Provenance(
        started=_now(),
        finished=None,
        training_seconds=None,
        scoring_seconds=None,
        device=device,
        hardware=hardware,
        processes=processes,
        threads=threads,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        torch=torch,
        emotiwave=__version__,
    )


def write_start(run: Path, provenance: Provenance) -> None:
    """Write the record of a training that starts, or goes on and keeps its first start; one that has ended stays.

    DataError where the one before is damaged.
    """
    before = read_provenance(run)
    if before is not None:
        if before.finished is not None:
            return
        provenance = attrs.evolve(provenance, started=before.started)
    write_json(run / RUN, attrs.asdict(provenance))


def write_end(run: Path, training_seconds: float, scoring_seconds: float, stopped: str | None = None) -> None:
    """Complete the record when the test fold was scored; that of a run which has ended, and is scored again, stays."""
    before = read_provenance(run)
    assert before is not None, "a training has written its start"
    if before.finished is not None:
        return
    ended = attrs.evolve(
        before,
        finished=_now(),
        training_seconds=training_seconds,
        scoring_seconds=scoring_seconds,
        stopped=stopped,
    )
    write_json(run / RUN, attrs.asdict(ended))


def read_provenance(run: Path) -> Provenance | None:
    """`run.json` of a run, None where it has none; DataError where it is damaged."""
    if not os.path.lexists(run / RUN):
        return None
    return parse(file_bytes(run, RUN), Provenance, str(run / RUN), "move the file away to go on without it")


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
