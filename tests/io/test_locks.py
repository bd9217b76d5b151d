"""Locks: one process at a time, nothing left of a killed one, and a folder that is no longer one's own is noticed."""

import errno
import fcntl
import multiprocessing
import os
import shutil
from pathlib import Path

import pytest
from training import small

from emotiwave_core.data.corpus import open_corpus
from emotiwave_core.errors import EmotiwaveError, Notice, ResourceError, SettingsError
from emotiwave_core.io import locks
from emotiwave_core.io.atomic import write_bytes, write_text
from emotiwave_core.io.locks import BusyError, locked, waiting_for
from emotiwave_core.monitor import Monitor
from emotiwave_core.runs.folder import LOCK, alone_in, next_folder
from emotiwave_core.runs.history import HISTORY, Epoch, Validation, append_history


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    """A second holder is refused, and the file that stays behind holds nobody up."""
    with locked(tmp_path / "x"), pytest.raises(BusyError), locked(tmp_path / "x"):
        pass
    with locked(tmp_path / "x"):
        pass


@pytest.mark.parametrize("number", sorted(locks.WITHOUT_LOCKS))
def test_a_file_system_without_locks_is_noted(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS and FUSE may have none: the work is done, with a note, and what is left of it holds up no later one."""

    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    for _ in range(2):
        with pytest.warns(Notice, match="has no locks"), alone_in(tmp_path):
            write_text(tmp_path / "scores.json", "{}")
        (tmp_path / LOCK).touch()


def test_modes_that_cannot_be_set_refuse_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where chmod is forbidden, a file is written all the same, with a note."""

    def chmod(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chmod", chmod)
    with pytest.warns(Notice, match="sets no modes"):
        write_bytes(tmp_path / "x", b"whole")
    assert (tmp_path / "x").read_bytes() == b"whole"


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL])
def test_a_store_is_built_where_no_space_can_be_reserved(
    number: int, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither that, nor a time that cannot be set, refuses a store; one that is full still does."""

    def refused(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "posix_fallocate", refused)
    monkeypatch.setattr(os, "utime", forbidden)
    assert len(open_corpus(tiny, small().data).store) > 0
    number = errno.ENOSPC
    with pytest.raises(ResourceError, match="No space left"):
        open_corpus(tiny, small(data={"unit": "video"}).data)


class Heard(Monitor):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        """Keep it."""
        self.lines.append(text)


def test_waiting_says_what_for_and_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said once, and after hours it ends in a sentence."""
    clock, monitor = iter(range(100)), Heard()
    monkeypatch.setattr(locks.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(locks.time, "sleep", lambda _: None)
    monkeypatch.setattr(locks, "LONGEST", 20.0)
    with (
        locked(tmp_path / "x"),
        pytest.raises(ResourceError, match="builds this store"),
        waiting_for(tmp_path / "x", "builds this store", monitor),
    ):
        pass
    assert monitor.lines == [f"Waiting for another process, which builds this store ({tmp_path / 'x'} is locked)."]


EPOCH = Epoch(1, 0.5, Validation(0.5, 0.5, 0.5))


@pytest.mark.parametrize("other", ["removed", "taken anew", "moved away", "another run"])
def test_a_folder_that_is_no_longer_ours_is_noticed(other: str, tmp_path: Path) -> None:
    """Whatever became of it, a writer stops with a sentence, and nothing of its own comes into the other one."""
    run = tmp_path / "run"
    run.mkdir()
    with alone_in(run):
        write_text(run / "before", "")
        if other == "moved away":
            run.rename(tmp_path / "moved")
        else:
            shutil.rmtree(run)
        if other in ("taken anew", "another run"):
            run.mkdir()
        if other == "another run":
            child = multiprocessing.get_context("fork").Process(target=_take, args=(run,))
            child.start()
            child.join()
            assert child.exitcode == 0
        seen = sorted(path.name for path in run.iterdir()) if run.exists() else None
        for write in (lambda: write_text(run / "scores.json", "{}"), lambda: append_history(run, EPOCH)):
            with pytest.raises(ResourceError, match="no longer the folder of this run"):
                write()
        assert (sorted(path.name for path in run.iterdir()) if run.exists() else None) == seen
        write_text(tmp_path / "elsewhere", "")


def _take(run: Path) -> None:
    locks._HELD.clear()  # of the process that it was forked from
    with alone_in(run):
        write_text(run / HISTORY, "")


@pytest.mark.parametrize("runs", ["a file", "a dangling link", "a closed folder"])
def test_a_place_for_runs_that_cannot_be_used_is_one_sentence(
    runs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No endless search for a free number, and no internal error."""
    monkeypatch.chdir(tmp_path)
    if runs == "a file":
        Path("runs").touch()
    elif runs == "a dangling link":
        Path("runs").symlink_to("nowhere")
    else:
        Path("runs").mkdir(mode=0o500)
        if os.access("runs", os.W_OK):  # root may write anywhere
            pytest.skip("no folder is closed to this user")
    with pytest.raises(EmotiwaveError, match="Cannot write runs"):
        next_folder("default")


def test_runs_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each gets the next number that is free, also through a link to a folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    Path("runs").symlink_to("there")
    assert [next_folder("a b").name for _ in range(3)] == ["a-b-1", "a-b-2", "a-b-3"]


def test_a_busy_folder_is_a_sentence(tmp_path: Path) -> None:
    """A second run into it is refused."""
    with alone_in(tmp_path), pytest.raises(SettingsError, match="Another run is at work"), alone_in(tmp_path):
        pass
