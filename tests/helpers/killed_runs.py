"""Runs that are killed: at a call of a function in this process, or at a change of a file in one of their own."""

import contextlib
import itertools
import json
import os
import pkgutil
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import pytest
from datasets import write_dataset
from forked import emotiwave, forked
from training import small

from emotiwave_core.runs.folder import RECIPE
from emotiwave_core.runs.history import read_history
from emotiwave_core.runs.model_file import MODEL
from emotiwave_core.runs.predictions import PREDICTIONS
from emotiwave_core.runs.saved_model import WEIGHTS
from emotiwave_core.runs.scores import SCORES
from emotiwave_core.train.checkpoint import LAST

EPOCHS = 3


# With all that has a state of its own: averaged weights, a schedule, and a policy in a policy that learns.
MULTI = small(
    objective={"kind": "multi"},
    dropout={"name": "mixed", "policies": ["uniform", {"name": "scheduled", "policy": "adversarial", "end": 0.1}]},
    training={"epochs": EPOCHS, "ema": 0.9, "schedule": "one-cycle"},
)


class Killed(BaseException):
    """Stands for a signal: nothing on the way handles it."""


@contextlib.contextmanager
def killed_at(name: str, call: int, after: bool = False) -> Iterator[None]:
    """What runs in here must come to this call of a function, and is killed there: before its work, or after."""
    place, _, attribute = name.rpartition(".")
    owner = pkgutil.resolve_name(place)
    function, calls = getattr(owner, attribute), itertools.count(1)

    def killing(*arguments: Any, **options: Any) -> Any:
        due = next(calls) == call
        if due and not after:
            raise Killed
        result = function(*arguments, **options)
        if due:
            raise Killed
        return result

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):  # noqa: PT012
        patch.setattr(owner, attribute, killing)
        yield


def outcome(run: Path) -> dict[str, Any]:
    """All that a run ends with, but for the time that it took: the seconds of each epoch, and run.json."""
    history = [attrs.evolve(epoch, seconds=None) for epoch in read_history(run)]
    files = {name: (run / name).read_bytes() for name in (WEIGHTS, LAST, MODEL, SCORES, PREDICTIONS, RECIPE)}
    return files | {"history": history, "leftovers": sorted(path.name for path in run.glob(".*.part"))}


SETTINGS = ["training.epochs=4", "training.batch_size=4", "encoder.hidden_size=4", "training.ema=0.9"]


CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.utime", "os.truncate"}


SECONDS = 600.0  # of a process: ten times what it takes, it only ends a hang


class Whole(NamedTuple):
    """A run that was never killed."""

    data: Path
    outcome: dict[str, Any]
    phases: list[float]  # the seconds in which it came to: the store, the first epoch, the scores, the end
    pictures: bool  # whether its report has them
    changes: int  # how often it changed something in a folder


def command(data: Path, out: Path) -> list[object]:
    """What the user typed."""
    return ["run", "--data", data, "--device", "cpu", "--out", out, *(f"--set={setting}" for setting in SETTINGS)]


def on_change(folder: str, due: int, *arguments: object) -> int:
    """The program, killed where it is about to change something in `folder` for the time number `due`."""
    seen = 0

    def hook(event: str, given: tuple[Any, ...]) -> None:
        nonlocal seen
        writes = event == "open" and isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if (writes or event in CHANGES) and str(given[0]).startswith(folder):
            seen += 1
            if seen == due:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    code = emotiwave(*arguments)
    print(f"changes: {seen}", file=sys.stderr)
    return code


def all_of(run: Path) -> dict[str, Any]:
    """All that a run ends with, but for the time that it took."""
    more = ("explanation.json", "explanations.csv", "data.json", "model-card.md")
    assert (run / "report.html").stat().st_size > 10_000
    return outcome(run) | {name: (run / name).read_bytes() for name in more}


@pytest.fixture(scope="session")
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """The run that all others must end like, on data that take a while to pack."""
    folder = tmp_path_factory.mktemp("whole")
    data, run, cache = write_dataset(folder, videos=48), folder / "there" / "run", folder / "there" / "cache"
    cache.mkdir(parents=True)
    work = partial(on_change, str(cache.parent), 0, *command(data, run))
    forked(partial(emotiwave, "--help"), folder=folder)  # the process that the others are forked from is there
    pictures = request.config.option.markexpr == "stress"  # the long battery kills runs while they are drawn too
    environment = {"EMOTIWAVE_CACHE": str(cache)}
    ended = forked(work, folder=folder, environment=environment, seconds=SECONDS, pictures=pictures)
    assert ended.code == 0, ended
    end = (run / "report.html").stat().st_mtime
    store = max(path.stat().st_ctime for path in cache.rglob("store.json"))
    epoch = store + json.loads((run / "history.jsonl").read_text().splitlines()[0])["seconds"]
    times = [store, epoch, (run / SCORES).stat().st_mtime, end]
    phases = [max(ended.seconds - (end - time), 0.01) for time in times]
    return Whole(data, all_of(run), phases, pictures, int(ended.err.rsplit("changes: ", 1)[1]))
