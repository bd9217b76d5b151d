"""`run.json`: the date, the duration and the hardware of a training, and nothing that a result depends on."""

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from killed_runs import killed_at
from training import resume, small, start

from emotiwave_core import __version__
from emotiwave_core.errors import DataError
from emotiwave_core.runs.contents import read_run
from emotiwave_core.runs.provenance import RUN, Provenance, read_provenance, write_start

STARTED = Provenance(
    started="2026-01-31T12:00:00Z",
    finished=None,
    training_seconds=None,
    scoring_seconds=None,
    device="cpu",
    hardware="a processor",
    processes=1,
    threads=2,
    system="Linux x86_64",
    python="3.11.0",
    torch="2.13.0",
    emotiwave="0.1.0",
)


def moment(text: str | None) -> datetime.datetime:
    """A time of run.json."""
    assert text is not None
    return datetime.datetime.fromisoformat(text)


def test_a_run_says_when_and_where_it_was_trained(tiny: Path, tmp_path: Path) -> None:
    """A run that has ended holds its start and end in UTC, its seconds, its device and its versions."""
    before = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    start(small(training={"epochs": 2}), tiny, tmp_path / "run")
    made = read_run(tmp_path / "run").provenance
    assert made is not None
    assert before <= moment(made.started) <= moment(made.finished) <= datetime.datetime.now(datetime.UTC)
    lines = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert made.training_seconds == pytest.approx(sum(line["seconds"] for line in lines))
    assert (made.scoring_seconds or 0) > 0
    assert (made.device, made.processes, made.threads) == ("cpu", 1, torch.get_num_threads())
    assert (made.torch, made.emotiwave) == (torch.__version__, __version__)
    assert made.hardware


def test_a_resumed_run_keeps_its_first_start(tiny: Path, tmp_path: Path) -> None:
    """A run that is stopped has no end yet; resumed, it ends with the start that it had."""
    run = tmp_path / "run"
    with killed_at("emotiwave_core.train.loop.validate", 1):
        start(small(training={"epochs": 1}), tiny, run)
    stopped = read_provenance(run)
    assert stopped is not None
    assert stopped.finished is None
    write_start(tmp_path, STARTED)
    (run / RUN).write_bytes((tmp_path / RUN).read_bytes())
    resume(run)
    ended = read_provenance(run)
    assert ended is not None
    assert ended.started == STARTED.started
    assert moment(ended.finished) > moment(ended.started)
    assert ended.torch == torch.__version__


def test_a_run_that_has_ended_keeps_its_record(tiny: Path, tmp_path: Path) -> None:
    """Resumed after its end, a run is scored again, and its record says when it was trained."""
    run = tmp_path / "run"
    start(small(training={"epochs": 1}), tiny, run)
    record = (run / RUN).read_bytes()
    resume(run)
    assert (run / RUN).read_bytes() == record


def test_a_run_without_the_file_is_read(tmp_path: Path) -> None:
    """The file may be absent: a run of before has none."""
    assert read_provenance(tmp_path) is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"started": 3}, "'started' is wrong: text expected"),
        ({"threads": 2.5}, "'threads' is wrong: int expected"),
        ({"training_seconds": "long"}, "'training_seconds'"),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    """A value that is not what is written there is named, with the way out."""
    write_start(tmp_path, STARTED)
    (tmp_path / RUN).write_text(json.dumps(json.loads((tmp_path / RUN).read_text()) | change))
    with pytest.raises(DataError, match=r"run\.json is damaged .*move the file away to go on without it") as caught:
        read_provenance(tmp_path)
    assert says in str(caught.value)
