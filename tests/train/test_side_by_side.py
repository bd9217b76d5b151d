"""Several processes in one place, the same run twice, and no word to the network."""

import ctypes
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from forked import Ended, emotiwave, forked
from killed_runs import Whole, all_of, command

from emotiwave_core.runs.folder import LOCK
from emotiwave_core.runs.saved_model import WEIGHTS
from emotiwave_core.runs.scores import SCORES
from emotiwave_core.train.checkpoint import LAST

EIGHT = 8


def call(folder: Path, *arguments: object, **options: Any) -> Ended:
    """The program in its own process, with a cache in `folder`."""
    environment = {"EMOTIWAVE_CACHE": str(folder / "cache")}
    return forked(partial(emotiwave, *arguments), folder=folder, environment=environment, **options)


def wait_for(path: Path) -> None:
    """Wait until a file is there."""
    end = time.monotonic() + 600
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.005)
    assert path.exists()


@pytest.mark.full
def test_eight_processes_build_and_read_one_store(whole: Whole, tmp_path: Path) -> None:
    """All of them get it, it is built once, and nothing of the building is left."""
    with ThreadPoolExecutor(EIGHT) as threads:
        work = partial(call, tmp_path, "data", "prepare", whole.data, "--json")
        ended = [one.result() for one in [threads.submit(work) for _ in range(EIGHT)]]
    assert [one.code for one in ended] == [0] * EIGHT, ended
    assert len({one.out for one in ended}) == 1
    [store] = [path for path in (tmp_path / "cache" / "stores").iterdir() if path.is_dir()]
    assert sorted(path.name for path in store.iterdir()) == ["arrays.safetensors", "store.json"]


@pytest.mark.stress
def test_eight_runs_at_once_end_alike(whole: Whole, tmp_path: Path) -> None:
    """Eight runs over one store that is not there yet are eight times the same run."""
    with ThreadPoolExecutor(EIGHT) as threads:
        runs = [tmp_path / f"run-{number}" for number in range(EIGHT)]
        ended = list(threads.map(lambda run: call(tmp_path, *command(whole.data, run), seconds=1200.0), runs))
    assert [one.code for one in ended] == [0] * EIGHT, ended
    assert all(all_of(run) == whole.outcome for run in runs)


@pytest.mark.full
def test_a_second_run_into_a_folder_is_refused(tiny: Path, tmp_path: Path) -> None:
    """Whatever would write there is refused while a run is at work, and that one is not disturbed; then it is not."""
    run = tmp_path / "run"
    with ThreadPoolExecutor(1) as thread:
        long = [*command(tiny, run), "--set=training.epochs=400", "--set=training.patience=400"]
        pids: list[int] = []
        first = thread.submit(call, tmp_path, *long, meanwhile=pids.append)
        wait_for(run / WEIGHTS)
        for second in (["run", "--resume", run], ["evaluate", run], ["report", run], command(tiny, run)):
            ended = call(tmp_path, *second)
            assert ended.code == 2, ended
            assert f"Another run is at work in {run}" in ended.said
        before = (run / "history.jsonl").stat().st_size
        os.kill(pids[0], signal.SIGKILL)
        killed = first.result()
    assert killed.code == -9, killed
    assert (run / "history.jsonl").stat().st_size >= before
    ended = call(tmp_path, "evaluate", run, "--fold", "valid")  # only reads, and the lock is gone with its holder
    assert ended.code == 0, ended


@pytest.mark.full
def test_a_lock_file_alone_holds_nobody_up(whole: Whole, tmp_path: Path) -> None:
    """What a killed run leaves of its lock, in the folder or in the cache, is no lock."""
    (tmp_path / "run").mkdir()
    for path in (tmp_path / "run" / LOCK, tmp_path / "cache" / "stores" / "x.lock"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path):
            pass
        path.touch()
    assert call(tmp_path, *command(whole.data, tmp_path / "run")).code == 0


@pytest.mark.slow
def test_the_same_run_twice_is_the_same_to_the_bit(whole: Whole, tmp_path: Path) -> None:
    """In another process, folder and cache: weights, scores, predictions and explanation."""
    assert call(tmp_path, *command(whole.data, tmp_path / "again")).code == 0
    assert all_of(tmp_path / "again") == whole.outcome
    assert call(tmp_path, *command(whole.data, tmp_path / "other"), "--set=seed=1").code == 0
    other = all_of(tmp_path / "other")
    assert all(other[name] != whole.outcome[name] for name in (WEIGHTS, LAST, SCORES))


def offline(*arguments: object) -> int:
    """The program in a network of its own, in which nobody is; and each try to speak to anyone is told."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x40000000):  # CLONE_NEWNET
        print("no right to", file=sys.stderr)

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request"):
            os.write(2, f"network: {event} {given!r}\n".encode())

    sys.addaudithook(hook)
    return emotiwave(*arguments)


@pytest.mark.slow
def test_nothing_is_said_to_the_network(whole: Whole, tmp_path: Path) -> None:
    """A run, its scores, explanation, report and the list of parts work without a network, and do not try to use it."""
    run = tmp_path / "run"
    for arguments in (
        [*command(whole.data, run), "--watch", "tensorboard"],
        ["evaluate", run, "--protocol", "swap"],
        ["explain", run],
        ["plugins"],
    ):
        environment = {"EMOTIWAVE_CACHE": str(tmp_path / "cache")}
        ended = forked(partial(offline, *arguments), folder=tmp_path, environment=environment)
        assert ended.code == 0, ended
        assert "network:" not in ended.err


def test_a_word_to_the_network_would_be_heard(tmp_path: Path) -> None:
    """The listener of the test above hears a connection."""
    ended = forked(partial(speaks, "localhost"), folder=tmp_path)
    assert "network: socket.getaddrinfo" in ended.err


def speaks(host: str) -> int:
    """A program that uses the network."""
    import socket

    offline("--version")
    try:
        socket.create_connection((host, 9), timeout=1.0)
    except OSError:
        return 0
    return 1
