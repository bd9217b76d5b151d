"""SIGKILL at any moment, then the same command or `--resume`: the run ends with the bits of one that was not killed."""

import random
import shutil
import signal
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from forked import Ended, emotiwave, forked
from killed_runs import SECONDS, Whole, all_of, command, on_change

from emotiwave_core.runs.folder import RECIPE
from emotiwave_core.runs.scores import SCORES
from emotiwave_core.train.checkpoint import LAST

MOMENTS = 240  # of random kills in the long battery
PIECES = 24  # that they are told in


def go_on(whole: Whole, run: Path, cache: Path, kill_after: float | None = None) -> Ended:
    """What a person does who finds a run killed: `--resume`; where it says that there is no run, the same command."""
    here = {"folder": run.parent, "environment": {"EMOTIWAVE_CACHE": str(cache)}, "seconds": SECONDS}
    here |= {"pictures": whole.pictures}
    if run.exists():
        ended = forked(partial(emotiwave, "run", "--resume", run), kill_after=kill_after, **here)  # type: ignore[arg-type]
        if ended.code != 2:
            return ended
        assert "holds no run to resume; start one without --resume" in ended.err, ended
    return forked(partial(emotiwave, *command(whole.data, run)), kill_after=kill_after, **here)  # type: ignore[arg-type]


def phase_of(run: Path, cache: Path) -> str:
    """What a killed run was at, by what it has left."""
    if (run / SCORES).exists():
        return "report"
    if (run / LAST).exists():
        return "training or scoring"
    if not (run / RECIPE).exists():
        return "start"
    return "first epoch" if any(cache.glob("stores/*/store.json")) else "store"


def ends_well(whole: Whole, run: Path, cache: Path) -> None:
    """The run goes on by itself to the same end, and nothing is left lying about."""
    ended = go_on(whole, run, cache)
    assert ended.code == 0, ended
    assert "Traceback" not in ended.err
    assert all_of(run) == whole.outcome
    torn = [path for path in run.parent.rglob("*") if path.name.endswith(".part") or ".building-" in path.name]
    assert not torn


def killed_at_moments(whole: Whole, folder: Path, seed: int, lives: int) -> Counter[str]:
    """Runs that are killed at random moments of a random phase, half of them twice, and what they were at."""
    draw, hit = random.Random(seed), Counter[str]()
    edges = [0.0, *whole.phases]
    while hit.total() < lives:
        place = folder / f"{seed}-{hit.total()}"
        run, cache = place / "run", place / "cache"
        place.mkdir()
        for _ in range(draw.choice([1, 2])):
            phase = draw.randrange(len(whole.phases))
            ended = go_on(whole, run, cache, kill_after=draw.uniform(edges[phase], edges[phase + 1]))
            if ended.code == 0:
                break
            assert ended.code == -signal.SIGKILL, ended
            hit[phase_of(run, cache)] += 1
        ends_well(whole, run, cache)
        shutil.rmtree(place)
    return hit


def killed_at_changes(whole: Whole, folder: Path, numbers: range) -> None:
    """Runs that are killed where they are about to change a file, and end well all the same."""
    for number in numbers:
        place = folder / str(number)
        run, cache = place / "run", place / "cache"
        place.mkdir()
        work = partial(on_change, str(place), number, *command(whole.data, run))
        ended = forked(work, folder=place, environment={"EMOTIWAVE_CACHE": str(cache)}, pictures=whole.pictures)
        assert ended.code == -signal.SIGKILL, (number, ended)
        ends_well(whole, run, cache)
        shutil.rmtree(place)


@pytest.mark.slow
def test_a_run_killed_at_a_random_moment_ends_as_one_that_was_not(whole: Whole, tmp_path: Path) -> None:
    """Weights, scores, predictions and explanation are the same to the bit, and no torn file is left."""
    assert killed_at_moments(whole, tmp_path, 0, 2).total() >= 2


@pytest.mark.stress
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(1, PIECES + 1))
def test_killed_at_random_moments(whole: Whole, tmp_path: Path, seed: int) -> None:
    """As above, ten more times."""
    print("killed in:", dict(killed_at_moments(whole, tmp_path, seed, MOMENTS // PIECES)))


@pytest.mark.stress
@pytest.mark.timeout(900)
@pytest.mark.parametrize("first", range(1, 9))
def test_killed_before_every_change_of_a_file(whole: Whole, tmp_path: Path, first: int) -> None:
    """Also where the kill comes between any two things that are written, renamed or removed, one after the other."""
    assert whole.changes > 40
    print("killed before:", whole.changes)
    killed_at_changes(whole, tmp_path, range(first, whole.changes + 1, 8))
